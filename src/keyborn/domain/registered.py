"""Keys that were announced before their devices came."""

from dataclasses import dataclass

from keyborn.domain.names import GroupName, KeyHash, ThingName


@dataclass(frozen=True, slots=True)
class RegisteredKey:
    """One announced device: this key, under this name, in this group."""

    key_hash: KeyHash
    thing: ThingName
    group: GroupName


@dataclass(frozen=True, slots=True)
class Registered:
    """What became of a batch of them."""

    added: int
    known: int
    """Announced before, with the same name and group."""
    refused: tuple[RegisteredKey, ...]
    """Announced before with another name or group: left as they are."""
