"""Certificate requests (PKCS#10, RFC 2986): parsed once, at the edge, into a frozen value or refused.

Order: size, one PEM block, one DER value, every property of pyca that can raise, key, signature, subject,
attributes and extensions. From the value come the public key and the proof of possession; nothing else of the
request ever reaches a certificate.
"""

from dataclasses import dataclass

from keyborn.domain.names import KeyHash

MAX_CSR = 4096
"""Characters; AWS IoT CreateCertificateFromCsr takes no more."""


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
    raise NotImplementedError(text)
