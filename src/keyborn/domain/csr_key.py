"""The key and the signature algorithm of a certificate request: what they are, and whether we take them.

Identifiers of a key's algorithm are compared byte for byte with the few encodings that CA/B Forum Baseline
Requirements 7.1.3 permits, so that neither odd parameters nor explicit curves can hide in one. Everything
that is refused is refused by name where we know the name.
"""

from dataclasses import dataclass

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from keyborn.domain.csr_der import (
    BIT_STRING,
    INTEGER,
    NULL,
    OID,
    SEQUENCE,
    Element,
    dotted,
    expect,
    fields,
    read_der,
)
from keyborn.domain.errors import CsrMalformed, CsrWeakSignature, KeyTypeRefused, WeakKey
from keyborn.domain.weak_keys import check_ec, check_rsa

_RSA = bytes.fromhex("300d06092a864886f70d0101010500")
_CURVES: dict[bytes, tuple[str, ec.EllipticCurve]] = {
    bytes.fromhex("301306072a8648ce3d020106082a8648ce3d030107"): ("p256", ec.SECP256R1()),
    bytes.fromhex("301006072a8648ce3d020106052b81040022"): ("p384", ec.SECP384R1()),
    bytes.fromhex("301006072a8648ce3d020106052b81040023"): ("p521", ec.SECP521R1()),
}
_EQUATIONS = {
    "p256": (
        2**256 - 2**224 + 2**192 + 2**96 - 1,
        0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B,
    ),
    "p384": (
        2**384 - 2**128 - 2**96 + 2**32 - 1,
        0xB3312FA7E23EE7E4988E056BE3F82D19181D9C6EFE8141120314088F5013875AC656398D8A2ED19D2A85C8EDD3EC2AEF,
    ),
    "p521": (
        2**521 - 1,
        0x0051953EB9618E1C9A1F929A21A0B68540EEA2DA725B99B315F3B8B489918EF109E156193951EC7E937B1652C0BD3BB1BF073573DF883D2C34F1EF451FD46B503F00,
    ),
}
"""p and b of y² = x³ - 3x + b modulo p (NIST SP 800-186, 3.2.1)."""
_RSA_OID, _EC_OID = "1.2.840.113549.1.1.1", "1.2.840.10045.2.1"

_AWS = "AWS IoT refuses it"
_UNUSUAL = "it is outside what AWS IoT takes"
_KEYS: dict[str, tuple[str, str]] = {
    "1.2.840.10040.4.1": ("a DSA key", _UNUSUAL),
    "1.2.840.10046.2.1": ("a Diffie-Hellman key", "it cannot sign"),
    "1.2.840.113549.1.3.1": ("a Diffie-Hellman key", "it cannot sign"),
    "1.2.840.113549.1.1.7": ("an RSA key for OAEP only", "it cannot sign"),
    "1.2.840.113549.1.1.10": ("an RSA key for PSS only", "TLS clients and AWS IoT want a plain RSA key"),
    "1.3.101.110": ("an X25519 key", "it cannot sign"),
    "1.3.101.111": ("an X448 key", "it cannot sign"),
    "1.3.101.112": ("an Ed25519 key", _AWS),
    "1.3.101.113": ("an Ed448 key", _AWS),
    "1.3.132.1.12": ("an ECDH key", "it cannot sign"),
}
_OTHER_CURVES: dict[str, tuple[str, str]] = {
    "1.2.840.10045.3.1.1": ("an EC key on P-192", "it is too small"),
    "1.3.132.0.33": ("an EC key on P-224", "it is too small"),
    "1.3.132.0.10": ("an EC key on secp256k1", _UNUSUAL),
    "1.3.36.3.3.2.8.1.1.7": ("an EC key on brainpoolP256r1", _UNUSUAL),
    "1.3.36.3.3.2.8.1.1.11": ("an EC key on brainpoolP384r1", _UNUSUAL),
    "1.3.36.3.3.2.8.1.1.13": ("an EC key on brainpoolP512r1", _UNUSUAL),
    "1.2.156.10197.1.301": ("an EC key on SM2", _UNUSUAL),
}


@dataclass(frozen=True, slots=True)
class RequestKey:
    """A public key that passed every check that numbers can pass without its signature."""

    kind: str
    """``p256``, ``p384``, ``p521``, or ``rsa`` and the bits."""
    spki: bytes
    """DER SubjectPublicKeyInfo, as it was sent: its only possible encoding."""
    is_rsa: bool
    """Whether it is RSA (else ECDSA)."""


def read_key(spki: Element) -> RequestKey:
    """Check a SubjectPublicKeyInfo (RFC 5280 4.1.2.7, RFC 3279 2.3, RFC 5480).

    Raises CsrMalformed, KeyTypeRefused or one of the leaves of ``weak_keys``.
    """
    algorithm, bits = fields(spki, (SEQUENCE, BIT_STRING), "key")
    if bits.content[0]:
        raise CsrMalformed(detail="its key has unused bits")
    if algorithm.whole == _RSA:
        return _read_rsa(spki.whole, bits.content[1:])
    if algorithm.whole in _CURVES:
        return _read_point(spki.whole, *_CURVES[algorithm.whole], bits.content[1:])
    raise _refused_key(algorithm)


def _read_rsa(spki: bytes, content: bytes) -> RequestKey:
    """Check ``RSAPublicKey ::= SEQUENCE {modulus, publicExponent}`` (RFC 8017, A.1.1)."""
    numbers = fields(read_der(content), (INTEGER, INTEGER), "RSA key")
    modulus, exponent = (int.from_bytes(number.content, signed=True) for number in numbers)
    if modulus < 0 or exponent < 0:
        raise WeakKey(detail="its modulus or exponent is negative")
    check_rsa(modulus, exponent)
    return RequestKey(f"rsa{modulus.bit_length()}", spki, is_rsa=True)


def _read_point(spki: bytes, kind: str, curve: ec.EllipticCurve, point: bytes) -> RequestKey:
    """Check an uncompressed point (SEC 1, 2.3.3) that is on its curve and not the point at infinity.

    By the equation: that costs a quarter of having the point loaded, which happens once, when pyca reads it.
    """
    size = (curve.key_size + 7) // 8
    if len(point) != 1 + 2 * size or point[0] != 4:  # noqa: PLR2004 - SEC 1's mark of an uncompressed point
        raise WeakKey(detail="its point is not written in the uncompressed form")
    x, y, (p, b) = int.from_bytes(point[1 : 1 + size]), int.from_bytes(point[1 + size :]), _EQUATIONS[kind]
    if x >= p or y >= p or (y * y - (x * x - 3) * x - b) % p:
        raise WeakKey(detail="its point is not on the curve")
    check_ec(curve, x)
    return RequestKey(kind, spki, is_rsa=False)


def _refused_key(algorithm: Element) -> KeyTypeRefused | WeakKey:
    """Name a key that we do not take."""
    name = _algorithm_name(algorithm)
    if name == _RSA_OID:
        return WeakKey(detail="its RSA parameters are not NULL")
    if name != _EC_OID:
        key, reason = _KEYS.get(name, (f"of the unknown kind {name}", _UNUSUAL))
        return KeyTypeRefused(key=key, reason=reason)
    curve = algorithm.children[1:]
    if len(curve) != 1 or curve[0].tag != OID:
        return KeyTypeRefused(key="an EC key without a named curve", reason=_AWS)
    name = dotted(curve[0].content)
    key, reason = _OTHER_CURVES.get(name, (f"an EC key on the curve {name}", _UNUSUAL))
    return KeyTypeRefused(key=key, reason=reason)


def _algorithm_name(algorithm: Element) -> str:
    """Return the dotted object identifier of an AlgorithmIdentifier."""
    if not algorithm.children:
        raise CsrMalformed(detail="an algorithm has no name")
    return dotted(expect(algorithm.children[0], OID, "algorithm").content)


# ── signatures ────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class SignatureAlgorithm:
    """How a request is signed."""

    is_rsa: bool
    digest: hashes.HashAlgorithm
    der: bytes
    """The AlgorithmIdentifier in the one form that the standards want, whatever was sent."""


_SIGNATURES = {
    "1.2.840.113549.1.1.11": SignatureAlgorithm(
        is_rsa=True, digest=hashes.SHA256(), der=bytes.fromhex("300d06092a864886f70d01010b0500")
    ),
    "1.2.840.113549.1.1.12": SignatureAlgorithm(
        is_rsa=True, digest=hashes.SHA384(), der=bytes.fromhex("300d06092a864886f70d01010c0500")
    ),
    "1.2.840.113549.1.1.13": SignatureAlgorithm(
        is_rsa=True, digest=hashes.SHA512(), der=bytes.fromhex("300d06092a864886f70d01010d0500")
    ),
    "1.2.840.10045.4.3.2": SignatureAlgorithm(
        is_rsa=False, digest=hashes.SHA256(), der=bytes.fromhex("300a06082a8648ce3d040302")
    ),
    "1.2.840.10045.4.3.3": SignatureAlgorithm(
        is_rsa=False, digest=hashes.SHA384(), der=bytes.fromhex("300a06082a8648ce3d040303")
    ),
    "1.2.840.10045.4.3.4": SignatureAlgorithm(
        is_rsa=False, digest=hashes.SHA512(), der=bytes.fromhex("300a06082a8648ce3d040304")
    ),
}
_SIGNATURE_NAMES = {
    "1.2.840.113549.1.1.2": "MD2 and RSA",
    "1.2.840.113549.1.1.3": "MD4 and RSA",
    "1.2.840.113549.1.1.4": "MD5 and RSA",
    "1.2.840.113549.1.1.5": "SHA-1 and RSA",
    "1.3.14.3.2.29": "SHA-1 and RSA",
    "1.2.840.113549.1.1.10": "RSA-PSS, where Keyborn takes PKCS#1 v1.5",
    "1.2.840.113549.1.1.14": "SHA-224 and RSA",
    "1.2.840.113549.1.1.15": "SHA-512/224 and RSA",
    "1.2.840.10045.4.1": "SHA-1 and ECDSA",
    "1.2.840.10045.4.3.1": "SHA-224 and ECDSA",
    "1.2.840.10040.4.3": "SHA-1 and DSA",
    "1.3.101.112": "Ed25519, which AWS IoT refuses",
    "1.3.101.113": "Ed448, which AWS IoT refuses",
}


def read_signature_algorithm(algorithm: Element, key: RequestKey) -> SignatureAlgorithm:
    """Say how the request is signed. Raises CsrWeakSignature, or CsrMalformed if it is not for this key.

    Parameters may be NULL or absent. With RSA they should be NULL and absent is to be accepted (RFC 4055, 5);
    with ECDSA they must be absent (RFC 5758, 3.2), but mbed TLS 2.28 writes NULL. They mean nothing either
    way, and they stand outside what is signed: so the value has them put right.

    RSA-PSS is refused: no client we know writes it unasked, its parameters are a grammar of their own whose
    defaults mean SHA-1, it is not established that AWS IoT's CreateCertificateFromCsr takes it, and whoever
    owns the key can sign PKCS#1 v1.5 as well. It would only add ways to go wrong.
    """
    name = _algorithm_name(algorithm)
    known = _SIGNATURES.get(name)
    if known is None:
        raise CsrWeakSignature(algorithm=_SIGNATURE_NAMES.get(name, f"the unknown algorithm {name}"))
    if tuple(field.tag for field in algorithm.children) not in ((OID,), (OID, NULL)):
        raise CsrMalformed(detail="its signature algorithm has parameters, which it should not")
    if known.is_rsa != key.is_rsa:
        raise CsrMalformed(detail="its signature algorithm is not one for its key")
    return known
