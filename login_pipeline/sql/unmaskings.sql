-- Who turned masks back into values, when, how many and why. Rows are added, and never changed.

-- name: exists
SELECT to_regclass('user_logins_unmaskings') IS NOT NULL;

-- name: create
CREATE TABLE user_logins_unmaskings (
    unmasked_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    database_user text        NOT NULL DEFAULT session_user,
    operator      text        NOT NULL,
    reason        text        NOT NULL,
    masks         integer     NOT NULL,
    unmasked      integer     NOT NULL
);
CREATE OR REPLACE FUNCTION user_logins_unmaskings_are_final() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'user_logins_unmaskings is append-only' USING ERRCODE = 'insufficient_privilege'; END $$;
CREATE TRIGGER user_logins_unmaskings_are_final
    BEFORE UPDATE OR DELETE OR TRUNCATE ON user_logins_unmaskings
    FOR EACH STATEMENT EXECUTE FUNCTION user_logins_unmaskings_are_final();

-- name: lacking
-- What an unmasking needs and this role does not have, in words.
SELECT lacking
FROM (VALUES ('INSERT on user_logins_unmaskings', has_table_privilege('user_logins_unmaskings', 'INSERT')))
    AS needed (lacking, given)
WHERE NOT given;

-- name: record
INSERT INTO user_logins_unmaskings (operator, reason, masks, unmasked)
VALUES (%(operator)s, %(reason)s, %(masks)s, %(unmasked)s)
RETURNING unmasked_at;

-- name: masks_of_user
-- Those of the user who was named, each once, in the order of the logins.
SELECT mask
FROM user_logins, unnest(ARRAY[masked_ip, masked_device_id]) WITH ORDINALITY AS of_row (mask, place)
WHERE user_id = (SELECT user_id FROM named_user) AND mask IS NOT NULL
GROUP BY mask
ORDER BY min(create_date), min(place), mask;
