"""The places on a device where an identity can lie; apart, so that a publisher loads no more than this.

The registry has slots, too, for what it knows of certificates: ``keyborn.domain.certificate``.
"""

from enum import StrEnum


class Slot(StrEnum):
    """A key, a certificate and what binds them; the value is how the names of their files begin."""

    CURRENT = "device"
    NEXT = "next"
    PREVIOUS = "previous"
