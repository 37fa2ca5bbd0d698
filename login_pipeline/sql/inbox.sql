-- The transactional inbox: which messages have their row already. It holds no personal data.
-- message_id is the idempotency key. row_count is 1 for a message; rows that were in the table before the
-- inbox was are counted under a key of their own, so that inbox and table can be compared for ever.

-- name: lock
-- One run at a time creates tables: CREATE TABLE IF NOT EXISTS is not safe against itself.
SELECT pg_advisory_xact_lock(hashtext('user_logins_inbox'));

-- name: exists
SELECT to_regclass('user_logins_inbox') IS NOT NULL;

-- name: create
CREATE TABLE user_logins_inbox (
    message_id  text PRIMARY KEY,
    create_date date,
    row_count   bigint NOT NULL DEFAULT 1,
    loaded_at   timestamptz NOT NULL DEFAULT now()
);

-- name: count_rows_before_the_inbox
INSERT INTO user_logins_inbox (message_id, create_date, row_count)
SELECT 'rows before the inbox, ' || coalesce(create_date::text, 'no date'), create_date, count(*)
FROM user_logins
GROUP BY create_date;
