"""How much of a walk is walked: all of it in ``make test-full``, a part of it in ``make test``."""

import os

FULL = bool(os.environ.get("KEYBORN_FULL"))
_PART = 1 if FULL else 3


def examples(count: int) -> int:
    """Of so many examples of a property, how many are tried."""
    return max(count // _PART, 10)
