"""Signed enrolments: a flattened JWS around the body of an enrolment.

The protected header holds ``alg``, ``nonce``, ``url`` and either ``kid``, the id of a group key from which
the signing key was derived (HS256, RFC 7518, 3.2), or ``x5c``, the certificates of a manufacturer (RFC 7515,
4.1.6).
"""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from keyborn.domain.errors import JwsMalformed
from keyborn.domain.group_key import is_group_key_id
from keyborn.domain.jws import HEADER, Algorithm, Draft, encode, read_flattened, require_members, require_once
from keyborn.domain.token import TokenId

HS256 = "HS256"
"""HMAC-SHA-256 (RFC 7518, 3.2)."""
MAX_CHAIN = 5
"""Certificates in ``x5c``."""
MAX_CERTIFICATE = 4096
"""Bytes of DER of each."""

_BY_KEY = frozenset({"alg", "kid", "nonce", "url"})
_BY_CERTIFICATE = frozenset({"alg", "x5c", "nonce", "url"})


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


def parse_signed_enrollment(body: bytes, addresses: Sequence[str]) -> tuple[SignedEnrollment, bytes]:
    """Read a signed enrolment: what is said of its signature, and its payload.

    ``addresses``: the URLs under which the route may be known, ours first. Raises JwsMalformed, and nothing
    else, for any bytes whatever.
    """
    parts = read_flattened(body)
    fields = parts.header
    by_certificate = "x5c" in fields
    require_members(fields, _BY_CERTIFICATE if by_certificate else _BY_KEY, HEADER)
    for name in sorted(fields.keys() - {"x5c"}):
        if not isinstance(fields[name], str):
            raise JwsMalformed(detail=f"{name} is not a string")
    require_once(fields)
    key, chain = (None, _read_chain(fields)) if by_certificate else (_read_key(fields), ())
    signed = SignedEnrollment(
        fields["alg"],
        fields["nonce"],
        fields["url"],
        tuple(addresses),
        parts.signing_input,
        parts.signature,
        key,
        chain,
    )
    return signed, parts.payload


def _read_key(fields: Mapping[str, Any]) -> TokenId:
    if fields["alg"] != HS256:
        raise JwsMalformed(detail=f"with a kid alg is {HS256}")
    if not is_group_key_id(fields["kid"]):
        raise JwsMalformed(detail="kid is not the id of a group key (k and 16 hex digits in lower case)")
    return TokenId(fields["kid"])


def _read_chain(fields: Mapping[str, Any]) -> tuple[bytes, ...]:
    if fields["alg"] not in list(Algorithm):
        raise JwsMalformed(detail=f"with x5c alg is one of {', '.join(Algorithm)}")
    chain = fields["x5c"]
    if not isinstance(chain, list) or not 1 <= len(chain) <= MAX_CHAIN:
        raise JwsMalformed(detail=f"x5c is not an array of 1 to {MAX_CHAIN} certificates")
    return tuple(map(_read_certificate, chain))


def _read_certificate(text: object) -> bytes:
    """Base64, not base64url, of DER (RFC 7515, 4.1.6); in its one canonical form."""
    try:
        raw = base64.b64decode(text.encode("ascii"), validate=True) if isinstance(text, str) else b""
    except (binascii.Error, ValueError):
        raw = b""
    if not 0 < len(raw) <= MAX_CERTIFICATE or base64.b64encode(raw).decode() != text:
        detail = f"x5c holds something else than base64 of at most {MAX_CERTIFICATE} bytes of DER"
        raise JwsMalformed(detail=detail)
    return raw


# ── drafts ────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Place:
    """Where a signed request goes, and what makes it good for once."""

    url: str
    nonce: str


def draft_by_key(key: TokenId, place: Place, payload: bytes) -> Draft:
    """An enrolment that the key that was derived from group key ``key`` is to sign."""
    return _draft({"alg": HS256, "kid": key}, place, payload)


def draft_by_certificate(algorithm: Algorithm, chain: Sequence[bytes], place: Place, payload: bytes) -> Draft:
    """An enrolment that the key of the first certificate of ``chain``, DER, is to sign."""
    return _draft(
        {"alg": algorithm, "x5c": [base64.b64encode(each).decode() for each in chain]}, place, payload
    )


def _draft(said: Mapping[str, Any], place: Place, payload: bytes) -> Draft:
    fields = {**said, "nonce": place.nonce, "url": place.url}
    return Draft(encode(json.dumps(fields, separators=(",", ":")).encode()), encode(payload))
