"""Group keys: a device signs with the key that was derived for its name (``domain.group_key``).

The signature covers name, CSR, address and nonce: nothing of a request can be used for another one. A key
that nobody knows and a signature that is wrong have one answer, and cost the same.
"""

from keyborn.domain.errors import CredentialMissing, GroupDiffers, GroupKeyRefused, NameNotPermitted
from keyborn.domain.group import EnrollmentGroup
from keyborn.domain.group_key import GROUP_KEY_BYTES, device_key, is_signed
from keyborn.domain.names import NameScope
from keyborn.domain.token import EnrollmentToken
from keyborn.ports import Credential, Nonces, Tokens
from keyborn.service.methods import Proven
from keyborn.service.methods.signed import asked_name, require_signed

_NOBODY = bytes(GROUP_KEY_BYTES)


class GroupKeyMethod:
    """Implements ``CredentialMethod``."""

    def __init__(self, tokens: Tokens, nonces: Nonces) -> None:
        """``tokens`` are those of the registry: a group key is one that has ``key``."""
        self._tokens = tokens
        self._nonces = nonces

    async def prove(self, credential: Credential, group: EnrollmentGroup) -> Proven:
        """Raise GroupKeyRefused, GroupDiffers, NameNotPermitted, and as ``signed`` and the ports do.

        The nonce is spent once the signature is known to be good: only who holds a key can use one up. An
        expired key still proves who asks: the rules of enrolment let it repeat a lost answer.
        """
        signed = require_signed(credential)
        if signed.group_key is None:
            raise CredentialMissing
        name = asked_name(credential)
        token = await self._tokens.find(signed.group_key)
        own = device_key(_key_of(token), name)
        genuine = is_signed(own, signed.signing_input, signed.signature)
        if token is None or token.key is None or token.withdrawn_at is not None or not genuine:
            raise GroupKeyRefused
        await self._nonces.spend(signed.nonce)
        if token.group != group.name:
            raise GroupDiffers(group=group.name)
        if not token.scope.covers(name):
            raise NameNotPermitted(name=name)
        return Proven(
            account=token.id,
            scope=NameScope(name),
            uses=token.uses,
            expires_at=token.expires_at,
            is_known=True,
            policies=token.policies,
            details={"groupKey": token.id},
        )


def _key_of(token: EnrollmentToken | None) -> bytes:
    """The key to compute with: one of nobody where there is none."""
    return _NOBODY if token is None or token.key is None else token.key
