-- Erases users' rows from user_logins, and keeps proof of it without their ids: `subject` is a keyed token. The users are
-- named by named_user.sql.

-- name: create
CREATE TABLE user_logins_erasures (
    erased_at timestamptz NOT NULL,
    erased_by text        NOT NULL,
    subject   text        NOT NULL,
    rows      bigint      NOT NULL,
    dates     bigint      NOT NULL,
    reason    text        NOT NULL
);
CREATE OR REPLACE FUNCTION user_logins_erasures_stay() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'user_logins_erasures is only added to' USING ERRCODE = 'restrict_violation';
END
$$;
CREATE TRIGGER user_logins_erasures_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON user_logins_erasures
FOR EACH STATEMENT EXECUTE FUNCTION user_logins_erasures_stay();

-- name: may_read
SELECT has_table_privilege('user_logins_erasures', 'SELECT');

-- name: count_rows
SELECT count(*), count(DISTINCT coalesce(create_date::text, 'no date'))
FROM user_logins
WHERE user_id IN (SELECT user_id FROM named_user);

-- name: erase
-- Of each user how many rows went, of how many dates, and how many there were in the same snapshot: a trigger or a rule
-- can keep some.
-- The ledger counts what went; their messages stay in the inbox, or SQS's delivering one again would load it again.
WITH gone AS (
    DELETE FROM user_logins
    WHERE user_id IN (SELECT user_id FROM named_user)
    RETURNING user_id, create_date
), by_date AS (
    SELECT create_date, count(*) AS rows FROM gone GROUP BY create_date
), counted AS (
    INSERT INTO user_logins_ledger (create_date, entry, rows) SELECT create_date, 'erased', -rows FROM by_date
    {ledger.add}
)
SELECT user_id, coalesce(went.rows, 0), coalesce(went.dates, 0), coalesce(present.rows, 0)
FROM named_user
LEFT JOIN (
    SELECT user_id, count(*) AS rows, count(DISTINCT coalesce(create_date::text, 'no date')) AS dates
    FROM gone
    GROUP BY user_id
) AS went USING (user_id)
LEFT JOIN (
    SELECT user_id, count(*) AS rows
    FROM user_logins
    WHERE user_id IN (SELECT user_id FROM named_user)
    GROUP BY user_id
) AS present USING (user_id);

-- name: loads_under_way
-- The transactions that load: each holds this lock from before it asks who is erased (load.sql).
SELECT virtualtransaction
FROM pg_locks
WHERE relation = 'user_logins_inbox'::regclass
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND mode = 'RowExclusiveLock' AND granted;

-- name: record
-- Each is later than the one before, even if the server's clock goes back: a backup knows by it which ones it has seen.
INSERT INTO user_logins_erasures (erased_at, erased_by, subject, rows, dates, reason)
SELECT greatest(clock_timestamp(), max(erased_at) + interval '1 microsecond'),
       session_user || ', ' || %(operator)s, %(subject)s, %(rows)s, %(dates)s, %(reason)s
FROM user_logins_erasures
RETURNING erased_at, erased_by, subject, rows, dates, reason;

-- name: proofs
SELECT erased_at, erased_by, subject, rows, dates, reason
FROM user_logins_erasures
WHERE subject = ANY (%(subjects)s)
ORDER BY erased_at;

-- name: all
SELECT erased_at, subject FROM user_logins_erasures;

-- name: last
SELECT max(erased_at) FROM user_logins_erasures;

-- name: since
-- Who was erased after this moment, and when last.
SELECT subject, max(erased_at) FROM user_logins_erasures WHERE erased_at > %(moment)s GROUP BY subject;

-- name: subjects_since
SELECT DISTINCT subject FROM user_logins_erasures WHERE %(moment)s IS NULL OR erased_at > %(moment)s;
