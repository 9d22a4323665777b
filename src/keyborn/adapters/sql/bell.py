"""How the writer's thread sleeps: until it is rung for, or a descriptor that it watches has something."""

import contextlib
import os
import select


class Bell:
    """One thread waits, any other rings."""

    def __init__(self, *watched: int) -> None:
        """``watched``: descriptors that end the sleep as well, once they are readable."""
        self._ear, self._hammer = os.pipe()
        self._poll = select.poll()
        for each in (self._ear, self._hammer):
            os.set_blocking(each, False)
        for each in (self._ear, *watched):
            self._poll.register(each, select.POLLIN)

    def ring(self) -> None:
        """End the sleep; one that has not begun yet will not begin."""
        with contextlib.suppress(BlockingIOError):  # so full of rings that one more says nothing
            os.write(self._hammer, b"\0")

    def wait(self) -> None:
        """Sleep."""
        if any(ready == self._ear for ready, _events in self._poll.poll()):
            os.read(self._ear, 4096)

    def close(self) -> None:
        """Nobody rings any more."""
        os.close(self._ear)
        os.close(self._hammer)
