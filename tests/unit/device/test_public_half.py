"""The public half of whatever a PEM file is about: the hash under which a key is registered."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keyborn.device.keys import key_pem, public_half
from keyborn.domain.errors import KeyUnusable
from support.csr_make import csr_for, make_key
from support.device_pki import Wanted, certify
from support.pki import pem, shared_pki

PLACE = Path("key.pem")


@pytest.mark.parametrize("kind", ["p256", "p384", "p521", "rsa2048"])
def test_every_form_of_a_key_has_the_same_public_half(kind: str) -> None:
    key = make_key(kind)
    public = key.public_key()
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    forms = [
        key_pem(key),
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        csr_for(key, "sensor-1").encode(),
        pem(certify(shared_pki().devices, public, Wanted(name="sensor-1"))).encode(),
        b"some text\n" + key_pem(key),
    ]
    assert {public_half(form, PLACE) for form in forms} == {der}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"nothing",
        b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE REQUEST-----\n!\n-----END CERTIFICATE REQUEST-----\n",
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        b"-----BEGIN SOMETHING-----\nAAAA\n-----END SOMETHING-----\n",
    ],
)
def test_what_holds_no_key_is_refused(data: bytes) -> None:
    with pytest.raises(KeyUnusable, match=r"key\.pem"):
        public_half(data, PLACE)
