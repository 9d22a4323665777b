"""Another process that works on files of ours, and what it says (``support.sqlite_child`` and its like)."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TESTS = Path(__file__).parents[1]


@contextmanager
def child(path: Path, task: str, module: str = "support.sqlite_child") -> Iterator["subprocess.Popen[str]"]:
    """A process that runs ``module`` on ``path``; killed at the end if it still runs."""
    process = subprocess.Popen(
        [sys.executable, "-m", module, str(path), task],
        cwd=TESTS,
        stdin=subprocess.PIPE,
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
