-- Reads user_logins and its inbox, a create_date at a time, for backups, and keeps which database it is that they are
-- of. A backup changes nothing.

-- name: create
-- One row. `database_id` is this database's own; `restored_from` is that of the database whose backup was restored here.
-- LOCK TABLE needs UPDATE before PostgreSQL 17, so a role that only makes backups has that right; the trigger leaves it
-- nothing to do with it.
CREATE TABLE user_logins_backup (
    database_id   uuid    NOT NULL DEFAULT gen_random_uuid(),
    restored_from uuid,
    one_row       boolean PRIMARY KEY DEFAULT true CHECK (one_row)
);
INSERT INTO user_logins_backup DEFAULT VALUES;
CREATE OR REPLACE FUNCTION user_logins_backup_is_locked_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT has_table_privilege(TG_RELID, 'DELETE') THEN
        RAISE EXCEPTION 'UPDATE on user_logins_backup is for LOCK TABLE only' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER user_logins_backup_is_locked_only BEFORE UPDATE ON user_logins_backup
FOR EACH STATEMENT EXECUTE FUNCTION user_logins_backup_is_locked_only();

-- name: identity
-- Which database this is. The server and the database's oid are a part of it, so a copy that pg_dump or CREATE DATABASE
-- made is another database.
SELECT database_id::text,
       (SELECT system_identifier FROM pg_control_system())
           || '/' || (SELECT oid FROM pg_database WHERE datname = current_database()),
       restored_from::text
FROM user_logins_backup;

-- name: restored_from
UPDATE user_logins_backup SET restored_from = %(database_id)s;

-- name: has_rows
SELECT EXISTS (SELECT FROM {table});

-- name: session
-- Dates and times have one text for every role, and a slow store ends no transaction. Each large table
-- is read by several workers (ledger.sql, by_date), where the planner would give each a single one.
SELECT set_config('datestyle', 'ISO, YMD', true),
       set_config('timezone', 'UTC', true),
       set_config('enable_parallel_append', 'off', true),
       set_config('statement_timeout', '0', true),
       set_config('idle_in_transaction_session_timeout', '0', true);

-- name: alone
-- One backup or restore at a time: each removes files that its manifest does not name. Who may only read the tables
-- cannot take this lock. It comes before the snapshot, and does not conflict with the UPDATE above.
LOCK TABLE user_logins_backup IN SHARE UPDATE EXCLUSIVE MODE NOWAIT;

-- name: hold
-- Taken before the snapshot, so that no partition which it sees is dropped: the ledger in it would not say so.
LOCK TABLE user_logins IN ACCESS SHARE MODE;

-- name: rows
-- The rows of some dates, a date after the other.
SELECT user_id, device_type, masked_ip, masked_device_id, locale, app_version, create_date
FROM user_logins
WHERE create_date = ANY(%(dates)s::date[]) OR (create_date IS NULL AND %(no_date)s)
ORDER BY create_date;

-- name: keys
-- The inbox's keys of some dates, a date after the other.
SELECT message_id, create_date, loaded_at
FROM user_logins_inbox
WHERE create_date = ANY(%(dates)s::date[]) OR (create_date IS NULL AND %(no_date)s)
ORDER BY create_date;
