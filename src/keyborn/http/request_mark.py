"""The request under way: its id, which the answer, a problem document and each log line carry."""

import os
from contextvars import ContextVar

HEADER = b"x-request-id"


class Mark:
    """One request. The id is ours: what a caller sends under that name is not looked at."""

    __slots__ = ("code", "id")

    def __init__(self, known: str = "") -> None:
        """``known``: the id that another process of ours gave it."""
        self.id = known or os.urandom(8).hex()
        self.code = ""
        """Of the problem document that answers it; empty where none does."""


current: ContextVar[Mark | None] = ContextVar("keyborn_request", default=None)
"""None outside of a request."""
