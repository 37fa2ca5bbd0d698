-- The user whom a statement is about. The id comes by COPY and is in no statement, so that neither PostgreSQL's log nor
-- pg_stat_activity shows it.

-- name: stage
-- Dates have one text whatever the role's own settings: it is a part of the inbox's keys.
SET LOCAL datestyle = 'ISO, YMD';
CREATE TEMPORARY TABLE named_user (user_id text) ON COMMIT DROP;

-- name: copy
COPY named_user (user_id) FROM STDIN;
