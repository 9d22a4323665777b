"""What came back from a certificate authority: read, and compared, before it is kept."""

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keyborn.domain.certificate import Certificate
from keyborn.domain.issuance import ApprovedRequest
from keyborn.domain.names import certificate_id


def read_issued(der: bytes, approved: ApprovedRequest) -> Certificate:
    """Read a signed leaf, inactive; raises ValueError if it is not for the approved key.

    Serial, dates and usages are the authority's own affair: the embedded one compares them with the intent,
    AWS IoT chooses its own.
    """
    leaf = x509.load_der_x509_certificate(der)
    spki = leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if spki != approved.public_key_der:
        raise ValueError("the certificate authority answered with a certificate for another key")
    return Certificate(
        id=certificate_id(der),
        thing=approved.intent.thing,
        key_hash=approved.intent.key_hash,
        der=der,
        not_before=leaf.not_valid_before_utc,
        not_after=leaf.not_valid_after_utc,
        slot=approved.intent.slot,
        renews=approved.intent.renews,
    )
