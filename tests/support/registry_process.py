"""Another process that works on a registry file, and what it says (see ``support.sqlite_child``)."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TESTS = Path(__file__).parents[1]


@contextmanager
def child(path: Path, task: str) -> Iterator["subprocess.Popen[str]"]:
    """A process that works on the registry; killed at the end if it still runs."""
    process = subprocess.Popen(
        [sys.executable, "-m", "support.sqlite_child", str(path), task],
        cwd=TESTS,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def lines(process: "subprocess.Popen[str]") -> Iterator[list[str]]:
    """What it says, word by word, until it ends."""
    assert process.stdout is not None
    for line in process.stdout:
        yield line.split()
