-- Who turned masks back into values, whose, when, how many and why: a record for each user in whose rows they are, and
-- one without a subject where they are in no row. Records are added, and never changed.

-- name: create
CREATE TABLE user_logins_unmaskings (
    unmasked_at   timestamptz NOT NULL DEFAULT now(), -- one moment for the records of one command
    database_user text        NOT NULL DEFAULT session_user,
    operator      text        NOT NULL,
    reason        text        NOT NULL,
    masks         integer     NOT NULL,
    unmasked      integer     NOT NULL,
    subject       text
);
CREATE OR REPLACE FUNCTION user_logins_unmaskings_are_final() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'user_logins_unmaskings is append-only' USING ERRCODE = 'insufficient_privilege'; END $$;
CREATE TRIGGER user_logins_unmaskings_are_final
    BEFORE UPDATE OR DELETE OR TRUNCATE ON user_logins_unmaskings
    FOR EACH STATEMENT EXECUTE FUNCTION user_logins_unmaskings_are_final();

-- name: record
INSERT INTO user_logins_unmaskings (operator, reason, masks, unmasked, subject)
SELECT %(operator)s, %(reason)s, %(masks)s, %(unmasked)s, subject
FROM unnest(%(subjects)s::text[]) AS subject
RETURNING unmasked_at;

-- name: stage_masks
-- By COPY, as the user_id comes, so that neither PostgreSQL's log nor pg_stat_activity shows them.
CREATE TEMPORARY TABLE named_masks (mask text) ON COMMIT DROP;

-- name: copy_masks
COPY named_masks (mask) FROM STDIN;

-- name: users_of_masks
SELECT DISTINCT user_id
FROM user_logins
WHERE user_id IS NOT NULL
  AND (masked_ip IN (SELECT mask FROM named_masks) OR masked_device_id IN (SELECT mask FROM named_masks));

-- name: rows_of_user
SELECT user_id, device_type, masked_ip, masked_device_id, locale, app_version, create_date
FROM user_logins
WHERE user_id = (SELECT user_id FROM named_user)
ORDER BY create_date;

-- name: masks_of_user
-- Those of the user who was named, each once, in the order of the logins.
SELECT mask
FROM user_logins, unnest(ARRAY[masked_ip, masked_device_id]) WITH ORDINALITY AS of_row (mask, place)
WHERE user_id = (SELECT user_id FROM named_user) AND mask IS NOT NULL
GROUP BY mask
ORDER BY min(create_date), min(place), mask;
