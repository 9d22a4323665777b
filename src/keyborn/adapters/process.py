"""What the operating system knows of this process, under the names that Prometheus clients use.

Linux: ``/proc/self`` (proc(5)). Where that is missing nothing is told.
"""

import ctypes
import os
import resource
from contextlib import suppress
from pathlib import Path

_SELF = Path("/proc/self")
_SET_DUMPABLE = 4
_UTIME, _STIME, _START, _VIRTUAL, _RESIDENT = 11, 12, 19, 20, 21
"""Fields of ``/proc/self/stat`` behind the program's name, which may hold spaces; proc(5) counts 3 more."""


def process_readings() -> dict[str, dict[str, float]]:
    """CPU, memory, descriptors and start time, as ``service.figures.Readings``."""
    readings: dict[str, float] = {}
    with suppress(OSError, ValueError, IndexError):
        readings |= _stat(_SELF.joinpath("stat").read_text())
    with suppress(OSError):
        readings["process_open_fds"] = sum(1 for _ in (_SELF / "fd").iterdir()) - 1  # one is this look
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY:
        readings["process_max_fds"] = most
    return {name: {"": value} for name, value in readings.items()}


def keep_memory_private(*, hidden: bool) -> None:
    """No dump of this process's memory, which holds keys, is left on a disk when it crashes.

    ``hidden``: nor can other programs of the same user read its memory or environment (prctl(2),
    ``PR_SET_DUMPABLE``; ptrace(2)), workers among them. Where a system cannot do that, things stay.
    """
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if hidden:
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_SET_DUMPABLE, 0, 0, 0, 0)


def _stat(text: str) -> dict[str, float]:
    fields = text.rpartition(")")[2].split()
    ticks = os.sysconf("SC_CLK_TCK")
    return {
        "process_cpu_seconds_total": (int(fields[_UTIME]) + int(fields[_STIME])) / ticks,
        "process_virtual_memory_bytes": int(fields[_VIRTUAL]),
        "process_resident_memory_bytes": int(fields[_RESIDENT]) * os.sysconf("SC_PAGE_SIZE"),
        "process_start_time_seconds": _booted() + int(fields[_START]) / ticks,
    }


def _booted() -> int:
    """When the machine started, in seconds since 1970."""
    lines = Path("/proc/stat").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("btime "))
