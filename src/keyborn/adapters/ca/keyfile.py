"""Private keys as PEM: plain PKCS#8, or PKCS#8 under a passphrase.

pyca encrypts PKCS#8 with 2,048 rounds of PBKDF2, too few for a passphrase that a person remembers. So the
encrypted form is written here: PBES2 with scrypt (RFC 7914 section 7) and AES-256-CBC (RFC 8018). pyca and
`openssl pkey` read it; OpenSSL takes no more than 32 MiB for scrypt, hence N = 2^14 and p = 5 (OWASP holds
that equal to N = 2^17, p = 1): about a fifth of a second for each key.
"""

import base64
from collections.abc import Callable
from textwrap import wrap

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from cryptography.hazmat.primitives.padding import PKCS7
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from keyborn.adapters.ca.der import OCTETS, OID, SEQUENCE, der, integer
from keyborn.ports import Entropy

_N, _R, _P = 2**14, 8, 5
_KEY_BYTES, _BLOCK_BYTES = 32, 16
_PBES2 = bytes.fromhex("2a864886f70d01050d")  # 1.2.840.113549.1.5.13
_SCRYPT = bytes.fromhex("2b06010401da47040b")  # 1.3.6.1.4.1.11591.4.11
_AES_256_CBC = bytes.fromhex("60864801650304012a")  # 2.16.840.1.101.3.4.1.42


class KeyLockedError(Exception):
    """The passphrase and the file do not fit; the argument says how."""


PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


def encode_key(key: PrivateKey, passphrase: bytes | None, entropy: Entropy) -> bytes:
    """Write a key as PEM, encrypted where there is a passphrase."""
    if passphrase is None:
        return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    plain = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return _pem("ENCRYPTED PRIVATE KEY", _encrypt(plain, passphrase, entropy))


def decode_key(pem: bytes, passphrase: bytes | None) -> ec.EllipticCurvePrivateKey:
    """Read an authority's key; raises KeyLockedError (passphrase) or ValueError (not a P-256 key at all)."""
    key = _decode(pem, passphrase)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ValueError("not a P-256 key")  # noqa: TRY004 (the file is wrong, not the caller's type)
    return key


def decode_notary_key(pem: bytes, passphrase: bytes | None) -> ed25519.Ed25519PrivateKey:
    """Read the audit trail's key; raises as ``decode_key``."""
    key = _decode(pem, passphrase)
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise ValueError("not an Ed25519 key")  # noqa: TRY004 (the same)
    return key


def _decode(pem: bytes, passphrase: bytes | None) -> object:
    locked = b"ENCRYPTED PRIVATE KEY" in pem
    if locked and passphrase is None:
        raise KeyLockedError(
            "they are protected by a passphrase and none was given; set KEYBORN_CA_PASSPHRASE"
        )
    if passphrase is not None and not locked:
        raise KeyLockedError("a passphrase was given, but they are not protected by one; start without it")
    return _load(lambda: load_pem_private_key(pem, passphrase), locked=locked)


def _load(load: Callable[[], object], *, locked: bool) -> object:
    try:
        return load()
    except (ValueError, TypeError, UnsupportedAlgorithm) as trouble:
        if locked:  # a wrong passphrase and a damaged file cannot be told apart here
            raise KeyLockedError("the passphrase is wrong, or the file is damaged") from None
        raise ValueError("not a private key") from trouble


def _encrypt(plain: bytes, passphrase: bytes, entropy: Entropy) -> bytes:
    """The DER of EncryptedPrivateKeyInfo (RFC 5958 section 3)."""
    salt, start = entropy.token_bytes(_BLOCK_BYTES), entropy.token_bytes(_BLOCK_BYTES)
    key = Scrypt(salt=salt, length=_KEY_BYTES, n=_N, r=_R, p=_P).derive(passphrase)
    padder = PKCS7(_BLOCK_BYTES * 8).padder()
    encryptor = Cipher(algorithms.AES256(key), modes.CBC(start)).encryptor()
    sealed = encryptor.update(padder.update(plain) + padder.finalize()) + encryptor.finalize()
    costs = [integer(number) for number in (_N, _R, _P)]
    derivation = der(SEQUENCE, der(OID, _SCRYPT), der(SEQUENCE, der(OCTETS, salt), *costs))
    cipher = der(SEQUENCE, der(OID, _AES_256_CBC), der(OCTETS, start))
    scheme = der(SEQUENCE, der(OID, _PBES2), der(SEQUENCE, derivation, cipher))
    return der(SEQUENCE, scheme, der(OCTETS, sealed))


def _pem(label: str, content: bytes) -> bytes:
    lines = wrap(base64.b64encode(content).decode(), 64)
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""]).encode()
