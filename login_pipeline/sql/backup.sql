-- Reads user_logins and its inbox, a create_date at a time, for backups. It changes nothing.

-- name: snapshot
-- Every query of the transaction sees the tables as they were at one moment.
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY;

-- name: session
-- Dates and times have one text whatever the role's own settings, and a slow store ends no transaction.
SELECT set_config('datestyle', 'ISO, YMD', true),
       set_config('timezone', 'UTC', true),
       set_config('statement_timeout', '0', true),
       set_config('idle_in_transaction_session_timeout', '0', true);

-- name: alone
-- One backup or restore at a time: each removes files that its manifest does not name.
SELECT pg_try_advisory_xact_lock(hashtext('user_logins_backup'));

-- name: by_date
-- What each create_date holds: how many rows and keys, and a sum of 64-bit hashes that tells whether one of them
-- is another than it was. `counted` is how many rows the keys stand for; `before` those of them that were in the
-- table before the inbox was, `erased` those that were erased since they were loaded.
WITH rows_by_date AS (
    SELECT create_date,
           count(*) AS rows,
           sum(hashtextextended(
               ROW(user_id, device_type, masked_ip, masked_device_id, locale, app_version)::text, 0
           )) AS content
    FROM user_logins
    GROUP BY create_date
), keys_by_date AS (
    SELECT create_date,
           count(*) AS keys,
           sum(hashtextextended(ROW(message_id, row_count, loaded_at)::text, 0)) AS content,
           sum(row_count) AS counted,
           sum(row_count) FILTER (WHERE starts_with(message_id, 'rows before the inbox, ')) AS before,
           -sum(row_count) FILTER (WHERE starts_with(message_id, 'rows erased, ')) AS erased
    FROM user_logins_inbox
    GROUP BY create_date
), dates AS (
    SELECT create_date FROM rows_by_date UNION SELECT create_date FROM keys_by_date
)
SELECT dates.create_date,
       coalesce(r.rows, 0),
       coalesce(r.content, 0)::text,
       coalesce(k.keys, 0),
       coalesce(k.content, 0)::text,
       coalesce(k.counted, 0)::bigint,
       coalesce(k.before, 0)::bigint,
       coalesce(k.erased, 0)::bigint
FROM dates
LEFT JOIN rows_by_date AS r ON r.create_date IS NOT DISTINCT FROM dates.create_date
LEFT JOIN keys_by_date AS k ON k.create_date IS NOT DISTINCT FROM dates.create_date
ORDER BY dates.create_date;

-- name: rows
-- The rows of some dates, a date after the other.
SELECT user_id, device_type, masked_ip, masked_device_id, locale, app_version, create_date
FROM user_logins
WHERE create_date = ANY(%(dates)s::date[]) OR (create_date IS NULL AND %(no_date)s)
ORDER BY create_date;

-- name: keys
-- The inbox's keys of some dates, a date after the other.
SELECT message_id, create_date, row_count, loaded_at
FROM user_logins_inbox
WHERE create_date = ANY(%(dates)s::date[]) OR (create_date IS NULL AND %(no_date)s)
ORDER BY create_date;
