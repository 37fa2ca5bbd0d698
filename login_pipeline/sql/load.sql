-- Loads one batch in one transaction: stage, copy, load.

-- name: limit_time
-- For each statement of this transaction.
SELECT set_config('statement_timeout', %(milliseconds)s::text, true);

-- name: stage
CREATE TEMPORARY TABLE incoming_logins (LIKE user_logins, message_id text) ON COMMIT DROP;

-- name: copy
COPY incoming_logins (
    user_id, device_type, masked_ip, masked_device_id, locale, app_version, create_date, message_id
) FROM STDIN;

-- name: load
-- Only messages whose key the inbox did not have get a row. Sorted, so that two runs with the same messages
-- wait for each other instead of deadlocking.
WITH fresh AS (
    INSERT INTO user_logins_inbox (message_id, create_date)
    SELECT message_id, create_date FROM incoming_logins ORDER BY message_id
    ON CONFLICT (message_id) DO NOTHING
    RETURNING message_id
)
INSERT INTO user_logins (
    user_id, device_type, masked_ip, masked_device_id, locale, app_version, create_date
)
SELECT user_id, device_type, masked_ip, masked_device_id, locale, app_version, create_date
FROM incoming_logins JOIN fresh USING (message_id);
