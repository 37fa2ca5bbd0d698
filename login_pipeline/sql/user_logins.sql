-- The destination. Created where it does not exist, never altered.

-- name: create
CREATE TABLE user_logins (
    user_id          varchar(128),
    device_type      varchar(32),
    masked_ip        varchar(256),
    masked_device_id varchar(256),
    locale           varchar(32),
    app_version      integer,
    create_date      date
);

-- name: exists
SELECT to_regclass('user_logins') IS NOT NULL;

-- name: may_create
-- Tables are created in the first schema of the search_path that exists and that the role may use.
SELECT coalesce(has_schema_privilege(current_schema(), 'CREATE'), false);

-- name: not_owned
-- Only a table's owner, or a superuser, can give others rights on it.
SELECT relname
FROM pg_class
WHERE oid = ANY (SELECT to_regclass(name) FROM unnest(%(tables)s::text[]) AS name) AND NOT pg_has_role(relowner, 'USAGE')
ORDER BY relname;

-- name: encoding
-- Any other could not hold every text that a message can.
SHOW server_encoding;

-- name: could_be_written
-- Takes the locks that a load will take, in its order, and gives them back at the end of the transaction.
SELECT set_config('lock_timeout', %(milliseconds)s::text, true);
LOCK TABLE user_logins_inbox, user_logins, user_logins_dead_letters IN ROW EXCLUSIVE MODE;

-- name: takes_writes
-- A standby does not, nor does a database whose sessions are read-only.
SELECT current_setting('transaction_read_only') = 'off';

-- name: count
SELECT count(*) FROM user_logins;

-- name: columns
-- Its columns as they are, in their order, with their types as DDL writes them. No rows: no such table.
SELECT attname, format_type(atttypid, atttypmod)
FROM pg_attribute
WHERE attrelid = to_regclass('user_logins') AND attnum > 0 AND NOT attisdropped
ORDER BY attnum;

-- name: newest
-- Some of the newest rows: those that stand last, where nothing was deleted.
SELECT user_id, device_type, masked_ip, masked_device_id, locale, app_version, create_date
FROM user_logins
ORDER BY ctid DESC
LIMIT %(limit)s;
