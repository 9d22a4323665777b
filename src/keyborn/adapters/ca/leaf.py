"""Device leaves, filled into a form: about half the CPU that a certificate builder takes for the same bytes.

Everything that stays equal (version, algorithm, issuer, usages, authority key) is encoded once, by pyca where
it has an encoder. A property test holds that the result is, byte for byte, what pyca's builder makes; and
each leaf is parsed by pyca and compared with its intent before it goes out (check.py).
"""

import hashlib
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from keyborn.adapters.ca.certificates import (
    Signer,
    authority_key,
    basic_constraints,
    extended_key_usage,
    key_usage,
)
from keyborn.adapters.ca.der import (
    BITS,
    BOOLEAN,
    OCTETS,
    OID,
    SEQUENCE,
    SET,
    UTF8,
    der,
    integer,
    key_bits,
    moment,
)
from keyborn.domain.profile import DEVICE, Validity

_VERSION_3 = der(0xA0, integer(2))
_ECDSA_WITH_SHA256 = der(SEQUENCE, der(OID, bytes.fromhex("2a8648ce3d040302")))  # 1.2.840.10045.4.3.2
_COMMON_NAME = der(OID, bytes.fromhex("550403"))  # 2.5.4.3
_SUBJECT_KEY = der(OID, bytes.fromhex("551d0e"))  # 2.5.29.14
_EXTENSIONS = 0xA3
_TRUE = der(BOOLEAN, b"\xff")
_ECDSA = ec.ECDSA(SHA256())
_OIDS = {
    x509.BasicConstraints: bytes.fromhex("551d13"),
    x509.KeyUsage: bytes.fromhex("551d0f"),
    x509.ExtendedKeyUsage: bytes.fromhex("551d25"),
    x509.AuthorityKeyIdentifier: bytes.fromhex("551d23"),
}


@dataclass(frozen=True, slots=True)
class DeviceContents:
    """What differs from one device leaf to the next."""

    common_name: str
    spki: bytes
    """DER SubjectPublicKeyInfo."""
    serial: int
    validity: Validity


class DeviceForm:
    """The device profile under one signer."""

    def __init__(self, signer: Signer) -> None:
        self._key = signer.key
        self.validity = signer.validity
        """The signer's own dates: nothing it signs may lie outside."""
        self._issuer = signer.certificate.subject.public_bytes()
        self._extensions = b"".join(
            (
                _extension(basic_constraints(DEVICE), critical=True),
                _extension(key_usage(DEVICE), critical=True),
                _extension(extended_key_usage(DEVICE), critical=False),
                _extension(authority_key(signer.certificate), critical=False),
            )
        )

    def sign(self, contents: DeviceContents) -> bytes:
        """The certificate's DER."""
        signed = self.to_be_signed(contents)
        signature = self._key.sign(signed, _ECDSA)
        return der(SEQUENCE, signed, _ECDSA_WITH_SHA256, der(BITS, b"\x00", signature))

    def to_be_signed(self, contents: DeviceContents) -> bytes:
        """TBSCertificate (RFC 5280 4.1.2); raises ValueError where the key is not a SubjectPublicKeyInfo."""
        validity = contents.validity
        name = der(SEQUENCE, _COMMON_NAME, der(UTF8, contents.common_name.encode()))
        # RFC 5280 4.2.1.2 method 1 names SHA-1 as a fingerprint, not for security
        identifier = hashlib.sha1(key_bits(contents.spki), usedforsecurity=False).digest()
        subject_key = der(SEQUENCE, _SUBJECT_KEY, der(OCTETS, der(OCTETS, identifier)))
        return der(
            SEQUENCE,
            _VERSION_3,
            integer(contents.serial),
            _ECDSA_WITH_SHA256,
            self._issuer,
            der(SEQUENCE, moment(validity.not_before), moment(validity.not_after)),
            der(SEQUENCE, der(SET, name)),
            contents.spki,
            der(_EXTENSIONS, der(SEQUENCE, self._extensions, subject_key)),
        )


def _extension(value: x509.ExtensionType, *, critical: bool) -> bytes:
    oid = der(OID, _OIDS[type(value)])
    return der(SEQUENCE, oid, _TRUE if critical else b"", der(OCTETS, value.public_bytes()))
