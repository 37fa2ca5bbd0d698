-- Who logs in to the PostgreSQL of docker-compose.yml: one for the runs and Dagster's storage, one for maintenance.
-- The image runs this with psql, after roles.sql, once, when its volume is empty; later use ALTER ROLE.
\getenv run_password POSTGRES_RUN_PASSWORD
\getenv maintenance_password POSTGRES_MAINTENANCE_PASSWORD

CREATE ROLE logins_run LOGIN PASSWORD :'run_password' IN ROLE login_pipeline_loader;
CREATE ROLE logins_maintenance LOGIN PASSWORD :'maintenance_password' IN ROLE login_pipeline_owner;
-- What it creates belongs to the owner's role, and so to whoever else is in it.
ALTER ROLE logins_maintenance SET role = 'login_pipeline_owner';

-- Dagster's own storage stands beside the destination, not in it: each is backed up and dropped on its own.
CREATE DATABASE dagster OWNER logins_run;
REVOKE ALL ON DATABASE dagster FROM PUBLIC;
