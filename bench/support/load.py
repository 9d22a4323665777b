"""Who used the processors: the server with its children, the load client, everybody else."""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

_TICK = 1 / os.sysconf("SC_CLK_TCK")
_IDLE, _WAIT = 3, 4
_USER_TIME = 11
"""Field of /proc/PID/stat, counted behind the command's closing bracket (proc(5))."""


@dataclass(frozen=True, slots=True)
class Load:
    """CPU seconds, all cores together."""

    server: float = 0.0
    driver: float = 0.0
    machine: float = 0.0

    def __sub__(self, other: "Load") -> "Load":
        return Load(self.server - other.server, self.driver - other.driver, self.machine - other.machine)

    @property
    def others(self) -> float:
        """What neither server nor client used: other programs, and the kernel's work on nobody's account."""
        return max(0.0, self.machine - self.server - self.driver)


def process_cpu(pid: int) -> float:
    """CPU seconds of a process, its threads and its living children."""
    total = _own_cpu(pid)
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            total += sum(process_cpu(int(child)) for child in children.read_text().split())
    return total


def _own_cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[_USER_TIME]) + int(fields[_USER_TIME + 1])) * _TICK


def machine_cpu() -> float:
    """CPU seconds of the whole machine that were not idle."""
    ticks = [int(each) for each in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return (sum(ticks) - ticks[_IDLE] - ticks[_WAIT]) * _TICK
