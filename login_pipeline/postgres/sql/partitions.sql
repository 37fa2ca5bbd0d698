-- Partitions of user_logins, one for each month of create_date, where `prepare --partitioned` created it. There is no
-- default one: the rows of a month without a partition wait on the queue, and rows in a default partition would keep their
-- month from ever getting one.

-- name: create
-- The identity of a publication that names the table and not its partitions.
CREATE TABLE user_logins (
    {user_logins.definition}
) PARTITION BY RANGE (create_date);
ALTER TABLE user_logins REPLICA IDENTITY FULL;

-- name: bounds
-- Of each partition the first date and the first date past it; of one that is not so bounded, such as a default one, all
-- dates. No rows where user_logins is not partitioned by create_date alone.
SELECT nspname::text AS schema, relname::text AS name,
       coalesce(substring(bounds FROM 'FROM \(''([^'']+)''\)')::date, '-infinity') AS first,
       coalesce(substring(bounds FROM 'TO \(''([^'']+)''\)')::date, 'infinity') AS past
FROM (
    SELECT nspname, relname, CASE pg_get_partkeydef(inhparent)
        WHEN 'RANGE (create_date)' THEN pg_get_expr(relpartbound, pg_class.oid)
    END AS bounds
    FROM pg_inherits
    JOIN pg_class ON pg_class.oid = inhrelid
    JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE inhparent = to_regclass('user_logins')
) AS partition
WHERE bounds IS NOT NULL

-- name: months
-- Those whose dates are those of a month.
SELECT schema, name, first, past
FROM ({partitions.bounds}) AS partition
WHERE isfinite(first) AND first = date_trunc('month', first) AND past = first + interval '1 month'

-- name: first_uncovered
-- The first of the next 31 days without a partition. The months that are made ahead have all of them, unless a month was
-- detached, or another partition has some of its dates. Null where user_logins is not partitioned by month.
SELECT min(day::date)
FROM pg_class,
(SELECT (now() AT TIME ZONE 'UTC')::date AS today) AS clock,
generate_series(today::timestamp, today + interval '31 days', '1 day') AS day
WHERE pg_class.oid = to_regclass('user_logins') AND pg_get_partkeydef(pg_class.oid) = 'RANGE (create_date)'
  AND (EXISTS ({partitions.months}) OR NOT EXISTS ({partitions.bounds}))
  AND NOT EXISTS (SELECT FROM ({partitions.bounds}) AS partition WHERE first <= day AND past > day);

-- name: missing
-- The months that have no partition yet: that of a date, or those from four weeks ago, as long as SQS keeps a message on two
-- queues, to the second one from now on. Not those that have expired, of which another partition has a date, or whose name
-- is taken. None where user_logins is not partitioned by month.
SELECT schema, name, first, past
FROM (
    SELECT nspname::text AS schema, to_char(month, '"user_logins_"YYYY_MM') AS name, month::date AS first,
           (month + interval '1 month')::date AS past
    FROM pg_class
    JOIN pg_namespace ON pg_namespace.oid = relnamespace,
    (SELECT (now() AT TIME ZONE 'UTC')::date AS today) AS clock,
    generate_series(
        date_trunc('month', coalesce(%(day)s, today - 28)::timestamp),
        coalesce(%(day)s, today + interval '2 months')::timestamp,
        '1 month'
    ) AS month
    WHERE pg_class.oid = to_regclass('user_logins') AND pg_get_partkeydef(pg_class.oid) = 'RANGE (create_date)'
) AS needed
WHERE (EXISTS ({partitions.months}) OR NOT EXISTS ({partitions.bounds}))
  AND NOT EXISTS (
      SELECT FROM ({partitions.bounds}) AS partition WHERE partition.first < needed.past AND partition.past > needed.first
  )
  AND to_regclass(format('%%I.%%I', schema, name)) IS NULL
  AND NOT EXISTS (SELECT FROM user_logins_ledger WHERE entry = 'expired' AND create_date >= past - 1)
ORDER BY first;

-- name: owner
-- Only the table's owner can add a partition, or who may act as it, and only in a schema in which the role may create.
SELECT pg_get_userbyid(relowner)
FROM pg_class
WHERE oid = to_regclass('user_logins') AND pg_has_role(relowner, 'USAGE') AND has_schema_privilege(relnamespace, 'CREATE');

-- name: lock
-- Two that add the same would fail. Loads and readers go on, and so does a VACUUM of a partition. Where another adds them, or
-- an ANALYZE of the table is at work, there is time until the next night.
LOCK TABLE ONLY user_logins IN SHARE UPDATE EXCLUSIVE MODE NOWAIT;

-- name: add
-- It is attached, which loads do not wait for, as they would for CREATE TABLE ... PARTITION OF. What a publication needs is
-- not inherited; rights are the table's. So is its owner, who drops it one day.
CREATE TABLE {partition} (LIKE user_logins INCLUDING ALL);
ALTER TABLE {partition} REPLICA IDENTITY FULL;
REVOKE ALL ON {partition} FROM PUBLIC;
ALTER TABLE {partition} OWNER TO {owner};
ALTER TABLE user_logins ATTACH PARTITION {partition} FOR VALUES FROM ({first}) TO ({past});

-- name: over
-- The months in which every date has expired, or is about to.
SELECT schema, name, first, past
FROM ({partitions.months}) AS months
WHERE past <= {expiry.first_kept}
ORDER BY first;

-- name: not_owned
-- Of those that are over. Only its owner can drop a partition, and a person may have added one as another role.
SELECT name
FROM ({partitions.months}) AS months
JOIN pg_class ON pg_class.oid = to_regclass(format('%%I.%%I', schema, name))
WHERE past <= {expiry.first_kept} AND NOT pg_has_role(relowner, 'USAGE')
ORDER BY first;

-- name: drop
-- Loads and readers wait for this lock, so it is tried for as long only as an autovacuum takes to give way (prune.sql).
SET LOCAL lock_timeout = '2s';
DROP TABLE {partition};
