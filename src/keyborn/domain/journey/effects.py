"""What the journey asks for, as values: one effect that something comes of, and notes before it."""

from collections.abc import Mapping
from dataclasses import dataclass

from keyborn.domain.journey.words import Happened, Slot

LONGEST_REQUESTED = 86400.0
"""Seconds; what a service asks for beyond that is cut (design PROTOCOL "Refusing well")."""


@dataclass(frozen=True, slots=True)
class Look:
    """Settle what a crash left, mend what can be mended, and say what the files are."""


@dataclass(frozen=True, slots=True)
class Enroll:
    """Ask for the first certificate with the enrolment code."""


@dataclass(frozen=True, slots=True)
class ConnectWith:
    """Have a session with the broker under this slot's identity, and under no other.

    Nothing is to do where it is open already.
    """

    slot: Slot


@dataclass(frozen=True, slots=True)
class CheckTime:
    """Make sure that it is time to renew; where the device's clock is not to be believed, ask the service."""


@dataclass(frozen=True, slots=True)
class MakeNextKey:
    """Have a next key; one that is there is used."""


@dataclass(frozen=True, slots=True)
class AskRenewal:
    """Ask for a certificate of the next key, signed by the current key, and verify what comes."""


@dataclass(frozen=True, slots=True)
class StageCertificate:
    """Store what came, beside the current identity."""


@dataclass(frozen=True, slots=True)
class Promote:
    """Make the next identity the current one, and keep the current one as the previous."""


@dataclass(frozen=True, slots=True)
class Confirm:
    """Tell the service, signed by the new key, that the previous certificate may be retired."""


@dataclass(frozen=True, slots=True)
class RetirePrevious:
    """Remove the previous identity."""


@dataclass(frozen=True, slots=True)
class GoBack:
    """Make the previous identity the current one again."""


@dataclass(frozen=True, slots=True)
class DiscardNext:
    """Remove the next key, and what belongs to it."""


@dataclass(frozen=True, slots=True)
class Pause:
    """A length of time that grows with every failure that is counted."""

    first: float
    longest: float
    """Seconds, as ``first``."""
    at_least: float = 0.5
    """The part of it that nobody draws away; 0 is full jitter."""
    per: str = "asked"
    """Which of the journey's counts it grows by: ``asked`` or ``misses``."""

    def span(self, failures: int, retry_after: float | None) -> "Span":
        """What to wait after so many failures; what the service named counts, capped, and a tenth more."""
        if retry_after is not None:
            least = min(max(retry_after, self.first), LONGEST_REQUESTED)
            return Span(least, least * 1.1)
        most = min(self.longest, self.first * 2.0 ** min(max(failures - 1, 0), 30))
        return Span(most * self.at_least, most)


@dataclass(frozen=True, slots=True)
class Span:
    """Seconds: at least, at most. Whoever waits draws a number between them."""

    least: float
    most: float


@dataclass(frozen=True, slots=True)
class Wait:
    """Let time pass, without a session."""

    length: Span | Pause


@dataclass(frozen=True, slots=True)
class Serve:
    """Let time pass with the session that is open, carrying messages, until it ends or a renewal is due."""

    length: Span | Pause


@dataclass(frozen=True, slots=True)
class Rest:
    """A note: no renewal is due before so much time has passed."""

    length: Span | Pause


Timed = Wait | Serve | Rest
Effect = (
    Look
    | Enroll
    | ConnectWith
    | CheckTime
    | MakeNextKey
    | AskRenewal
    | StageCertificate
    | Promote
    | Confirm
    | RetirePrevious
    | GoBack
    | DiscardNext
    | Timed
)
"""Everything but ``Rest`` is answered by one event, and stands last in its row."""

_H = Happened
OUTCOMES: Mapping[type[Effect], frozenset[Happened]] = {
    Look: frozenset(each for each in _H if each.name.startswith("FOUND_")) | {_H.TROUBLE},
    Enroll: frozenset({_H.ISSUED, _H.PENDING, _H.REFUSED, _H.NO_SERVICE, _H.UNUSABLE, _H.TROUBLE}),
    ConnectWith: frozenset({_H.UP, _H.TURNED_AWAY, _H.NO_BROKER, _H.UNUSABLE, _H.TROUBLE}),
    CheckTime: frozenset({_H.TIMELY, _H.EARLY, _H.NO_SERVICE, _H.TROUBLE}),
    MakeNextKey: frozenset({_H.KEY_MADE, _H.UNUSABLE, _H.TROUBLE}),
    AskRenewal: frozenset(
        {_H.ISSUED, _H.PENDING, _H.REFUSED, _H.KEY_REFUSED, _H.NO_SERVICE, _H.UNUSABLE, _H.TROUBLE}
    ),
    StageCertificate: frozenset({_H.STORED, _H.TROUBLE}),
    Promote: frozenset({_H.PROMOTED, _H.TROUBLE}),
    Confirm: frozenset({_H.CONFIRMED, _H.PENDING, _H.REFUSED, _H.NO_SERVICE, _H.TROUBLE}),
    RetirePrevious: frozenset({_H.RETIRED, _H.TROUBLE}),
    GoBack: frozenset({_H.RETURNED, _H.TROUBLE}),
    DiscardNext: frozenset({_H.DISCARDED, _H.TROUBLE}),
    Wait: frozenset({_H.TICK, _H.DUE}),
    Serve: frozenset({_H.TICK, _H.DUE, _H.LOST}),
}
"""What may come of each effect. A refusal by the broker becomes BARRED by being counted."""
