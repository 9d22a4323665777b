"""Private files: exclusive from the first byte, synced before anything relies on them, no link followed.

Every call of the operating system that can fail is made here; its errors become ``CaFileTrouble``, and
files that others could have read or changed become ``CaExposed``.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from keyborn.domain.errors import CaDamaged, CaExposed, CaFileTrouble

PRIVATE = 0o600
PUBLIC = 0o644
PRIVATE_FOLDER = 0o700
_OTHERS = 0o077
_OTHERS_WRITE = 0o022
_MAX_FILE = 64 * 1024
_NO_FOLLOW = os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Raise CaFileTrouble in place of an OSError inside the block."""
    try:
        yield
    except OSError as trouble:
        raise CaFileTrouble(path=path, reason=trouble.strerror or "input/output error") from trouble


def write_new(path: Path, content: bytes, mode: int = PRIVATE) -> None:
    """Create ``path`` exclusively with ``mode`` from its first byte, write and sync. Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_FOLLOW, mode)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace(path: Path, content: bytes) -> None:
    """Put a private file in place of ``path`` in one step: readers see the old one or the new one, whole.

    For one writer at a time. Raises CaFileTrouble; the old file, or the new one, then still stands.
    """
    beside = path.with_name(f".{path.name}.new")
    with translated(path):
        beside.unlink(missing_ok=True)  # a crash may have left one
        try:
            write_new(beside, content)
            beside.rename(path)
        except OSError:
            with suppress(OSError):
                beside.unlink()
            raise
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` durable. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_private(path: Path) -> bytes:
    """Read a file that only we can read; raises CaDamaged (missing), CaExposed or CaFileTrouble."""
    return _read(path, _OTHERS, PRIVATE)


def read_public(path: Path) -> bytes:
    """Read a file that only we can write; raises CaDamaged (missing), CaExposed or CaFileTrouble."""
    return _read(path, _OTHERS_WRITE, PUBLIC)


def require_private_folder(folder: Path) -> None:
    """Raise CaExposed unless ``folder`` is a real folder of ours with no access for others."""
    with translated(folder):
        check_private_folder(folder)


def check_private_folder(folder: Path) -> None:
    """As ``require_private_folder``, for a folder that may go at any moment: raises OSError, too."""
    status = os.lstat(folder)
    if not stat.S_ISDIR(status.st_mode):
        raise CaExposed(path=folder, detail="it is not a folder itself", remedy=f"ls -ld {folder}")
    _require_own(folder, status, _OTHERS, PRIVATE_FOLDER)


def _read(path: Path, forbidden: int, mode: int) -> bytes:
    try:
        with translated(path):
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | _NO_FOLLOW)
    except CaFileTrouble as trouble:
        raise _unopened(path, trouble) from trouble
    with translated(path), os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise CaExposed(path=path, detail="it is not a plain file", remedy=f"ls -l {path}")
        _require_own(path, status, forbidden, mode)
        return file.read(_MAX_FILE)


def _unopened(path: Path, trouble: CaFileTrouble) -> Exception:
    if isinstance(trouble.__cause__, FileNotFoundError):
        return CaDamaged(folder=path.parent, detail=f"{path.name} is missing")
    if path.is_symlink():
        return CaExposed(path=path, detail="it is a symbolic link", remedy=f"ls -l {path}")
    return trouble


def _require_own(path: Path, status: os.stat_result, forbidden: int, mode: int) -> None:
    if status.st_uid != os.geteuid():
        detail = f"it belongs to user {status.st_uid}"
        raise CaExposed(path=path, detail=detail, remedy=f"chown {os.geteuid()} {path}")
    found = stat.S_IMODE(status.st_mode)
    if found & forbidden:
        raise CaExposed(path=path, detail=f"its mode is {found:04o}", remedy=f"chmod {mode:o} {path}")
