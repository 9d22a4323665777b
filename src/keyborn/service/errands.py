"""Work that waits for its turn, and who may call it off: nobody enrols for a caller that has left.

An edge that knows of its callers' leaving sets ``current`` for each request. What waits for a turn says so;
only there, and before it has begun, may an edge cancel it. From then on there may be an intent on disk, and
it costs less to finish than to begin anew when the device comes back.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class Errand:
    """One caller's request, as far as who may call it off has to know."""

    __slots__ = ("in_line",)

    def __init__(self) -> None:
        self.in_line = False
        """Whether it waits for its turn, with nothing begun."""


current: ContextVar[Errand | None] = ContextVar("keyborn_errand", default=None)
"""Of the request under way; None where nobody calls one off."""


@contextmanager
def standing_in_line() -> Iterator[None]:
    """Whoever set ``current`` may cancel the task for as long as this lasts."""
    errand = current.get()
    if errand is None:
        yield
        return
    errand.in_line = True
    try:
        yield
    finally:
        errand.in_line = False
