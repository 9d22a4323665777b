"""Running coroutines without waiting: one to its end, several in a drawn order, a loop with virtual time."""

import asyncio
import selectors
from collections.abc import Coroutine, Generator, Sequence
from datetime import timedelta
from random import Random
from types import coroutine
from typing import Any, TypeVar

from keyborn.testing.time import VirtualClock

T = TypeVar("T")


@coroutine
def pause() -> Generator[None, None, None]:
    """Let others run; understood by ``run``, by ``interleave`` and by asyncio alike."""
    yield


def run(task: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end without an event loop; its pauses take no time.

    Raises RuntimeError if it waits for anything but a pause: nobody would ever wake it.
    """
    while True:
        done, result = _step(task)
        if done:
            return result  # type: ignore[return-value] # _step says so


def interleave(random: Random, *tasks: Coroutine[Any, Any, T]) -> Sequence[T | BaseException]:
    """Run coroutines side by side; at each pause ``random`` picks who goes on. Returns how each one ended."""
    ended: dict[int, T | BaseException] = {}
    while waiting := [number for number in range(len(tasks)) if number not in ended]:
        number = random.choice(waiting)
        try:
            done, result = _step(tasks[number])
        except BaseException as error:  # noqa: BLE001 - a crash, too, is how a task may end
            ended[number] = error
        else:
            if done:
                ended[number] = result  # type: ignore[assignment] # _step says so
    return [ended[number] for number in range(len(tasks))]


def _step(task: Coroutine[Any, Any, T]) -> tuple[bool, T | None]:
    try:
        waits_for = task.send(None)
    except StopIteration as end:
        return True, end.value
    if waits_for is not None:
        task.close()
        raise RuntimeError(f"it waits for {waits_for!r}, which needs an event loop")
    return False, None


class SteppedLoop(asyncio.SelectorEventLoop):
    """An asyncio loop whose timers take no time: when all wait, the virtual clock jumps to the next timer.

    For code that sleeps or times out, with everything in one thread: a thread's work takes real time, which
    this loop would skip.
    """

    def __init__(self, clock: VirtualClock | None = None) -> None:
        self.clock = clock or VirtualClock()
        self._start = self.clock.now()
        super().__init__(_Jump(self.clock))

    def time(self) -> float:
        """Seconds of virtual time since the loop was made."""
        return (self.clock.now() - self._start).total_seconds()


class _Jump(selectors.DefaultSelector):
    """A selector that moves the clock where others would wait."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Look, and if nothing is there, make the time pass."""
        if timeout is None:
            return super().select(None)
        ready = super().select(0)
        if not ready and timeout > 0:
            self._clock.advance(timedelta(milliseconds=int(timeout * 1000) + 1))
        return ready
