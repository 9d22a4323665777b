"""An identity provider on a real TLS socket: discovery, keys, and tokens that joserfc signs."""

import contextlib
import json
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from joserfc import jwt
from joserfc.jwk import ECKey, OKPKey, RSAKey

from keyborn.domain.group import EnrollmentGroup, OidcRule
from keyborn.domain.method import Method, Way
from keyborn.domain.names import GroupName, NameScope
from keyborn.service.issuers import DISCOVERY
from support.rude_service import Exchange, RudeService, rude_service

AUDIENCE = "keyborn"
JWKS = "/keys"
Key = RSAKey | ECKey | OKPKey


def new_key(algorithm: str) -> Key:
    """A key that signs with ``algorithm``."""
    if algorithm.startswith(("RS", "PS")):
        return RSAKey.generate_key(2048)
    curves = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}
    return ECKey.generate_key(curves[algorithm]) if algorithm in curves else OKPKey.generate_key("Ed25519")


def public(key: Key, **more: object) -> dict[str, Any]:
    """As a key set has it."""
    return {**key.as_dict(private=False), **more}


def sign(key: Key, header: dict[str, Any], claims: dict[str, Any]) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # of EdDSA, which RFC 9864 splits into two names; issuers still say it
        return jwt.encode(header, claims, key, algorithms=[header["alg"]])


@dataclass
class Provider:
    """What an operator configures, and what it gives its customers."""

    server: RudeService
    keys: dict[str, Key] = field(default_factory=dict)
    """By kid; what is published, in that order."""
    algorithm: str = "ES256"
    signing: str = "first"
    headers: dict[str, str] = field(default_factory=dict)
    """Of the answer with the keys."""
    document: dict[str, Any] = field(default_factory=dict)
    """Members of the discovery document that are changed."""
    extra: list[dict[str, Any]] = field(default_factory=list)
    """Further members of the key set."""

    def __post_init__(self) -> None:
        self.add("first")
        self.server.script(DISCOVERY, self._discovery)
        self.server.script(JWKS, self._keys)

    @property
    def url(self) -> str:
        return self.server.url

    @property
    def fetched(self) -> int:
        """How often the keys were fetched."""
        return len(self.server.asked(JWKS))

    def add(self, kid: str) -> None:
        self.keys[kid] = new_key(self.algorithm)

    def rotate(self, kid: str) -> None:
        """Sign with a new key from now on; the old one stays published."""
        self.add(kid)
        self.signing = kid

    def token(
        self, now: datetime, *, kid: str | None = None, header: object = None, **changes: object
    ) -> str:
        """A token as of ``now``; ``changes`` of its claims, None leaves one out."""
        kid = kid or self.signing
        fields = {"alg": self.algorithm, "kid": kid, "typ": "JWT"}
        fields = {**fields, **header} if isinstance(header, dict) else fields
        return sign(
            self.keys[kid], {k: v for k, v in fields.items() if v is not None}, self.claims(now, **changes)
        )

    def claims(self, now: datetime, **changes: object) -> dict[str, Any]:
        seconds = int(now.timestamp())
        claims = {
            "iss": self.url,
            "aud": AUDIENCE,
            "sub": "sensor-1",
            "iat": seconds,
            "nbf": seconds,
            "exp": seconds + 600,
            "jti": f"id-{seconds}",
            "factory": "7",
            **changes,
        }
        return {name: value for name, value in claims.items() if value is not None}

    def group(self, **changes: Any) -> EnrollmentGroup:  # noqa: ANN401 - any field of the rule
        """A group that takes its tokens."""
        rule = OidcRule(
            **{
                "issuer": self.url,
                "audience": AUDIENCE,
                "name": "{sub}",
                "claims": {"factory": "7"},
                "roots_pem": self.server.pki.root_pem,
                **changes,
            }
        )
        ways = (Way(frozenset({Method.OIDC})),)
        return EnrollmentGroup(GroupName("line-7"), NameScope("sensor-*"), ways, oidc=rule)

    def _discovery(self, exchange: Exchange) -> None:
        document = {"issuer": self.url, "jwks_uri": self.url + JWKS, **self.document}
        exchange.send(200, json.dumps(document).encode(), Content_Type="application/json")

    def _keys(self, exchange: Exchange) -> None:
        keys = [public(key, kid=kid, use="sig") for kid, key in self.keys.items()]
        exchange.send(200, json.dumps({"keys": [*self.extra, *keys]}).encode(), **self.headers)


@contextlib.contextmanager
def provider(folder: Path, **fields: Any) -> Iterator[Provider]:  # noqa: ANN401 - any field of a provider
    with rude_service(folder) as server:
        yield Provider(server, **fields)
