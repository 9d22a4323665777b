"""What was signed against what was meant: Boulder's habit, before a certificate leaves the authority."""

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from keyborn.adapters.ca.certificates import basic_constraints, extended_key_usage, key_usage, validity_of
from keyborn.domain.issuance import ApprovedRequest
from keyborn.domain.issued import SignedLeaf
from keyborn.domain.names import key_hash
from keyborn.domain.profile import DEVICE, Validity

_CONSTRAINTS, _USAGE, _PURPOSES = basic_constraints(DEVICE), key_usage(DEVICE), extended_key_usage(DEVICE)
_IDENTIFIERS = 2
"""Subject and authority key identifier: present besides the three extensions that are compared."""


class IssuedDiffersError(Exception):
    """A certificate is not what its intent says: a fault of ours, so no leaf of the public tree."""


def check_issued(der: bytes, approved: ApprovedRequest) -> SignedLeaf:
    """Compare a device certificate with its intent and profile; returns what was read.

    Raises IssuedDiffersError.
    """
    leaf, intent = x509.load_der_x509_certificate(der), approved.intent
    key = leaf.public_key()
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    validity = validity_of(leaf)
    names = [(name.oid, name.value) for name in leaf.subject]
    comparisons = {
        "serial number": leaf.serial_number == intent.serial,
        "dates": validity == Validity(intent.not_before, intent.not_after),
        "public key": spki == approved.public_key_der and key_hash(spki) == intent.key_hash,
        "key type": isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey),
        "subject": names == [(NameOID.COMMON_NAME, intent.thing)],
        "signature algorithm": isinstance(leaf.signature_hash_algorithm, SHA256),
        "extensions": _device_extensions(leaf.extensions),
    }
    differing = [what for what, equal in comparisons.items() if not equal]
    if differing:
        raise IssuedDiffersError(f"the certificate signed for intent {intent.id} differs in: {differing}")
    return SignedLeaf(der, spki, validity.not_before, validity.not_after)


def _device_extensions(extensions: x509.Extensions) -> bool:
    held = [(extension.critical, extension.value) for extension in extensions]
    compared = [(True, _CONSTRAINTS), (True, _USAGE), (False, _PURPOSES)]
    return all(pair in held for pair in compared) and len(held) == len(compared) + _IDENTIFIERS
