"""Receipt handles: as long as Amazon's, and telling which delivery of which message they stand for."""

import base64
import random

from login_pipeline_tests.sqs_server.errors import SqsError

# Characters, as Amazon's have them today. They may have up to 1,024 (Developer Guide, "Receipt handle").
LENGTH = 388
_MARK = "AQEB"
_HEAD = len(_MARK) + 16 + 8


class ReceiptHandles:
    """Makes and reads the handles of one queue; those of another queue are none of its own.

    `form` is a handle with two places for numbers: the message's, and its receive count.
    """

    def __init__(self, source: random.Random) -> None:
        self._rest = base64.b64encode(source.randbytes((LENGTH - _HEAD) * 3 // 4)).decode()
        self.form = f"{_MARK}%016x%08x{self._rest}".encode()

    def read(self, handle: str) -> tuple[int, int]:
        """The message's number, and the receive count of the delivery.

        Raises:
            SqsError: it is no handle of this queue.
        """
        if handle[_HEAD:] == self._rest:
            try:
                return int(handle[4:20], 16), int(handle[20:_HEAD], 16)
            except ValueError:
                pass
        if not handle:
            raise SqsError("MissingParameter", "The request must contain the parameter ReceiptHandle.")
        raise SqsError("ReceiptHandleIsInvalid", f'The input receipt handle "{handle}" is not a valid receipt handle.')
