"""Signatures of signed requests (RFC 7518, 3.3 and 3.4): which algorithm a key means, and whether one holds.

The key decides: each kind has one algorithm, so that no request chooses a weaker one. With ECDSA the
signature is r and s side by side, each as long as the curve's order, not the DER that TLS and X.509 write.
"""

from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512, HashAlgorithm

from keyborn.domain.errors import SignatureRefused
from keyborn.domain.jws import Algorithm, SignedRequest


@dataclass(frozen=True, slots=True)
class Curve:
    """What ECDSA is on one curve."""

    algorithm: Algorithm
    digest: HashAlgorithm
    width: int
    """Bytes of r, and of s."""


CURVES = {
    "secp256r1": Curve(Algorithm.ES256, SHA256(), 32),
    "secp384r1": Curve(Algorithm.ES384, SHA384(), 48),
    "secp521r1": Curve(Algorithm.ES512, SHA512(), 66),
}
"""By pyca's names."""


def algorithm_of(key: object) -> Algorithm:
    """The one algorithm of a public or private key of pyca's. Raises SignatureRefused for other kinds."""
    if isinstance(key, rsa.RSAPublicKey | rsa.RSAPrivateKey):
        return Algorithm.RS256
    if isinstance(key, ec.EllipticCurvePublicKey | ec.EllipticCurvePrivateKey):
        return _curve_of(key).algorithm
    raise SignatureRefused


def sign(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, signing_input: bytes) -> bytes:
    """The signature in the form of JWS."""
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(signing_input, padding.PKCS1v15(), SHA256())
    curve = _curve_of(key)
    numbers = decode_dss_signature(key.sign(signing_input, ec.ECDSA(curve.digest)))
    return b"".join(number.to_bytes(curve.width) for number in numbers)


def verify(request: SignedRequest, key: object) -> None:
    """Raise SignatureRefused unless the holder of ``key``, a public one, signed just this request."""
    verify_bytes(request.protected.algorithm, request.signature, request.signing_input, key)


def verify_bytes(algorithm: str, signature: bytes, signing_input: bytes, key: object) -> None:
    """Raise SignatureRefused unless ``key``, a public one, is the signer's; each key has one algorithm."""
    if algorithm != algorithm_of(key):
        raise SignatureRefused
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, signing_input, padding.PKCS1v15(), SHA256())
        elif isinstance(key, ec.EllipticCurvePublicKey):
            curve = _curve_of(key)
            key.verify(_to_der(signature, curve.width), signing_input, ec.ECDSA(curve.digest))
    except (InvalidSignature, ValueError):
        raise SignatureRefused from None


def _curve_of(key: ec.EllipticCurvePublicKey | ec.EllipticCurvePrivateKey) -> Curve:
    curve = CURVES.get(key.curve.name)
    if curve is None:
        raise SignatureRefused
    return curve


def _to_der(raw: bytes, width: int) -> bytes:
    """DER of r and s. Raises ValueError for another length."""
    if len(raw) != 2 * width:
        raise ValueError("the signature has another length")
    return encode_dss_signature(int.from_bytes(raw[:width]), int.from_bytes(raw[width:]))
