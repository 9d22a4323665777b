"""How many calls to AWS stand one after the other: what a caller waits for, whatever runs side by side."""

import threading
import time
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Trip:
    """One call, from its sending to its answer, on the monotonic clock."""

    operation: str
    began: float
    ended: float


@dataclass(slots=True)
class RoundTrips:
    """Hooks on botocore clients; ``trips`` are the calls since the last ``clear``."""

    hold: float = 0.0
    """Seconds for which each call is held up, so that those that go together are seen to."""
    trips: list[Trip] = field(default_factory=list)
    _thread: threading.local = field(default_factory=threading.local)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def watch(self, client: Any) -> Any:  # noqa: ANN401 - botocore's clients have no types
        """Watch a client from now on; returns it."""
        events = client.meta.events
        events.register_first("before-send", self._before)
        events.register_last("after-call", self._after)
        return client

    def clear(self) -> None:
        """Begin anew."""
        self.trips.clear()

    def _before(self, event_name: str, **_: object) -> None:
        self._thread.operation = event_name.rpartition(".")[2]
        self._thread.began = time.monotonic()
        time.sleep(self.hold)

    def _after(self, **_: object) -> None:
        trip = Trip(self._thread.operation, self._thread.began, time.monotonic())
        with self._lock:
            self.trips.append(trip)

    def sequential(self) -> list[str]:
        """The longest row of calls of which each began after the one before had ended."""
        row: list[Trip] = []
        for trip in sorted(self.trips, key=lambda one: one.ended):
            if not row or trip.began >= row[-1].ended:
                row.append(trip)
        return [trip.operation for trip in row]
