-- The transactional inbox: which messages have their row already. It holds no personal data.
-- message_id is the idempotency key. row_count is 1 for a message; rows that were in the table before the
-- inbox was, and those whose keys are forgotten (forget.sql), are counted under keys of their own, and those that were
-- erased (erasures.sql) are taken off under another, so that inbox and table can be compared for ever. A date whose
-- masks were rotated (rotation.sql) has a key that counts nothing.

-- name: lock_alone
-- One erasure or restored date at a time, so that a snapshot which sees an erasure sees all before it, and none is
-- committed while a restore stages rows. Loads and readers go on. Only a role that may change the inbox can take it.
LOCK TABLE user_logins_inbox IN SHARE UPDATE EXCLUSIVE MODE;

-- name: lock_as_a_load_does
-- For what changes rows and inbox in another order: the inbox first, as a load and a restore lock it, or two of them
-- would wait for each other. Neither readers nor loads wait for this.
LOCK TABLE user_logins_inbox, user_logins IN ROW EXCLUSIVE MODE;

-- name: exists
SELECT to_regclass('user_logins_inbox') IS NOT NULL;

-- name: create
-- And counts the rows that were there before it.
CREATE TABLE user_logins_inbox (
    message_id  text PRIMARY KEY,
    create_date date,
    row_count   bigint NOT NULL DEFAULT 1,
    loaded_at   timestamptz NOT NULL DEFAULT now()
);
INSERT INTO user_logins_inbox (message_id, create_date, row_count)
SELECT 'rows before the inbox, ' || coalesce(create_date::text, 'no date'), create_date, count(*)
FROM user_logins
GROUP BY create_date;

-- name: known
SELECT message_id FROM user_logins_inbox WHERE message_id = ANY (%(message_ids)s);

-- name: lacking
-- What a load needs and this role or these tables do not give, in words.
SELECT lacking
FROM (
    VALUES
        ('INSERT on user_logins', has_table_privilege('user_logins', 'INSERT')),
        ('SELECT on user_logins', has_table_privilege('user_logins', 'SELECT')),
        ('INSERT on user_logins_inbox', has_table_privilege('user_logins_inbox', 'INSERT')),
        ('SELECT on user_logins_inbox', has_table_privilege('user_logins_inbox', 'SELECT')),
        ('INSERT on user_logins_dead_letters', has_table_privilege('user_logins_dead_letters', 'INSERT')),
        ('SELECT on user_logins_dead_letters', has_table_privilege('user_logins_dead_letters', 'SELECT')),
        ('TEMPORARY on the database', has_database_privilege(current_database(), 'TEMPORARY')),
        ('a table under the name user_logins, which is a view or the like',
            (SELECT relkind IN ('r', 'p') FROM pg_class WHERE oid = to_regclass('user_logins'))),
        ('the columns of user_logins_inbox, which are other ones',
            (SELECT array_agg(attname::text ORDER BY attnum) = '{message_id,create_date,row_count,loaded_at}'
             FROM pg_attribute
             WHERE attrelid = to_regclass('user_logins_inbox') AND attnum > 0 AND NOT attisdropped))
) AS needed (lacking, given)
WHERE NOT given;
