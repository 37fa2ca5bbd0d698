-- What every transaction begins with, and what ends one.

-- name: begin
-- The first statement of every transaction that writes: its COMMIT is on disk when it returns, also where the role has it
-- off, since messages are deleted, values shown and erasures reported then. Stronger settings stay. For this transaction
-- only, as a pooler gives the next one another session. And which session that is, and since when: behind a pooler the id
-- that libpq has of it is the pooler's.
SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off';
SELECT pg_backend_pid(), transaction_timestamp();

-- name: see_all_rows
-- For maintenance: a statement to whose tables a row-level security policy applies is an error. Otherwise hidden rows would
-- stay where all of a user's are erased.
SET LOCAL row_security = off;

-- name: limit_time
-- For each later statement of this transaction; and for the time between two of them, or before the COMMIT: a client
-- that fell silent there would keep its keys from the next run for as long as TCP believes in it.
SELECT
    set_config('statement_timeout', %(milliseconds)s::text, true),
    set_config('idle_in_transaction_session_timeout', %(idle_milliseconds)s::text, true);

-- name: limit_locks
-- A table that another session has locked is an error, and not waited for.
SET LOCAL lock_timeout = %(milliseconds)s;

-- name: cancel
-- What that transaction has under way, and nobody else's: a pooler gives its session to others. As the user who logged in:
-- a role that he has taken on may cancel nothing of his.
SET LOCAL ROLE NONE;
SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE pid = %(session)s AND xact_start = %(since)s;
