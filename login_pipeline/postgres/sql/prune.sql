-- Prunes the inbox: deletes the messages of dates so long ago that no message of theirs can be on a queue. First the
-- entry `pruned` of the ledger closes the date: from then on no message of it is loaded, because nobody could say whether
-- it has its row. Then they go, in one statement, and the entry counts their rows.

-- name: dates
-- Both the date and the last load of it are long ago: a message that was redriven was loaded long after its date.
SELECT create_date
FROM user_logins_inbox
GROUP BY create_date
HAVING create_date < (now() AT TIME ZONE 'UTC')::date - %(days)s
   AND max(loaded_at) < now() - make_interval(days => %(days)s)
ORDER BY create_date;

-- name: lock
-- Waits for the loads under way, which may be inserting messages of the date, and keeps others waiting until the COMMIT.
-- Only a role that may delete from the inbox can take it. It gives up long before a run that waits behind it would: an
-- old date can be closed the next time. But an autovacuum gives way only after deadlock_timeout, by default a second.
SET LOCAL lock_timeout = '2s';
LOCK TABLE user_logins_inbox IN SHARE ROW EXCLUSIVE MODE;

-- name: close_date
INSERT INTO user_logins_ledger (create_date, entry, rows) VALUES (%(create_date)s, 'pruned', 0)
{ledger.add};

-- name: prune
-- How many messages of a closed date went; none where a restore has opened the date again.
WITH gone AS (
    DELETE FROM user_logins_inbox
    WHERE create_date = %(create_date)s
      AND EXISTS (SELECT FROM user_logins_ledger WHERE entry = 'pruned' AND create_date = %(create_date)s)
    RETURNING 1
), counted AS (
    UPDATE user_logins_ledger
    SET rows = rows + (SELECT count(*) FROM gone), changed_at = now()
    WHERE entry = 'pruned' AND create_date = %(create_date)s
)
SELECT count(*) FROM gone;

-- name: prune_dead_letters
DELETE FROM user_logins_dead_letters WHERE sent_at < now() - make_interval(days => %(days)s);
