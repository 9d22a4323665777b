"""Enrolment against a real TLS service: polite, slow, broken, hostile."""

import errno
import hashlib
import json
import stat
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keyborn.device.enroll import Outcome, Wish, enroll
from keyborn.device.home import Home
from keyborn.device.identity import State, assess
from keyborn.domain import errors
from keyborn.domain.token import EnrollmentCode, encode_secret
from support.csr_make import make_key
from support.device_home import DAY, Machine, leaf_of
from support.device_pki import Wanted, certify, public_der
from support.pki import CLIENT, SERVER, new_pki, pem
from support.rude_service import (
    SECRET,
    Exchange,
    RudeService,
    changed,
    dripping,
    endless,
    lost,
    plain,
    polite,
    problem,
    rude_service,
    silent,
    truncated,
)

ENROLL = "/v1/enroll"
BUNDLE = "/v1/trust-bundle"
THING = Wish(thing="gateway-1")


def run(
    home: Home,
    service: RudeService,
    machine: Machine,
    wish: Wish = THING,
    *,
    code: EnrollmentCode | None = None,
    timeout: float = 60,
) -> Outcome:
    return enroll(home, wish, lambda: code or service.code(), machine.surroundings(), timeout=timeout)


def stored(home: Home) -> set[str]:
    """The files of an identity that a home holds, the lock aside."""
    return {path.name for path in home.path.iterdir()} - {"lock"}


# ── when all is well ──


def test_a_device_gets_its_identity(home: Home, service: RudeService, machine: Machine) -> None:
    outcome = run(home, service, machine)
    assert outcome.obtained
    assert outcome.subject == "/CN=gateway-1"
    assert outcome.identity.thing == "gateway-1"
    assert assess(home, machine.clock.now()).state is State.READY
    der = leaf_of(home).public_bytes(Encoding.DER)
    assert outcome.identity.certificate_id == hashlib.sha256(der).hexdigest()


def test_the_files_are_private_and_complete(home: Home, service: RudeService, machine: Machine) -> None:
    run(home, service, machine)
    assert stat.S_IMODE(home.path.stat().st_mode) == 0o700
    assert stored(home) == {"device.key", "device.crt", "roots.pem", "device.toml"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in home.path.iterdir()} == {0o600}


def test_device_crt_holds_the_leaf_and_then_its_chain(
    home: Home, service: RudeService, machine: Machine
) -> None:
    run(home, service, machine)
    leaf, *chain = x509.load_pem_x509_certificates(home.certificate.read_bytes())
    assert chain == [service.pki.devices.certificate]
    leaf.verify_directly_issued_by(chain[0])
    assert home.roots.read_text() == service.pki.root_pem


def test_the_request_is_the_contract_s(home: Home, service: RudeService, machine: Machine) -> None:
    run(home, service, machine, Wish(thing="gateway-1", subject="/C=JP/O=Example"))
    [asked] = service.asked(ENROLL)
    body = json.loads(asked.body)
    assert set(body) == {"thingName", "csr"}
    assert asked.headers["Authorization"] == f"Bearer {encode_secret(SECRET)}"
    request = x509.load_pem_x509_csr(body["csr"].encode())
    assert request.subject.rfc4514_string() == "CN=gateway-1,O=Example,C=JP"
    assert request.is_signature_valid


def test_first_trust_is_a_connection_of_its_own_without_any_credential(
    home: Home, service: RudeService, machine: Machine
) -> None:
    run(home, service, machine)
    bundle, asked = service.seen
    assert (bundle.path, asked.path) == (BUNDLE, ENROLL)
    assert bundle.connection != asked.connection
    assert "Authorization" not in bundle.headers
    everything = repr(bundle).encode() + bundle.body
    assert encode_secret(SECRET).encode() not in everything
    assert bundle.body == b""


def test_a_service_below_a_prefix_is_found(home: Home, service: RudeService, machine: Machine) -> None:
    run(home, service, machine, code=service.code(url=service.url + "/iot/"))
    assert [each.path for each in service.seen] == ["/iot/v1/trust-bundle", "/iot/v1/enroll"]


@pytest.mark.parametrize("key_type", ["p256", "p384", "p521", "rsa2048", "rsa3072"])
def test_every_kind_of_key_is_made(home: Home, service: RudeService, machine: Machine, key_type: str) -> None:
    outcome = run(home, service, machine, Wish(thing="gateway-1", key_type=key_type))
    assert outcome.identity.key_type == key_type
    slow = [line for line in machine.said if "this takes some seconds" in line]
    assert bool(slow) == key_type.startswith("rsa")


def test_a_second_enroll_makes_no_request_and_asks_for_no_code(
    home: Home, service: RudeService, machine: Machine
) -> None:
    first = run(home, service, machine)
    service.seen.clear()

    def never() -> EnrollmentCode:
        raise AssertionError("no code is needed")

    again = enroll(home, THING, never, machine.surroundings())
    assert not again.obtained
    assert again.identity == first.identity
    assert service.seen == []


def test_a_second_enroll_without_a_name_makes_no_request_either(
    home: Home, service: RudeService, machine: Machine
) -> None:
    run(home, service, machine)
    service.seen.clear()
    machine.hostname = "something-else"
    assert run(home, service, machine, Wish()).identity.thing == "gateway-1"
    assert service.seen == []


def test_another_name_for_an_enrolled_device_is_refused(
    home: Home, service: RudeService, machine: Machine
) -> None:
    run(home, service, machine)
    service.seen.clear()
    with pytest.raises(errors.OtherThing, match="already enrolled as gateway-1, not gateway-2"):
        run(home, service, machine, Wish(thing="gateway-2"))
    assert service.seen == []


def test_the_host_name_is_the_name_where_none_is_given_and_that_is_said(
    home: Home, service: RudeService, machine: Machine
) -> None:
    machine.hostname = "edge-7.example.net"
    assert run(home, service, machine, Wish()).identity.thing == "edge-7"
    assert any("host name, edge-7" in line for line in machine.said)


@pytest.mark.parametrize("hostname", ["localhost", "LocalHost.localdomain", "", "my_räspi", "keyborn-1"])
def test_a_host_name_that_cannot_be_a_thing_is_not_used(
    home: Home, service: RudeService, machine: Machine, hostname: str
) -> None:
    machine.hostname = hostname
    with pytest.raises(errors.ThingNameMissing, match="--thing NAME"):
        run(home, service, machine, Wish())
    assert service.seen == []
    assert not home.key.exists()


def test_an_existing_key_without_a_certificate_is_used(
    home: Home, service: RudeService, machine: Machine
) -> None:
    service.script(ENROLL, problem(401, "credential_refused", "no"), polite)
    with pytest.raises(errors.EnrollmentRefused):
        run(home, service, machine)
    key = home.key.read_bytes()
    run(home, service, machine)
    assert home.key.read_bytes() == key


def test_an_expired_certificate_is_replaced_for_the_same_key(
    home: Home, service: RudeService, machine: Machine
) -> None:
    start = machine.clock.now()
    service.wanted = Wanted(end=start + DAY)
    first = run(home, service, machine)
    key = home.key.read_bytes()
    machine.clock.at = start + 2 * DAY
    assert assess(home, machine.clock.now()).state is State.EXPIRED
    service.wanted, service.issued = Wanted(), {}
    code = service.code(issued_at=start + DAY, expires_at=start + 3 * DAY)
    second = run(home, service, machine, code=code)
    assert second.obtained
    assert second.identity.certificate_id != first.identity.certificate_id
    assert home.key.read_bytes() == key


def test_the_subject_is_remembered_and_asked_for_again(
    home: Home, service: RudeService, machine: Machine
) -> None:
    start = machine.clock.now()
    service.wanted = Wanted(end=start + DAY)
    first = run(home, service, machine, Wish("gateway-1", subject="/C=JP/O=Example"))
    assert first.identity.subject == first.subject == "/C=JP/O=Example/CN=gateway-1"
    machine.clock.at = start + 2 * DAY
    service.wanted, service.issued = Wanted(), {}
    code = service.code(issued_at=start + DAY, expires_at=start + 3 * DAY)
    assert run(home, service, machine, code=code).subject == first.subject
    asked = [json.loads(each.body)["csr"] for each in service.seen if each.path == ENROLL]
    subjects = {x509.load_pem_x509_csr(csr.encode()).subject.rfc4514_string() for csr in asked}
    assert subjects == {"CN=gateway-1,O=Example,C=JP"}


# ── adopting ──


def adopted(tmp_path: Path, key_type: str = "p256") -> Path:
    from keyborn.device.keys import key_pem

    path = tmp_path / "own.pem"
    path.write_bytes(key_pem(make_key(key_type)))
    path.chmod(0o600)
    return path


def test_an_adopted_key_is_certified_and_its_file_stays(
    home: Home, service: RudeService, machine: Machine, tmp_path: Path
) -> None:
    own = adopted(tmp_path, "rsa2048")
    before = own.read_bytes()
    outcome = run(home, service, machine, Wish(thing="gateway-1", adopt=own))
    assert outcome.identity.key_type == "rsa2048"
    assert own.read_bytes() == before == home.key.read_bytes()


def test_adopting_the_same_key_again_changes_nothing(
    home: Home, service: RudeService, machine: Machine, tmp_path: Path
) -> None:
    wish = Wish(thing="gateway-1", adopt=adopted(tmp_path))
    run(home, service, machine, wish)
    assert not run(home, service, machine, wish).obtained


def test_another_key_is_never_adopted_over_the_present_one(
    home: Home, service: RudeService, machine: Machine, tmp_path: Path
) -> None:
    run(home, service, machine)
    key = home.key.read_bytes()
    with pytest.raises(errors.KeyExists, match="never overwrites"):
        run(home, service, machine, Wish(thing="gateway-1", adopt=adopted(tmp_path)))
    assert home.key.read_bytes() == key


def test_a_present_key_of_another_type_is_not_replaced(
    home: Home, service: RudeService, machine: Machine
) -> None:
    run(home, service, machine)
    with pytest.raises(errors.KeyExists, match="it is p256, not p384"):
        run(home, service, machine, Wish(thing="gateway-1", key_type="p384"))


def test_a_weak_key_is_refused_before_anything_is_stored_or_sent(
    home: Home, service: RudeService, machine: Machine, tmp_path: Path
) -> None:
    from cryptography.hazmat.primitives.asymmetric import rsa

    from keyborn.device.keys import key_pem

    weak = tmp_path / "weak.pem"
    weak.write_bytes(key_pem(rsa.generate_private_key(3, 2048)))
    weak.chmod(0o600)
    with pytest.raises(errors.WeakExponent):
        run(home, service, machine, Wish(thing="gateway-1", adopt=weak))
    assert stored(home) == set()
    assert service.seen == []


# ── whom to trust ──


def refuses(home: Home, service: RudeService, machine: Machine, kind: type[errors.DeviceError]) -> str:
    with pytest.raises(kind) as raised:
        run(home, service, machine)
    assert stored(home) <= {"device.key"}
    return str(raised.value)


def test_a_bundle_without_the_pinned_root_ends_it_before_any_credential(
    home: Home, service: RudeService, machine: Machine
) -> None:
    other = new_pki()
    service.script(BUNDLE, plain(200, other.root_pem.encode()))
    assert "fingerprint" in refuses(home, service, machine, errors.UntrustedService)
    assert service.asked(ENROLL) == []


def test_the_pinned_root_is_found_among_several_and_only_it_is_believed(
    home: Home, tmp_path: Path, machine: Machine
) -> None:
    """A man in the middle adds the true root to the bundle, but serves with his own certificate."""
    true, false = new_pki(), new_pki()
    with rude_service(tmp_path, pki=false) as service:
        bundle = pem(false.root.certificate, true.root.certificate)
        service.script(BUNDLE, plain(200, bundle.encode()))
        fingerprint = hashlib.sha256(true.root.certificate.public_bytes(Encoding.DER)).digest()
        with pytest.raises(errors.UntrustedService):
            run(home, service, machine, code=service.code(fingerprint=fingerprint))
        assert service.asked(ENROLL) == []


def test_several_roots_are_fine_where_the_pinned_one_signed(
    home: Home, service: RudeService, machine: Machine
) -> None:
    bundle = "some text\n" + new_pki().root_pem + service.pki.root_pem
    service.script(BUNDLE, plain(200, bundle.encode()))
    assert run(home, service, machine).obtained


@pytest.mark.parametrize("body", [b"", b"hello", b"\xff\xfe" * 99, b"-----END CERTIFICATE-----" * 99])
def test_a_bundle_of_rubbish_is_nobody_s(
    home: Home, service: RudeService, machine: Machine, body: bytes
) -> None:
    service.script(BUNDLE, plain(200, body))
    refuses(home, service, machine, errors.UntrustedService)


def test_a_bundle_that_is_too_large_is_not_read(home: Home, service: RudeService, machine: Machine) -> None:
    service.script(BUNDLE, plain(200, b"x" * 70_000))
    assert "65536" in refuses(home, service, machine, errors.WrongAnswer)


def test_a_service_with_a_name_that_is_not_its_own_gets_no_credential(
    home: Home, tmp_path: Path, machine: Machine
) -> None:
    with rude_service(tmp_path, address="127.0.0.2") as service:  # its certificate says 127.0.0.1
        said = refuses(home, service, machine, errors.UntrustedService)
        assert "mismatch" in said
        assert service.asked(ENROLL) == []


def test_a_device_s_certificate_cannot_pose_as_the_service(
    home: Home, tmp_path: Path, machine: Machine
) -> None:
    pki = new_pki()
    posing = pki.devices.leaf("localhost", usage=CLIENT, between=True)
    with rude_service(tmp_path, pki=pki, leaf=posing) as service:
        refuses(home, service, machine, errors.UntrustedService)
        assert service.asked(ENROLL) == []


def test_a_certificate_for_any_purpose_cannot_pose_as_the_service(
    home: Home, tmp_path: Path, machine: Machine
) -> None:
    """OpenSSL takes a leaf without extended key usages for a server's; a device does not."""
    pki = new_pki()
    good = pki.servers.leaf("localhost", usage=SERVER, between=True)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
    builder = x509.CertificateBuilder(
        issuer_name=pki.servers.certificate.subject,
        subject_name=good.certificate.subject,
        public_key=good.key.public_key(),
        serial_number=7,
        not_valid_before=good.certificate.not_valid_before_utc.replace(tzinfo=None),
        not_valid_after=good.certificate.not_valid_after_utc.replace(tzinfo=None),
    ).add_extension(names, critical=False)
    from cryptography.hazmat.primitives import hashes

    from support.pki import Leaf

    bare = Leaf(builder.sign(pki.servers.key, hashes.SHA256()), good.key, good.between)
    with rude_service(tmp_path, pki=pki, leaf=bare) as service:
        assert "serverAuth" in refuses(home, service, machine, errors.UntrustedService)
        assert service.asked(ENROLL) == []


def test_an_expired_service_is_not_trusted_by_a_good_clock(
    home: Home, tmp_path: Path, machine: Machine
) -> None:
    pki, now = new_pki(), machine.clock.now()
    old = pki.servers.leaf("service", usage=SERVER, between=True, start=now - 9 * DAY, end=now - DAY / 2)
    with rude_service(tmp_path, pki=pki, leaf=old) as service:
        assert "expired" in refuses(home, service, machine, errors.UntrustedService)


def test_without_a_fingerprint_the_system_s_authorities_decide(
    home: Home, service: RudeService, machine: Machine
) -> None:
    with pytest.raises(errors.UntrustedService):
        run(home, service, machine, code=service.code(fingerprint=b""))
    assert service.seen == []


def test_without_a_fingerprint_a_known_authority_is_enough(
    home: Home, service: RudeService, machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authorities = tmp_path / "authorities.pem"
    authorities.write_text(service.pki.root_pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(authorities))
    outcome = run(home, service, machine, code=service.code(fingerprint=b""))
    assert not outcome.identity.pinned
    assert service.asked(BUNDLE) == []


def test_plain_http_gets_nothing(home: Home, tmp_path: Path, machine: Machine) -> None:
    with rude_service(tmp_path, tls=False) as service:
        refuses(home, service, machine, errors.ServiceUnreachable)
        assert service.seen == []


# ── the clock ──


@pytest.mark.parametrize("years", [-56, 30])
def test_a_wrong_clock_is_overruled_by_the_code_where_a_root_is_pinned(
    home: Home, service: RudeService, machine: Machine, years: int
) -> None:
    machine.clock.at += timedelta(days=365 * years)
    outcome = run(home, service, machine)
    assert outcome.obtained
    assert any("clock" in line for line in machine.said)


def test_after_enrolling_a_clock_that_runs_behind_makes_no_second_request(
    home: Home, service: RudeService, machine: Machine
) -> None:
    machine.clock.at -= timedelta(days=365 * 56)
    run(home, service, machine)
    service.seen.clear()
    assert not run(home, service, machine).obtained
    assert service.seen == []


def test_a_wrong_clock_excuses_dates_and_nothing_else(
    home: Home, service: RudeService, machine: Machine
) -> None:
    machine.clock.at -= timedelta(days=9999)
    service.script(BUNDLE, plain(200, new_pki().root_pem.encode()))
    refuses(home, service, machine, errors.UntrustedService)


def test_the_overruled_clock_still_checks_the_certificate_s_dates(
    home: Home, service: RudeService, machine: Machine
) -> None:
    service.wanted = Wanted(start=machine.clock.now() + 5 * DAY)
    machine.clock.at -= timedelta(days=9999)
    assert "valid only from" in refuses(home, service, machine, errors.WrongCertificate)


def test_a_wrong_clock_without_a_pinned_root_is_refused_with_what_to_do(
    home: Home, service: RudeService, machine: Machine
) -> None:
    machine.clock.at -= timedelta(days=9999)
    with pytest.raises(errors.ClockUnusable, match="Set the clock"):
        run(home, service, machine, code=service.code(fingerprint=b""))
    assert not home.key.exists()


# ── troubles that pass ──


@pytest.mark.parametrize(
    "trouble", [lost, truncated, plain(503), plain(500), plain(502), plain(408), plain(429)]
)
def test_a_passing_trouble_is_survived_with_the_same_request(
    home: Home, service: RudeService, machine: Machine, trouble: object
) -> None:
    service.script(ENROLL, trouble, trouble, polite)  # type: ignore[arg-type] # each is a Reply
    assert run(home, service, machine).obtained
    bodies = {each.body for each in service.asked(ENROLL)}
    assert len(service.asked(ENROLL)) == 3
    assert len(bodies) == 1
    assert len(service.issued) == 1


def test_a_busy_trust_bundle_is_asked_again(home: Home, service: RudeService, machine: Machine) -> None:
    service.script(BUNDLE, plain(503, Retry_After="2"), polite)
    assert run(home, service, machine).obtained
    assert len(service.asked(BUNDLE)) == 2


def test_the_pauses_are_full_jitter_and_grow(home: Home, service: RudeService, machine: Machine) -> None:
    service.script(ENROLL, *[plain(500)] * 4, polite)
    run(home, service, machine)
    assert machine.slept == [0.25, 0.5, 1.0, 2.0]
    assert f"{service.url}: the service answered 500; trying again in 0.2 s." in machine.said


def test_retry_after_is_honoured(home: Home, service: RudeService, machine: Machine) -> None:
    service.script(ENROLL, plain(429, Retry_After="7"), polite)
    run(home, service, machine)
    assert machine.slept == [pytest.approx(7 * 1.05)]


@pytest.mark.parametrize("absurd", ["99999999", "9" * 400])
def test_an_absurd_retry_after_is_capped(
    home: Home, service: RudeService, machine: Machine, absurd: str
) -> None:
    service.script(ENROLL, plain(503, Retry_After=absurd), polite)
    run(home, service, machine, timeout=6000)
    assert machine.slept == [pytest.approx(3600 * 1.05)]


@pytest.mark.parametrize("strange", ["soon", "-5", "1e9", "Wed, 21 Oct 2099 07:28:00 GMT", "٣"])
def test_a_retry_after_that_is_no_number_is_ignored(
    home: Home, service: RudeService, machine: Machine, strange: str
) -> None:
    def reply(exchange: Exchange) -> None:
        exchange.send(503, b"", Retry_After=strange.encode().decode("latin-1"))

    service.script(ENROLL, reply, polite)
    run(home, service, machine)
    assert machine.slept == [0.25]


def test_it_ends_when_the_time_is_up_and_says_why(home: Home, service: RudeService, machine: Machine) -> None:
    service.script(ENROLL, problem(503, "overloaded", "The service is busy."))
    with pytest.raises(errors.EnrollmentRefused, match="busy") as raised:
        run(home, service, machine, timeout=30)
    assert raised.value.code == "overloaded"
    assert machine.seconds <= 30


def test_nobody_there_is_unreachable_and_the_key_stays(
    home: Home, service: RudeService, machine: Machine
) -> None:
    code = service.code(url="https://localhost:1")
    with pytest.raises(errors.ServiceUnreachable, match="refused"):
        run(home, service, machine, code=code)
    assert stored(home) == {"device.key"}
    assert machine.slept


def test_a_name_without_an_address_is_unreachable(home: Home, service: RudeService, machine: Machine) -> None:
    with pytest.raises(errors.ServiceUnreachable, match="no address"):
        run(home, service, machine, code=service.code(url="https://nowhere.invalid"), timeout=1)


@pytest.mark.parametrize("rude", [silent, dripping])
def test_a_service_that_holds_the_line_is_cut(home: Home, service: RudeService, rude: object) -> None:
    """Real time: each exchange ends by the deadline, however many bytes arrive in between."""
    import time

    from keyborn.device.pace import Pace

    machine = Machine()
    around = machine.surroundings()
    real = type(around)(around.clock, around.hostname, around.say, Pace(), around.checkpoint)
    service.script(ENROLL, rude)  # type: ignore[arg-type] # each is a Reply
    begun = time.monotonic()
    with pytest.raises(errors.ServiceUnreachable, match="too long"):
        enroll(home, THING, service.code, real, timeout=1)
    assert time.monotonic() - begun < 5


def test_an_open_decision_is_polled_until_it_is_made(
    home: Home, service: RudeService, machine: Machine
) -> None:
    service.script(ENROLL, plain(202, Retry_After="3"), plain(202), polite)
    assert run(home, service, machine).obtained
    assert machine.slept == [pytest.approx(3.15), pytest.approx(5.25)]
    assert any("waits for a person" in line for line in machine.said)


def test_an_open_decision_outlasts_the_time_limit_politely(
    home: Home, service: RudeService, machine: Machine
) -> None:
    service.script(ENROLL, plain(202, Retry_After="20"))
    with pytest.raises(errors.ApprovalPending, match="run the same command again") as raised:
        run(home, service, machine, timeout=50)
    assert raised.value.retry_after == 20


# ── refusals ──


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, "csr_malformed"), (401, "token_expired"), (403, "thing_revoked"), (409, "thing_name_taken")],
)
def test_a_refusal_is_told_in_the_service_s_words_and_not_repeated(
    home: Home, service: RudeService, machine: Machine, status: int, code: str
) -> None:
    service.script(ENROLL, problem(status, code, "Do this: that."))
    with pytest.raises(errors.EnrollmentRefused, match="Do this: that") as raised:
        run(home, service, machine)
    assert raised.value.code == code
    assert len(service.asked(ENROLL)) == 1
    assert stored(home) == {"device.key"}


def test_a_refusal_cannot_draw_on_the_terminal_or_repeat_the_secret(
    home: Home, service: RudeService, machine: Machine
) -> None:
    secret = encode_secret(SECRET)
    service.script(ENROLL, problem(403, "odd", f"\x1b[2J{secret}\r\nline\u202e" + "x" * 5000))
    with pytest.raises(errors.EnrollmentRefused) as raised:
        run(home, service, machine)
    said = str(raised.value)
    assert said.isprintable()
    assert secret not in said
    assert len(said) < 1000


@pytest.mark.parametrize("code", ["", "Has Space", "a" * 99, "\x1b[2J", None, 7])
def test_a_strange_code_is_not_passed_on(
    home: Home, service: RudeService, machine: Machine, code: object
) -> None:
    body = json.dumps({"code": code, "detail": "x"}).encode()
    service.script(ENROLL, plain(403, body))
    with pytest.raises(errors.WrongAnswer, match="status 403"):
        run(home, service, machine)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(home: Home, service: RudeService, machine: Machine, status: int) -> None:
    service.script(ENROLL, plain(status, Location=f"{service.url}/elsewhere"))
    with pytest.raises(errors.WrongAnswer, match=str(status)):
        run(home, service, machine)
    assert service.asked("/elsewhere") == []


def test_a_redirected_bundle_is_not_followed(home: Home, service: RudeService, machine: Machine) -> None:
    service.script(BUNDLE, plain(302, Location=f"{service.url}/elsewhere"))
    refuses(home, service, machine, errors.WrongAnswer)
    assert service.asked("/elsewhere") == []


# ── answers that are not what they should be ──


def test_an_endless_answer_is_not_read(home: Home, service: RudeService, machine: Machine) -> None:
    service.script(ENROLL, endless)
    assert "65536" in refuses(home, service, machine, errors.WrongAnswer)


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"{", b'"x"', b"\xff", b"[" * 60_000])
def test_an_answer_that_is_no_object_stores_nothing(
    home: Home, service: RudeService, machine: Machine, body: bytes
) -> None:
    service.script(ENROLL, plain(200, body))
    refuses(home, service, machine, errors.WrongAnswer)


@pytest.mark.parametrize(
    "change",
    [
        {"certificatePem": None},
        {"certificatePem": "x" * 40_000},
        {"certificateId": "A" * 64},
        {"thingName": "../../etc"},
        {"chainPem": 7},
        {"mqtt": None},
        {"mqtt__port": 0},
        {"mqtt__port": 70_000},
        {"mqtt__port": True},
        {"mqtt__port": "8883"},
        {"mqtt__endpoint": "host/path"},
        {"mqtt__endpoint": "a" * 300},
        {"mqtt__clientId": "two words"},
        {"mqtt__topic": "certtest/#"},
        {"mqtt__topic": "line\nbreak"},
        {"mqtt__rootsPem": "\x00"},
        {"mqtt__alpn": ""},
        {"mqtt__protocol": ["mqtts"]},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_member_that_makes_no_sense_stores_nothing(
    home: Home, service: RudeService, machine: Machine, change: dict[str, object]
) -> None:
    service.script(ENROLL, changed(**change))
    refuses(home, service, machine, errors.WrongAnswer)


def test_a_certificate_for_another_key_stores_nothing(
    home: Home, service: RudeService, machine: Machine
) -> None:
    other = certify(service.pki.devices, make_key().public_key())
    der = other.public_bytes(Encoding.DER)
    change = changed(certificatePem=pem(other), certificateId=hashlib.sha256(der).hexdigest())
    service.script(ENROLL, change)
    assert "another key" in refuses(home, service, machine, errors.WrongCertificate)


def test_a_certificate_id_that_is_not_the_hash_stores_nothing(
    home: Home, service: RudeService, machine: Machine
) -> None:
    service.script(ENROLL, changed(certificateId="0" * 64))
    assert "SHA-256" in refuses(home, service, machine, errors.WrongCertificate)


def test_a_certificate_for_another_thing_stores_nothing(
    home: Home, service: RudeService, machine: Machine
) -> None:
    service.script(ENROLL, changed(thingName="gateway-2"))
    assert "another name" in refuses(home, service, machine, errors.WrongCertificate)


def test_a_chain_to_somebody_else_s_root_stores_nothing(
    home: Home, service: RudeService, machine: Machine
) -> None:
    service.script(ENROLL, changed(chainPem=new_pki().client_ca_pem))
    refuses(home, service, machine, errors.WrongCertificate)


def test_no_chain_is_accepted_where_the_authority_publishes_none(
    home: Home, service: RudeService, machine: Machine
) -> None:
    """AWS IoT Core publishes none; the answer itself came from the pinned service."""
    service.wanted = Wanted(usages=None)
    service.script(ENROLL, changed(chainPem=""))
    assert run(home, service, machine).obtained
    assert len(x509.load_pem_x509_certificates(home.certificate.read_bytes())) == 1


def test_the_pinned_root_is_kept_even_if_the_answer_names_only_the_broker_s(
    home: Home, service: RudeService, machine: Machine
) -> None:
    broker = new_pki()
    service.script(ENROLL, changed(mqtt__rootsPem=broker.root_pem))
    run(home, service, machine)
    assert home.roots.read_text() == broker.root_pem + service.pki.root_pem


def test_the_broker_s_address_is_kept(home: Home, service: RudeService, machine: Machine) -> None:
    service.script(ENROLL, changed(mqtt__port=443, mqtt__alpn="x-amzn-mqtt-ca"))
    broker = run(home, service, machine).identity.broker
    assert (broker.port, broker.alpn) == (443, "x-amzn-mqtt-ca")
    assert assess(home, machine.clock.now()).identity is not None


# ── the home ──


def test_a_home_that_others_can_enter_is_refused(home: Home, service: RudeService, machine: Machine) -> None:
    home.path.mkdir(mode=0o755)
    with pytest.raises(errors.HomeUnusable, match="chmod 700"):
        run(home, service, machine)
    assert service.seen == []


def test_a_key_that_others_can_read_is_not_used(home: Home, service: RudeService, machine: Machine) -> None:
    run(home, service, machine)
    home.key.chmod(0o640)
    with pytest.raises(errors.FileNotPrivate, match="chmod 600"):
        run(home, service, machine)


def test_a_key_behind_a_symbolic_link_is_not_used(
    home: Home, service: RudeService, machine: Machine, tmp_path: Path
) -> None:
    home.prepare()
    home.key.symlink_to(adopted(tmp_path))
    with pytest.raises(errors.FileNotPrivate, match="symbolic link"):
        run(home, service, machine)
    assert service.seen == []


def test_a_dangling_link_in_the_key_s_place_is_not_written_through(
    home: Home, service: RudeService, machine: Machine, tmp_path: Path
) -> None:
    home.prepare()
    home.key.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(errors.FileNotPrivate):
        run(home, service, machine)
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("name", ["device.crt", "roots.pem", "device.toml"])
def test_a_damaged_file_is_repaired_with_the_same_key(
    home: Home, service: RudeService, machine: Machine, name: str
) -> None:
    first = run(home, service, machine)
    key = home.key.read_bytes()
    (home.path / name).write_bytes(b"damaged")
    assert assess(home, machine.clock.now()).state is State.INCOMPLETE
    again = run(home, service, machine)
    assert again.obtained
    assert again.identity == first.identity
    assert home.key.read_bytes() == key


def test_two_enrolments_of_one_home_do_not_work_at_once(
    home: Home, service: RudeService, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keyborn.device.enroll.LOCK_PATIENCE", 0.0)
    home.prepare()
    with home.session(), pytest.raises(errors.HomeBusy):
        run(home, service, machine)
    assert service.seen == []


def test_neither_secret_nor_key_is_ever_told(home: Home, service: RudeService, machine: Machine) -> None:
    service.script(ENROLL, plain(503), polite)
    outcome = run(home, service, machine)
    told = "\n".join([*machine.said, *machine.steps, repr(outcome), home.settings.read_text()])
    assert encode_secret(SECRET) not in told
    assert SECRET.hex() not in told
    assert home.key.read_text().splitlines()[1] not in told
    sent = b"".join(each.body for each in service.seen)
    assert home.key.read_text().splitlines()[1].encode() not in sent


def test_the_certificate_is_for_the_key_in_the_file(
    home: Home, service: RudeService, machine: Machine
) -> None:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    run(home, service, machine)
    key = load_pem_private_key(home.key.read_bytes(), None)
    public = leaf_of(home).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert public == public_der(key)  # type: ignore[arg-type] # p256


@pytest.mark.parametrize("full", ["device.key.tmp", "device.crt.tmp", "device.toml.tmp"])
def test_a_full_disk_is_said_and_the_next_run_goes_on(
    home: Home, service: RudeService, machine: Machine, full: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from keyborn.device import files

    real = files.write_new

    def write(path: Path, data: bytes) -> None:
        if path.name == full:
            real(path, data[:20])  # half of it fitted
            raise OSError(errno.ENOSPC, "No space left on device")
        real(path, data)

    monkeypatch.setattr(files, "write_new", write)
    with pytest.raises(errors.HomeUnusable, match="No space left"):
        run(home, service, machine)
    assert assess(home, machine.clock.now()).state is not State.READY
    monkeypatch.setattr(files, "write_new", real)
    assert run(home, service, machine).obtained
    assert len(service.issued) == 1


@pytest.mark.parametrize(("start", "end"), [(-9, -1), (3, 9)])
def test_a_wrong_clock_does_not_excuse_a_service_outside_the_code_s_dates(
    home: Home, tmp_path: Path, machine: Machine, start: int, end: int
) -> None:
    """Whoever holds an old key of the service must not get the secret because a clock is wrong."""
    pki, today = new_pki(), machine.clock.now()
    times = {"start": today + start * DAY, "end": today + end * DAY}
    other = pki.servers.leaf("service", usage=SERVER, between=True, **times)
    machine.clock.at -= 9999 * DAY
    with rude_service(tmp_path, pki=pki, leaf=other) as service:
        assert "outside its dates" in refuses(home, service, machine, errors.UntrustedService)
        assert service.asked(ENROLL) == []
