"""Factory certificates: a device signs with the key that its maker gave it, and brings the chain.

The certificate is good for one name, which the group's rule makes of it. Neither it nor its key becomes part
of the device's identity here.
"""

from keyborn.domain.errors import CredentialMissing, FactoryRefused, SignatureRefused
from keyborn.domain.factory_chain import FactoryCertificate, read_authorities, verify_chain
from keyborn.domain.group import EnrollmentGroup, FactoryRule
from keyborn.domain.jws_enroll import SignedEnrollment
from keyborn.domain.jws_signature import verify_bytes
from keyborn.domain.name_template import fill
from keyborn.domain.names import NameScope, parse_thing_name
from keyborn.domain.token import TokenId
from keyborn.ports import Clock, Credential, Nonces
from keyborn.service.methods import Proven
from keyborn.service.methods.signed import require_signed


class FactoryMethod:
    """Implements ``CredentialMethod``."""

    def __init__(self, nonces: Nonces, clock: Clock) -> None:
        self._nonces = nonces
        self._clock = clock

    async def prove(self, credential: Credential, group: EnrollmentGroup) -> Proven:
        """Raise FactoryRefused, CredentialNameUnfit, and as ``require_signed`` and ``Nonces.spend`` do.

        The nonce is spent once the signature is known to be good, as with renewals.
        """
        signed = require_signed(credential)
        if not signed.chain or group.factory is None:
            raise CredentialMissing
        found = self._chained(signed, group.factory)
        _require_signature(signed, found)
        scope = _name_of(found, group.factory)
        await self._nonces.spend(signed.nonce)
        return Proven(
            account=TokenId("f" + found.signed_digest[:16]),
            scope=scope,
            details={"factoryCertificate": found.fingerprint},
        )

    def _chained(self, signed: SignedEnrollment, rule: FactoryRule) -> FactoryCertificate:
        try:
            authorities = read_authorities(rule.authorities_pem)
        except ValueError:  # no group is kept with such a document
            raise FactoryRefused(detail="the group's authorities cannot be read") from None
        return verify_chain(signed.chain, authorities, self._clock.now())


def _require_signature(signed: SignedEnrollment, found: FactoryCertificate) -> None:
    try:
        verify_bytes(signed.algorithm, signed.signature, signed.signing_input, found.public_key)
    except SignatureRefused:
        raise FactoryRefused(detail="the request is not signed by its key") from None


def _name_of(found: FactoryCertificate, rule: FactoryRule) -> NameScope:
    """The one name that the certificate is good for; raises CredentialNameUnfit, InvalidThingName."""
    return NameScope(parse_thing_name(fill(rule.name, found.values)))
