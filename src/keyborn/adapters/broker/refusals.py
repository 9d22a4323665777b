"""Log lines that say who was refused what, and why. Never a payload; hostile text is escaped and cut."""

import logging
import time
from collections import OrderedDict
from collections.abc import Callable

LOG = logging.getLogger("keyborn.broker")

_BURST = 50.0
_PER_SECOND = 1.0
_SOURCES = 1024
_CUT = 300


def quoted(text: str) -> str:
    """``text`` as one line of printable ASCII in quotes, cut."""
    return ascii(text if len(text) <= _CUT else text[:_CUT] + "…")


def line(event: str, **fields: object) -> str:
    """``event key=value …``; strings with anything but a plain word in them are quoted, None is left out."""
    return " ".join(
        [event, *(f"{key}={_value(value)}" for key, value in fields.items() if value is not None)]
    )


def _value(value: object) -> str:
    text = str(value)
    plain = len(text) <= _CUT and text.isascii() and all(char.isalnum() or char in "_-.:[]" for char in text)
    return text if plain and text else quoted(text)


class Refusals:
    """One warning per refusal; a source that repeats itself is cut to one line a second after a burst.

    ``source`` is whoever is at fault (a certificate id or an address), so that nobody's noise hides another's
    refusal. Memory is bounded: the source heard least recently is forgotten first.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self.count = 0
        """Of all refusals, whether they were logged or not."""
        self._sources: OrderedDict[str, tuple[float, float, int]] = OrderedDict()

    def refuse(self, source: str, **fields: object) -> None:
        """Log that something was refused: action, resource, reason, and who."""
        self.count += 1
        self.say(source, "refused", **fields)

    def say(self, source: str, event: str, **fields: object) -> None:
        """Log any event that hostile clients could repeat for ever."""
        now = self._now()
        tokens, then, silent = self._sources.pop(source, (_BURST, now, 0))
        tokens = min(_BURST, tokens + (now - then) * _PER_SECOND)
        if tokens >= 1:
            LOG.warning("%s", line(event, **fields, suppressed=silent or None))
            tokens, silent = tokens - 1, 0
        else:
            silent += 1
        self._sources[source] = (tokens, now, silent)
        if len(self._sources) > _SOURCES:
            self._sources.popitem(last=False)
