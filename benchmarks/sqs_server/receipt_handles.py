"""Receipt handles: as long as Amazon's, and telling which delivery of which message they stand for."""

import base64
import random

LENGTH = 388
"""Characters, as Amazon's have them today. They may have up to 1,024 (Developer Guide, "Receipt handle")."""
_MARK = "AQEB"
_DIGITS = 16, 8
_HEAD = len(_MARK) + sum(_DIGITS)


class ReceiptHandles:
    """Makes and reads the handles of one queue; those of another queue are none of its own."""

    def __init__(self, source: random.Random) -> None:
        self._rest = base64.b64encode(source.randbytes((LENGTH - _HEAD) * 3 // 4)).decode()
        self._form = b"AQEB%016x%08x" + self._rest.encode()

    def make(self, number: int, receive_count: int) -> bytes:
        """The handle of the message's delivery with this count."""
        return self._form % (number, receive_count)

    def read(self, handle: str) -> tuple[int, int] | None:
        """The message's number and the count of the delivery; None where the handle is none."""
        if len(handle) != LENGTH or not handle.endswith(self._rest) or not handle.startswith(_MARK):
            return None
        try:
            return int(handle[4:20], 16), int(handle[20:28], 16)
        except ValueError:
            return None
