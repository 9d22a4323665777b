"""A disk that is full, and has room again: a small file system where we may mount one, else a limit."""

import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import pytest

SIZE = 4 * 1024 * 1024
_BALLAST = "ballast"


class Disk(Protocol):
    """Where a device's home lies."""

    folder: Path
    kind: str

    def fill(self, pid: int) -> None:
        """From now on there is no room for what process ``pid`` writes."""

    def free(self, pid: int) -> None:
        """There is again."""


class Mounted:
    """A file system of its own: everybody who writes there meets its end."""

    kind = "a file system of 4 MiB"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self, pid: int) -> None:
        assert pid
        ballast = (self.folder / _BALLAST).open("wb", buffering=0)
        with ballast, pytest.raises(OSError, match="No space left"):  # noqa: PT012 - until it is full
            while True:
                ballast.write(bytes(4096))

    def free(self, pid: int) -> None:
        assert pid
        (self.folder / _BALLAST).unlink()


class Limited:
    """No file may grow beyond what the largest one has: one process alone meets that."""

    kind = "a limit on the size of files"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self, pid: int) -> None:
        largest = max(each.stat().st_size for each in self.folder.rglob("*") if each.is_file())
        self._limit(pid, largest)

    def free(self, pid: int) -> None:
        self._limit(pid, resource.RLIM_INFINITY)

    def _limit(self, pid: int, size: int) -> None:
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size if hard == resource.RLIM_INFINITY else hard, hard))


@contextmanager
def small_disk(folder: Path) -> Iterator[Disk]:
    """Such a disk, at ``folder``."""
    folder.mkdir()
    if os.geteuid() or not _mounted(folder):
        yield Limited(folder)
        return
    try:
        yield Mounted(folder)
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def _mounted(folder: Path) -> bool:
    order = ["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=700", "tmpfs", str(folder)]
    return subprocess.run(order, capture_output=True, check=False).returncode == 0
