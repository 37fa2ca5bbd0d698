"""What a contender says about itself: the CPU, the time and the memory between its start and its last message."""

import json
import resource
import sys
import time
from pathlib import Path

_STATUS = Path("/proc/self/status")
# Source: Linux, proc_pid_clear_refs(5): the peak becomes what is resident now.
_MAXIMUM_STARTS_ANEW = Path("/proc/self/clear_refs"), "5"


class Meter:
    """Started after the imports and the connections are made, and before the first message.

    With --wait a contender says `ready` and waits for a line, so that several begin at the same moment.
    """

    def __init__(self, *, wait: bool | None = None) -> None:
        if "--wait" in sys.argv if wait is None else wait:
            print("ready", flush=True)
            sys.stdin.readline()
        forget_peak()
        self.idle_mb = resident_mb()
        self._start_up_cpu = cpu_seconds()
        self._started = time.monotonic()
        self._last = self._started

    def progressed(self) -> None:
        """Some messages have just come to their end. Long polls that prove the queue empty come after the last."""
        self._last = time.monotonic()

    def tell(self, **figures: int | float | str) -> None:
        """Prints one JSON object: times in seconds, memory in MB of 1,000,000 bytes."""
        print(
            json.dumps(
                {
                    "cpu_seconds": round(cpu_seconds() - self._start_up_cpu, 4),
                    "start_up_cpu_seconds": round(self._start_up_cpu, 4),
                    "seconds": round(self._last - self._started, 4),
                    "seconds_until_dry": round(time.monotonic() - self._started, 4),
                    "idle_mb": round(self.idle_mb, 1),
                    "peak_mb": round(peak_mb(), 1),
                    **figures,
                }
            ),
            flush=True,
        )


def cpu_seconds() -> float:
    """Of this process and of those that it has waited for, in user and system mode."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def resident_mb() -> float:
    """What of this process is in memory now; its peak so far where the system has no /proc."""
    return _from_status("VmRSS") or _peak_of_rusage()


def peak_mb() -> float:
    """The most of this process that was in memory since `forget_peak`.

    Not ru_maxrss where there is better: it begins with the memory of the process that started this one.
    """
    return _from_status("VmHWM") or _peak_of_rusage()


def forget_peak() -> None:
    """Lets `peak_mb` start anew; on a system that cannot, it stays the peak since the process began."""
    file, value = _MAXIMUM_STARTS_ANEW
    try:
        file.write_text(value)
    except OSError:
        return


def _from_status(field: str) -> float | None:
    if not _STATUS.exists():
        return None
    lines = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines())
    return int(lines[field].split()[0]) * 1024 / 1e6


def _peak_of_rusage() -> float:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
