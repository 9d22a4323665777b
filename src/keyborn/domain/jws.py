"""Signed requests: a JWS in its flattened JSON form, the way ACME uses it.

RFC 7515 section 7.2.2 for the form, RFC 8555 section 6.2 for what the protected header holds: ``alg``,
``nonce``, ``url`` and ``kid``, here the id of the certificate whose key signs. Nothing else is taken: no
unprotected header, no ``jwk`` (a request never brings its own key), no ``crit``, no ``b64``. Signatures are
the affair of ``jws_signature``; devices draft requests with the same code that reads them.
"""

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from keyborn.domain.errors import JwsMalformed
from keyborn.domain.names import CertificateId, is_certificate_id

MEDIA_TYPE = "application/jose+json"
MAX_JWS = 16 * 1024
"""Bytes of a whole request."""
MAX_URL = 1024
HEADER = "its protected header"
"""How errors call it."""

_MEMBERS = frozenset({"payload", "protected", "signature"})
_HEADERS = frozenset({"alg", "kid", "nonce", "url"})
_BASE64URL = re.compile(r"[A-Za-z0-9_-]*")
_NONCE = re.compile(r"[A-Za-z0-9_-]{1,128}")
_URL = re.compile(rf"https://[!-~]{{1,{MAX_URL}}}")
_SHOWN = 40


class Algorithm(StrEnum):
    """How a request is signed (RFC 7518, 3.1); which of them, the key says."""

    ES256 = "ES256"
    ES384 = "ES384"
    ES512 = "ES512"
    RS256 = "RS256"


@dataclass(frozen=True, slots=True)
class Protected:
    """The protected header."""

    algorithm: Algorithm
    kid: CertificateId
    nonce: str
    url: str


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """A request as it was read; nothing is known of its signature yet."""

    protected: Protected
    payload: bytes
    signature: bytes
    signing_input: bytes
    """The bytes that were signed (RFC 7515, 5.1)."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A request that waits for its signature; both parts in base64url."""

    protected: str
    payload: str

    @property
    def signing_input(self) -> bytes:
        """The bytes to sign (RFC 7515, 5.1)."""
        return f"{self.protected}.{self.payload}".encode()

    def signed(self, signature: bytes) -> bytes:
        """The body to send; ``signature`` in the form of JWS (see ``jws_signature``)."""
        members = {"protected": self.protected, "payload": self.payload, "signature": encode(signature)}
        return json.dumps(members, separators=(",", ":")).encode()


def draft(header: Protected, payload: bytes) -> Draft:
    """Write a request down."""
    fields = {"alg": header.algorithm, "kid": header.kid, "nonce": header.nonce, "url": header.url}
    return Draft(encode(json.dumps(fields, separators=(",", ":")).encode()), encode(payload))


@dataclass(frozen=True, slots=True)
class Flattened:
    """The three members of a flattened JWS, decoded."""

    header: Mapping[str, Any]
    """The protected header: a JSON object of which nothing is known."""
    payload: bytes
    signature: bytes
    signing_input: bytes
    """The bytes that were signed (RFC 7515, 5.1)."""


def read_flattened(body: bytes) -> Flattened:
    """Take a JWS apart; raises JwsMalformed, and nothing else, for any bytes whatever."""
    if len(body) > MAX_JWS:
        raise JwsMalformed(detail=f"it has more than {MAX_JWS} bytes")
    members = _read_object(body, "the request")
    require_strings(members, _MEMBERS, "the request")
    protected, payload = members["protected"], members["payload"]
    return Flattened(
        _read_object(decode(protected, "protected"), HEADER),
        decode(payload, "payload"),
        decode(members["signature"], "signature"),
        f"{protected}.{payload}".encode(),
    )


def parse_jws(body: bytes) -> SignedRequest:
    """Read a request; raises JwsMalformed, and nothing else, for any bytes whatever."""
    parts = read_flattened(body)
    return SignedRequest(_read_header(parts.header), parts.payload, parts.signature, parts.signing_input)


def _read_header(fields: Mapping[str, Any]) -> Protected:
    require_strings(fields, _HEADERS, HEADER)
    if fields["alg"] not in list(Algorithm):
        raise JwsMalformed(detail=f"alg is not one of {', '.join(Algorithm)}")
    if not is_certificate_id(fields["kid"]):
        raise JwsMalformed(detail="kid is not a certificate id (64 hex digits in lower case)")
    require_once(fields)
    kid = CertificateId(fields["kid"])
    return Protected(Algorithm(fields["alg"]), kid, fields["nonce"], fields["url"])


def require_once(fields: Mapping[str, str]) -> None:
    """Look at what makes a request good for once and for one place; raises JwsMalformed."""
    if _NONCE.fullmatch(fields["nonce"]) is None:
        raise JwsMalformed(detail="nonce is none of ours (base64url)")
    if len(fields["url"]) > MAX_URL or _URL.fullmatch(fields["url"]) is None:
        raise JwsMalformed(detail="url is not an https URL")


def _read_object(text: bytes, what: str) -> dict[str, Any]:
    """A JSON object none of whose names stands twice (RFC 7515, 4, and 10.12)."""
    try:
        value = json.loads(text.decode(), object_pairs_hook=_once, parse_constant=_refuse)
    except JwsMalformed:
        raise
    except (ValueError, RecursionError):
        raise JwsMalformed(detail=f"{what} is not JSON in UTF-8") from None
    if not isinstance(value, dict):
        raise JwsMalformed(detail=f"{what} is not a JSON object")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise JwsMalformed(detail="a member stands in it twice")
    return members


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def require_strings(members: Mapping[str, Any], wanted: frozenset[str], what: str) -> None:
    """Just these members, and all of them strings; raises JwsMalformed."""
    require_members(members, wanted, what)
    for name in sorted(wanted):
        if not isinstance(members[name], str):
            raise JwsMalformed(detail=f"{name} is not a string")


def require_members(members: Mapping[str, Any], wanted: frozenset[str], what: str) -> None:
    """Just these members; raises JwsMalformed."""
    for name in sorted(wanted - members.keys()):
        raise JwsMalformed(detail=f"{what} has no {name}")
    for name in members.keys() - wanted:
        raise JwsMalformed(detail=f"{what} holds {ascii(name)[:_SHOWN]}, which is not taken")


# ── base64url ─────────────────────────────────────────────────────────────────────────────────────────


def encode(raw: bytes) -> str:
    """Base64url without padding (RFC 7515, 2)."""
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def decode(text: str, what: str) -> bytes:
    """Read it in its one canonical form: no padding, no white space, no stray bits. Raises JwsMalformed."""
    if _BASE64URL.fullmatch(text):
        try:
            raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        except binascii.Error:
            raw = None
        if raw is not None and encode(raw) == text:
            return raw
    raise JwsMalformed(detail=f"{what} is not base64url (without padding)")
