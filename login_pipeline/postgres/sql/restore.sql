-- Restores one create_date of user_logins and its inbox in one transaction: stage, copy, lock, compare, change.
--
-- No row says which message it is of. But a load inserts the rows and the keys of its messages in one statement, so
-- both carry the same xmin: a batch whose keys are not in the backup was loaded after it, and so were its rows.

-- name: isolation
-- What was committed before the lock was given must be seen.
SET TRANSACTION ISOLATION LEVEL READ COMMITTED;

-- name: stage
CREATE TEMPORARY TABLE backup_rows (LIKE user_logins) ON COMMIT DROP;
CREATE TEMPORARY TABLE backup_keys (LIKE user_logins_inbox) ON COMMIT DROP;

-- name: copy_rows
COPY backup_rows (user_id, device_type, masked_ip, masked_device_id, locale, app_version, create_date) FROM STDIN;

-- name: copy_keys
COPY backup_keys (message_id, create_date, loaded_at) FROM STDIN;

-- name: lock
-- Loads wait, readers do not. The inbox first, as a load locks it first.
LOCK TABLE user_logins_inbox, user_logins IN SHARE ROW EXCLUSIVE MODE;

-- name: compare
-- Equal rows are numbered, because two logins can be equal: the third of them is missing where the table has two.
-- A batch that has more rows than keys is not one load, as after pg_restore --single-transaction, and is left out.
CREATE TEMPORARY TABLE present_keys ON COMMIT DROP AS
SELECT message_id, xmin::text AS batch
FROM user_logins_inbox
WHERE create_date IS NOT DISTINCT FROM %(date)s;

CREATE TEMPORARY TABLE present_rows ON COMMIT DROP AS
SELECT tableoid AS of_table, ctid AS place, xmin::text AS batch,
       ROW(user_id, device_type, masked_ip, masked_device_id, locale, app_version)::text AS content
FROM user_logins
WHERE create_date IS NOT DISTINCT FROM %(date)s;

CREATE TEMPORARY TABLE later_batches ON COMMIT DROP AS
SELECT batch, keys, coalesce(rows, 0) AS rows
FROM (
    SELECT batch, count(*) AS keys
    FROM present_keys LEFT JOIN backup_keys USING (message_id)
    GROUP BY batch
    HAVING count(backup_keys.message_id) = 0
) AS later
LEFT JOIN (SELECT batch, count(*) AS rows FROM present_rows GROUP BY batch) AS of_batch USING (batch)
WHERE coalesce(rows, 0) <= keys;

CREATE TEMPORARY TABLE earlier_rows ON COMMIT DROP AS
SELECT of_table, place, content, row_number() OVER (PARTITION BY content) AS number
FROM present_rows
WHERE batch NOT IN (SELECT batch FROM later_batches);

CREATE TEMPORARY TABLE numbered_rows ON COMMIT DROP AS
SELECT *, row_number() OVER (PARTITION BY content) AS number
FROM (
    SELECT *, ROW(user_id, device_type, masked_ip, masked_device_id, locale, app_version)::text AS content
    FROM backup_rows
) AS with_content;

ANALYZE earlier_rows, numbered_rows;

CREATE TEMPORARY TABLE missing_rows ON COMMIT DROP AS
SELECT numbered_rows.* FROM numbered_rows LEFT JOIN earlier_rows USING (content, number)
WHERE earlier_rows.place IS NULL;

CREATE TEMPORARY TABLE extra_rows ON COMMIT DROP AS
SELECT of_table, place FROM earlier_rows LEFT JOIN numbered_rows USING (content, number)
WHERE numbered_rows.number IS NULL;

CREATE TEMPORARY TABLE missing_keys ON COMMIT DROP AS
SELECT * FROM backup_keys
WHERE NOT EXISTS (SELECT FROM user_logins_inbox AS inbox WHERE inbox.message_id = backup_keys.message_id);

-- name: comparison
-- In the order of reconcile.Comparison, whose last fields are from the backup.
SELECT (SELECT count(*) FROM present_rows),
       (SELECT count(*) FROM missing_rows),
       (SELECT count(*) FROM extra_rows),
       (SELECT coalesce(sum(keys), 0)::bigint FROM later_batches),
       (SELECT coalesce(sum(rows), 0)::bigint FROM later_batches),
       (SELECT count(*) FROM present_keys),
       (SELECT count(*) FROM missing_keys),
       coalesce(jsonb_object_agg(entry, rows), '{}'),
       coalesce(bool_or(entry = 'rotated' AND changed_at > coalesce(%(rotated_at)s, '-infinity'::timestamptz)), false)
FROM user_logins_ledger
WHERE create_date IS NOT DISTINCT FROM %(date)s;

-- name: add_keys
INSERT INTO user_logins_inbox (message_id, create_date, loaded_at)
SELECT message_id, create_date, loaded_at FROM missing_keys ORDER BY message_id
ON CONFLICT (message_id) DO NOTHING;

-- name: add_rows
INSERT INTO user_logins (user_id, device_type, masked_ip, masked_device_id, locale, app_version, create_date)
SELECT user_id, device_type, masked_ip, masked_device_id, locale, app_version, create_date FROM missing_rows;

-- name: remove_rows
DELETE FROM user_logins USING extra_rows
WHERE user_logins.tableoid = of_table AND user_logins.ctid = place;

-- name: remove_entry
DELETE FROM user_logins_ledger WHERE entry = %(entry)s AND create_date IS NOT DISTINCT FROM %(date)s;

-- name: add_entry
-- Of a rotation its time says which masks the rows have, so that of the backup's is kept.
INSERT INTO user_logins_ledger (create_date, entry, rows, changed_at)
VALUES (%(date)s, %(entry)s, %(rows)s, coalesce(%(changed_at)s, now()));

-- name: drop_lost_keys
-- The keys of batches that have no row at all; which rows of another batch are lost, nobody can tell.
DELETE FROM user_logins_inbox
WHERE message_id IN (SELECT message_id FROM present_keys JOIN later_batches USING (batch) WHERE rows = 0);
