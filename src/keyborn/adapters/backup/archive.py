"""The file that a backup is: a tar archive of a few known members; the last one says what the others are.

POSIX ustar (IEEE Std 1003.1, pax, "ustar Interchange Format") with plain files and nothing else, so that any
tar lists it. It is read here by hand: no links, no folders, no extended headers, no name that is not on the
list, each name once, each size bounded, every byte accounted for.
"""

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

BLOCK = 512
CHUNK = 1 << 20
REGISTRY, SETTINGS, MANIFEST = "registry.db", "server.toml", "manifest.json"
_AUTHORITY = re.compile(
    r"ca/(root-[1-9][0-9]{0,8}/)?(root|devices|servers)\.(key|crt)|ca/(audit\.(key|pub)|standing)"
)
_SMALL = 64 * 1024
_REGISTRY_LIMIT = 1 << 44
_MAX_MEMBERS = 512
_OCTAL_LIMIT = 8**11
_ZERO = b"\0" * BLOCK
_TYPE, _MAGIC = slice(156, 157), slice(257, 265)
_SUM = slice(148, 156)


class ArchiveDamagedError(Exception):
    """The bytes are not a backup; the argument says why."""


@dataclass(frozen=True, slots=True)
class Written:
    """A member as it was written or read."""

    size: int
    sha256: str


Progress = Callable[[int], None]
"""Told of bytes as they pass."""


def is_authority(name: str) -> bool:
    """Whether a backup takes that file of the authority's folder; what can be made anew, it does not."""
    return _AUTHORITY.fullmatch(name) is not None


def limit_of(name: str) -> int:
    """How large a member may be; raises ArchiveDamagedError for a name that no backup has."""
    if name == REGISTRY:
        return _REGISTRY_LIMIT
    if name in (SETTINGS, MANIFEST) or is_authority(name):
        return _SMALL
    raise ArchiveDamagedError(f"it has a member that no backup has ({name[:64]!a})")


class ArchiveWriter:
    """Writes members one after the other into an empty file."""

    def __init__(self, out: BinaryIO, at: int) -> None:
        """``at``: when, in seconds since 1970, for who lists the archive."""
        self._out = out
        self._at = at
        self.members: dict[str, Written] = {}

    def add(self, name: str, source: BinaryIO, size: int, passed: Progress = lambda _: None) -> None:
        """Add ``size`` bytes of ``source``. Raises OSError."""
        self._out.write(_header(name, size, self._at))
        digest, left = hashlib.sha256(), size
        while left:
            chunk = source.read(min(CHUNK, left))
            if not chunk:
                raise OSError(f"{name} became shorter while it was read")
            digest.update(chunk)
            self._out.write(chunk)
            left -= len(chunk)
            passed(len(chunk))
        self._out.write(b"\0" * (-size % BLOCK))
        self.members[name] = Written(size, digest.hexdigest())

    def end(self) -> None:
        """Write the end of the archive."""
        self._out.write(_ZERO * 2)


def unpack(
    source: BinaryIO, into: Path, *, passed: Progress = lambda _: None
) -> tuple[dict[str, Written], bytes]:
    """Write every member below ``into``, each private; what they are, and the manifest, which is not written.

    Raises ArchiveDamagedError and OSError. What has been written until then is for the caller to remove.
    """
    found: dict[str, Written] = {}
    for name, size in _members(source, found):
        if name == MANIFEST:
            manifest = _exactly(source, size)
            _padding(source, size)
            _require_end(source)
            return found, manifest
        target = into / name
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        found[name] = _unpack_one(source, size, target, passed)
        _padding(source, size)
    raise ArchiveDamagedError("it has no end")


def _members(source: BinaryIO, found: dict[str, Written]) -> Iterator[tuple[str, int]]:
    while len(found) < _MAX_MEMBERS:
        header = _exactly(source, BLOCK)
        if header == _ZERO:
            return
        name, size = _read_header(header)
        if name in found:
            raise ArchiveDamagedError(f"it has {name} twice")
        if size > limit_of(name):
            raise ArchiveDamagedError(f"its {name} is too large")
        yield name, size


def _unpack_one(source: BinaryIO, size: int, target: Path, passed: Progress) -> Written:
    digest, left = hashlib.sha256(), size
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as out:
        while left:
            chunk = source.read(min(CHUNK, left))
            if not chunk:
                raise ArchiveDamagedError("it is cut off")
            digest.update(chunk)
            out.write(chunk)
            left -= len(chunk)
            passed(len(chunk))
        out.flush()
        os.fsync(out.fileno())
    return Written(size, digest.hexdigest())


def _header(name: str, size: int, at: int) -> bytes:
    number = (
        b"%011o\0" % size if size < _OCTAL_LIMIT else b"\x80" + size.to_bytes(11, "big")
    )  # GNU's base 256
    fields = [
        name.encode("ascii").ljust(100, b"\0"),
        b"0000600\0" + b"0000000\0" * 2,
        number,
        b"%011o\0" % at,
        b" " * 8,
        b"0",
        b"\0" * 100,
        b"ustar\x0000",
    ]
    header = b"".join(fields).ljust(BLOCK, b"\0")
    return header[:148] + b"%06o\0 " % sum(header) + header[156:]


def _read_header(header: bytes) -> tuple[str, int]:
    """Name and size; raises ArchiveDamagedError for whatever ``_header`` would not write."""
    at = _octal(header[136:148])
    name = header[:100].rstrip(b"\0").decode("ascii", "replace")
    limit_of(name)
    size = int.from_bytes(header[125:136], "big") if header[124:125] == b"\x80" else _octal(header[124:136])
    if _header(name, size, at) != header:
        raise ArchiveDamagedError("a header of it is not as it was written")
    return name, size


def _octal(field: bytes) -> int:
    if not re.fullmatch(rb"[0-7]{11}\0", field):
        raise ArchiveDamagedError("it is no backup, or damaged")
    return int(field[:11], 8)


def _padding(source: BinaryIO, size: int) -> None:
    if _exactly(source, -size % BLOCK).strip(b"\0"):
        raise ArchiveDamagedError("there is something between its members")


def _require_end(source: BinaryIO) -> None:
    if _exactly(source, 2 * BLOCK) != _ZERO * 2 or source.read(1):
        raise ArchiveDamagedError("there is something behind its end")


def _exactly(source: BinaryIO, size: int) -> bytes:
    found = source.read(size)
    if len(found) != size:
        raise ArchiveDamagedError("it is cut off")
    return found
