"""What SNS and EventBridge make of a login, as a queue gets it; and a login that its sender encoded."""

import base64
import gzip
import json

SNS_MESSAGE_ID = "63a3f6b6-d533-4a47-aef9-fcf5cf758c76"
_NOTIFICATION = {
    "Type": "Notification",
    "MessageId": SNS_MESSAGE_ID,
    "TopicArn": "arn:aws:sns:us-west-2:123456789012:logins",
    "Message": "",
    "Timestamp": "2026-03-29T05:12:16.901Z",
    "SignatureVersion": "1",
    "Signature": "EXAMPLEnTrFPa3==",
    "SigningCertURL": "https://sns.us-west-2.amazonaws.com/SimpleNotificationService-f3ecfb7224c7233fe7bb5f59f96de52f.pem",
    "UnsubscribeURL": "https://sns.us-west-2.amazonaws.com/?Action=Unsubscribe&SubscriptionArn=arn:aws:sns:us-west-2:1",
}
_SIGNATURE = ("SignatureVersion", "Signature", "SigningCertURL")
_EVENT = {
    "version": "0",
    "id": "6a7e8feb-b491-4cf7-a9f1-bf3703467718",
    "detail-type": "login",
    "source": "com.example.app",
    "account": "111122223333",
    "time": "2026-12-22T18:43:48Z",
    "region": "us-west-1",
    "resources": ["arn:aws:example:::device/1"],
}


def notification(message: str, **members: object) -> str:
    """SNS's, laid out as SNS does; a member that is set to ... is left out."""
    given = {**_NOTIFICATION, "Message": message, **members}
    return json.dumps(_without_dots(given), indent=2, separators=(",", " : "))


def fifo_notification(message: str, **members: object) -> str:
    """That of a FIFO topic, which SNS does not sign."""
    unsigned = dict.fromkeys(_SIGNATURE, ...)
    return notification(message, **{**unsigned, "SequenceNumber": "10000000000000003000", **members})


def event(detail: str, **members: object) -> str:
    """EventBridge's with this JSON text as it is; a member's name has _ for -."""
    given = {**_EVENT, **{name.replace("_", "-"): value for name, value in members.items()}}
    return f'{json.dumps(_without_dots(given), separators=(",", ":"))[:-1]},"detail":{detail}}}'


def base64_of(text: str | bytes) -> str:
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


def gzip_of(text: str) -> str:
    """In base64, as a message of SQS or SNS has it."""
    return base64_of(gzip.compress(text.encode(), mtime=0))


def _without_dots(members: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in members.items() if value is not ...}
