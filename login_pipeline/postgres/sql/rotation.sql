-- Masks again, under the active key, what aes-siv masked under an older one; and which keys the rows are masked under.

-- name: by_key
-- The keys of each row's masks, `.siv` behind those that can be turned back; a row counts under each key that it has.
SELECT key, count(*)
FROM user_logins, LATERAL (
    SELECT DISTINCT CASE
        WHEN mask ~ '^k[0-9a-f]{8}\.' THEN substring(mask FROM '^k[0-9a-f]{8}(?:\.siv)?')
        WHEN mask ~ '^[0-9a-f]{64}$' THEN 'sha256'
        ELSE 'no mask'
    END AS key
    FROM (VALUES (masked_ip), (masked_device_id)) AS masks (mask)
) AS of_row
GROUP BY key
ORDER BY key;

-- name: blocks
-- Of the table, or of its largest partition.
SELECT max(pg_relation_size(part)) / current_setting('block_size')::bigint
FROM (
    SELECT 'user_logins'::regclass AS part
    UNION SELECT relid FROM pg_partition_tree('user_logins') WHERE isleaf
) AS parts;

-- name: masks
-- Those of some blocks that another key than the active one has made, in every partition.
SELECT tableoid::bigint, ctid::text, masked_ip, masked_device_id, create_date
FROM user_logins
WHERE ctid >= %(first)s::tid AND ctid < %(end)s::tid
  AND (
      (masked_ip ~ '^k[0-9a-f]{8}\.siv\.' AND NOT starts_with(masked_ip, %(active)s))
      OR (masked_device_id ~ '^k[0-9a-f]{8}\.siv\.' AND NOT starts_with(masked_device_id, %(active)s))
  )
FOR UPDATE;

-- name: replace
UPDATE user_logins
SET masked_ip = again.masked_ip, masked_device_id = again.masked_device_id
FROM unnest(
    %(tables)s::bigint[]::oid[], %(places)s::text[]::tid[], %(masked_ips)s::text[], %(masked_device_ids)s::text[]
) AS again (of_table, place, masked_ip, masked_device_id)
WHERE user_logins.tableoid = again.of_table AND user_logins.ctid = again.place;

-- name: mark
-- So that a backup takes the new masks for what they are, and not for damage.
INSERT INTO user_logins_ledger (create_date, entry, rows)
SELECT DISTINCT day, 'rotated', 0 FROM unnest(%(dates)s::date[]) AS day ORDER BY day
{ledger.add};
