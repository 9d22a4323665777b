"""Backups and restores that are killed at a step: each in a process of its own, which dies by SIGKILL.

A step is a call of the operating system that changes a file or a folder, counted in the running code
(``support.ca_crash``).
"""

import os
from collections.abc import Callable
from pathlib import Path

from support.ca_crash import Countdown, fork, pipe, waitpid, write


def killed(work: Callable[[], object], step: int) -> str:
    """Do the work in a fork that dies at its N-th step; at which one, or ``done`` if it had fewer."""
    reader, writer = pipe()
    process = fork()
    if not process:
        try:
            Countdown(step, writer)
            work()
            write(writer, b"done")
        except BaseException as trouble:  # noqa: BLE001 - whatever it was: the report says it
            write(writer, repr(trouble).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as report:
        said = report.read().decode()
    waitpid(process, 0)
    return said


def left_over(folder: Path, *names: str) -> set[str]:
    """What is in a folder beside those names."""
    return {each.name for each in folder.iterdir()} - set(names)
