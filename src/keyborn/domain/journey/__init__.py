"""The journey of a device: a pure state table. Events in, the next stage and its effects out.

``advance`` does no I/O and knows no clock. What a device does next follows from where it stands and what
happened; whoever runs it performs the one effect of each step that has an outcome, and hands the outcome in::

    journey, effects = begin()
    while True:
        journey, effects = advance(journey, perform(effects))

The table is in ``table``; docs/reference/journey.md shows it. What holds, and is tested over all of it:

- every pair of a stage and an event has an answer; every stage but ``stranded`` has a way to ``connected``
- a renewal begins only where none is under way: with no next identity being tried and nothing to confirm
- the current identity's files are touched only after the broker has taken the one that replaces them
- the previous identity is removed only after the service has said that its certificate is retired
- nothing is tried over and over without a pause
"""

from dataclasses import replace

from keyborn.domain.journey.effects import Effect, Look, Pause, Rest, Serve, Span, Timed, Wait
from keyborn.domain.journey.table import Row, row_of
from keyborn.domain.journey.words import LAST_REFUSAL, Event, Happened, Journey, Slot, Stage, Trouble

__all__ = [
    "Effect",
    "Event",
    "Happened",
    "Journey",
    "Slot",
    "Span",
    "Stage",
    "Trouble",
    "advance",
    "begin",
    "span_of",
]

_MISSED = frozenset({Happened.NO_BROKER, Happened.TURNED_AWAY, Happened.BARRED, Happened.LOST})
_UNHELPFUL = frozenset(
    {Happened.NO_SERVICE, Happened.PENDING, Happened.REFUSED, Happened.KEY_REFUSED, Happened.TROUBLE}
)
_SETTLED = frozenset({Happened.CONFIRMED, Happened.PROMOTED, Happened.EARLY})
_OF_RENEWAL = frozenset({Trouble.SERVICE, Trouble.RENEWAL, Trouble.SUCCESSOR, Trouble.DISK})


def begin() -> tuple[Journey, tuple[Effect, ...]]:
    """Where every start of a device begins, after a crash too: with a look at the files."""
    return Journey(), (Look(),)


def advance(journey: Journey, event: Event) -> tuple[Journey, tuple[Effect, ...]]:
    """Where the device stands after ``event``, and what it does now; the last effect has an outcome."""
    happened = _counted(journey, event.kind)
    row = row_of(journey.stage, happened)
    after = replace(
        _tally(journey, happened, row),
        stage=row.stage or journey.stage,
        trouble=row.trouble or _remaining(journey, happened),
    )
    after = replace(after, detail=_detail(journey, after, event) if after.trouble else "")
    return after, tuple(_timed(effect, after, event.retry_after) for effect in row.effects)


def _counted(journey: Journey, happened: Happened) -> Happened:
    """The broker's refusal, or its last that counts."""
    if happened is Happened.TURNED_AWAY and journey.refusals + 1 >= LAST_REFUSAL:
        return Happened.BARRED
    return happened


def _tally(journey: Journey, happened: Happened, row: Row) -> Journey:
    return replace(
        journey,
        misses=_misses(journey, happened),
        refusals=_refusals(journey, happened, row),
        asked=_asked(journey, happened),
    )


def _misses(journey: Journey, happened: Happened) -> int:
    """A session counts as good once it has lasted: one that is always lost at once is backed off from."""
    if happened in _MISSED:
        return journey.misses + 1
    lasted = journey.stage is Stage.CONNECTED and happened in (Happened.TICK, Happened.DUE)
    return 0 if lasted else journey.misses


def _refusals(journey: Journey, happened: Happened, row: Row) -> int:
    """In a row, of one identity: of another one that is tried next the broker has refused nothing yet."""
    if happened is Happened.BARRED and row.stage is Stage.RETURNING:
        return 0
    if happened in (Happened.TURNED_AWAY, Happened.BARRED):
        return journey.refusals + 1
    return 0 if happened is Happened.UP else journey.refusals


def _asked(journey: Journey, happened: Happened) -> int:
    not_taken = journey.stage is Stage.STAGED and (happened in _MISSED or happened is Happened.UNUSABLE)
    if happened in _UNHELPFUL or not_taken:
        return journey.asked + 1
    first = journey.stage is Stage.WAITING and happened is Happened.ISSUED
    return 0 if happened in _SETTLED or first else journey.asked


def _remaining(journey: Journey, happened: Happened) -> Trouble | None:
    """A trouble lasts until the thing that was troubled goes well."""
    if happened in _SETTLED or (journey.stage is Stage.WAITING and happened is Happened.ISSUED):
        return None
    if happened is Happened.UP and (journey.asked == 0 or journey.trouble not in _OF_RENEWAL):
        return None
    return journey.trouble


def _detail(before: Journey, after: Journey, event: Event) -> str:
    """What was said about the trouble, first of all by the event that brought it."""
    return event.detail or (before.detail if before.trouble is after.trouble else "")


def _timed(effect: Effect, journey: Journey, retry_after: float | None) -> Effect:
    """The effect with its length worked out."""
    if isinstance(effect, Wait | Serve | Rest) and isinstance(effect.length, Pause):
        pause = effect.length
        failures = journey.misses if pause.per == "misses" else journey.asked
        return type(effect)(pause.span(failures, retry_after))
    return effect


def span_of(effect: Timed) -> Span:
    """The length of an effect that ``advance`` gave; raises TypeError for one out of the table."""
    if isinstance(effect.length, Span):
        return effect.length
    raise TypeError("its length is not worked out")
