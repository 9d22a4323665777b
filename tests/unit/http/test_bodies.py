"""The bodies on the wire, and the document that describes them."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from keyborn.domain.certificate import Certificate, CertificateStatus
from keyborn.domain.names import CertificateId, KeyHash, ThingName
from keyborn.http.bodies import AWS_FALLBACK, BrokerAddress, answer_enrollment, fingerprint_text, pem_of
from keyborn.http.openapi import document
from support.office import NOON, OfficeWorld, folder

BROKER = BrokerAddress(
    endpoint="broker.example",
    port=8883,
    topic_prefix="certtest",
    roots_pem=lambda: "ROOTS",
    chain_pem=lambda _der: "CHAIN",
)


def certificate(**changes: object) -> Certificate:
    fields: dict[str, object] = {
        "id": CertificateId("a" * 64),
        "thing": ThingName("sensor-1"),
        "key_hash": KeyHash("b" * 64),
        "der": b"\x30\x00",
        "not_before": NOON,
        "not_after": NOON + timedelta(days=90),
    }
    return Certificate(**{**fields, **changes})  # type: ignore[arg-type]  # a test's shorthand


def test_the_answer_has_every_name_of_the_contract_in_camel_case() -> None:
    body = json.loads(msgspec.json.encode(answer_enrollment(certificate(), BROKER)))
    assert body == {
        "thingName": "sensor-1",
        "certificateId": "a" * 64,
        "certificatePem": pem_of(b"\x30\x00"),
        "chainPem": "CHAIN",
        "notAfter": "2027-01-30T12:00:00Z",
        "mqtt": {
            "endpoint": "broker.example",
            "port": 8883,
            "alpn": None,
            "fallback": None,
            "protocol": "mqtts",
            "clientId": "sensor-1",
            "topic": "certtest/sensor-1",
            "rootsPem": "ROOTS",
        },
    }


def test_a_second_port_is_told_with_the_protocol_name_that_it_requires() -> None:
    answer = answer_enrollment(certificate(), replace(BROKER, fallback=AWS_FALLBACK))
    told = json.loads(msgspec.json.encode(answer))["mqtt"]
    assert told["fallback"] == {"port": 443, "alpn": "x-amzn-mqtt-ca"}
    assert told["port"] == 8883


def test_the_answer_does_not_depend_on_what_happened_since() -> None:
    """Equal requests get equal bodies, whatever the certificate has lived through."""
    later = certificate(status=CertificateStatus.ACTIVE, connected_at=datetime(2026, 12, 1, tzinfo=UTC))
    assert answer_enrollment(later, BROKER) == answer_enrollment(certificate(), BROKER)


async def test_the_pem_is_the_certificate(tmp_path_factory: pytest.TempPathFactory) -> None:
    world = OfficeWorld(folder(tmp_path_factory.mktemp("office")))
    _, _, issued = await world.enrolled("sensor-1")
    pem = pem_of(issued.der)
    assert x509.load_pem_x509_certificate(pem.encode()).public_bytes(Encoding.DER) == issued.der
    assert max(len(line) for line in pem.splitlines()) == 64
    assert pem.endswith("-----END CERTIFICATE-----\n")


def test_no_certificate_is_no_pem() -> None:
    assert pem_of(b"") == ""


def test_fingerprints_are_shown_as_openssl_shows_them() -> None:
    assert fingerprint_text(bytes([0, 255, 16])) == "00:FF:10"


def test_openapi_describes_every_answer_with_a_body() -> None:
    paths = json.loads(document(renewal=True, reports=True))["paths"]
    for path, operations in paths.items():
        for method, operation in operations.items():
            assert operation["operationId"], (method, path)
            for status, answer in operation["responses"].items():
                assert answer["description"], (path, status)
                assert answer["content"], (path, status)


def test_openapi_s_references_all_lead_somewhere() -> None:
    whole = json.loads(document(renewal=True))
    schemas = whole["components"]["schemas"]
    text = document(renewal=True).decode()
    references = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert references <= set(schemas)
    assert {"EnrollBody", "LegacyBody", "EnrollAnswer", "Problem"} <= set(schemas)


def test_openapi_leaves_out_what_a_service_does_not_have() -> None:
    without = json.loads(document(renewal=False))
    assert not [path for path in without["paths"] if "renew" in path or "nonce" in path]
    assert "SignedBody" not in without["components"]["schemas"]
    signed = json.loads(document(renewal=True))["paths"]["/v1/renew"]["post"]
    assert list(signed["requestBody"]["content"]) == ["application/jose+json"]
    assert "security" not in signed
    told = {status for status, answer in signed["responses"].items() if "headers" in answer}
    assert told == set(signed["responses"]) - {"500"}


def test_openapi_says_what_the_decoder_does() -> None:
    schemas = json.loads(document(renewal=True))["components"]["schemas"]
    assert schemas["EnrollBody"]["additionalProperties"] is False
    assert set(schemas["EnrollBody"]["required"]) == {"thingName", "csr"}
    assert "additionalProperties" not in schemas["LegacyBody"]


def test_doors_ask_for_a_bearer_token() -> None:
    whole = json.loads(document(renewal=True))
    assert whole["components"]["securitySchemes"]["token"] == {"type": "http", "scheme": "bearer"}
    for path in ("/v1/enroll", "/getCertificate"):
        assert {"token": []} in whole["paths"][path]["post"]["security"]
