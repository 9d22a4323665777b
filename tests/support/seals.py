"""A seal of whatever one likes, as only who holds the key can make it."""

import hmac


def resealed(key: bytes, random: bytes, said: bytes) -> bytes:
    """``said`` under a right seal."""
    return random + hmac.digest(key, random + said, "sha256")[:16] + said
