"""What was taken away after a backup: in copies of revocations, and in the registry that is still there."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from keyborn.adapters.backup.manifest import Manifest
from keyborn.adapters.backup.mirror import read_mirror
from keyborn.adapters.sql import revocations, schema
from keyborn.domain.errors import MirrorDamaged, MirrorForeign, RevocationsMissing
from keyborn.domain.revocation import Act

MIRROR = "revocations.log"


@dataclass(frozen=True, slots=True)
class Missed:
    """Acts that a backup does not know, and where they are written."""

    acts: Sequence[Act]
    source: Path | None
    """None where the operator has accepted that nobody knows."""


def find_missed(
    manifest: Manifest, known: Sequence[Act], named: Sequence[Path], places: Sequence[Path]
) -> Missed:
    """The acts after those that the backup's registry has (``known``).

    ``named``: copies that the operator names, each of which must be good. ``places``: where one may be:
    ``revocations.log`` files and registries; what is not there or is another registry's does not count. The
    longest counts, and must say what the backup and all others say. Raises MirrorForeign, MirrorDamaged,
    RevocationsMissing and OSError.
    """
    found = [(path, _named(path, manifest)) for path in named]
    if not named:
        found = list(_found(places, manifest))
    longest: Sequence[Act] = max((acts for _, acts in found), key=len, default=())
    for path, acts in found:
        if longest[: len(acts)] != acts:
            raise MirrorForeign(path=path, detail="it is at odds with another copy of them")
    if not found:
        raise RevocationsMissing(detail="no copy of it is here", taken=manifest.taken)
    source = next(path for path, acts in found if len(acts) == len(longest))
    if len(longest) < len(known):
        detail = f"the copy {source} is older than the backup"
        raise RevocationsMissing(detail=detail, taken=manifest.taken)
    if longest[: len(known)] != known:
        raise MirrorForeign(path=source, detail="it is at odds with the backup")
    return Missed(longest[len(known) :], source)


def _named(path: Path, manifest: Manifest) -> list[Act]:
    end, acts = read_mirror(path)
    lineage = manifest.registry.lineage
    if end.lineage != lineage:
        raise MirrorForeign(path=path, detail=f"it says {end.lineage}, and the backup {lineage}")
    return acts


def _found(places: Sequence[Path], manifest: Manifest) -> Iterator[tuple[Path, list[Act]]]:
    damaged, any_good = None, False
    for path in dict.fromkeys(places):
        try:
            acts = _of_registry(path, manifest) if path.suffix == ".db" else _named(path, manifest)
        except (OSError, MirrorForeign, sqlite3.Error):
            continue
        except MirrorDamaged as trouble:
            damaged = trouble
            continue
        any_good = True
        yield path, acts
    if damaged is not None and not any_good:
        raise damaged


def _of_registry(path: Path, manifest: Manifest) -> list[Act]:
    with closing(schema.connect_reader(path)) as connection:
        lineage, _ = revocations.standing(connection)
        if lineage != manifest.registry.lineage:
            raise MirrorForeign(path=path, detail="it is another registry")
        return revocations.acts(connection)
