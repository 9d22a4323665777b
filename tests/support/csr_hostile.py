"""The table of hostile certificate requests: ``hostile()`` gives (what it is, the input, its code).

Made in about a second, once per process. Inputs are whatever a JSON body can hold as ``csr`` (and bytes,
which it cannot: see ``as_json`` to leave those out). Each row has one fault, and everything else right and
truly signed wherever its fault leaves that possible.
"""

import json
from functools import cache

from support import csr_hostile_der, csr_hostile_keys, csr_hostile_text, csr_hostile_wishes
from support.csr_build import Row


@cache
def hostile() -> tuple[Row, ...]:
    """Every row, always in the same order; names are unique."""
    return (
        *csr_hostile_text.rows(),
        *csr_hostile_der.rows(),
        *csr_hostile_keys.rows(),
        *csr_hostile_wishes.rows(),
    )


def as_json(value: object) -> bool:
    """Whether a JSON body can hold this input."""
    try:
        json.dumps(value)
    except TypeError:
        return False
    return True
