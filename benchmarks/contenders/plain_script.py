"""The plain script that everybody writes first: `python -m benchmarks.contenders.plain_script`.

One receive of 10 in a loop, json.loads, sha256, one INSERT per row, a commit per batch, deleted one by one.
"""

import json
import os
from datetime import UTC, datetime
from hashlib import sha256

import boto3
import psycopg2

from benchmarks.contenders.meter import Meter

INSERT = """
INSERT INTO user_logins (user_id, device_type, masked_ip, masked_device_id, locale, app_version, create_date)
VALUES (%s, %s, %s, %s, %s, %s, %s)
"""


def main() -> None:
    """Drains the queue in LOGIN_QUEUE_URL into the database in LOGIN_DATABASE_URL."""
    url = os.environ["LOGIN_QUEUE_URL"]
    sqs = boto3.client("sqs")
    connection = psycopg2.connect(os.environ["LOGIN_DATABASE_URL"])
    meter = Meter()
    cursor = connection.cursor()
    while True:
        answer = sqs.receive_message(
            QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=2, AttributeNames=["SentTimestamp"]
        )
        messages = answer.get("Messages", [])
        if not messages:
            break
        for message in messages:
            try:
                cursor.execute(INSERT, row(message["Body"], int(message["Attributes"]["SentTimestamp"])))
            except (ValueError, KeyError, TypeError):
                continue  # no login; it is deleted all the same
        connection.commit()
        for message in messages:
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        meter.progressed()
    meter.tell()


def row(body: str, sent_timestamp: int) -> tuple[object, ...]:
    """The row of a message that was sent so many milliseconds after the epoch."""
    login = json.loads(body)
    return (
        login["user_id"],
        login["device_type"],
        sha256(login["ip"].encode()).hexdigest(),
        sha256(login["device_id"].encode()).hexdigest(),
        login["locale"],
        int(login["app_version"].split(".")[0]),
        datetime.fromtimestamp(sent_timestamp / 1000, UTC).date(),
    )


if __name__ == "__main__":
    main()
