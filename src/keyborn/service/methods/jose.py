"""Signatures of identity tokens, by PyJWT: read an issuer's keys, and verify with one of them.

Imported when the first identity token comes, not before: no other way to enrol needs it.
"""

import json
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from jwt.api_jws import PyJWS
from jwt.exceptions import PyJWTError

from keyborn.domain.errors import IdTokenUnproved
from keyborn.domain.identity_token import ALGORITHMS, MAX_KID, Header
from keyborn.domain.weak_keys import check_ec, check_rsa
from keyborn.service.issuers import IssuerKey, KeySet

MAX_KEYS = 32
"""Of one issuer."""

_CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
_RSA = frozenset(each for each in ALGORITHMS if each[:2] in {"RS", "PS"})
_READERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "RSA": RSAAlgorithm.from_jwk,
    "EC": ECAlgorithm.from_jwk,
    "OKP": OKPAlgorithm.from_jwk,
}


def read_keys(body: bytes) -> KeySet:
    """Read a JWK set (RFC 7517); keys of no use here are left out. Raises ValueError for what is none."""
    try:
        members = json.loads(body.decode())
        listed = members["keys"]
    except (ValueError, RecursionError, KeyError, TypeError):
        raise ValueError("it is no set of keys") from None
    if not isinstance(listed, list) or len(listed) > MAX_KEYS:
        raise ValueError(f"it is no list of at most {MAX_KEYS} keys")
    keys = tuple(key for each in listed if (key := _read_key(each)) is not None)
    if not keys:
        raise ValueError("none of its keys is of use")
    return KeySet(keys)


def verify(token: str, header: Header, keys: tuple[IssuerKey, ...]) -> bytes:
    """Return what the token says if one of the keys signed it; raises IdTokenUnproved."""
    for each in keys:
        try:
            payload = PyJWS(algorithms=[header.algorithm]).decode(token, each.key, [header.algorithm])
        except (PyJWTError, ValueError, TypeError):
            continue
        return bytes(payload)
    raise IdTokenUnproved


def _read_key(jwk: object) -> IssuerKey | None:
    """None for a key that is not for signatures, is weak, private, or of a kind that is not used here."""
    if not isinstance(jwk, dict) or jwk.keys() & {"d", "k"} or not _is_for_signatures(jwk):
        return None
    reader = _READERS.get(str(jwk.get("kty")))
    kid = jwk.get("kid")
    if reader is None or not (kid is None or (isinstance(kid, str) and 0 < len(kid) <= MAX_KID)):
        return None
    try:
        key = reader(jwk)
        algorithms = _algorithms(key)
    except Exception:  # noqa: BLE001 - whatever a key makes a parser raise, it is not one to use
        return None
    if "alg" in jwk:
        algorithms &= {str(jwk["alg"])}
    return IssuerKey(kid, algorithms, key) if algorithms else None


def _is_for_signatures(jwk: dict[str, Any]) -> bool:
    operations = jwk.get("key_ops", ["verify"])
    return jwk.get("use", "sig") == "sig" and isinstance(operations, list) and "verify" in operations


def _algorithms(key: object) -> frozenset[str]:
    """What a key may verify; none for a private one. Raises leaves of CsrRefused for weak keys."""
    if isinstance(key, rsa.RSAPublicKey):
        numbers = key.public_numbers()
        check_rsa(numbers.n, numbers.e)
        return _RSA
    if isinstance(key, ec.EllipticCurvePublicKey):
        check_ec(key.curve, key.public_numbers().x)
        return frozenset({_CURVES[key.curve.name]})
    known = isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey)
    return frozenset({"EdDSA"}) if known else frozenset()
