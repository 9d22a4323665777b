"""Requests and a signer for registries that have a certificate signed within the claim.

The signer fills the product's form with what an intent says, as the embedded authority does, but asks for no
dates of its own: tests turn their clocks as they like.
"""

import hashlib
from functools import cache

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keyborn.adapters.ca.certificates import Contents, Signer, self_signed
from keyborn.adapters.ca.leaf import DeviceContents, DeviceForm
from keyborn.domain.csr import CertificateRequest
from keyborn.domain.issuance import ApprovedRequest
from keyborn.domain.issued import SignedLeaf, read_leaf
from keyborn.domain.profile import ROOT, Validity
from support.registry_cases import LIFETIME, START, key


@cache
def spki(name: str) -> bytes:
    """The public key that ``name`` stands for, DER."""
    secret = int.from_bytes(hashlib.sha256(name.encode()).digest()[:31])
    public = ec.derive_private_key(secret, ec.SECP256R1()).public_key()
    return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def request_of(thing: str, key_name: str) -> CertificateRequest:
    """A request that was checked; its key's hash is what ``key`` calls it."""
    return CertificateRequest(thing, spki(key_name), key(key_name), "p256", "", frozenset())


@cache
def _form() -> DeviceForm:
    secret = ec.generate_private_key(ec.SECP256R1())
    contents = Contents("an authority", secret.public_key(), 1, Validity(START, START + LIFETIME))
    return DeviceForm(Signer(self_signed(ROOT, contents, secret), secret))


class Pen:
    """Implements ``ports.Signer``; ``trouble`` is raised instead, ``slip`` is another key that it signs."""

    def __init__(self) -> None:
        self.signed: list[ApprovedRequest] = []
        self.trouble: Exception | None = None
        self.slip: bytes | None = None

    def sign(self, approved: ApprovedRequest) -> SignedLeaf:
        """See ``Signer.sign``."""
        if self.trouble is not None:
            raise self.trouble
        self.signed.append(approved)
        intent = approved.intent
        validity = Validity(intent.not_before, intent.not_after)
        key = self.slip or approved.public_key_der
        return read_leaf(_form().sign(DeviceContents(intent.thing, key, intent.serial, validity)))
