"""What must never be undone: the acts, and the lines of the copy that is kept of them outside the registry.

A copy is text. The first line names the registry, each later one is one act, and each ends in a SHA-256 over
that of the line before it and its own words: so a line that was torn, changed, left out or put elsewhere does
not fit. What a crash leaves is the acts up to the tear, and never an act that was none.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from keyborn.domain.errors import MirrorDamaged

MAGIC = "keyborn-revocations-1"
MAX_LINE = 512
"""Bytes; the longest act has about 250."""
LINEAGE = re.compile(r"[0-9a-f]{32}")

ENDS = {
    "device-revoked": "revoked",
    "device-retired": "retired",
    "service-revoked": "revoked",
    "service-retired": "retired",
}
"""Ends of names, and the status that a record has from then on."""
WORDS = frozenset({"key", "certificate", "token", "api-key", "unregistered", "suspended", "resumed", *ENDS})
_SHAPE = re.compile(
    r"([1-9][0-9]{0,17}) (-?[0-9]{1,18}) ([a-z-]{1,16}) ([A-Za-z0-9:_-]{1,128}) ([A-Za-z0-9:_-]{1,128}) "
    r"([0-9a-f]{64})"
)
_NOBODY = "-"


@dataclass(frozen=True, slots=True)
class Act:
    """One thing that was taken away; ``sequence`` counts from 1 without a gap in the life of a registry."""

    sequence: int
    at: int
    """Milliseconds since 1970-01-01 UTC."""
    what: str
    """One of ``WORDS``."""
    id: str
    """Of a key its hash, of a certificate, token or API key its id, of a thing or service its name."""
    of: str = ""
    """The thing of a key or certificate; the key hash of a thing."""

    def words(self) -> str:
        """The line without its digest."""
        return f"{self.sequence} {self.at} {self.what} {self.id} {self.of or _NOBODY}"


@dataclass(frozen=True, slots=True)
class MirrorEnd:
    """Where a copy ends so far."""

    lineage: str
    digest: str
    sequence: int = 0

    def after(self, act: Act) -> tuple["MirrorEnd", str]:
        """Where it ends with one act more, and the line to write for that, its newline included."""
        digest = _digest(self.digest, act.words())
        return replace(self, digest=digest, sequence=act.sequence), f"{act.words()} {digest}\n"


def begin_mirror(lineage: str) -> tuple[MirrorEnd, str]:
    """An empty copy, and its first line."""
    words = f"{MAGIC} {lineage}"
    return MirrorEnd(lineage, _digest("", words)), f"{words} {_digest('', words)}\n"


def read_header(line: bytes) -> MirrorEnd | None:
    """Read a first line, newline included; None for anything else."""
    parts = line.decode("ascii", "replace").removesuffix("\n").split(" ")
    if len(parts) != 3 or parts[0] != MAGIC or not LINEAGE.fullmatch(parts[1]):  # noqa: PLR2004 - its words
        return None
    end, exact = begin_mirror(parts[1])
    return end if exact.encode() == line else None


def read_act(line: bytes) -> tuple[Act, str] | None:
    """Read an act and the digest that its line ends in; None for what is no such line."""
    if not line.endswith(b"\n") or len(line) > MAX_LINE:
        return None
    found = _SHAPE.fullmatch(line[:-1].decode("ascii", "replace"))
    if found is None or found[3] not in WORDS:
        return None
    act = Act(int(found[1]), int(found[2]), found[3], found[4], "" if found[5] == _NOBODY else found[5])
    return (act, found[6]) if act.words() == line[:-66].decode("ascii") else None


class MirrorReader:
    """Reads a copy line by line, and checks that each one follows."""

    def __init__(self) -> None:
        self.end: MirrorEnd | None = None
        """None until the first line has been read."""
        self.size = 0
        """Bytes of whole lines so far."""
        self._torn = False
        self._line = 0

    def read(self, lines: Iterable[bytes]) -> Iterable[Act]:
        """Every act up to a tear at the end. Raises MirrorDamaged for a line that does not fit.

        A tear is an unfinished last line: whoever ordered what it tells has never had an answer.
        """
        for line in lines:
            self._line += 1
            if self._torn or not line.endswith(b"\n"):
                self._require_last(line)
                continue
            self.size += len(line)
            if self.end is None:
                self.end = self._header(line)
            else:
                yield self._act(line, self.end)

    def _require_last(self, line: bytes) -> None:
        if line.endswith(b"\n"):
            raise MirrorDamaged(line=self._line, detail="the line is no line of it")
        self._torn = True

    def _header(self, line: bytes) -> MirrorEnd:
        end = read_header(line)
        if end is None:
            raise MirrorDamaged(line=1, detail="it does not begin as a copy of revocations does")
        return end

    def _act(self, line: bytes, end: MirrorEnd) -> Act:
        found = read_act(line)
        if found is None:
            raise MirrorDamaged(line=self._line, detail="the line is no line of it")
        self.end, exact = end.after(found[0])
        if exact.encode() != line or found[0].sequence != end.sequence + 1:
            raise MirrorDamaged(line=self._line, detail="the line does not follow the one before it")
        return found[0]


def _digest(before: str, words: str) -> str:
    return hashlib.sha256(f"{before}\n{words}".encode()).hexdigest()
