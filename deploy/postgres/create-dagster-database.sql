-- Dagster's own storage stands beside the destination, not in it: each is backed up and dropped on its own.
-- The image runs this once, when its volume is empty.
CREATE DATABASE dagster;
