"""The key that signs the audit trail's checkpoints on AWS: an item that no enrolment may read."""

from collections.abc import Sequence

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from keyborn.adapters.aws.table import DynamoRegistry
from keyborn.domain.checkpoint import KEY_BYTES, Signed, key_id
from keyborn.ports import Entropy


class TableNotary:
    """Implements ``keyborn.ports.Notary`` for one stack; the key is asked for when it is first needed."""

    def __init__(self, registry: DynamoRegistry, service: str, entropy: Entropy) -> None:
        """``service``: see ``service_of``."""
        self._registry = registry
        self._service = service
        self._entropy = entropy
        self._key: Ed25519PrivateKey | None = None

    async def service(self) -> str:
        """See ``Notary.service``."""
        return self._service

    async def sign(self, text: bytes) -> Signed:
        """See ``Notary.sign``. Raises leaves of Unavailable."""
        key = self._key = self._key or await self._open()
        return Signed(key_id(_public(key)), key.sign(text))

    async def keys(self) -> Sequence[bytes]:
        """See ``Notary.keys``. Raises leaves of Unavailable."""
        return await self._registry.notaries()

    async def _open(self) -> Ed25519PrivateKey:
        seed = await self._registry.notary_key()
        if seed is None:
            fresh = self._entropy.token_bytes(KEY_BYTES)
            public = _public(Ed25519PrivateKey.from_private_bytes(fresh))
            seed = await self._registry.make_notary_key(fresh, public)
        return Ed25519PrivateKey.from_private_bytes(seed)


def service_of(iot_arn: str, table: str) -> str:
    """What names a stack's trail: region, account and table, whose name CloudFormation gives but once."""
    _, partition, _, region, account = iot_arn.split(":")
    return f"arn:{partition}:dynamodb:{region}:{account}:table/{table}"


def _public(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes_raw()
