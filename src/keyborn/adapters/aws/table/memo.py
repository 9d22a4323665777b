"""What this process remembers of the enrolments it has under way, so that their next steps need no reads.

Nothing rests on it: what is remembered is a guess, and every transaction demands that it is right.
"""

import threading
from collections import OrderedDict
from collections.abc import Mapping

from keyborn.adapters.aws.table.draft import Key
from keyborn.adapters.aws.table.values import Item
from keyborn.domain.intent import IntentId

_MOST = 1024

Remembered = Mapping[Key, Item | None]


class Memo:
    """The newest enrolments' items."""

    def __init__(self, most: int = _MOST) -> None:
        """At most so many enrolments."""
        self._most = most
        self._lock = threading.Lock()
        self._known: OrderedDict[IntentId, Remembered] = OrderedDict()

    def keep(self, intent: IntentId, items: Remembered) -> None:
        """Remember these items of an enrolment, beside those it had."""
        with self._lock:
            self._known[intent] = {**self._known.pop(intent, {}), **items}
            while len(self._known) > self._most:
                self._known.popitem(last=False)

    def of(self, intent: IntentId) -> Remembered:
        """What is remembered of an enrolment."""
        with self._lock:
            return self._known.get(intent, {})

    def forget(self, intent: IntentId) -> None:
        """It is over."""
        with self._lock:
            self._known.pop(intent, None)
