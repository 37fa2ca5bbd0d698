-- Expires rows: deletes those of dates that are older than LOGIN_RETENTION_DAYS. First the entry `expired` of the newest
-- such date closes it and all before it: from then on no message of theirs is loaded. Then each date's rows go, in one
-- transaction with its entry. Their messages stay in the inbox until they are pruned, so that SQS's delivering one again
-- only deletes it.

-- name: dates
-- Those over so many days ago that hold rows, or are expected to, and how many they hold.
SELECT create_date, rows
FROM ({ledger.by_date}) AS by_date
WHERE create_date < (now() AT TIME ZONE 'UTC')::date - %(days)s AND (rows <> 0 OR expected <> 0)
ORDER BY create_date;

-- name: close
INSERT INTO user_logins_ledger (create_date, entry, rows) VALUES (%(date)s, 'expired', 0)
{ledger.add};

-- name: is_over
-- Whether the date has expired, or is about to, where anything expires.
SELECT %(date)s::date <= greatest(
    (SELECT max(create_date) FROM user_logins_ledger WHERE entry = 'expired'),
    (now() AT TIME ZONE 'UTC')::date - %(days)s::integer - 1
);

-- name: delete
DELETE FROM user_logins WHERE create_date = %(date)s;

-- name: count
-- From now on no row is expected of the date, also where some were lost before. How many are left: a trigger or a rule can
-- keep some.
WITH left_over AS (
    SELECT rows, expected FROM ({ledger.by_date}) AS by_date WHERE create_date = %(date)s
), counted AS (
    INSERT INTO user_logins_ledger (create_date, entry, rows)
    SELECT %(date)s, 'expired', -coalesce(sum(expected), 0) FROM left_over
    {ledger.add}
)
SELECT coalesce(sum(rows), 0)::bigint FROM left_over;
