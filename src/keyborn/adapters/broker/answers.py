"""Answers that must not be given before a commit, in the order of the questions (MQTT 3.1.1 section 4.6)."""

from collections import deque
from collections.abc import Callable
from functools import partial

from keyborn.adapters.broker.keeper import Keeper

Then = Callable[[bool], None]
"""Told whether what it waited for is durable."""


class _Slot:
    """One answer that waits; ``written`` is None while that is not known."""

    __slots__ = ("then", "written")

    def __init__(self, then: Then, *, written: bool | None) -> None:
        self.then = then
        self.written = written


class Answers:
    """The answers of one connection. Where nothing durable was touched, nothing waits.

    ``caught_up`` is called when no more than ``limit`` wait, after there were.
    """

    def __init__(self, keeper: Keeper | None, limit: int, caught_up: Callable[[], None]) -> None:
        self._journal = None if keeper is None else keeper.journal
        self._limit = limit
        self._caught_up = caught_up
        self._waiting: deque[_Slot] = deque()

    @property
    def crowded(self) -> bool:
        """Whether so many wait that the client should be read from no further."""
        return len(self._waiting) > self._limit

    def mark(self) -> int:
        """What ``free`` and ``after`` compare with: taken before a packet is handled, in the same turn."""
        return 0 if self._journal is None else self._journal.urgent

    def free(self, mark: int) -> bool:
        """Whether an answer may go out now: nothing durable has changed since ``mark``, and none waits."""
        return not self._waiting and (self._journal is None or self._journal.urgent == mark)

    def after(self, mark: int, then: Then) -> None:
        """Call ``then`` when all that has changed since ``mark`` is durable, or cannot be; now if ``free``.

        Those of one connection are called in the order in which they came.
        """
        journal = self._journal
        if journal is None or self.free(mark):
            then(True)  # noqa: FBT003 - a callback's one argument
            return
        if journal.urgent == mark:
            self._waiting.append(_Slot(then, written=True))
            return
        slot = _Slot(then, written=None)
        self._waiting.append(slot)
        journal.when_written(partial(self._settle, slot))

    def forget(self) -> None:
        """The connection is over: nobody is left to be answered."""
        self._waiting.clear()

    def _settle(self, slot: _Slot, written: bool) -> None:  # noqa: FBT001 - a callback's one argument
        slot.written = written
        was_crowded = self.crowded
        while self._waiting and self._waiting[0].written is not None:
            first = self._waiting.popleft()
            first.then(bool(first.written))
        if was_crowded and not self.crowded:
            self._caught_up()
