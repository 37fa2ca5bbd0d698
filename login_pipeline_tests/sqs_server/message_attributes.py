"""A message's own attributes: which there may be, their checksum, and which of them a receiver asked for.

Source: Amazon SQS Developer Guide, "Amazon SQS message attributes" and "Calculating the MD5 message digest for message
attributes".
"""

import hashlib
import re
from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Mapping, Sequence

import msgspec

from login_pipeline_tests.sqs_server.errors import SqsError, invalid_value

MAX_ATTRIBUTES = 10
_NAME = re.compile(r"(?!aws\.|amazon\.|\.)(?!.*\.\.)[A-Za-z0-9_.-]{1,256}(?<!\.)", re.IGNORECASE)
_TYPE = re.compile(r"(String|Number|Binary)(\..+)?")


class MessageAttribute(msgspec.Struct, rename="pascal", omit_defaults=True, frozen=True):
    """One attribute as it is sent, and as it is received."""

    data_type: str = ""
    string_value: str | None = None
    # In base64.
    binary_value: str | None = None

    @property
    def value(self) -> bytes:
        """What counts in its size and its checksum."""
        if self.data_type.startswith("Binary"):
            return b64decode(self.binary_value or "", validate=True)
        return (self.string_value or "").encode()


class Attributes:
    """All attributes of one message, and their JSON, which is made once."""

    def __init__(self, attributes: Mapping[str, MessageAttribute]) -> None:
        self._attributes = attributes
        self.md5 = md5_of_attributes(attributes)
        self._json = _json(attributes, self.md5)

    def json(self, names: Sequence[str]) -> bytes:
        """What is added to a received message's JSON: the attributes that the names ask for, if any."""
        if not names:
            return b""
        if "All" in names or ".*" in names:
            return self._json
        chosen = {name: each for name, each in self._attributes.items() if _is_asked_for(name, names)}
        return _json(chosen, md5_of_attributes(chosen)) if chosen else b""


def check(attributes: Mapping[str, MessageAttribute]) -> int:
    """Checks a sent message's attributes.

    Returns:
        Their size in bytes, which counts towards the message's: names, types and values.

    Raises:
        SqsError: one of them cannot be.
    """
    if len(attributes) > MAX_ATTRIBUTES:
        raise SqsError(
            "InvalidParameterValue",
            f"Number of message attributes [{len(attributes)}] exceeds the allowed maximum [{MAX_ATTRIBUTES}].",
        )
    return sum(_size(name, attribute) for name, attribute in attributes.items())


def md5_of_attributes(attributes: Mapping[str, MessageAttribute]) -> str:
    """MD5OfMessageAttributes: by name; name, type and value each after their length; 1 for text, 2 for bytes."""
    digest = hashlib.md5(usedforsecurity=False)
    for name, attribute in sorted(attributes.items()):
        for part in (name.encode(), attribute.data_type.encode()):
            digest.update(len(part).to_bytes(4, "big") + part)
        digest.update(b"\x02" if attribute.data_type.startswith("Binary") else b"\x01")
        digest.update(len(attribute.value).to_bytes(4, "big") + attribute.value)
    return digest.hexdigest()


def _json(attributes: Mapping[str, MessageAttribute], md5: str) -> bytes:
    return b',"MD5OfMessageAttributes":"%b","MessageAttributes":%b' % (md5.encode(), msgspec.json.encode(attributes))


def _is_asked_for(name: str, names: Sequence[str]) -> bool:
    """By its name, or by how it begins: "foo.*"."""
    return any(name == each or (each.endswith(".*") and name.startswith(each[:-2])) for each in names)


def _size(name: str, attribute: MessageAttribute) -> int:
    if not _NAME.fullmatch(name):
        raise SqsError("InvalidParameterValue", "A message attribute's name can only have letters, digits, _, - and .")
    if not _TYPE.fullmatch(attribute.data_type):
        raise invalid_value("DataType", attribute.data_type, "It must begin with String, Number or Binary.")
    try:
        value = attribute.value
    except NotBase64:
        raise SqsError("MalformedInput", "A binary value must be in base64.") from None
    if not value:
        raise SqsError(
            "InvalidParameterValue",
            f"Message attribute {name} must contain a non-empty value of its type, {attribute.data_type}.",
        )
    return len(name.encode()) + len(attribute.data_type.encode()) + len(value)
