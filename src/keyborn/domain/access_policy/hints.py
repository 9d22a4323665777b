"""Words for refusals: what was written, safely shown, and what may have been meant."""

from collections.abc import Collection

from keyborn.domain.csr_pem import quoted

_LONGEST = 80
"""Characters that are compared: ``difflib`` needs quadratic time."""


def shown(text: str) -> str:
    """Quote ``text``, which may be hostile, for a sentence."""
    return quoted(text, _LONGEST)


def meant(text: str, known: Collection[str]) -> str:
    """A clause with the closest known word, to stand after a statement; empty where none is close."""
    # Here, because only who wrote something wrong is told: a function on AWS starts without it.
    from difflib import get_close_matches  # noqa: PLC0415

    folded = {word.lower(): word for word in known}
    close = get_close_matches(text[:_LONGEST].lower(), list(folded), n=1)
    return f"; perhaps {folded[close[0]]} is meant" if close else ""


def instead(text: str, known: Collection[str]) -> str:
    """A clause with the closest known word, or with all of them where none is close."""
    return meant(text, known) or f"; there is {', '.join(known)}"
