"""What the demonstration measures with its own hands: traces of a key, and many enrolments at once."""

import base64
import http.client
import json
import ssl
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from keyborn.cli.demo.stage import require

_PATIENCE = 15.0


def key_traces(key_file: Path, files: Iterable[Path]) -> tuple[list[Path], int]:
    """The files that hold the private key in some form, and how many forms were looked for."""
    forms = _forms(key_file.read_bytes())
    return [path for path in files if any(form in path.read_bytes() for form in forms)], len(forms)


def _forms(pem: bytes) -> list[bytes]:
    """The key's DER, its PEM body line by line, and its secret number raw, reversed, in hex and in base64."""
    key = serialization.load_pem_private_key(pem, None)
    encoding, plain = serialization.Encoding.DER, serialization.NoEncryption()
    der = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain)
    lines = [line for line in pem.splitlines() if line and not line.startswith(b"-")]
    secret = _secret_number(key)
    encoded = [base64.b64encode(secret).rstrip(b"=")[:-1], base64.urlsafe_b64encode(secret).rstrip(b"=")[:-1]]
    hexed = secret.hex().encode()
    return [der, *lines[1:], secret, secret[::-1], hexed, hexed.upper(), *encoded]


def _secret_number(key: object) -> bytes:
    if isinstance(key, ec.EllipticCurvePrivateKey):
        number = key.private_numbers().private_value
    else:
        assert isinstance(key, rsa.RSAPrivateKey)
        number = key.private_numbers().d
    return number.to_bytes((number.bit_length() + 7) // 8)


def enroll_at_once(token: Mapping[str, Any], thing: str, count: int) -> Sequence[tuple[int, bytes]]:
    """Send ``count`` equal requests side by side; returns status and body of each."""
    body = json.dumps({"thingName": thing, "csr": _csr(thing)}).encode()
    context = _pinned_context(token["url"], bytes.fromhex(token["fingerprint"]))
    headers = {"Authorization": f"Bearer {token['secret']}", "Content-Type": "application/json"}

    def _send(_: int) -> tuple[int, bytes]:
        connection = _connect(token["url"], context)
        try:
            connection.request("POST", "/v1/enroll", body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(_send, range(count)))


def _csr(thing: str) -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, thing)])
    csr = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return csr.public_bytes(serialization.Encoding.PEM).decode()


def _pinned_context(url: str, fingerprint: bytes) -> ssl.SSLContext:
    """A context that trusts the root of that fingerprint and nothing else."""
    unverified = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    unverified.check_hostname = False
    unverified.verify_mode = ssl.CERT_NONE  # no credential travels here: the fingerprint decides
    connection = _connect(url, unverified)
    connection.request("GET", "/v1/trust-bundle")
    bundle = connection.getresponse().read()
    connection.close()
    roots = x509.load_pem_x509_certificates(bundle)
    pinned = [root for root in roots if root.fingerprint(hashes.SHA256()) == fingerprint]
    require(len(pinned) == 1, "the trust bundle holds the root of the code")
    with tempfile.NamedTemporaryFile(suffix=".pem") as file:
        file.write(pinned[0].public_bytes(serialization.Encoding.PEM))
        file.flush()
        return ssl.create_default_context(cafile=file.name)


def _connect(url: str, context: ssl.SSLContext) -> http.client.HTTPSConnection:
    parts = urlsplit(url)
    return http.client.HTTPSConnection(str(parts.hostname), parts.port, timeout=_PATIENCE, context=context)
