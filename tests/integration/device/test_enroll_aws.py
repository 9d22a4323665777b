"""Enrolment against what AWS answers: no chain, Amazon's roots, dates until 2049, public authorities."""

import hashlib
import json
import os
import ssl
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from keyborn.adapters.aws.roots import amazon_roots
from keyborn.device.answer import MAX_PEM, Fallback
from keyborn.device.enroll import Outcome, Wish, enroll
from keyborn.device.home import Home
from keyborn.device.identity import State, assess
from keyborn.domain import errors
from keyborn.domain.token import EnrollmentCode
from support.aws_certificate import BACK, END, Shape, certify_as_aws
from support.device import keyborn_json
from support.device_home import Machine, leaf_of
from support.pki import pem
from support.rude_service import Exchange, Reply, RudeService

ENROLL = "/v1/enroll"
ENDPOINT = "a1b2c3d4e5f6g7-ats.iot.eu-central-1.amazonaws.com"


@pytest.fixture
def service(service: RudeService) -> RudeService:
    service.script(ENROLL, aws())
    return service


def aws(shape: Shape | None = None, **changes: Any) -> Reply:  # noqa: ANN401 - JSON
    """What the function answers; ``mqtt__port=0`` reaches inside."""

    def reply(exchange: Exchange) -> None:
        body = json.loads(exchange.seen.body)
        request = x509.load_pem_x509_csr(body["csr"].encode())
        leaf = certify_as_aws(request.public_key(), replace(shape or Shape(), name=body["thingName"]))
        answer = _answer(body["thingName"], leaf)
        for name, value in changes.items():
            outer, _, inner = name.partition("__")
            (answer[outer] if inner else answer)[inner or outer] = value
        exchange.send(201, json.dumps(answer).encode(), Content_Type="application/json")

    return reply


def _answer(thing: str, leaf: x509.Certificate) -> dict[str, Any]:
    return {
        "thingName": thing,
        "certificateId": hashlib.sha256(leaf.public_bytes(Encoding.DER)).hexdigest(),
        "certificatePem": pem(leaf),
        "chainPem": "",
        "notAfter": f"{leaf.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}",
        "mqtt": {
            "endpoint": ENDPOINT,
            "port": 8883,
            "alpn": None,
            "fallback": {"port": 443, "alpn": "x-amzn-mqtt-ca"},
            "protocol": "mqtts",
            "clientId": thing,
            "topic": f"certtest/{thing}",
            "rootsPem": amazon_roots(),
        },
    }


def run(home: Home, service: RudeService, machine: Machine, code: EnrollmentCode | None = None) -> Outcome:
    wish = Wish(thing="gateway-1")
    return enroll(home, wish, lambda: code or service.code(), machine.surroundings())


def refuses(home: Home, service: RudeService, machine: Machine, why: str) -> None:
    with pytest.raises(errors.WrongCertificate, match=why):
        run(home, service, machine)
    assert {path.name for path in home.path.iterdir()} - {"lock"} == {"device.key"}


# ── what is kept ──


def test_the_leaf_alone_is_kept_with_both_ports(home: Home, service: RudeService, machine: Machine) -> None:
    made = run(home, service, machine).identity
    assert len(x509.load_pem_x509_certificates(home.certificate.read_bytes())) == 1
    assert hashlib.sha256(leaf_of(home).public_bytes(Encoding.DER)).hexdigest() == made.certificate_id
    assert (made.broker.endpoint, made.broker.port) == (ENDPOINT, 8883)
    assert made.broker.fallback == Fallback(443, "x-amzn-mqtt-ca")
    assert assess(home, machine.clock.now()).identity is not None


def test_amazon_s_roots_are_kept_beside_the_pinned_one(
    home: Home, service: RudeService, machine: Machine
) -> None:
    """The root of the custom domain signs the service's name; the broker's is below Amazon's."""
    run(home, service, machine)
    assert home.roots.read_text() == amazon_roots_as_stored() + service.pki.root_pem


def amazon_roots_as_stored() -> str:
    return pem(*x509.load_pem_x509_certificates(amazon_roots().encode()))


def test_amazon_s_roots_fit_and_tls_takes_all_four() -> None:
    assert len(amazon_roots()) < MAX_PEM / 4
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=amazon_roots())
    assert context.cert_store_stats()["x509_ca"] == 4


def test_without_any_root_there_is_nothing_to_believe_a_broker_by(
    home: Home, service: RudeService, machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authorities = tmp_path / "authorities.pem"
    authorities.write_text(service.pki.root_pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(authorities))
    service.script(ENROLL, aws(mqtt__rootsPem=""))
    with pytest.raises(errors.WrongCertificate, match="no root came with it"):
        run(home, service, machine, service.code(fingerprint=b""))


def test_with_a_pinned_root_no_other_is_needed(home: Home, service: RudeService, machine: Machine) -> None:
    service.script(ENROLL, aws(mqtt__rootsPem=""))
    run(home, service, machine)
    assert home.roots.read_text() == service.pki.root_pem


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (aws(certificateId="0" * 64), "SHA-256"),
        (aws(Shape(authority=True)), "certificate authority"),
        (aws(Shape(end=datetime(2020, 1, 1, tzinfo=UTC), start=datetime(2019, 1, 1, tzinfo=UTC))), "expired"),
        (aws(chainPem="-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), "cannot be read"),
        (aws(chainPem=amazon_roots()), "clientAuth|hold together"),
    ],
    ids=["wrong id", "an authority", "expired", "a chain of rubbish", "a chain of others"],
)
def test_what_is_wrong_in_one_way_stores_nothing(
    home: Home, service: RudeService, machine: Machine, reply: Reply, why: str
) -> None:
    service.script(ENROLL, reply)
    refuses(home, service, machine, why)


# ── clocks ──


def test_a_clock_five_minutes_slow_gets_an_identity_that_is_ready(
    home: Home, service: RudeService, machine: Machine
) -> None:
    """The code was made this moment; AWS dates the certificate two minutes back, and it counts from there."""
    code = service.code(issued_at=datetime.now(UTC).replace(microsecond=0))
    machine.clock.at = code.issued_at - timedelta(minutes=4, seconds=55)
    made = run(home, service, machine, code).identity
    assert made.not_before - machine.clock.at > timedelta(minutes=4, seconds=55) - BACK - timedelta(seconds=1)
    assert assess(home, machine.clock.now()).state is State.READY


def test_it_is_ready_until_the_end_of_2049_and_then_expired(
    home: Home, service: RudeService, machine: Machine
) -> None:
    made = run(home, service, machine).identity
    assert made.not_after == END
    assert assess(home, END).state is State.READY
    assert assess(home, END + timedelta(seconds=1)).state is State.EXPIRED


def test_status_counts_the_days(home: Home, service: RudeService, machine: Machine) -> None:
    run(home, service, machine)
    told = keyborn_json("status", "--home", home.path)
    assert told["notAfter"] == "2049-12-31T23:59:59Z"
    assert abs(told["daysLeft"] - (END - datetime.now(UTC)).days) <= 1


# ── the system's authorities ──


def enroll_with(
    home: Home, service: RudeService, environment: dict[str, str]
) -> "subprocess.CompletedProcess[str]":
    """``keyborn enroll`` in a process of its own, with a code that names no root."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("SSL_CERT_")}
    words = ["enroll", "-", "--thing", "gateway-1", "--home", str(home.path), "--timeout", "5"]
    return subprocess.run(
        [sys.executable, "-m", "keyborn", *words],
        input=service.code(fingerprint=b"").encode(),
        env=plain | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_ssl_cert_file_names_the_authorities(home: Home, service: RudeService, tmp_path: Path) -> None:
    (tmp_path / "own.pem").write_text(service.pki.root_pem)
    done = enroll_with(home, service, {"SSL_CERT_FILE": str(tmp_path / "own.pem")})
    assert done.returncode == 0, done.stderr
    assert home.roots.read_text() == amazon_roots_as_stored()


@pytest.mark.needs("openssl")
def test_ssl_cert_dir_names_a_folder_of_authorities(home: Home, service: RudeService, tmp_path: Path) -> None:
    """Its files have the names that ``openssl rehash`` gives them."""
    folder = tmp_path / "authorities"
    folder.mkdir()
    (folder / "own.pem").write_text(service.pki.root_pem)
    subprocess.run(["openssl", "rehash", str(folder)], check=True, capture_output=True, timeout=30)
    done = enroll_with(home, service, {"SSL_CERT_DIR": str(folder), "SSL_CERT_FILE": "/nonexistent"})
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "environment", [{}, {"SSL_CERT_FILE": "/nonexistent", "SSL_CERT_DIR": "/nonexistent"}]
)
def test_an_authority_that_the_system_does_not_know_gets_no_credential(
    home: Home, service: RudeService, environment: dict[str, str]
) -> None:
    done = enroll_with(home, service, environment)
    assert done.returncode == 1
    assert "certificate" in done.stderr
    assert service.seen == []


def test_an_authority_of_the_system_s_does_not_stand_in_for_a_pinned_root(
    home: Home, service: RudeService, machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own.pem").write_text(service.pki.root_pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "own.pem"))
    with pytest.raises(errors.UntrustedService):
        run(home, service, machine, service.code(fingerprint=bytes(32)))
    assert service.asked(ENROLL) == []
