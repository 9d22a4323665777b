"""How many examples a property is tried with: all in ``make test-full``, a part of them in ``make test``."""

import os

PART = 1 if os.environ.get("KEYBORN_FULL") else 3


def examples(count: int) -> int:
    """Of so many."""
    return max(count // PART, 10)
