"""The server's data folder: one writer at a time, private from the first byte.

``keyborn serve`` holds the folder's lock for as long as it runs; commands on the same machine go through
``control.sock`` in it, or take the lock themselves when no server runs (design PROTOCOL "One writer").
"""

import contextlib
import fcntl
import os
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from keyborn.domain.errors import DataFolderInUse, DataFolderMissing, DataFolderUnsafe

_PRIVATE_DIRECTORY = 0o700
_PRIVATE_FILE = 0o600
_SOCKET = "control.sock"
_BEAT = 0.05


class DataFolder:
    """Paths and locks of one data folder; the constructor touches nothing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.registry = path / "registry.db"
        self.broker = path / "broker.db"
        self.authority = path / "ca"
        self.settings = path / "server.toml"
        self.revocations = path / "revocations.log"
        self.control = path / _SOCKET

    def create(self) -> None:
        """Make the folder 0700 if it is missing, or check the one that is there."""
        self.path.mkdir(mode=_PRIVATE_DIRECTORY, parents=True, exist_ok=True)
        self._check()

    def require(self) -> None:
        """Raise DataFolderMissing unless a server ran here once."""
        if not self.settings.exists():
            raise DataFolderMissing(path=self.path)
        self._check()

    @contextmanager
    def lock(self, patience: float = 0.0) -> Iterator[None]:
        """Hold the folder; raises DataFolderInUse if somebody else does.

        ``patience`` in seconds outlasts a command that holds it for a moment, not a server that answers.
        """
        handle = os.open(
            self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, _PRIVATE_FILE
        )
        try:
            self._take(handle, time.monotonic() + patience)
            yield
        finally:
            os.close(handle)

    def _take(self, handle: int, deadline: float) -> None:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                served = self._is_served()
                if served or time.monotonic() > deadline:
                    holder = "A running service" if served else "Another process"
                    raise DataFolderInUse(path=self.path, holder=holder) from None
                time.sleep(_BEAT)
            else:
                break
        if not self._is_here(handle):  # a restore has put another folder in its place while we waited
            raise DataFolderInUse(path=self.path, holder="A restore")

    def _is_here(self, handle: int) -> bool:
        try:
            return os.path.samestat(os.fstat(handle), os.stat(self.path / "lock"))  # noqa: PTH116 - as os.fstat
        except FileNotFoundError:
            return False

    def _is_served(self) -> bool:
        sock = self.connect_control()
        if sock is None:
            return False
        sock.close()
        return True

    def write_once(self, path: Path, text: str) -> None:
        """Write a private file, durably, unless it is there already."""
        if path.exists():
            return
        partial = path.with_name(path.name + ".new")
        handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, _PRIVATE_FILE)
        with os.fdopen(handle, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(path)
        self._sync()

    def bind_control(self) -> socket.socket:
        """A listening-to-be Unix socket, mode 0600; call it with the lock held."""
        with self._short_path() as short:
            with contextlib.suppress(FileNotFoundError):
                self.control.unlink()
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
            before = os.umask(0o177)
            try:
                sock.bind(short)
            finally:
                os.umask(before)
        return sock

    def connect_control(self) -> socket.socket | None:
        """Connect to the server that runs on this folder, or None if none does."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            with self._short_path() as short:
                sock.connect(short)
        except OSError:
            sock.close()
            return None
        return sock

    @contextmanager
    def _short_path(self) -> Iterator[str]:
        """The socket's path through a descriptor: AF_UNIX takes 107 bytes, folders can be deeper."""
        handle = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield f"/proc/self/fd/{handle}/{_SOCKET}"
        finally:
            os.close(handle)

    def _check(self) -> None:
        status = self.path.stat()
        if status.st_uid != os.geteuid():
            raise DataFolderUnsafe(path=self.path, detail="it belongs to another user")
        if stat.S_IMODE(status.st_mode) & 0o077:
            raise DataFolderUnsafe(path=self.path, detail="others can enter it")

    def _sync(self) -> None:
        handle = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
