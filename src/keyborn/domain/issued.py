"""What came back from a certificate authority: read, and compared, before it is kept."""

from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keyborn.domain.certificate import Certificate
from keyborn.domain.issuance import ApprovedRequest
from keyborn.domain.names import certificate_id


@dataclass(frozen=True, slots=True)
class SignedLeaf:
    """A signed leaf, and what was read in it: in its own bytes, never in what it was made of."""

    der: bytes
    public_key_der: bytes
    """DER SubjectPublicKeyInfo."""
    not_before: datetime
    not_after: datetime


def read_leaf(der: bytes) -> SignedLeaf:
    """Read a leaf; raises ValueError for what is no certificate."""
    leaf = x509.load_der_x509_certificate(der)
    spki = leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return SignedLeaf(der, spki, leaf.not_valid_before_utc, leaf.not_valid_after_utc)


def read_issued(der: bytes, approved: ApprovedRequest) -> Certificate:
    """Read a signed leaf, inactive; raises ValueError if it is not for the approved key."""
    return issued(read_leaf(der), approved)


def issued(leaf: SignedLeaf, approved: ApprovedRequest) -> Certificate:
    """The leaf as a certificate, inactive; raises ValueError if it is not for the approved key.

    Serial, dates and usages are the authority's own affair: the embedded one compares them with the intent,
    AWS IoT chooses its own.
    """
    if leaf.public_key_der != approved.public_key_der:
        raise ValueError("the certificate authority answered with a certificate for another key")
    return Certificate(
        id=certificate_id(leaf.der),
        thing=approved.intent.thing,
        key_hash=approved.intent.key_hash,
        der=leaf.der,
        not_before=leaf.not_before,
        not_after=leaf.not_after,
        slot=approved.intent.slot,
        renews=approved.intent.renews,
    )
