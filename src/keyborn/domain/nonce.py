"""Nonces: words that make a signed request good for once (RFC 8555, 6.5), and are known without being kept.

Shape: 8 bytes of time, 16 random ones, and 16 of HMAC-SHA-256 over both under a key of the service. So
handing one out keeps nothing, and nobody else can make one. Which are spent, somebody has to remember.
"""

import hashlib
import hmac
from datetime import timedelta

from keyborn.domain.errors import BadNonce, JwsMalformed
from keyborn.domain.jws import decode, encode

LIFETIME = timedelta(minutes=5)
"""How long a nonce is good for."""
NONCE_KEY_BYTES = 32
NONCE_RANDOM_BYTES = 16
_TIME_BYTES, _MAC_BYTES = 8, 16
_BODY_BYTES = _TIME_BYTES + NONCE_RANDOM_BYTES
_LABEL = b"keyborn nonces"


def nonce_key(seal_key: bytes) -> bytes:
    """The key of nonces where a service has one for its seals; neither tells anything of the other.

    What is sealed begins with 16 random bytes and more, so no seal is the code of this label.
    """
    return hmac.digest(seal_key, _LABEL, hashlib.sha256)


def make_nonce(key: bytes, issued: int, random: bytes) -> str:
    """A nonce of a moment, in milliseconds since 1970; ``random`` is 16 bytes nobody can guess."""
    body = issued.to_bytes(_TIME_BYTES) + random
    return encode(body + _mac(key, body))


def read_nonce(key: bytes, nonce: str) -> bytes:
    """The time and random bytes of a nonce that was made with ``key``; they sort by time. Raises BadNonce."""
    try:
        raw = decode(nonce, "nonce")
    except JwsMalformed:
        raise BadNonce from None
    body, mac = raw[:_BODY_BYTES], raw[_BODY_BYTES:]
    if len(raw) != _BODY_BYTES + _MAC_BYTES or not hmac.compare_digest(mac, _mac(key, body)):
        raise BadNonce
    return body


def issued_at(body: bytes) -> int:
    """When a nonce was made, in milliseconds since 1970, by what ``read_nonce`` gave."""
    return int.from_bytes(body[:_TIME_BYTES])


def _mac(key: bytes, body: bytes) -> bytes:
    return hmac.digest(key, body, hashlib.sha256)[:_MAC_BYTES]
