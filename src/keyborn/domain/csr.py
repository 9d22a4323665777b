"""Certificate requests (PKCS#10, RFC 2986): parsed once, at the edge, into a frozen value or refused.

Order, the cheap before the expensive: size, one PEM block, strict DER, structure, key, subject, wishes,
signature algorithm; then pyca reads the whole again as a second opinion, and last of all the signature is
verified, so that nobody burns our time with a key that we would refuse anyway. From the value come the public
key and the proof of possession; nothing else of the request ever reaches a certificate of ours.

The readers: ``csr_pem``, ``csr_der``, ``csr_key``, ``csr_subject``, ``csr_wishes``; the arithmetic:
``weak_keys``.
"""

from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from keyborn.domain.csr_der import BIT_STRING, INTEGER, SEQUENCE, Element, fields, read_der, sequence
from keyborn.domain.csr_key import RequestKey, read_key, read_signature_algorithm
from keyborn.domain.csr_pem import MAX_CSR, der_from_pem, pem_from_der, quoted
from keyborn.domain.csr_subject import read_subject
from keyborn.domain.csr_wishes import read_wishes
from keyborn.domain.errors import CsrBadSignature, CsrMalformed
from keyborn.domain.names import KeyHash, key_hash

__all__ = ["MAX_CSR", "CertificateRequest", "parse_csr"]

_ATTRIBUTES = 0xA0


@dataclass(frozen=True, slots=True)
class CertificateRequest:
    """A request whose signature, key and wishes have been checked."""

    common_name: str
    """1 to 64 of ``A-Z a-z 0-9 : _ -`` and single inner spaces; not yet known to be the thing name."""
    public_key_der: bytes
    """DER SubjectPublicKeyInfo, in its only possible encoding."""
    key_hash: KeyHash
    key_type: str
    """``p256``, ``p384``, ``p521`` or ``rsa2048`` … ``rsa4096``."""
    pem: str
    """One PEM block, label CERTIFICATE REQUEST, LF, newline at the end; at most 4096 characters.

    Byte for byte what was sent, but for the parameters of the signature's algorithm (see ``csr_key``)."""
    own_names: frozenset[str]
    """Subject alternative names asked for, of the alphabet of thing names; each must equal the thing name."""

    @property
    def shown_name(self) -> str:
        """The common name, quoted and cut for an error message."""
        return quoted(self.common_name, 64)


def parse_csr(text: object) -> CertificateRequest:
    """Parse and check a request; raises a leaf of CsrRefused, and nothing else, for any input whatever."""
    request = read_der(der_from_pem(text))
    info, algorithm, signature = fields(request, (SEQUENCE, SEQUENCE, BIT_STRING), "request")
    version, subject, spki, attributes = fields(info, (INTEGER, SEQUENCE, SEQUENCE, _ATTRIBUTES), "request")
    _check_frame(version, signature)
    key = read_key(spki)
    common_name = read_subject(subject)
    own_names = read_wishes(attributes)
    signed_with = read_signature_algorithm(algorithm, key)
    der = sequence(info.whole, signed_with.der, signature.whole)
    pem = pem_from_der(der)
    _second_opinion(der, key, common_name, signed_with.digest)
    return CertificateRequest(common_name, key.spki, key_hash(key.spki), key.kind, pem, own_names)


def _check_frame(version: Element, signature: Element) -> None:
    """Check the two fields that hold no choice (RFC 2986, 4.1 and 4.2)."""
    if version.content != b"\x00":
        raise CsrMalformed(detail="its version is not 1")
    if signature.content[0]:
        raise CsrMalformed(detail="its signature has unused bits")


def _second_opinion(der: bytes, key: RequestKey, name: str, digest: hashes.HashAlgorithm) -> None:
    """Have pyca read the request too, insist that it sees the same, and verify the proof of possession.

    pyca reads lazily and raises late, from many properties and with an open set of errors: all of them are
    touched here, once, so that nothing behind this step can meet one. The key is loaded once, for comparing
    and for verifying. Raises CsrMalformed or CsrBadSignature.
    """
    try:
        request = x509.load_der_x509_csr(der)
        public = request.public_key()
        spki = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        is_same = (spki, *_facts(request)) == (key.spki, [name], digest.name, der)
        is_signed = _is_signed(request, public, digest)
    except Exception as wrong:  # a hostile request may meet any fault of any layer of pyca
        raise CsrMalformed(detail="a second reader cannot read it") from wrong
    if not is_same:
        raise CsrMalformed(detail="two readers disagree about it")
    if not is_signed:
        raise CsrBadSignature


def _facts(request: x509.CertificateSigningRequest) -> tuple[list[str | bytes], str | None, bytes]:
    """Touch every property that can raise; return those that must agree with our own reading."""
    names = [attribute.value for attribute in request.subject if attribute.oid == NameOID.COMMON_NAME]
    digest = request.signature_hash_algorithm
    _ = (list(request.extensions), list(request.attributes), request.signature, request.tbs_certrequest_bytes)
    _ = (request.signature_algorithm_oid, request.signature_algorithm_parameters)
    return names, digest.name if digest else None, request.public_bytes(Encoding.DER)


def _is_signed(request: x509.CertificateSigningRequest, public: object, digest: hashes.HashAlgorithm) -> bool:
    """Whether ``public`` made the request's signature, over what pyca says was signed."""
    signature, signed = request.signature, request.tbs_certrequest_bytes
    try:
        if isinstance(public, ec.EllipticCurvePublicKey):
            public.verify(signature, signed, ec.ECDSA(digest))
        elif isinstance(public, rsa.RSAPublicKey):
            public.verify(signature, signed, padding.PKCS1v15(), digest)
        else:
            return False
    except InvalidSignature:
        return False
    return True
