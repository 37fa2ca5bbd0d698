-- Forgets the inbox's keys of dates so long ago that no message of theirs is on a queue any more. First a marker
-- closes the date: from then on no message of it is loaded, because nobody could tell whether it has its row. Then
-- the keys go, in one statement, and the marker takes over their row counts, so that rows and inbox still agree.

-- name: dates
-- Both the date and the last load of it are long ago: a message that was redriven was loaded long after its date.
SELECT create_date
FROM user_logins_inbox
WHERE message_id !~ '^(rows before the inbox|rows erased|keys forgotten|masks rotated), '
GROUP BY create_date
HAVING create_date < (now() AT TIME ZONE 'UTC')::date - %(days)s
   AND max(loaded_at) < now() - make_interval(days => %(days)s)
ORDER BY create_date;

-- name: lacking
-- What it needs and this role does not have, in words.
SELECT lacking
FROM (
    VALUES
        ('UPDATE on user_logins_inbox', has_table_privilege('user_logins_inbox', 'UPDATE')),
        ('DELETE on user_logins_inbox', has_table_privilege('user_logins_inbox', 'DELETE')),
        ('DELETE on user_logins_dead_letters', has_table_privilege('user_logins_dead_letters', 'DELETE'))
) AS needed (lacking, given)
WHERE NOT given;

-- name: lock
-- Waits for the loads under way, which may be inserting keys of the date, and keeps others waiting until the COMMIT.
-- Only a role that may change the inbox can take it. It gives up long before a run that waits behind it would: an old date
-- can be closed the next time.
SET LOCAL lock_timeout = '1s';
LOCK TABLE user_logins_inbox IN SHARE ROW EXCLUSIVE MODE;

-- name: close_date
INSERT INTO user_logins_inbox (message_id, create_date, row_count)
VALUES ('keys forgotten, ' || to_char(%(create_date)s::date, 'YYYY-MM-DD'), %(create_date)s, 0)
ON CONFLICT (message_id) DO NOTHING;

-- name: forget
-- How many keys of a closed date went; none where a restore has opened the date again.
WITH gone AS (
    DELETE FROM user_logins_inbox
    WHERE create_date = %(create_date)s
      AND message_id !~ '^(rows before the inbox|rows erased|keys forgotten|masks rotated), '
      AND EXISTS (
          SELECT FROM user_logins_inbox AS marker
          WHERE marker.message_id = 'keys forgotten, ' || to_char(%(create_date)s::date, 'YYYY-MM-DD')
      )
    RETURNING row_count
), counted AS (
    UPDATE user_logins_inbox
    SET row_count = row_count + (SELECT coalesce(sum(row_count), 0) FROM gone)
    WHERE message_id = 'keys forgotten, ' || to_char(%(create_date)s::date, 'YYYY-MM-DD')
)
SELECT count(*) FROM gone;

-- name: forget_dead_letters
DELETE FROM user_logins_dead_letters WHERE sent_at < now() - make_interval(days => %(days)s);
