"""Tokens of an identity provider (OpenID Connect): a JWT that says who its holder is.

RFC 7519 for the claims, OpenID Connect Core 1.0 section 2 for those that have to be there, RFC 8725 for what
a verifier must not believe. Signatures are the affair of ``service.methods.jose``; nothing here is proved
until that has been asked.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from keyborn.domain.errors import (
    IdTokenAudience,
    IdTokenClaim,
    IdTokenExpired,
    IdTokenIssuer,
    IdTokenLifetime,
    IdTokenMalformed,
    IdTokenNotYet,
    JwsMalformed,
)
from keyborn.domain.group import EnrollmentGroup, OidcRule
from keyborn.domain.jws import decode
from keyborn.domain.moment import shown
from keyborn.domain.token import TokenId

MAX_TOKEN = 8 * 1024
"""Characters of a whole token."""
MAX_HEADER = 2 * 1024
"""Of its header, in base64url: some providers send their certificate along, which nobody reads here."""
MAX_KID = 256
MAX_LIFETIME = timedelta(hours=24)
LEEWAY = timedelta(seconds=60)
"""By which the provider's clock may be ahead."""
ALGORITHMS = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
)
"""Signatures only; ``none`` and the shared secrets of HS… are the classic ways to forge a JWT."""

_PARTS = 3
_SHOWN = 128
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_SECOND = 253402300799
"""Of the year 9999."""


@dataclass(frozen=True, slots=True)
class Header:
    """What is read of the header. ``jku``, ``x5u``, ``jwk`` and ``x5c`` are not: a token brings no keys."""

    algorithm: str
    """One of ``ALGORITHMS``."""
    kid: str | None
    """The key's name at the issuer."""


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says, once its signature is proved."""

    values: Mapping[str, Any]
    issuer: str
    subject: str
    audiences: frozenset[str]
    issued_at: datetime
    expires_at: datetime
    not_before: datetime | None
    id: str | None
    """``jti``."""

    @property
    def account(self) -> TokenId:
        """``o`` and 16 hex characters: one token is one account, wherever it is shown."""
        facts: list[object] = [self.issuer, self.id]
        if self.id is None:
            facts = [self.issuer, self.subject, self.values["iat"], self.values["exp"]]
        return TokenId("o" + hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16])

    @property
    def facts(self) -> dict[str, str]:
        """The claims that are one word each: strings, whole numbers, true and false."""
        return {name: text for name, value in self.values.items() if (text := _text(value)) is not None}

    @property
    def details(self) -> dict[str, str]:
        """For the audit trail."""
        return {"issuer": _cut(self.issuer), "subject": _cut(self.subject)}


def looks_like_jwt(bearer: str) -> bool:
    """Whether a bearer is meant to be one: an enrolment token's secret has no dots."""
    return bearer.count(".") == _PARTS - 1


def read_header(token: str) -> Header:
    """Raise IdTokenMalformed for what nobody here verifies."""
    head, _, _ = token.partition(".")
    if len(token) > MAX_TOKEN or len(head) > MAX_HEADER:
        raise IdTokenMalformed(detail=f"it, or its header, has more than {MAX_TOKEN} or {MAX_HEADER} bytes")
    if not token.isascii() or not looks_like_jwt(token):
        raise IdTokenMalformed(detail="it has not three parts of base64url")
    fields = _read_object(_decode(head), "its header")
    if "crit" in fields or "b64" in fields:
        raise IdTokenMalformed(detail="its header demands an extension that nobody here knows")
    algorithm, kid = fields.get("alg"), fields.get("kid")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise IdTokenMalformed(detail=f"alg is not one of {', '.join(sorted(ALGORITHMS))}")
    if kid is not None and not (isinstance(kid, str) and 0 < len(kid) <= MAX_KID):
        raise IdTokenMalformed(detail=f"kid is not a string of 1 to {MAX_KID} characters")
    return Header(algorithm, kid)


def read_claims(payload: bytes) -> Claims:
    """Read what a proved signature covers; raises IdTokenMalformed where a claim is missing or unfit."""
    values = _read_object(payload, "what it says")
    if "jti" in values:
        _string(values, "jti")
    return Claims(
        values=values,
        issuer=_string(values, "iss"),
        subject=_string(values, "sub"),
        audiences=_audiences(values.get("aud")),
        issued_at=_moment(values, "iat"),
        expires_at=_moment(values, "exp"),
        not_before=_moment(values, "nbf") if "nbf" in values else None,
        id=values.get("jti"),
    )


def check(claims: Claims, rule: OidcRule, group: EnrollmentGroup, now: datetime) -> None:
    """Hold a proved token to the group's rule, at this moment.

    Raises IdTokenIssuer, IdTokenAudience, IdTokenExpired, IdTokenNotYet, IdTokenLifetime or IdTokenClaim.
    """
    if claims.issuer != rule.issuer:
        raise IdTokenIssuer
    if rule.audience not in claims.audiences:
        raise IdTokenAudience
    _check_dates(claims, now)
    facts = claims.facts
    for name, value in rule.claims.items():
        if facts.get(name) != value:
            raise IdTokenClaim(claim=name, group=group.name)


def _check_dates(claims: Claims, now: datetime) -> None:
    if now >= claims.expires_at:
        raise IdTokenExpired(expired=shown(claims.expires_at))
    begins = max(claims.issued_at, claims.not_before or claims.issued_at)
    if begins > now + LEEWAY:
        raise IdTokenNotYet(begins=shown(begins))
    if claims.expires_at - claims.issued_at > MAX_LIFETIME:
        raise IdTokenLifetime(hours=MAX_LIFETIME // timedelta(hours=1))


def _decode(part: str) -> bytes:
    try:
        return decode(part, "its header")
    except JwsMalformed:
        raise IdTokenMalformed(detail="its header is not base64url") from None


def _read_object(text: bytes, what: str) -> dict[str, Any]:
    try:
        value = json.loads(text.decode(), object_pairs_hook=_once, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise IdTokenMalformed(detail=f"{what} is not JSON, or holds a name twice") from None
    if not isinstance(value, dict):
        raise IdTokenMalformed(detail=f"{what} is not a JSON object")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Two parsers may choose differently between two members of one name (RFC 7519, 4)."""
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError
    return members


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _string(values: Mapping[str, Any], name: str) -> str:
    value = values.get(name)
    if not isinstance(value, str) or not value:
        raise IdTokenMalformed(detail=f"it has no {name}")
    return value


def _audiences(value: object) -> frozenset[str]:
    listed: list[object] = value if isinstance(value, list) else [value]
    audiences = frozenset(each for each in listed if isinstance(each, str))
    if not audiences or not all(isinstance(each, str) for each in listed):
        raise IdTokenMalformed(detail="aud is not a string or a list of them")
    return audiences


def _moment(values: Mapping[str, Any], name: str) -> datetime:
    """A NumericDate (RFC 7519, 2): seconds since 1970, perhaps with a fraction."""
    value = values.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LAST_SECOND:
        raise IdTokenMalformed(detail=f"it has no {name} in seconds since 1970")
    return _EPOCH + timedelta(seconds=value)


def _text(value: object) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value) if abs(value) <= _LAST_SECOND else None
    return value if isinstance(value, str) else None


def _cut(text: str) -> str:
    """Printable ASCII, and not much of it."""
    return ascii(text[:_SHOWN])[1:-1][:_SHOWN]
