"""Putting a whole folder in the place of another in one step, and keeping that one."""

import ctypes
import errno
import fcntl
import glob
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from keyborn.adapters.backup.mirror import sync_folder

_AT_FDCWD = -100
_EXCHANGE = 2
"""RENAME_EXCHANGE of renameat2(2), Linux 3.15."""


@contextmanager
def staging(target: Path) -> Iterator[Path]:
    """An empty private folder beside ``target``, gone afterwards unless it was put in place.

    What a killed restore has left there is removed first: it holds keys.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    for left in target.parent.glob(f".{glob.escape(target.name)}.*.restoring"):
        _clear(left)
    folder = target.with_name(f".{target.name}.{os.getpid()}.restoring")
    folder.mkdir(mode=0o700)
    try:
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield folder
        finally:
            os.close(lock)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _clear(left: Path) -> None:
    """Remove a folder that a killed restore has left; not another user's, and nothing behind a link."""
    with suppress(OSError):
        found = left.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            return
        lock = os.open(left / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left)
        finally:
            os.close(lock)


def put_in_place(made: Path, target: Path, now: datetime) -> Path | None:
    """Give ``made`` the name of ``target``; where something was, under which name it is now. Raises OSError.

    A crash leaves the one or the other under that name, whole; and nothing is removed.
    """
    _sync_tree(made)
    if not target.exists() or not any(target.iterdir()):
        made.rename(target)
        sync_folder(target.parent)
        return None
    aside = target.with_name(f"{target.name}.aside-{now:%Y%m%dT%H%M%SZ}")
    if aside.exists():
        raise FileExistsError(errno.EEXIST, "something is there already", str(aside))
    made.rename(aside)
    try:
        _exchange(aside, target)
    except OSError:
        aside.rename(made)
        raise
    sync_folder(target.parent)
    return aside


def _exchange(one: Path, other: Path) -> None:
    """Let two folders change names in one step. Raises OSError."""
    library = ctypes.CDLL(None, use_errno=True)
    done = library.renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _EXCHANGE)
    if done != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(other))


def _sync_tree(folder: Path) -> None:
    for path, _, names in os.walk(folder):
        for name in names:
            descriptor = os.open(Path(path) / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        sync_folder(Path(path))
