-- Loads one chunk of a batch in one transaction: stage, copy, take out what is too old, load.

-- name: stage
-- The rows' places let a part of them be inserted. Without user_logins' own NOT NULLs, so that COPY refuses no row.
-- Constraints that would wait for the COMMIT are checked with each statement instead. From the lock on no date is closed
-- (prune.sql).
SET CONSTRAINTS ALL IMMEDIATE;
LOCK TABLE user_logins_inbox IN ROW EXCLUSIVE MODE;
CREATE TEMPORARY TABLE incoming_logins ON COMMIT DROP AS SELECT *, '' AS message_id, 0 AS place FROM user_logins LIMIT 0;

-- name: copy
COPY incoming_logins (
    user_id, device_type, masked_ip, masked_device_id, locale, app_version, create_date, message_id, place
) FROM STDIN;

-- name: closed
-- Takes out the messages of closed dates, and says which of them the inbox still knows, and which dates are expired. What
-- the inbox knows had its row; of the others nobody knows. All in one snapshot: the message ids of a closed date are
-- deleted beside this load.
WITH expired AS (
    SELECT max(create_date) AS newest FROM user_logins_ledger WHERE entry = 'expired'
)
DELETE FROM incoming_logins USING expired
WHERE create_date <= newest
   OR create_date IN (SELECT ledger.create_date FROM user_logins_ledger AS ledger WHERE entry = 'pruned')
RETURNING message_id, EXISTS (
    SELECT FROM user_logins_inbox AS known WHERE known.message_id = incoming_logins.message_id
), coalesce(create_date <= newest, false);

-- name: index_stage
-- Once a row is refused, parts of the chunk are inserted again and again: each finds its rows without a scan.
CREATE UNIQUE INDEX ON incoming_logins (place);
ANALYZE incoming_logins;

-- name: load
-- Only messages whose id the inbox did not have get a row. How many ids and how many rows there are now: fewer rows
-- where a trigger of yours leaves one out without a word. Sorted, so that two runs with the same messages wait for
-- each other instead of deadlocking.
WITH part AS MATERIALIZED (
    SELECT * FROM incoming_logins WHERE place >= %(first)s AND place < %(end)s
), fresh AS (
    INSERT INTO user_logins_inbox (message_id, create_date)
    SELECT message_id, create_date
    FROM part
    ORDER BY message_id
    ON CONFLICT (message_id) DO NOTHING
    RETURNING message_id
), inserted AS (
    INSERT INTO user_logins (
        user_id, device_type, masked_ip, masked_device_id, locale, app_version, create_date
    )
    SELECT user_id, device_type, masked_ip, masked_device_id, locale, app_version, create_date
    FROM part JOIN fresh USING (message_id)
    RETURNING 1
)
SELECT (SELECT count(*) FROM fresh), (SELECT count(*) FROM inserted);

