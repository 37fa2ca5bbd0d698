-- The destination. Created where it does not exist, never altered.

-- name: create
-- It has no key, so a publication, such as one FOR ALL TABLES, would keep every row from being changed and deleted.
CREATE TABLE user_logins (
    {user_logins.definition}
);
ALTER TABLE user_logins REPLICA IDENTITY FULL;

-- name: definition
user_id          varchar(128),
    device_type      varchar(32),
    masked_ip        varchar(256),
    masked_device_id varchar(256),
    locale           varchar(32),
    app_version      integer,
    create_date      date

-- name: missing
-- Those of the tables that do not exist.
SELECT name FROM unnest(%(tables)s) WITH ORDINALITY AS named (name, place) WHERE to_regclass(name) IS NULL ORDER BY place;

-- name: may_create
-- Tables are created in the first schema of the search_path that exists and that the role may use.
SELECT coalesce(has_schema_privilege(current_schema(), 'CREATE'), false);

-- name: missing_rights
-- Those of these rights, each on the object at its place, that the role does not have, in words.
SELECT privilege || ' on ' || object
FROM unnest(%(rights)s, %(objects)s) WITH ORDINALITY AS needed (privilege, object, place)
WHERE NOT CASE object
    WHEN 'the database' THEN has_database_privilege(current_database(), privilege)
    ELSE has_table_privilege(object, privilege)
END
ORDER BY place;

-- name: not_owned
-- Only a table's owner, or a superuser, can give others rights on it.
SELECT relname
FROM pg_class
WHERE oid = ANY (SELECT to_regclass(name) FROM unnest(%(tables)s::text[]) AS name) AND NOT pg_has_role(relowner, 'USAGE')
ORDER BY relname;

-- name: without_replica_identity
-- The tables and partitions whose rows PostgreSQL lets nobody change or delete, because a publication of theirs would not
-- know which row it was. Those are left out to which rows are only added.
WITH changed AS (
    SELECT to_regclass(name) AS table_oid
    FROM unnest('{user_logins,user_logins_ledger,user_logins_inbox,user_logins_dead_letters,user_logins_backup}'::text[]) AS name
), published AS (
    SELECT pg_class.oid
    FROM pg_publication_tables
    JOIN pg_publication USING (pubname)
    JOIN pg_namespace ON nspname = schemaname
    JOIN pg_class ON relnamespace = pg_namespace.oid AND relname = tablename
    WHERE pubupdate OR pubdelete
)
SELECT part.oid::regclass::text
FROM pg_class AS part
WHERE part.oid IN (
      SELECT table_oid FROM changed UNION SELECT relid FROM changed, pg_partition_tree(table_oid)
  )
  AND (part.relkind = 'r' OR part.oid IN (SELECT oid FROM published)) -- a partitioned table itself only where it is named
  AND part.relreplident <> 'f'
  AND NOT EXISTS (
      SELECT FROM pg_index
      WHERE indrelid = part.oid AND indimmediate
        AND CASE part.relreplident WHEN 'd' THEN indisprimary WHEN 'i' THEN indisreplident ELSE false END
  )
  AND (
      part.oid IN (SELECT oid FROM published)
      OR EXISTS (SELECT FROM pg_partition_ancestors(part.oid) WHERE relid IN (SELECT oid FROM published))
  )
ORDER BY 1;

-- name: encoding
-- Any other could not hold every text that a message can.
SHOW server_encoding;

-- name: takes_writes
-- A standby does not, nor does a database whose sessions are read-only.
SELECT current_setting('transaction_read_only') = 'off';

-- name: count_rows
SELECT count(*) FROM user_logins;

-- name: columns
-- Its columns as they are, in their order, with their types as DDL writes them. No rows: no such table.
SELECT attname, format_type(atttypid, atttypmod)
FROM pg_attribute
WHERE attrelid = to_regclass('user_logins') AND attnum > 0 AND NOT attisdropped
ORDER BY attnum;

-- name: newest
-- Some of the newest rows: those that are last in the file of the newest partition, where nothing was deleted.
SELECT user_id, device_type, masked_ip, masked_device_id, locale, app_version, create_date
FROM user_logins
ORDER BY tableoid DESC, ctid DESC
LIMIT %(limit)s;
