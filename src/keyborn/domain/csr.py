"""Certificate requests (PKCS#10, RFC 2986): parsed once, at the edge, into a frozen value or refused.

Order: size, one PEM block, one DER value, every property of pyca that can raise, key, signature, subject,
attributes and extensions. From the value come the public key and the proof of possession; nothing else of the
request ever reaches a certificate.
"""

from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from keyborn.domain.errors import CsrBadSignature, CsrMalformed, CsrTooLarge, KeyTypeRefused
from keyborn.domain.names import KeyHash, key_hash

MAX_CSR = 4096
"""Characters; AWS IoT CreateCertificateFromCsr takes no more."""

_CURVES = {"secp256r1": "p256", "secp384r1": "p384", "secp521r1": "p521"}


@dataclass(frozen=True, slots=True)
class CertificateRequest:
    """A request whose signature, key and wishes have been checked."""

    common_name: str
    public_key_der: bytes
    """DER SubjectPublicKeyInfo."""
    key_hash: KeyHash
    key_type: str
    """``p256``, ``p384``, ``p521`` or ``rsa2048`` … ``rsa4096``."""
    pem: str
    """The request as one PEM block, label CERTIFICATE REQUEST, LF, newline at the end."""
    own_names: frozenset[str]
    """Subject alternative names asked for; each must equal the thing name."""

    @property
    def shown_name(self) -> str:
        """The common name, quoted and cut for an error message."""
        return repr(self.common_name[:80])


def parse_csr(text: object) -> CertificateRequest:
    """Parse and check a request; raises a leaf of CsrRefused, and nothing else, for any input whatever."""
    if not isinstance(text, str):
        raise CsrMalformed(detail="it is not a string")
    if len(text) > MAX_CSR:
        raise CsrTooLarge(length=len(text))
    try:
        request = x509.load_pem_x509_csr(text.encode())
        key = request.public_key()
        (name,) = request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    except ValueError as wrong:
        raise CsrMalformed(detail="it does not parse") from wrong
    if not isinstance(key, (ec.EllipticCurvePublicKey, rsa.RSAPublicKey)):
        raise KeyTypeRefused(key="of another kind", reason="AWS IoT refuses it")
    if not request.is_signature_valid:
        raise CsrBadSignature
    is_rsa = isinstance(key, rsa.RSAPublicKey)
    kind = f"rsa{key.key_size}" if is_rsa else _CURVES[key.curve.name]  # type: ignore[union-attr]
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    pem = request.public_bytes(Encoding.PEM).decode()
    return CertificateRequest(str(name.value), der, key_hash(der), kind, pem, frozenset())
