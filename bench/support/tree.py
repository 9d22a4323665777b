"""A process and all below it: who they are, and what memory they hold together."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

MIB = 1 << 20


def family(pid: int) -> list[int]:
    """The process, its children, and theirs."""
    found = [pid]
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            for child in children.read_text().split():
                found += family(int(child))
    return found


def memory(pid: int) -> int:
    """Bytes of the family: each page once, divided among those that share it (PSS)."""
    total = 0
    for each in family(pid):
        with suppress(OSError):
            for line in Path(f"/proc/{each}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
    return total


class Peak:
    """The most of what was looked at, and when (by the caller's clock)."""

    def __init__(self) -> None:
        self.most = 0
        self.seen: list[tuple[float, int]] = []

    def see(self, at: float, value: int) -> None:
        """One look."""
        self.most = max(self.most, value)
        self.seen.append((at, value))


@contextmanager
def watched(pid: int, clock: Callable[[], float], every: float = 0.25) -> Iterator[Peak]:
    """Look at the family's memory from a thread, until the block ends."""
    peak, stop = Peak(), threading.Event()

    def look() -> None:
        while True:
            peak.see(clock(), memory(pid))
            if stop.wait(every):
                return

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        stop.set()
        thread.join()
