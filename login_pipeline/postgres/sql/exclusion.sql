-- Whether table locks exclude each other: what a load holds of the inbox (load.sql) on one connection, what pruning takes
-- (prune.sql) on another. Of user_logins_backup, as a run's role may not take the latter on the inbox. Nobody waits.

-- name: may_lock
SELECT has_table_privilege('user_logins_backup', 'UPDATE');

-- name: hold
LOCK TABLE user_logins_backup IN ROW EXCLUSIVE MODE;

-- name: take
LOCK TABLE user_logins_backup IN SHARE ROW EXCLUSIVE MODE NOWAIT;
