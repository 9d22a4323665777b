"""The journey's table: for every stage and everything that can happen there, what comes next.

Rows are looked for in the stage's own list, then in ``ANYWHERE``; what is in neither is out of place: the
device looks at its files again, which decide. So every pair has an answer.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from keyborn.domain.journey.effects import (
    AskRenewal,
    CheckTime,
    Confirm,
    ConnectWith,
    DiscardNext,
    Effect,
    Enroll,
    GoBack,
    Look,
    MakeNextKey,
    Pause,
    Promote,
    Rest,
    RetirePrevious,
    Serve,
    StageCertificate,
    Wait,
)
from keyborn.domain.journey.words import Happened, Slot, Stage, Trouble

H = Happened

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0

CONNECTING = Pause(0.5, 2 * MINUTE, at_least=0.0, per="misses")
ASKING = Pause(MINUTE, 6 * HOUR)
REFUSED = Pause(HOUR, DAY)
ENROLLING = Pause(5.0, 10 * MINUTE, at_least=0.0)
APPROVAL = Pause(5.0, MINUTE)
DISK = Pause(MINUTE, HOUR)
LOOKING = Pause(MINUTE, MINUTE)
SELDOM = Pause(HOUR, HOUR)
DAILY = Pause(MINUTE, DAY)
ROUND = Pause(6 * HOUR, 6 * HOUR)
LASTED = Pause(5 * MINUTE, 5 * MINUTE)
"""A session that lasts longer than the longest pause before one is good: the next loss is the first again."""


@dataclass(frozen=True, slots=True)
class Row:
    """Where a device stands afterwards, what it does there, and what troubles it."""

    stage: Stage | None
    """None: where it stood before."""
    effects: tuple[Effect, ...]
    trouble: Trouble | None = None


def _row(stage: Stage | None, *effects: Effect, trouble: Trouble | None = None) -> Row:
    return Row(stage, effects, trouble)


_WITH_CURRENT = ConnectWith(Slot.CURRENT)
_WITH_NEXT = ConnectWith(Slot.NEXT)
_WITH_PREVIOUS = ConnectWith(Slot.PREVIOUS)

ANYWHERE: Mapping[H, Row] = {
    H.FOUND_NOTHING: _row(Stage.UNPROVISIONED, Wait(LOOKING), trouble=Trouble.NOT_ENROLLED),
    H.FOUND_CODE: _row(Stage.WAITING, Enroll()),
    H.FOUND_CURRENT: _row(Stage.ENROLLED, _WITH_CURRENT),
    H.FOUND_DUE: _row(Stage.ENROLLED, _WITH_CURRENT),
    H.FOUND_NEXT: _row(Stage.STAGED, _WITH_NEXT),
    H.FOUND_PREVIOUS: _row(Stage.CONFIRMING, Confirm()),
    H.FOUND_ONLY_PREVIOUS: _row(Stage.RETURNING, _WITH_PREVIOUS),
    H.FOUND_BROKEN: _row(Stage.STRANDED, Wait(SELDOM), trouble=Trouble.FILES),
    H.TROUBLE: _row(None, Wait(DISK), trouble=Trouble.DISK),
    H.TICK: _row(None, Look()),
    H.DUE: _row(None, Look()),
}
"""The files decide, wherever the device thought it was."""

OUT_OF_PLACE = _row(None, Look())
"""Nothing in the journey leads here; a look at the files does no harm."""

_WAITING: Mapping[H, Row] = {
    H.ISSUED: _row(Stage.ENROLLED, _WITH_CURRENT),
    H.PENDING: _row(None, Wait(APPROVAL), trouble=Trouble.APPROVAL),
    H.NO_SERVICE: _row(None, Wait(ENROLLING), trouble=Trouble.SERVICE),
    H.REFUSED: _row(Stage.STRANDED, Wait(SELDOM), trouble=Trouble.ENROLLMENT),
    H.KEY_REFUSED: _row(Stage.STRANDED, Wait(SELDOM), trouble=Trouble.ENROLLMENT),
    H.UNUSABLE: _row(Stage.STRANDED, Wait(SELDOM), trouble=Trouble.CODE),
}

_ENROLLED: Mapping[H, Row] = {
    H.UP: _row(Stage.CONNECTED, Serve(LASTED)),
    H.NO_BROKER: _row(None, Wait(CONNECTING), trouble=Trouble.BROKER),
    H.TURNED_AWAY: _row(None, Wait(CONNECTING), trouble=Trouble.TURNED_AWAY),
    H.BARRED: _row(Stage.STRANDED, Wait(SELDOM), trouble=Trouble.TURNED_AWAY),
    H.UNUSABLE: _row(Stage.STRANDED, Wait(SELDOM), trouble=Trouble.FILES),
    H.TICK: _row(None, _WITH_CURRENT),
    H.DUE: _row(Stage.RENEWING, CheckTime()),
}

_CONNECTED: Mapping[H, Row] = {
    H.LOST: _row(Stage.ENROLLED, Wait(CONNECTING), trouble=Trouble.LOST),
    H.TICK: _row(None, Serve(ROUND)),
    H.DUE: _row(Stage.RENEWING, CheckTime()),
}

_RENEWING: Mapping[H, Row] = {
    H.TIMELY: _row(None, MakeNextKey()),
    H.EARLY: _row(Stage.ENROLLED, Rest(DAILY), _WITH_CURRENT),
    H.KEY_MADE: _row(None, AskRenewal()),
    H.ISSUED: _row(None, StageCertificate()),
    H.STORED: _row(Stage.STAGED, _WITH_NEXT),
    H.NO_SERVICE: _row(Stage.ENROLLED, Rest(ASKING), _WITH_CURRENT, trouble=Trouble.SERVICE),
    H.PENDING: _row(Stage.ENROLLED, Rest(ASKING), _WITH_CURRENT, trouble=Trouble.RENEWAL),
    H.REFUSED: _row(Stage.ENROLLED, Rest(REFUSED), _WITH_CURRENT, trouble=Trouble.RENEWAL),
    H.KEY_REFUSED: _row(None, DiscardNext(), trouble=Trouble.RENEWAL),
    H.DISCARDED: _row(Stage.ENROLLED, Rest(ASKING), _WITH_CURRENT, trouble=Trouble.RENEWAL),
    H.UNUSABLE: _row(None, DiscardNext(), trouble=Trouble.FILES),
    H.TROUBLE: _row(Stage.ENROLLED, Rest(ASKING), _WITH_CURRENT, trouble=Trouble.DISK),
}

_NOT_TAKEN = _row(Stage.ENROLLED, Rest(ASKING), _WITH_CURRENT, trouble=Trouble.SUCCESSOR)
_STAGED: Mapping[H, Row] = {
    H.UP: _row(Stage.PROVED, Promote()),
    H.TURNED_AWAY: _NOT_TAKEN,
    H.BARRED: _NOT_TAKEN,
    H.UNUSABLE: _NOT_TAKEN,
    H.NO_BROKER: _row(Stage.ENROLLED, Rest(ASKING), _WITH_CURRENT, trouble=Trouble.BROKER),
}

_PROVED: Mapping[H, Row] = {
    H.PROMOTED: _row(Stage.CONFIRMING, Confirm()),
    H.TROUBLE: _row(None, Serve(DISK), trouble=Trouble.DISK),
    H.LOST: _row(None, Wait(DISK)),
    H.TICK: _row(None, Promote()),
    H.DUE: _row(None, Promote()),
}

_CONFIRMING: Mapping[H, Row] = {
    H.CONFIRMED: _row(None, RetirePrevious()),
    H.RETIRED: _row(Stage.ENROLLED, _WITH_CURRENT),
    H.NO_SERVICE: _row(None, _WITH_CURRENT, trouble=Trouble.SERVICE),
    H.PENDING: _row(None, _WITH_CURRENT, trouble=Trouble.SERVICE),
    H.TROUBLE: _row(None, Serve(DISK), trouble=Trouble.DISK),
    H.REFUSED: _row(Stage.RETURNING, _WITH_PREVIOUS, trouble=Trouble.RENEWAL),
    H.KEY_REFUSED: _row(Stage.RETURNING, _WITH_PREVIOUS, trouble=Trouble.RENEWAL),
    H.UP: _row(None, Serve(ASKING)),
    H.LOST: _row(None, Wait(CONNECTING), trouble=Trouble.LOST),
    H.NO_BROKER: _row(None, Wait(CONNECTING), trouble=Trouble.BROKER),
    H.TURNED_AWAY: _row(None, Wait(CONNECTING), trouble=Trouble.TURNED_AWAY),
    H.BARRED: _row(Stage.RETURNING, _WITH_PREVIOUS, trouble=Trouble.TURNED_AWAY),
    H.UNUSABLE: _row(Stage.RETURNING, _WITH_PREVIOUS, trouble=Trouble.FILES),
    H.TICK: _row(None, Confirm()),
    H.DUE: _row(None, Confirm()),
}

_NEITHER = _row(Stage.STRANDED, Wait(SELDOM), trouble=Trouble.BOTH)
_RETURNING: Mapping[H, Row] = {
    H.UP: _row(None, GoBack()),
    H.RETURNED: _row(Stage.ENROLLED, Rest(ASKING), _WITH_CURRENT),
    H.TROUBLE: _row(None, Serve(DISK), trouble=Trouble.DISK),
    H.NO_BROKER: _row(None, Wait(CONNECTING), trouble=Trouble.BROKER),
    H.LOST: _row(None, Wait(CONNECTING), trouble=Trouble.LOST),
    H.TURNED_AWAY: _row(None, Wait(CONNECTING), trouble=Trouble.BOTH),
    H.TICK: _row(None, _WITH_PREVIOUS),
    H.BARRED: _NEITHER,
    H.UNUSABLE: _NEITHER,
}

_STRANDED: Mapping[H, Row] = {
    H.FOUND_DUE: _row(Stage.RENEWING, CheckTime()),
}

STAGES: Mapping[Stage, Mapping[H, Row]] = {
    Stage.UNPROVISIONED: {},
    Stage.WAITING: _WAITING,
    Stage.ENROLLED: _ENROLLED,
    Stage.CONNECTED: _CONNECTED,
    Stage.RENEWING: _RENEWING,
    Stage.STAGED: _STAGED,
    Stage.PROVED: _PROVED,
    Stage.CONFIRMING: _CONFIRMING,
    Stage.RETURNING: _RETURNING,
    Stage.STRANDED: _STRANDED,
}


def row_of(stage: Stage, happened: H) -> Row:
    """The row for a pair; there is one for every pair."""
    return STAGES[stage].get(happened) or ANYWHERE.get(happened) or OUT_OF_PLACE
