-- Expires rows: deletes those of dates that are older than LOGIN_RETENTION_DAYS. First the entry `expired` of the newest
-- such date closes it and all before it: from then on no message of theirs is loaded. Then each date's rows go, or those of
-- a whole month, in one transaction with their entries. Their messages stay in the inbox until they are pruned, so that
-- SQS's delivering one again only deletes it.

-- name: first_kept
-- The first date that does not expire. A month that is a partition expires once its last date may.
date_trunc(
    CASE WHEN EXISTS ({partitions.months}) THEN 'month' ELSE 'day' END,
    (now() AT TIME ZONE 'UTC')::date::timestamp - make_interval(days => %(days)s)
)::date

-- name: dates
-- Those that hold rows, or are expected to, and how many they hold.
SELECT create_date, rows
FROM ({ledger.by_date}) AS by_date
WHERE create_date < {expiry.first_kept} AND (rows <> 0 OR expected <> 0)
ORDER BY create_date;

-- name: close
INSERT INTO user_logins_ledger (create_date, entry, rows) VALUES (%(date)s, 'expired', 0)
{ledger.add};

-- name: is_over
-- Whether the date has expired, or is about to, where anything expires.
SELECT %(date)s::date <= greatest(
    (SELECT max(create_date) FROM user_logins_ledger WHERE entry = 'expired'),
    {expiry.first_kept} - 1
);

-- name: delete
DELETE FROM user_logins WHERE create_date = %(date)s;

-- name: count
-- From now on no row is expected of these dates, also where some were lost before. How many each has: what a DELETE left, a
-- trigger or a rule can keep some, or what goes with a partition.
WITH of_date AS (
    SELECT day, coalesce(rows, 0) AS rows, coalesce(expected, 0) AS expected
    FROM unnest(%(dates)s::date[]) AS day
    LEFT JOIN (SELECT * FROM ({ledger.by_date}) AS by_date WHERE create_date = ANY (%(dates)s::date[])) AS held
        ON create_date = day
), counted AS (
    INSERT INTO user_logins_ledger (create_date, entry, rows) SELECT day, 'expired', -expected FROM of_date
    {ledger.add}
)
SELECT day, rows FROM of_date WHERE rows > 0;
