-- Partitions of user_logins, one for each month of create_date, where `prepare --partitioned` created it. There is no
-- default one: the rows of a month without a partition wait on the queue, and rows in a default partition would keep their
-- month from ever getting one.

-- name: create
CREATE TABLE user_logins (
    {user_logins.definition}
) PARTITION BY RANGE (create_date);

-- name: months
-- The partitions whose name and bounds are those of a month: a table of the same name with other bounds is somebody else's.
SELECT name, first, past
FROM (
    SELECT relname::text AS name, first, (first + interval '1 month')::date AS past, pg_get_expr(relpartbound, oid) AS bounds
    FROM pg_inherits
    JOIN pg_class ON oid = inhrelid,
    to_date(substring(relname FROM '^user_logins_([0-9]{4}_(?:0[1-9]|1[0-2]))$'), 'YYYY_MM') AS first
    WHERE inhparent = to_regclass('user_logins')
) AS partition
WHERE bounds = 'FOR VALUES FROM (''' || first || ''') TO (''' || past || ''')';

-- name: missing
-- The months that have no partition yet: that of a date, or those from four weeks ago, as old as a message on SQS's queues
-- can be, to the second one from now on. Months that have expired need none. No month where user_logins is not partitioned
-- so, or is another role's.
SELECT to_char(first, '"user_logins_"YYYY_MM'), first::date, (first + interval '1 month')::date
FROM (SELECT (now() AT TIME ZONE 'UTC')::date AS today) AS clock,
generate_series(
    date_trunc('month', coalesce(%(day)s, today - 28)::timestamp),
    coalesce(%(day)s, today + interval '2 months')::timestamp,
    '1 month'
) AS first
WHERE EXISTS (
        SELECT FROM pg_class
        WHERE oid = to_regclass('user_logins') AND pg_has_role(relowner, 'USAGE')
          AND pg_get_partkeydef(oid) = 'RANGE (create_date)'
    )
  AND (
      EXISTS ({partitions.months}) OR NOT EXISTS (SELECT FROM pg_inherits WHERE inhparent = to_regclass('user_logins'))
  )
  AND first NOT IN (SELECT months.first FROM ({partitions.months}) AS months)
  AND NOT EXISTS (SELECT FROM user_logins_ledger WHERE entry = 'expired' AND create_date >= first + interval '1 month - 1 day')
ORDER BY first;

-- name: lock
-- Two that add the same would fail. Loads and readers go on.
LOCK TABLE user_logins IN SHARE UPDATE EXCLUSIVE MODE;

-- name: add
-- It is attached, which loads do not wait for, as they would for CREATE TABLE ... PARTITION OF. What a publication needs is
-- not inherited.
CREATE TABLE {name} (LIKE user_logins INCLUDING ALL);
ALTER TABLE {name} REPLICA IDENTITY FULL;
ALTER TABLE user_logins ATTACH PARTITION {name} FOR VALUES FROM ({first}) TO ({past});

-- name: over
-- Those in which every date has expired, or is about to.
SELECT name, first, past FROM ({partitions.months}) AS months WHERE past <= {expiry.first_kept} ORDER BY first;

-- name: drop
-- Loads and readers wait for this lock, so it is tried for a second only.
SET LOCAL lock_timeout = '1s';
DROP TABLE {name};
