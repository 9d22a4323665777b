"""The outbox for one thread of the agent: opened when it is needed, and tried again where it cannot be.

An outbox that is damaged, or a disk that is full, must not keep a device from renewing its certificate.
"""

from contextlib import ExitStack
from pathlib import Path

from keyborn.device.messages import OutboxLimits
from keyborn.device.outbox import Observer, Outbox, open_outbox


class Box:
    """One thread's way to the outbox; close it in that thread."""

    def __init__(self, path: Path, limits: OutboxLimits, observer: Observer | None = None) -> None:
        self.path = path
        self._limits = limits
        self._observer = observer
        self._stack = ExitStack()
        self._outbox: Outbox | None = None

    def open(self) -> Outbox:
        """The outbox; raises OutboxUnusable or FileNotPrivate."""
        if self._outbox is None:
            self._outbox = self._stack.enter_context(open_outbox(self.path, self._limits))
            if self._observer is not None:
                self._outbox.observe(self._observer)
        return self._outbox

    def close(self) -> None:
        """Close it; ``open`` may open it again."""
        self._outbox = None
        self._stack.close()
