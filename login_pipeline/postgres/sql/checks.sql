-- What the asset checks on user_logins ask. Each returns counts, never a value of a row.

-- name: rows_that_disagree_with_the_inbox
-- Over all dates: rows, those more than are expected of their date, and those fewer.
SELECT coalesce(sum(rows), 0)::bigint,
       coalesce(sum(greatest(rows - expected, 0)), 0)::bigint,
       coalesce(sum(greatest(expected - rows, 0)), 0)::bigint
FROM ({ledger.by_date}) AS by_date;

-- name: rows_with_an_ip_in_clear
-- In a masked column anything that has a dotted quad or a colon, which no mask has; in any other text column a
-- whole address: a dotted quad of numbers up to 255, eight groups of hexadecimal digits, or fewer around a "::".
WITH address AS (
    SELECT '^\s*((25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])(\.(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])){3}'
        || '|([0-9a-f]{1,4}:){7}[0-9a-f]{1,4}'
        || '|([0-9a-f]{1,4}(:[0-9a-f]{1,4}){0,6})?::(([0-9a-f]{1,4}:){0,6}[0-9a-f]{1,4})?)\s*$' AS pattern
)
SELECT count(*)
FROM user_logins, address
WHERE masked_ip ~ '([0-9]{1,3}\.){3}[0-9]{1,3}|:'
   OR masked_device_id ~ '([0-9]{1,3}\.){3}[0-9]{1,3}|:'
   OR user_id ~* pattern
   OR device_type ~* pattern
   OR locale ~* pattern;

-- name: group_sizes
-- Who knows a few facts about somebody finds them in a small group. In the order of GroupSizes (defs/checks.py).
WITH groups AS (
    SELECT count(*) AS rows, count(DISTINCT user_id) AS users
    FROM user_logins
    GROUP BY device_type, locale, app_version, create_date
)
SELECT count(*),
       coalesce(min(rows), 0),
       coalesce(min(users), 0),
       count(*) FILTER (WHERE users < %(k)s),
       coalesce(sum(rows) FILTER (WHERE users < %(k)s), 0)::bigint
FROM groups;

-- name: rows_dated_in_the_future
SELECT count(*) FROM user_logins WHERE create_date > (now() AT TIME ZONE 'UTC')::date;

-- name: rows_that_expired
SELECT count(*) FROM user_logins WHERE create_date < {expiry.first_kept};

-- name: what_the_server_logs
-- Of this session: whether an ERROR's DETAIL and CONTEXT go to the log, and whether statements do. COPY has the rows and
-- no statement has parameters, so log_parameter_max_length changes nothing.
SELECT (current_setting('log_min_messages') NOT IN ('log', 'fatal', 'panic')
        AND current_setting('log_error_verbosity') <> 'terse')::integer,
       count(*)
FROM pg_settings
WHERE (name = 'log_statement' AND setting IN ('mod', 'all'))
   OR (name IN ('log_min_duration_statement', 'log_min_duration_sample') AND setting::integer >= 0);
