-- Which sendings of a message are on the dead-letter queue, so that SQS's delivering one again does not put it there
-- again. sqs_message_id is the MessageId of that sending, message_id the first one's. It holds no personal data.

-- name: create
CREATE TABLE user_logins_dead_letters (
    sqs_message_id text PRIMARY KEY,
    message_id     text NOT NULL,
    reason         text NOT NULL,
    sent_at        timestamptz NOT NULL DEFAULT now()
);

-- name: known
SELECT sqs_message_id FROM user_logins_dead_letters WHERE sqs_message_id = ANY (%(sqs_message_ids)s);

-- name: savepoint
SAVEPOINT unrecorded;

-- name: record
-- Which of these sendings were not recorded before. Constraints that would wait for the COMMIT are checked at once: the
-- letters are sent before it. Sorted, so that two runs with the same messages wait for each other instead of deadlocking.
SET CONSTRAINTS ALL IMMEDIATE;
INSERT INTO user_logins_dead_letters (sqs_message_id, message_id, reason)
SELECT *
FROM unnest(%(sqs_message_ids)s::text[], %(message_ids)s::text[], %(reasons)s::text[]) AS letter (sqs_message_id)
ORDER BY letter.sqs_message_id
ON CONFLICT (sqs_message_id) DO NOTHING
RETURNING sqs_message_id;

-- name: undo
ROLLBACK TO SAVEPOINT unrecorded;

-- name: count_since
-- By reason, without what it is about: these are a closed set, and what follows them is not.
SELECT split_part(reason, '.', 1), count(*) FROM user_logins_dead_letters WHERE sent_at > %(moment)s GROUP BY 1;
