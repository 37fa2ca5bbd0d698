-- The transactional inbox: which messages have their row already. It holds a row for each message, none for anything else
-- (ledger.sql), and no personal data. message_id is the idempotency key.

-- name: lock_as_a_load_does
-- For what changes rows and inbox in another order: the inbox first, as a load and a restore lock it, or two of them
-- would wait for each other. Neither readers nor loads wait for this.
LOCK TABLE user_logins_inbox, user_logins IN ROW EXCLUSIVE MODE;

-- name: create
-- Rows that are there before it, or that were there before it was lost, are of messages that nobody knows.
CREATE TABLE user_logins_inbox (
    message_id  text PRIMARY KEY,
    create_date date,
    loaded_at   timestamptz NOT NULL DEFAULT now()
);
{ledger.add_unknown};

-- name: known
SELECT message_id FROM user_logins_inbox WHERE message_id = ANY (%(message_ids)s);

-- name: is_empty
-- By the first key of the index, as the table may begin with pages of rows that were pruned.
SELECT min(message_id) IS NULL FROM user_logins_inbox;

-- name: other_than_created
-- What has the name of a table that a load writes, and is not that table, in words.
SELECT 'a table under the name user_logins, which is a view or the like'
FROM pg_class
WHERE oid = to_regclass('user_logins') AND relkind NOT IN ('r', 'p')
UNION ALL
SELECT 'the columns of user_logins_inbox, which are other ones'
FROM pg_attribute
WHERE attrelid = to_regclass('user_logins_inbox') AND attnum > 0 AND NOT attisdropped
HAVING array_agg(attname::text ORDER BY attnum) <> '{message_id,create_date,loaded_at}';
