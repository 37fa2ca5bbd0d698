-- Copies an audit table, user_logins_erasures or user_logins_unmaskings, into a backup and back: with columns of yours,
-- too, where they are of a type in backup/audit.py.

-- name: state
-- How many records, and a sum of 64-bit hashes that shows whether one of them is another than it was.
SELECT count(*), coalesce(sum(hashtextextended(audit::text, 0)), 0)::text FROM {table} AS audit;

-- name: columns
SELECT * FROM {table} LIMIT 0;

-- name: records
SELECT * FROM {table} AS audit ORDER BY audit;

-- name: stage
CREATE TEMPORARY TABLE {staged} (LIKE {table}) ON COMMIT DROP;

-- name: copy
COPY {staged} ({columns}) FROM STDIN;

-- name: add
-- Those that are missing in the table. Records can be equal, so each is counted.
INSERT INTO {table} SELECT * FROM {staged} EXCEPT ALL SELECT * FROM {table};
