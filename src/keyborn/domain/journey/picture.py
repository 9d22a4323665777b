"""The journey's table for people: docs/reference/journey.md, from the data that ``advance`` uses."""

from collections.abc import Iterator, Mapping

from keyborn.domain.journey.effects import ConnectWith, Effect, Pause, Rest, Serve, Wait
from keyborn.domain.journey.table import ANYWHERE, STAGES, Row
from keyborn.domain.journey.words import LAST_REFUSAL, MEANING, Happened, Slot, Stage, Trouble

_HEAD = """# The journey of a device

What a device does next follows from where it stands and what happened. This is the whole table: what is not
in it is answered by a look at the files, which decide. Every start begins with that look, after a power cut
too. The words of the files: `device.*` is the current identity, `next.*` the one that is being tried, and
`previous.*` the one before, kept until the service has confirmed that its certificate is retired.
"""
_TAIL = """
Where a span of seconds is given, each device draws from it. The first number grows with every failure up to
the second, and a service's `Retry-After` takes its place. `Rest` only notes how long no renewal is tried.
"""
_ROWS = "| what happened | then it is | and does | and says |\n| --- | --- | --- | --- |"
_NAMES = {Slot.CURRENT: "the current", Slot.NEXT: "the next", Slot.PREVIOUS: "the previous"}
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def page() -> str:
    """The table as Markdown."""
    parts = [_HEAD, *(_section(stage) for stage in Stage)]
    parts += ["\n## Anywhere else\n", _ROWS, *_lines(None, ANYWHERE), _TAIL, _troubles()]
    return "\n".join(parts) + "\n"


def words_of(effect: Effect) -> str:
    """An effect as the table shows it: ``ConnectWith the next``, ``Wait 1 min … 6 h``."""
    name = type(effect).__name__
    if isinstance(effect, ConnectWith):
        return f"{name} {_NAMES[effect.slot]}"
    if isinstance(effect, Wait | Serve | Rest) and isinstance(effect.length, Pause):
        return f"{name} {_span(effect.length)}"
    return name


def _section(stage: Stage) -> str:
    head = f"\n## {stage.value.capitalize()}\n\n{MEANING[stage]}\n"
    if not STAGES[stage]:
        return f"{head}\nOnly what can happen anywhere."
    return "\n".join([head, _ROWS, *_lines(stage, STAGES[stage])])


def _lines(stage: Stage | None, rows: Mapping[Happened, Row]) -> Iterator[str]:
    for happened, row in rows.items():
        where = row.stage or stage
        does = ", ".join(words_of(effect) for effect in row.effects)
        says = f"`{row.trouble.name.lower()}`" if row.trouble else ""
        yield f"| {happened.value} | {where.value if where else 'as before'} | {does} | {says} |"


def _troubles() -> str:
    lines = ["## What it says\n", "| word | sentence |", "| --- | --- |"]
    lines += [f"| `{each.name.lower()}` | {each.value} |" for each in Trouble]
    lines.append(
        f"\nThe broker's refusals count up to {LAST_REFUSAL}, which is “for the last time that counts”."
    )
    return "\n".join(lines)


def _span(pause: Pause) -> str:
    first, longest = _shown(pause.first), _shown(pause.longest)
    return first if first == longest else f"{first} … {longest}"


def _shown(seconds: float) -> str:
    for unit, size in (("d", _DAY), ("h", _HOUR), ("min", _MINUTE)):
        if seconds >= size:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s"
