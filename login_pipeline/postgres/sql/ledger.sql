-- The ledger: rows of each create_date that no message in the inbox accounts for. The rows that user_logins is to have of
-- a date are its messages in the inbox and the sum of its entries here, which is what `by_date` says for every statement:
--
--     before   more rows: they were in the table before the inbox was, or their messages are not known
--     pruned   more rows: their messages were deleted from the inbox (prune.sql). The entry itself, also of 0 rows, closes
--              the date: no message of it is loaded
--     expired  fewer rows: all that the date had expired (expiry.sql). The newest one, also of 0 rows, closes its date and
--              all before it
--     erased   fewer rows: they were erased (erasures.sql)
--     lost     fewer rows: they were lost, and a person accepted that (`login-pipeline backup --accept-losses`)
--     rotated  always 0 rows: at changed_at, masks of the date were last made again under another key (rotation.sql)
--
-- It holds no personal data. Only maintenance writes it; a load reads which dates are closed.

-- name: create
-- An expression cannot be a primary key, so a publication needs a replica identity.
CREATE TABLE user_logins_ledger (
    create_date date,
    entry       text        NOT NULL CONSTRAINT user_logins_ledger_entry_check {ledger.entries},
    rows        bigint      NOT NULL,
    changed_at  timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX user_logins_ledger_key ON user_logins_ledger (entry, coalesce(create_date, 'infinity'));
ALTER TABLE user_logins_ledger REPLICA IDENTITY FULL;

-- name: entries
CHECK (entry IN ('before', 'pruned', 'expired', 'erased', 'lost', 'rotated'));

-- name: upgrade
-- The ledger of 0.1.0 refuses `expired`.
DO $$ BEGIN
    IF (
        SELECT pg_get_constraintdef(oid) NOT LIKE '%expired%' FROM pg_constraint
        WHERE conrelid = to_regclass('user_logins_ledger') AND conname = 'user_logins_ledger_entry_check'
    ) THEN
        ALTER TABLE user_logins_ledger DROP CONSTRAINT user_logins_ledger_entry_check,
            ADD CONSTRAINT user_logins_ledger_entry_check {ledger.entries};
    END IF;
END $$;

-- name: lock_alone
-- One erasure or restored date at a time, so that a snapshot which sees an erasure sees all before it, and none is
-- committed while a restore stages rows. Loads and readers go on, and so does a VACUUM of the large tables. Only a role
-- that may change the ledger can take it.
LOCK TABLE user_logins_ledger IN SHARE UPDATE EXCLUSIVE MODE;

-- name: by_date
-- What each create_date holds: rows, messages in the inbox, the rows that are expected, and the entries of the ledger by
-- name. A content is a sum of 64-bit hashes that changes with any row. Columns that a statement does not use cost nothing,
-- because the parts of the union have the same types, so the planner takes each for itself.
SELECT create_date,
       sum(rows)::bigint AS rows,
       sum(rows_content)::text AS rows_content,
       sum(keys)::bigint AS keys,
       sum(keys_content)::text AS keys_content,
       sum(keys + counted)::bigint AS expected,
       coalesce(jsonb_object_agg(entry, counted) FILTER (WHERE entry IS NOT NULL), '{}') AS ledger,
       max(changed_at) FILTER (WHERE entry = 'rotated') AS rotated_at
FROM (
    SELECT create_date, count(*) AS rows,
           sum(hashtextextended(
               ROW(user_id, device_type, masked_ip, masked_device_id, locale, app_version)::text, 0
           )) AS rows_content,
           0::bigint AS keys, 0::numeric AS keys_content,
           NULL::text AS entry, 0::bigint AS counted, NULL::timestamptz AS changed_at
    FROM user_logins
    GROUP BY create_date
    UNION ALL
    SELECT create_date, 0::bigint, 0::numeric,
           count(*), sum(hashtextextended(ROW(message_id, loaded_at)::text, 0)),
           NULL::text, 0::bigint, NULL::timestamptz
    FROM user_logins_inbox
    GROUP BY create_date
    UNION ALL
    SELECT create_date, 0::bigint, 0::numeric, 0::bigint, 0::numeric, entry, rows, changed_at
    FROM user_logins_ledger
) AS parts
GROUP BY create_date
ORDER BY create_date;

-- name: add
-- How an INSERT of (create_date, entry, rows) ends: an entry that is there already counts the rows in addition.
ON CONFLICT (entry, coalesce(create_date, 'infinity')) DO UPDATE
SET rows = user_logins_ledger.rows + excluded.rows, changed_at = now();

-- name: add_unknown
-- Rows whose messages are not known become expected.
INSERT INTO user_logins_ledger (create_date, entry, rows)
SELECT create_date, 'before', rows - expected FROM ({ledger.by_date}) AS by_date WHERE rows > expected
{ledger.add};

-- name: add_lost
-- Rows that are not there are expected no longer.
INSERT INTO user_logins_ledger (create_date, entry, rows)
SELECT create_date, 'lost', rows - expected FROM ({ledger.by_date}) AS by_date WHERE rows < expected
{ledger.add};
