"""No core dump of a process that holds bodies or masking keys: it would put both on disk in clear."""

import resource
from pathlib import Path

_PATTERN = Path("/proc/sys/kernel/core_pattern")
# What takes dumps from the kernel on common systems, and keeps none of a process whose limit is 0.
_HEED_THE_LIMIT = {"systemd-coredump", "apport"}


def turn_off_core_dumps() -> None:
    """Sets the soft limit of this process, which all that it starts inherits; the hard limit stays the operator's."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def dump_taker() -> str | None:
    """The program to which the kernel gives core dumps regardless of the limit; None where none keeps them.

    Source: core(5), "Piping core dumps to a program".
    """
    try:
        pattern = _PATTERN.read_text(encoding="utf-8").strip()
    except OSError:  # not Linux
        return None
    program = pattern.removeprefix("|").split(" ", 1)[0]
    return program if pattern.startswith("|") and Path(program).name not in _HEED_THE_LIMIT else None
