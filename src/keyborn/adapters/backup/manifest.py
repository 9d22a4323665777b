"""The last member of a backup: what the others are, and where the registry stood."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from keyborn import __version__
from keyborn.adapters.backup.archive import REGISTRY, ArchiveDamagedError, Written
from keyborn.domain.audit import ChainHead
from keyborn.domain.revocation import LINEAGE

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a registry stands: the end of its audit trail, and of what must not be undone."""

    schema: int
    lineage: str
    revocations: int
    head: ChainHead


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup says of itself."""

    taken: str
    """ISO 8601, UTC."""
    folder: str
    """Where the data folder was."""
    protected: bool
    """Whether a passphrase is on every key of the authority."""
    registry: Standing
    members: Mapping[str, Written]
    version: str = __version__

    def encode(self) -> bytes:
        """As it is written."""
        registry = {
            "schema": self.registry.schema,
            "lineage": self.registry.lineage,
            "revocations": self.registry.revocations,
            "head": str(self.registry.head),
        }
        said = {
            "keyborn": "backup",
            "format": FORMAT,
            "version": self.version,
            "taken": self.taken,
            "folder": self.folder,
            "protected": self.protected,
            "registry": registry,
            "members": {name: asdict(member) for name, member in self.members.items()},
        }
        return json.dumps(said, indent=1).encode() + b"\n"


class LaterFormatError(Exception):
    """A later Keyborn wrote it; the argument is its version."""


def parse_manifest(text: bytes) -> Manifest:
    """Read one; raises ArchiveDamagedError, and LaterFormatError."""
    try:
        said = json.loads(text)
        if said["keyborn"] == "backup" and said["format"] > FORMAT:
            raise LaterFormatError(ascii(said["version"])[1:33])
        manifest = _read(said)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ArchiveDamagedError("its manifest says nothing sensible") from None
    if manifest.encode() != text:
        raise ArchiveDamagedError("its manifest is not as it was written")
    return manifest


def require_members(manifest: Manifest, found: Mapping[str, Written]) -> None:
    """Raise ArchiveDamagedError unless a manifest tells of what was found, digests and all."""
    if found != manifest.members or REGISTRY not in found:
        raise ArchiveDamagedError("its members are not those that it says")


def _read(said: Mapping[str, Any]) -> Manifest:
    registry = said["registry"]
    sequence, _, digest = registry["head"].partition(":")
    if not LINEAGE.fullmatch(registry["lineage"]) or "\0" in said["folder"]:
        raise ValueError("not a manifest")
    return Manifest(
        taken=said["taken"],
        folder=said["folder"],
        protected=said["protected"] is True,
        registry=Standing(
            int(registry["schema"]),
            registry["lineage"],
            int(registry["revocations"]),
            ChainHead(int(sequence), digest),
        ),
        members={name: Written(**member) for name, member in said["members"].items()},
        version=said["version"],
    )
