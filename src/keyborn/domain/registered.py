"""Keys that were announced before their devices came."""

from collections.abc import Mapping, Sequence
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


def announce(
    keys: Sequence[RegisteredKey], known: Mapping[KeyHash, RegisteredKey]
) -> tuple[list[RegisteredKey], Registered]:
    """Which of ``keys`` are new beside what is ``known`` of them, and what became of all.

    Of a key that a batch has twice the first one counts.
    """
    fresh: dict[KeyHash, RegisteredKey] = {}
    refused = []
    for one in keys:
        before = known.get(one.key_hash) or fresh.setdefault(one.key_hash, one)
        if before != one:
            refused.append(one)
    same = len(keys) - len(fresh) - len(refused)
    return list(fresh.values()), Registered(len(fresh), same, tuple(refused))
