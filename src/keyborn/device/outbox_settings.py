"""How the outbox of a home is used: ``outbox.toml`` beside it, written by a person, read by every program.

Whoever opens the outbox without these would use its own bounds: a command could drop what an agent without
bounds has kept. What a command line says counts more. Without the file everything has its default.
"""

import math
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from keyborn.device.home import Home
from keyborn.device.messages import OutboxLimits, Overflow
from keyborn.domain.errors import InvalidSetting

NAME = "outbox.toml"
DEFAULT_RATE = 2.0
"""Messages per second while the outbox empties; the first one goes at once. 0 is without limit."""
MAX_RATE = 1000.0
_MAX_FILE = 65536
_KEYS = ("messages", "bytes", "overflow", "rate")


@dataclass(frozen=True, slots=True)
class OutboxSettings:
    """Bounds, what gives way when they are met, and messages per second (0: as fast as the broker takes)."""

    limits: OutboxLimits = field(default_factory=OutboxLimits)
    rate: float = DEFAULT_RATE


def outbox_settings(home: Home, chosen: Mapping[str, object] | None = None) -> OutboxSettings:
    """What ``outbox.toml`` says, and what was ``chosen`` instead under the same names; None chooses nothing.

    ``messages`` and ``bytes`` (0: without bound), ``overflow``, ``rate``. Raises InvalidSetting.
    """
    said = {name: (f"{NAME} {name}", value) for name, value in _read(home).items()}
    said |= {name: (name, value) for name, value in (chosen or {}).items() if value is not None}
    for name in said.keys() - set(_KEYS):
        raise InvalidSetting(setting=said[name][0], detail=f"the file has only {', '.join(_KEYS)}")
    made = {name: _MEANING[name](where, value) for name, (where, value) in said.items()}
    rate = made.pop("rate", DEFAULT_RATE)
    if "bytes" in made:
        made["size"] = made.pop("bytes")
    return OutboxSettings(OutboxLimits(**made), rate)


def _read(home: Home) -> dict[str, object]:
    try:
        with (home.path / NAME).open("rb") as file:
            text = file.read(_MAX_FILE + 1)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as wrong:
        raise InvalidSetting(
            setting=str(home.path / NAME), detail=wrong.strerror or "it is no file"
        ) from None
    try:
        return tomllib.loads(text[:_MAX_FILE].decode())
    except ValueError as wrong:
        raise InvalidSetting(setting=str(home.path / NAME), detail=f"it is no TOML ({wrong})") from None


def _bound(where: str, value: object) -> int | None:
    if type(value) is not int or value < 0:
        raise InvalidSetting(setting=where, detail="it takes a whole number, 0 for no bound")
    return value or None


def _overflow(where: str, value: object) -> Overflow:
    if value not in list(Overflow):
        raise InvalidSetting(setting=where, detail=f"it takes one of {', '.join(Overflow)}")
    return Overflow(str(value))


def _rate(where: str, value: object) -> float:
    number = math.nan if isinstance(value, bool) or not isinstance(value, int | float) else float(value)
    if not 0 <= number <= MAX_RATE:
        raise InvalidSetting(setting=where, detail=f"it takes messages a second, 0 to {MAX_RATE:g}")
    return number


_MEANING: Mapping[str, Callable[[str, object], Any]] = {
    "messages": _bound,
    "bytes": _bound,
    "overflow": _overflow,
    "rate": _rate,
}
