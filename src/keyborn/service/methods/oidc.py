"""OIDC: a token of the group's identity provider, shown as the bearer.

What is believed comes from the operator's document alone: which issuer, where its keys are asked for, which
audience, which claims. A token may be used for one thing and one key, and then again for just these.
"""

from types import ModuleType

from keyborn.domain.errors import CredentialMissing, MethodNotAccepted
from keyborn.domain.group import EnrollmentGroup, OidcRule
from keyborn.domain.identity_token import Claims, check, read_claims, read_header
from keyborn.domain.name_template import fill
from keyborn.domain.names import NameScope
from keyborn.ports import Clock, Credential, Outbound
from keyborn.service.issuers import Issuer, Issuers, KeySet
from keyborn.service.methods import Proven


class OidcMethod:
    """Implements ``CredentialMethod``."""

    def __init__(self, outbound: Outbound, clock: Clock) -> None:
        self._clock = clock
        self._issuers = Issuers(outbound, clock, _read_keys)

    async def prove(self, credential: Credential, group: EnrollmentGroup) -> Proven:
        """Raise CredentialMissing, a leaf of ``errors.federating``, CredentialNameUnfit, IssuerUnavailable.

        Form first, which costs nothing; then the signature; what the token says is looked at once that is
        proved, so that refusals tell a stranger nothing.
        """
        rule = _rule(group)
        if credential.bearer is None:
            raise CredentialMissing
        header = read_header(credential.bearer)
        keys = await self._issuers.find(Issuer(rule.issuer, rule.roots_pem), header)
        claims = read_claims(_jose().verify(credential.bearer, header, keys))
        check(claims, rule, group, self._clock.now())
        return _proven(claims, rule)


def _proven(claims: Claims, rule: OidcRule) -> Proven:
    return Proven(
        account=claims.account,
        scope=NameScope(fill(rule.name, claims.values)),
        uses=1,
        expires_at=claims.expires_at,
        details=claims.details,
    )


def _rule(group: EnrollmentGroup) -> OidcRule:
    if group.oidc is None:
        accepted = ", ".join(str(way) for way in group.ways)
        raise MethodNotAccepted(group=group.name, shown="oidc", accepted=accepted)
    return group.oidc


def _read_keys(body: bytes) -> KeySet:
    keys: KeySet = _jose().read_keys(body)
    return keys


def _jose() -> ModuleType:
    """PyJWT, not before somebody shows a token: on AWS it would be a part of every cold start."""
    from keyborn.service.methods import jose  # noqa: PLC0415 - as said

    return jose
