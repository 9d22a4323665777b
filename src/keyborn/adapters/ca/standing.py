"""Which root issues and which are believed: two numbers in a file, ``ca/standing``, replaced in one step.

A root with its intermediates is a set, and sets are numbered from 1. The first lies in ``ca`` itself, each
later one in a folder of it, ``root-2`` and so on. Believed are the oldest one, whatever follows it up to the
newest folder that is there, and nothing else. Without the file, the first issues: so an authority that never
changed its root has none.
"""

import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from keyborn.adapters.ca import files
from keyborn.domain.errors import CaDamaged

NAME = "standing"
_SHAPE = re.compile(rb"oldest ([1-9][0-9]{0,8})\nissuing ([1-9][0-9]{0,8})\n")
_KEYS = ("root.key", "devices.key", "servers.key")


@dataclass(frozen=True, slots=True)
class Standing:
    """Numbers of sets: ``oldest`` <= ``issuing`` <= ``newest``."""

    oldest: int = 1
    """The oldest that is believed."""
    issuing: int = 1
    newest: int = 1

    @property
    def introduced(self) -> int | None:
        """What is believed already and does not issue yet."""
        return self.newest if self.newest > self.issuing else None

    @property
    def outgoing(self) -> int | None:
        """What does not issue any more and is still believed."""
        return self.oldest if self.oldest < self.issuing else None


def folder_of(authority: Path, number: int) -> Path:
    """Where a set lies."""
    return authority if number == 1 else authority / f"root-{number}"


def read_standing(authority: Path) -> Standing:
    """How things stand; raises CaDamaged, CaExposed or CaFileTrouble."""
    oldest, issuing = _read(authority / NAME)
    newest = issuing
    while _is_there(folder_of(authority, newest + 1)):
        newest += 1
    return Standing(oldest, issuing, newest)


def write_standing(authority: Path, *, oldest: int, issuing: int) -> None:
    """Have it so from now on, durably; raises CaFileTrouble, and then it is so or as it was."""
    files.replace(authority / NAME, f"oldest {oldest}\nissuing {issuing}\n".encode())


def forget_keys(authority: Path, standing: Standing) -> None:
    """Destroy the keys of sets that are believed no more; their certificates stay. Raises CaFileTrouble."""
    for number in range(1, standing.oldest):
        folder = folder_of(authority, number)
        with files.translated(folder):
            gone = [_unlinked(folder / name) for name in _KEYS]
            if any(gone):
                files.sync_folder(folder)


def _unlinked(path: Path) -> bool:
    with suppress(FileNotFoundError):
        path.unlink()
        return True
    return False


def _read(path: Path) -> tuple[int, int]:
    with files.translated(path):
        if not path.is_symlink() and not path.exists():
            return 1, 1
    found = _SHAPE.fullmatch(files.read_private(path))
    oldest, issuing = map(int, found.groups()) if found else (0, 0)
    if not 0 < oldest <= issuing <= oldest + 1:
        raise CaDamaged(folder=path.parent, detail=f"{NAME} does not say which root issues")
    return oldest, issuing


def _is_there(folder: Path) -> bool:
    with files.translated(folder):
        return folder.is_dir() and any(folder.iterdir())
