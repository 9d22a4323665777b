"""Private files: checked when opened, durable when written.

A file is ours alone from its first byte: created with O_EXCL and mode 0600, never through a symbolic link,
synced with its folder. What replaces a file is written under another name first and renamed, in named steps,
so that a test can stop between any two of them.
"""

import contextlib
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from keyborn.domain.errors import FileNotPrivate, HomeUnusable

PRIVATE_FILE = 0o600
OTHERS = stat.S_IRWXG | stat.S_IRWXO
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
TEMPORARY = ".tmp"
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # a FIFO must not hold us


@dataclass(frozen=True, slots=True)
class Step:
    """One effect on the disk, by name."""

    name: str
    run: Callable[[], None]


Checkpoint = Callable[[str], None]
"""Called with a step's name before the step runs."""


def no_checkpoint(_name: str) -> None:
    """The checkpoint of a run that nobody steps through."""


def run_steps(steps: list[Step], checkpoint: Checkpoint) -> None:
    """Run ``steps`` in order, announcing each one before it happens."""
    for step in steps:
        checkpoint(step.name)
        step.run()


def open_private(path: Path) -> int:
    """Open a file that must be ours alone and return its descriptor.

    Raises FileNotPrivate for a symbolic link, a thing that is not a file, another owner or a mode wider than
    0600; FileNotFoundError when there is nothing.
    """
    try:
        descriptor = os.open(path, _OPEN)
    except FileNotFoundError:
        raise
    except OSError as wrong:
        raise FileNotPrivate(path=path, detail=_why(path, wrong)) from None
    try:
        require_private(path, os.fstat(descriptor))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def require_private(path: Path, status: os.stat_result) -> None:
    """Raise FileNotPrivate unless ``status`` is that of a regular file which only its owner, us, can open."""
    if not stat.S_ISREG(status.st_mode):
        raise FileNotPrivate(path=path, detail="it is not a regular file")
    if status.st_uid not in {os.geteuid(), 0}:
        raise FileNotPrivate(path=path, detail=f"it belongs to user {status.st_uid}, not to you")
    if status.st_mode & OTHERS:
        mode = stat.S_IMODE(status.st_mode)
        raise FileNotPrivate(path=path, detail=f"its mode is {mode:04o}. Run: chmod 600 {path}")


def read_private(path: Path, limit: int) -> bytes:
    """Read a private file of at most ``limit`` bytes; raises as ``open_private`` does."""
    with os.fdopen(open_private(path), "rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise FileNotPrivate(path=path, detail=f"it is larger than {limit} bytes")
    return data


def write_new(path: Path, data: bytes) -> None:
    """Create ``path`` with mode 0600 and write it durably; raises FileExistsError if the name is taken."""
    with os.fdopen(os.open(path, _CREATE, PRIVATE_FILE), "wb") as file:
        os.fchmod(file.fileno(), PRIVATE_FILE)  # whatever the umask took away
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def publish_new(temporary: Path, path: Path) -> None:
    """Give ``temporary`` its final name, which nothing may have yet; raises FileExistsError otherwise."""
    try:
        os.link(temporary, path, follow_symlinks=False)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links; the home's lock keeps other writers out
        if os.path.lexists(path):
            raise FileExistsError(path) from None
        temporary.rename(path)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def temporary_of(path: Path) -> Path:
    """The name under which the next ``path`` is written."""
    return path.with_name(path.name + TEMPORARY)


def remove(path: Path) -> None:
    """Remove a name, if it is there."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()


def keep(path: Path, kept: Path) -> None:
    """Give a file, if it is there, a second name; or copy it, where the file system knows no such thing.

    Raises FileExistsError if the name is taken.
    """
    try:
        os.link(path, kept, follow_symlinks=False)
    except (FileNotFoundError, FileExistsError):
        if not os.path.lexists(path):
            return
        raise
    except OSError:
        copy = temporary_of(kept)
        remove(copy)
        write_new(copy, path.read_bytes())
        publish_new(copy, kept)
        remove(copy)


def move(path: Path, to: Path) -> None:
    """Put a file in the place of another, if it has not been moved already.

    Two names of the same file stay both where they are in a rename (POSIX): then the first one is removed.
    """
    if os.path.lexists(path):
        path.replace(to)
        remove(path)


def narrow(path: Path) -> bool:
    """Make a file ours alone that others could only read; False where nothing was to do, or nobody should."""
    try:
        descriptor = os.open(path, _OPEN)
    except OSError:
        return False
    try:
        status = os.fstat(descriptor)
        ours = stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid()
        if not ours or not status.st_mode & OTHERS or status.st_mode & _OTHERS_WRITE:
            return False
        os.fchmod(descriptor, PRIVATE_FILE)
        return True
    finally:
        os.close(descriptor)


def creation_steps(path: Path, data: bytes) -> list[Step]:
    """The effects that bring a file into being, whole or not at all, never over another one."""
    temporary = temporary_of(path)
    return [
        Step(f"write {temporary.name}", lambda: write_new(temporary, data)),
        Step(f"name {path.name}", lambda: publish_new(temporary, path)),
        Step(f"remove {temporary.name}", lambda: remove(temporary)),
        Step(f"sync the folder of {path.name}", lambda: sync_folder(path.parent)),
    ]


def replacement_steps(path: Path, data: bytes) -> list[Step]:
    """The effects that put ``data`` in the place of ``path``: the old file or the new, never a mixture."""
    temporary = temporary_of(path)
    return [
        Step(f"write {temporary.name}", lambda: write_new(temporary, data)),
        Step(f"rename {path.name}", lambda: _rename(temporary, path)),
        Step(f"sync the folder of {path.name}", lambda: sync_folder(path.parent)),
    ]


def trouble(path: Path, wrong: OSError) -> HomeUnusable:
    """The public error for what the operating system said."""
    return HomeUnusable(path=path, detail=wrong.strerror or type(wrong).__name__)


def _rename(temporary: Path, path: Path) -> None:
    temporary.replace(path)


def _why(path: Path, wrong: OSError) -> str:
    return "it is a symbolic link" if path.is_symlink() else (wrong.strerror or type(wrong).__name__)
