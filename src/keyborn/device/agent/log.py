"""The agent's log: one JSON object a line, for machines that collect them. No secret, no payload."""

import contextlib
import json
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from keyborn.ports import Clock


class Log:
    """Writes to ``stream``; a log that cannot be written ends nothing."""

    def __init__(self, stream: TextIO, clock: "Clock") -> None:
        self._stream = stream
        self._clock = clock

    def __call__(self, event: str, **facts: object) -> None:
        """Write one event; facts that are None are left out."""
        told = {name: value for name, value in facts.items() if value is not None}
        at = self._clock.now().isoformat(timespec="milliseconds")
        line = json.dumps({"at": at, "event": event, **told}, default=str)
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(line + "\n")
            self._stream.flush()

    def say(self, text: str) -> None:
        """A sentence for people."""
        self("note", text=text)
