"""Arithmetic of admission under a quota: a bucket of slots, and a line of places for those who must wait.

Two moments say everything, whatever the number of devices. ``free_at`` is when the next slot begins: a token
bucket written as one number (the "virtual scheduling" form of the generic cell rate algorithm, ITU-T I.371).
``end`` is when the last place given away is due. All times are seconds of Unix time.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

IOT_QUOTAS: Mapping[str, float] = MappingProxyType(
    {
        "UpdateCertificate": 10.0,
        "CreateCertificateFromCsr": 15.0,
        "AttachPolicy": 15.0,
        "CreateThing": 100.0,
        "AttachThingPrincipal": 100.0,
    }
)
"""Calls a second that a fresh account has for what one enrolment calls once each (AWS General Reference,
"AWS IoT Core endpoints and quotas"; all of them can be raised)."""


AHEAD = 60.0
"""Seconds that clocks of instances may differ by. Whose clock is further ahead must not stop all others."""


@dataclass(frozen=True, slots=True)
class Pacing:
    """How admission goes about one quota."""

    rate: float
    """Enrolments a second."""
    burst: float = 0.4
    """Seconds of unused slots that are kept for later."""
    patience: float = 2.0
    """Seconds that a caller whose turn has come is held until the next slot; beyond, it comes again."""
    spare: float = 0.2
    """A slot unused for so many seconds is for anybody, in turn or not."""
    longest: float = 3600.0
    """No one is sent away for longer: what was true then may have changed."""
    grace: float = 900.0
    """Seconds for which a place is kept once it is due."""
    slack: float = 1.005
    """Places lie so much further apart than slots: who is late gets one that is left, and none stays unused
    while anybody asks."""
    margin: float = 1.1
    """What clients add to Retry-After for their own jitter, at most: they are told so much less."""

    @property
    def slot(self) -> float:
        """Seconds from one slot to the next."""
        return 1 / self.rate

    @property
    def place(self) -> float:
        """Seconds from one place of the line to the next."""
        return self.slack / self.rate


@dataclass(frozen=True, slots=True)
class Slice:
    """What the shared bucket gave: the moment of a slot or None, the next one's, where the line ends."""

    begins: float | None
    free_at: float
    end: float


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the line: when its turn is, and where the line ends now."""

    due: float
    end: float


def pacing_under(quotas: Mapping[str, float], *, share: float = 0.98) -> Pacing:
    """The pacing under the least of ``quotas``, of which enrolments take ``share``; the rest is spare.

    Raises ValueError for quotas that admit nothing.
    """
    rate = share * min(quotas.values(), default=0.0)
    if not 0 < rate < math.inf:
        raise ValueError("every quota must be above nothing")
    return Pacing(rate)


def place_name(token: str, thing: object) -> str:
    """Under what the line keeps the place of whoever asks for ``thing`` with ``token``; both unparsed.

    A hash: it has one length whatever was asked for, and the line holds no names.
    """
    return hashlib.sha256(f"{token}\n{thing!r}".encode()).hexdigest()


def floor_of(pacing: Pacing, now: float) -> float:
    """The earliest slot that can still be had: what lies before was not kept."""
    return now - pacing.burst


def ceiling_of(pacing: Pacing, now: float) -> float:
    """Beyond this no next slot lies but by a wrong clock: it counts as none.

    Nobody takes one further ahead than ``hold_for`` says, some seconds.
    """
    return now + AHEAD + pacing.slot


def pause_before(pacing: Pacing, remaining: float) -> float:
    """Seconds to send somebody away for whose turn is in ``remaining`` seconds.

    Short of the whole where the client's own jitter would make it late: it is told the rest when it returns.
    """
    if remaining <= _SHORT:
        return max(1.0, remaining)
    return min(pacing.longest, remaining) / pacing.margin


def pause_unplaced(pacing: Pacing, length: float, fraction: float) -> float:
    """Seconds for somebody without a place behind a line of ``length`` seconds: back before it runs dry."""
    return max(1 + 2 * fraction, min(pacing.longest, length / 4) * (1 + fraction) / 2)


def pause_late(pacing: Pacing, lateness: float, fraction: float) -> float:
    """Seconds for somebody whose turn was ``lateness`` seconds ago and who met others of whom that is true.

    How late one is tells how many there are: so they spread over about the time that they need.
    """
    return 1 + min(_LATE, pacing.patience + max(0.0, lateness) / 2) * fraction


def hold_for(pacing: Pacing, lateness: float) -> float:
    """Seconds that somebody is held whose turn was ``lateness`` seconds ago: the later it is, the longer.

    So whoever was unlucky passes those whose turn has only just come.
    """
    return pacing.patience + min(_LATE, max(0.0, lateness)) / 5


_LATE = 20.0
"""Seconds of lateness beyond which nothing changes any more: 200 devices at ten a second."""
_SHORT = 12.0
"""Seconds of which a tenth more does no harm."""
