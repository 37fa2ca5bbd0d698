-- The users whom a statement is about. Their ids come by COPY and are in no statement, so that neither PostgreSQL's log
-- nor pg_stat_activity shows them.

-- name: stage
CREATE TEMPORARY TABLE named_user (user_id text) ON COMMIT DROP;

-- name: copy
COPY named_user (user_id) FROM STDIN;
