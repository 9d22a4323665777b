"""When a device renews: with one third of its certificate's lifetime left, a little later by its name.

Apart from the rules of renewal, so that a device loads no more than this. The same moment on both sides.
"""

import hashlib
from datetime import datetime, timedelta

from keyborn.domain.names import ThingName
from keyborn.domain.profile import MAX_DEVICE_LIFETIME

FOR_EVER = MAX_DEVICE_LIFETIME
"""No authority of ours signs for longer. What is valid longer (AWS IoT: until 2049) is renewed by its age."""
YEAR = timedelta(days=365)
"""What counts as the lifetime of a certificate that is valid for ever."""
SPREAD = 10
"""A fleet that enrolled in one night renews over one part in so many of the lifetime."""


def renew_at(name: ThingName, not_before: datetime, not_after: datetime) -> datetime:
    """When ``name`` should renew a certificate of these dates: at least 23 % of its lifetime is left then.

    Deterministic, so that a device that restarts does not draw again.
    """
    lifetime = not_after - not_before
    if lifetime > FOR_EVER:
        lifetime = YEAR
    return not_before + lifetime * 2 / 3 + lifetime / SPREAD * place_of(name)


def place_of(name: ThingName) -> float:
    """Where a name stands in its fleet, from 0 up to but not including 1; evenly spread over all names."""
    digest = hashlib.sha256(b"keyborn renewal\0" + name.encode()).digest()
    return int.from_bytes(digest[:6]) / 2**48
