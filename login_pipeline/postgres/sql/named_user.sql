-- The user whom a statement is about. The id comes by COPY and is in no statement, so that neither PostgreSQL's log nor
-- pg_stat_activity shows it.

-- name: stage
CREATE TEMPORARY TABLE named_user (user_id text) ON COMMIT DROP;

-- name: copy
COPY named_user (user_id) FROM STDIN;
