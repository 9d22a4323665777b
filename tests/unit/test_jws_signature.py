"""Signatures of signed requests: published examples, OpenSSL as a second opinion, what must not hold."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from keyborn.domain.errors import SignatureRefused
from keyborn.domain.jws import Algorithm, Protected, SignedRequest, decode, draft, parse_jws
from keyborn.domain.jws_signature import CURVES, algorithm_of, sign, verify
from keyborn.domain.names import CertificateId
from support.csr_make import DeviceKey, make_key, shared_key

KID = CertificateId("ab" * 32)
KEY_TYPES = {
    "p256": Algorithm.ES256,
    "p384": Algorithm.ES384,
    "p521": Algorithm.ES512,
    "rsa2048": Algorithm.RS256,
}


def signed(key: DeviceKey, payload: bytes = b"{}", algorithm: Algorithm | None = None) -> SignedRequest:
    header = Protected(algorithm or algorithm_of(key), KID, "nonce", "https://gateway.example/v1/renew")
    drafted = draft(header, payload)
    return parse_jws(drafted.signed(sign(key, drafted.signing_input)))


def number(text: str) -> int:
    return int.from_bytes(decode(text, "number"))


# ── the examples of RFC 7515, appendix A.2 and A.3 ────────────────────────────────────────────────────

CLAIMS = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
A2_MODULUS = (
    "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZ"
    "S-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2"
    "R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcD"
    "TW9gb54h4FRWyuXpoQ"
)
A2_SIGNATURE = (
    "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CU"
    "Ar7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_d"
    "O--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0ig"
    "cN_IoypGlUPQGe77Rw"
)
A3_X, A3_Y = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"
A3_SIGNATURE = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"


def published(algorithm: Algorithm, protected: str, signature: str) -> SignedRequest:
    """The examples have a header of alg alone: only the signature is taken from them."""
    header = Protected(algorithm, KID, "nonce", "https://gateway.example/v1/renew")
    return SignedRequest(header, b"", decode(signature, "signature"), f"{protected}.{CLAIMS}".encode())


def test_the_published_example_of_rs256_holds() -> None:
    key = rsa.RSAPublicNumbers(65537, number(A2_MODULUS)).public_key()
    verify(published(Algorithm.RS256, "eyJhbGciOiJSUzI1NiJ9", A2_SIGNATURE), key)


def test_the_published_example_of_es256_holds() -> None:
    key = ec.EllipticCurvePublicNumbers(number(A3_X), number(A3_Y), ec.SECP256R1()).public_key()
    verify(published(Algorithm.ES256, "eyJhbGciOiJFUzI1NiJ9", A3_SIGNATURE), key)


# ── OpenSSL ───────────────────────────────────────────────────────────────────────────────────────────

DIGESTS = {"p256": "sha256", "p384": "sha384", "p521": "sha512", "rsa2048": "sha256"}


def der_of(key: DeviceKey, signature: bytes) -> bytes:
    """A signature as OpenSSL knows it."""
    if isinstance(key, rsa.RSAPrivateKey):
        return signature
    half = len(signature) // 2
    return encode_dss_signature(int.from_bytes(signature[:half]), int.from_bytes(signature[half:]))


@pytest.mark.needs("openssl")
@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_openssl_takes_what_we_sign(tmp_path: Path, key_type: str) -> None:
    key, said = shared_key(key_type), tmp_path / "said"
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    request = signed(key, b'{"csr": "..."}')
    (tmp_path / "key.pem").write_bytes(public)
    (tmp_path / "sig").write_bytes(der_of(key, request.signature))
    said.write_bytes(request.signing_input)
    words = ["dgst", f"-{DIGESTS[key_type]}", "-verify", "key.pem", "-signature", "sig", "said"]
    done = subprocess.run(["openssl", *words], check=False, cwd=tmp_path, capture_output=True, timeout=20)
    assert done.stdout == b"Verified OK\n", done.stderr


@pytest.mark.needs("openssl")
@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_we_take_what_openssl_signs(tmp_path: Path, key_type: str) -> None:
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

    key = shared_key(key_type)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "key.pem").write_bytes(private)
    drafted = draft(Protected(algorithm_of(key), KID, "nonce", "https://gateway.example/v1/renew"), b"{}")
    words = ["dgst", f"-{DIGESTS[key_type]}", "-sign", "key.pem"]
    done = subprocess.run(
        ["openssl", *words],
        check=True,
        cwd=tmp_path,
        input=drafted.signing_input,
        capture_output=True,
        timeout=20,
    )
    signature = done.stdout
    if isinstance(key, ec.EllipticCurvePrivateKey):
        width = CURVES[key.curve.name].width
        signature = b"".join(each.to_bytes(width) for each in decode_dss_signature(signature))
    verify(parse_jws(drafted.signed(signature)), key.public_key())


# ── what holds, and what must not ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("key_type", "algorithm"), KEY_TYPES.items())
def test_a_key_has_one_algorithm_and_its_signature_holds(key_type: str, algorithm: Algorithm) -> None:
    key = shared_key(key_type)
    assert algorithm_of(key) is algorithm_of(key.public_key()) is algorithm
    verify(signed(key), key.public_key())


@pytest.mark.parametrize("key_type", KEY_TYPES)
@pytest.mark.parametrize("algorithm", Algorithm)
def test_a_request_does_not_choose_the_algorithm(key_type: str, algorithm: Algorithm) -> None:
    if algorithm is KEY_TYPES[key_type]:
        return
    key = shared_key(key_type)
    with pytest.raises(SignatureRefused):
        verify(signed(key, algorithm=algorithm), key.public_key())


@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_another_key_of_the_same_kind_is_refused(key_type: str) -> None:
    with pytest.raises(SignatureRefused):
        verify(signed(make_key(key_type)), shared_key(key_type).public_key())


@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_one_flipped_bit_anywhere_is_refused(key_type: str) -> None:
    key = shared_key(key_type)
    request = signed(key, b'{"csr": "x"}')
    places = range(0, len(request.signature), 13)
    broken = [replace(request, signature=flipped(request.signature, place)) for place in places]
    places = range(0, len(request.signing_input), 29)
    broken += [replace(request, signing_input=flipped(request.signing_input, place)) for place in places]
    for one in broken:
        with pytest.raises(SignatureRefused):
            verify(one, key.public_key())


def flipped(raw: bytes, place: int) -> bytes:
    return raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :]


@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_a_signature_of_another_length_or_form_is_refused(key_type: str) -> None:
    key = shared_key(key_type)
    request = signed(key)
    others = [b"", request.signature[:-1], request.signature + b"\0", b"\0" + request.signature]
    others += [bytes(len(request.signature)), b"\xff" * len(request.signature)]
    if isinstance(key, ec.EllipticCurvePrivateKey):
        others.append(der_of(key, request.signature))
    for signature in others:
        with pytest.raises(SignatureRefused):
            verify(replace(request, signature=signature), key.public_key())


def test_a_key_of_a_kind_that_no_certificate_of_ours_has_is_refused() -> None:
    strange = [
        ed25519.Ed25519PrivateKey.generate().public_key(),
        ec.generate_private_key(ec.SECP256K1()).public_key(),
        dsa.generate_private_key(1024).public_key(),
        None,
    ]
    for key in strange:
        for algorithm in Algorithm:
            with pytest.raises(SignatureRefused):
                verify(signed(shared_key(), algorithm=algorithm), key)
