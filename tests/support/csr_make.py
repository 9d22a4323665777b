"""Valid certificate requests, made quickly, for any test that needs one."""

from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

DeviceKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

_CURVES: dict[str, type[ec.EllipticCurve]] = {
    "p256": ec.SECP256R1,
    "p384": ec.SECP384R1,
    "p521": ec.SECP521R1,
}


def make_key(key_type: str = "p256") -> DeviceKey:
    """Make a fresh key: ``p256``, ``p384``, ``p521`` or ``rsa`` and the bits (``rsa2048`` takes ~0.1 s)."""
    if key_type in _CURVES:
        return ec.generate_private_key(_CURVES[key_type]())
    return rsa.generate_private_key(65537, int(key_type.removeprefix("rsa")))


@cache
def shared_key(key_type: str = "p256") -> DeviceKey:
    """One key per type for the whole process, for tests to which it does not matter whose key it is."""
    return make_key(key_type)


def csr_for(key: DeviceKey, name: str) -> str:
    """Make a request for ``key`` whose subject is ``CN=name`` and nothing else, as one PEM block."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def make_csr(name: str, key_type: str = "p256") -> tuple[DeviceKey, str]:
    """Make a fresh key and its request: ``(private_key, pem)``."""
    key = make_key(key_type)
    return key, csr_for(key, name)
