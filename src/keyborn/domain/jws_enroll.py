"""Signed enrolments: a flattened JWS around the body of an enrolment.

The protected header holds ``alg``, ``nonce``, ``url`` and either ``kid``, the id of a group key from which
the signing key was derived (HS256, RFC 7518, 3.2), or ``x5c``, the certificates of a manufacturer (RFC 7515,
4.1.6).
"""

from dataclasses import dataclass, field

from keyborn.domain.token import TokenId


@dataclass(frozen=True, slots=True)
class SignedEnrollment:
    """A signed enrolment as it was read; nothing is known of its signature, nor of its nonce, yet."""

    algorithm: str
    nonce: str
    url: str
    addresses: tuple[str, ...]
    """The URLs under which the route may be known, ours first: ``url`` has to be one of them."""
    signing_input: bytes = field(repr=False)
    """The bytes that were signed (RFC 7515, 5.1)."""
    signature: bytes = field(repr=False)
    group_key: TokenId | None = None
    """``kid``: the id of a group key; None where there are certificates."""
    chain: tuple[bytes, ...] = ()
    """``x5c``: DER, the signer's certificate first."""
