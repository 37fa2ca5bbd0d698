"""Opens what SNS and EventBridge put around a login, and a sender's base64 or gzip. No I/O.

From the outside to the inside: a notification of SNS, an encoding that an attribute names, an event of EventBridge;
each once at most. What only resembles one of them is not opened, and is judged as it is.
"""

import zlib
from base64 import b64decode
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta

from login_pipeline.logins.event import RejectedError, decode_exactly
from login_pipeline.logins.reasons import Reason
from login_pipeline.settings import Envelope

# The message attribute by which a sender says that the login is encoded: SNS's in a notification, else SQS's.
CONTENT_ENCODING = "Content-Encoding"
BASE64 = "base64"
# In base64, too: a message of SQS is text.
GZIP = "gzip"
# Bytes that are inflated at most: the longest message that SNS and EventBridge take, a thousand times that of a login.
MAX_INFLATED = 256 * 1024
# As SQS, SNS and EventBridge make them.
UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"

# Of zlib's formats, gzip's alone. Source: zlib's manual, inflateInit2.
_GZIP_FORMAT = 16 + zlib.MAX_WBITS
# A member that every such envelope has and no login: most messages are in none, and pay no more than a search for it.
_IN_NOTIFICATIONS, _IN_EVENTS = '"TopicArn"', '"detail-type"'

_Id = Annotated[str, Meta(pattern=rf"\A{UUID}\Z")]
_Time = Annotated[datetime, Meta(tz=True)]


class _Exact(msgspec.Struct, forbid_unknown_fields=True):
    """Has every member without a default, of that type, and no member that it does not name."""


class _NotificationAttribute(_Exact, kw_only=True, rename="pascal"):
    type: str
    value: str


class _Notification(_Exact, kw_only=True, rename="pascal"):
    """What a subscription without raw message delivery makes of a message.

    Source: Amazon SNS Developer Guide, "Fanout Amazon SNS notifications to Amazon SQS queues".
    """

    type: Literal["Notification"]
    message_id: _Id
    topic_arn: Annotated[str, Meta(pattern=r"\Aarn:")]
    message: str
    timestamp: _Time
    unsubscribe_url: str = msgspec.field(name="UnsubscribeURL")
    subject: str = ""
    message_attributes: dict[str, _NotificationAttribute] = {}

    @property
    def encoding(self) -> str:
        attribute = self.message_attributes.get(CONTENT_ENCODING)
        return attribute.value if attribute else ""


class _StandardNotification(_Notification, kw_only=True):
    signature_version: Literal["1", "2"]
    signature: str
    signing_cert_url: str = msgspec.field(name="SigningCertURL")


class _FifoNotification(_Notification, kw_only=True):
    """SNS does not sign those of a FIFO topic."""

    sequence_number: str


class _Event(_Exact, kw_only=True, rename="kebab"):
    """Source: Amazon EventBridge User Guide, "Events in Amazon EventBridge"."""

    version: Literal["0"]
    id: _Id
    detail_type: str
    source: str
    account: Annotated[str, Meta(pattern=r"\A[0-9]{12}\Z")]
    time: _Time
    region: str
    resources: list[str]
    # As it was sent, so that the login is judged exactly as one without an envelope.
    detail: msgspec.Raw
    # Only an event that was replayed from an archive has it.
    replay_name: str = ""


_Kind = TypeVar("_Kind", bound=_Exact)
_decode_standard = msgspec.json.Decoder(_StandardNotification).decode
_decode_fifo = msgspec.json.Decoder(_FifoNotification).decode
_decode_event = msgspec.json.Decoder(_Event).decode


def open_envelopes(body: str, encoding: str, envelope: Envelope) -> tuple[str, str]:
    """What a message says, or the Reason why that cannot be read; and SNS's MessageId, empty where it has none.

    Args:
        body: As SQS delivers it.
        encoding: Of the body, as the attribute CONTENT_ENCODING says. One that is not known is ignored.
        envelope: Which are opened.
    """
    if envelope is Envelope.NONE or (not encoding and _IN_NOTIFICATIONS not in body and _IN_EVENTS not in body):
        return body, ""
    content, sns_message_id = body, ""
    if envelope is not Envelope.EVENTBRIDGE and (notification := _notification(content)):
        content, sns_message_id, encoding = notification.message, notification.message_id, notification.encoding
    if encoding in (BASE64, GZIP):
        content = _decoded(content, encoding)
    if envelope is not Envelope.SNS and (event := _event(content)):
        content = bytes(event.detail).decode()
    return content, sns_message_id


def _notification(text: str) -> _Notification | None:
    if _IN_NOTIFICATIONS not in text:
        return None
    return _exactly(_decode_standard, text) or _exactly(_decode_fifo, text)


def _event(text: str) -> _Event | None:
    return _exactly(_decode_event, text) if _IN_EVENTS in text else None


def _exactly(decode: Callable[[str], _Kind], text: str) -> _Kind | None:
    """None where the text only resembles it. Of equal keys msgspec would keep the last."""
    try:
        envelope = decode(text)
        decode_exactly(text)
    except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError, RejectedError):
        return None
    return envelope


def _decoded(text: str, encoding: str) -> str:
    """The text, or the Reason why it cannot be decoded. Never more than MAX_INFLATED is inflated."""
    try:
        decoded = b64decode(text, validate=True)
        if encoding == GZIP:
            inflater = zlib.decompressobj(_GZIP_FORMAT)
            decoded = inflater.decompress(decoded, MAX_INFLATED + 1)
            if len(decoded) > MAX_INFLATED:
                return Reason.TOO_LARGE
            if not inflater.eof or inflater.unused_data:
                return Reason.BAD_ENCODING
        return decoded.decode()
    except (ValueError, zlib.error):
        return Reason.BAD_ENCODING
