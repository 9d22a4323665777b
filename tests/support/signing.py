"""Devices that sign requests: a key, the id of its certificate, and the bodies they make."""

import json
from dataclasses import dataclass
from typing import Any

from keyborn.domain.jws import Protected, draft
from keyborn.domain.jws_signature import algorithm_of, sign
from keyborn.domain.names import CertificateId
from support.csr_make import DeviceKey, csr_for, make_key


@dataclass(frozen=True)
class Signer:
    """Who signs: a device with the key of one certificate."""

    name: str
    key: DeviceKey
    certificate_id: CertificateId

    def body(self, url: str, nonce: str, payload: object = None, *, key: DeviceKey | None = None) -> bytes:
        """A signed request; ``key`` signs in the place of the right one, ``payload`` may be bytes."""
        key = key or self.key
        said = (
            payload if isinstance(payload, bytes) else json.dumps({} if payload is None else payload).encode()
        )
        drafted = draft(Protected(algorithm_of(key), self.certificate_id, nonce, url), said)
        return drafted.signed(sign(key, drafted.signing_input))

    def next_key(self, key_type: str = "p256") -> "NextKey":
        """A new key and its request."""
        key = make_key(key_type)
        return NextKey(self.name, key, csr_for(key, self.name))


@dataclass(frozen=True)
class NextKey:
    """A key that asks for its certificate."""

    name: str
    key: DeviceKey
    csr: str

    @property
    def wish(self) -> dict[str, Any]:
        """What /v1/renew takes."""
        return {"csr": self.csr}

    def with_certificate(self, certificate_id: str) -> Signer:
        """Who signs with this key from now on."""
        return Signer(self.name, self.key, CertificateId(certificate_id))
