"""Authenticators: a credential becomes an applicant, or a refusal that tells an attacker nothing."""

import hmac

from keyborn.domain.applicant import Applicant
from keyborn.domain.errors import CredentialMissing, CredentialRefused, OpenEnrollmentRefused
from keyborn.domain.method import Method
from keyborn.domain.seal import TokenFacts
from keyborn.domain.token import EnrollmentToken, TokenId, decode_secret, digest, token_id
from keyborn.ports import Credential, Tokens

_NOBODY = bytes(32)
_LOOPBACK = frozenset({"127.0.0.1", "::1"})


class TokenAuthenticator:
    """Bearer secrets: found by their public id, compared in constant time."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    async def authenticate(self, credential: Credential) -> Applicant:
        """Raise CredentialMissing or CredentialRefused.

        An expired token still proves who asks: the rules of enrolment let it repeat a lost answer. A group
        key proves nothing by being shown: its devices sign.
        """
        if credential.bearer is None:
            raise CredentialMissing
        secret = decode_secret(credential.bearer)
        token = await self._tokens.find(token_id(secret))
        genuine = hmac.compare_digest(token.digest if token else _NOBODY, digest(secret))
        if token is None or not genuine or token.withdrawn_at is not None or token.key is not None:
            raise CredentialRefused
        return applicant_of(token.id, token)


class OpenEnrollment:
    """No credential asked, on loopback only: everybody there holds one shared, short-lived, counted token."""

    def __init__(self, tokens: Tokens, shared: TokenId, fallback: TokenAuthenticator) -> None:
        """``shared`` was created for this run (an hour, 100 things, any name)."""
        self._tokens = tokens
        self._shared = shared
        self._fallback = fallback

    async def authenticate(self, credential: Credential) -> Applicant:
        """Raise OpenEnrollmentRefused for anything that is not plainly this machine."""
        if credential.bearer is not None:
            return await self._fallback.authenticate(credential)
        if credential.source not in _LOOPBACK:
            raise OpenEnrollmentRefused(detail="the caller is not on this machine")
        if credential.proxied:
            raise OpenEnrollmentRefused(detail="the request came through a proxy or names another host")
        token = await self._tokens.find(self._shared)
        if token is None or token.withdrawn_at is not None:
            raise OpenEnrollmentRefused(detail="its shared token was withdrawn")
        return applicant_of(token.id, token, method=Method.OPEN)


def applicant_of(
    token: TokenId,
    permits: EnrollmentToken | TokenFacts,
    *,
    method: Method = Method.TOKEN,
    digest: bytes | None = None,
) -> Applicant:
    """Who holds ``token``, and what it permits; ``digest`` of a secret that nobody has looked up yet."""
    return Applicant(
        method=method,
        token=token,
        scope=permits.scope,
        uses=permits.uses,
        expires_at=permits.expires_at,
        may_replace=permits.replace,
        kind=permits.kind,
        group=permits.group,
        policies=permits.policies,
        digest=digest,
    )
