"""The renewal client on real connections: what it signs, what it believes, what it makes of every answer."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from keyborn.device import files, identity, slots, verify
from keyborn.device.home import Home
from keyborn.device.identity import Identity
from keyborn.device.keys import KEY_TYPES
from keyborn.device.keystore import FileKeyStore
from keyborn.device.renewal import RenewalClient, Successor
from keyborn.device.signed import signed_request
from keyborn.device.subject import parse_subject
from keyborn.domain import jws_signature
from keyborn.domain.errors import (
    ApprovalPending,
    DeviceError,
    KeyUnusable,
    RenewalRefused,
    ServiceUnreachable,
    UntrustedService,
    WrongAnswer,
    WrongCertificate,
)
from keyborn.domain.jws import parse_jws
from keyborn.domain.slots import Slot
from support.device_home import DAY, FixedClock, home_in, identify, now
from support.device_pki import Wanted, certify
from support.device_slots import run
from support.pki import SERVER, new_pki, shared_pki
from support.renewing_service import NONCE, RENEW, Renewing, renewing_service
from support.rude_service import Exchange, Reply, endless, plain, silent

FAST_KEYS = [each for each in KEY_TYPES if each not in ("rsa3072", "rsa4096")]


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Renewing]:
    with renewing_service(tmp_path) as running:
        yield running


@pytest.fixture
def home(tmp_path: Path, service: Renewing) -> Home:
    home = home_in(tmp_path)
    identify(home, code=service.service.code())
    service.know(home.certificate.read_bytes())
    return home


def next_store(home: Home, key_type: str = "p256") -> FileKeyStore:
    store = FileKeyStore(home.of(Slot.NEXT).key)
    if not store.exists():
        run(store.creation(key_type))
    return store


def own(home: Home) -> Identity:
    return identity.read_settings(home)


def renew(home: Home, *, clock: FixedClock | None = None, seconds: float = 5, key: str = "p256") -> Successor:
    store = next_store(home, key)
    client = RenewalClient(home, clock or FixedClock(), seconds)
    return client.renew(own(home), store.sign_request(parse_subject("", own(home).thing)), store.facts())


def keep(home: Home, made: Successor) -> None:
    """What a device does with it."""
    run(slots.staging(home, made.certificate_pem, made.identity))
    run(slots.promotion(home))


# ── the good way ──


def test_a_renewal_is_signed_by_the_current_key_and_brings_a_certificate_of_the_next(
    home: Home, service: Renewing
) -> None:
    made = renew(home)
    [request] = service.signed
    assert request.protected.kid == own(home).certificate_id
    assert set(json.loads(request.payload)) == {"csr"}
    [leaf, *chain] = verify.read_many(made.certificate_pem)
    assert verify.to_pem(chain) == verify.to_pem([shared_pki().devices.certificate])
    assert made.identity.certificate_id != own(home).certificate_id
    assert made.identity.not_after == leaf.not_valid_after_utc
    assert made.identity.proved_time >= own(home).proved_time
    keep(home, made)
    assert slots.survey(home, now()).current.whole


def test_asked_again_it_is_the_same_request_and_the_same_answer(home: Home) -> None:
    assert renew(home) == renew(home)


def test_a_confirmation_is_signed_by_the_new_key(home: Home, service: Renewing) -> None:
    made = renew(home)
    keep(home, made)
    for _ in range(2):
        RenewalClient(home, FixedClock()).confirm(own(home))
    assert service.confirmed == [made.identity.certificate_id] * 2


@pytest.mark.parametrize("key_type", FAST_KEYS)
def test_every_kind_of_key_renews_and_is_renewed(home: Home, service: Renewing, key_type: str) -> None:
    first = renew(home, key=key_type)
    keep(home, first)
    assert own(home).key_type == key_type
    run(slots.retirement(home))
    second = renew(home, key=key_type)
    assert second.identity.certificate_id != first.identity.certificate_id
    assert [request.protected.kid for request in service.signed][1] == first.identity.certificate_id


def test_the_service_may_lie_behind_a_prefix(tmp_path: Path) -> None:
    with renewing_service(tmp_path, prefix="/iot") as service:
        home = home_in(tmp_path)
        code = service.service.code(url=f"{service.service.url}/iot")
        identify(home, code=code)
        service.know(home.certificate.read_bytes())
        assert renew(home).identity.service_url == code.url


def test_what_the_service_says_of_the_broker_is_taken_over(home: Home, service: Renewing) -> None:
    real = service.service.answer

    def moved(thing: str, csr_pem: str) -> dict[str, Any]:
        answer = real(thing, csr_pem)
        answer["mqtt"] |= {"endpoint": "broker.example", "port": 443, "alpn": "mqtt"}
        return answer

    service.service.answer = moved  # type: ignore[method-assign] # for this one object
    assert renew(home).identity.broker.endpoint == "broker.example"


# ── nonces ──


def test_a_stale_nonce_is_followed_by_one_try_with_the_fresh_one(home: Home, service: Renewing) -> None:
    service.service.script(NONCE, plain(204, Replay_Nonce="stale"))
    assert renew(home)
    assert len(service.service.asked(RENEW)) == 2
    assert len(service.service.asked(NONCE)) == 1


def test_a_service_that_never_likes_its_own_nonces_is_asked_later(home: Home, service: Renewing) -> None:
    service.service.script(RENEW, service.refuse(400, "bad_nonce"))
    with pytest.raises(ServiceUnreachable):
        renew(home)
    assert len(service.service.asked(RENEW)) == 2


@pytest.mark.parametrize("nonce", [None, "", "a b", "x" * 129, "ä"])
def test_without_a_nonce_nothing_is_signed(home: Home, service: Renewing, nonce: str | None) -> None:
    service.service.script(NONCE, plain(204) if nonce is None else plain(204, Replay_Nonce=nonce))
    with pytest.raises(WrongAnswer, match="no nonce"):
        renew(home)
    assert service.service.asked(RENEW) == []


# ── refusals ──


@pytest.mark.parametrize("path", [NONCE, RENEW])
def test_a_refusal_keeps_its_code_and_its_sentence(home: Home, service: Renewing, path: str) -> None:
    service.service.script(path, service.refuse(403, "thing_revoked", detail="It is suspended."))
    with pytest.raises(RenewalRefused, match=r"It is suspended\.") as refused:
        renew(home)
    assert refused.value.code == "thing_revoked"


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_what_passes_is_not_a_refusal_and_says_when_to_ask_again(
    home: Home, service: Renewing, status: int
) -> None:
    service.service.script(RENEW, service.refuse(status, "unavailable", Retry_After="17"))
    with pytest.raises(ServiceUnreachable) as passing:
        renew(home)
    assert passing.value.retry_after == 17


def test_a_decision_that_is_open_is_waited_for(home: Home, service: Renewing) -> None:
    service.service.script(RENEW, plain(202, b"{}", Retry_After="30"))
    with pytest.raises(ApprovalPending) as pending:
        renew(home)
    assert pending.value.retry_after == 30


@pytest.mark.parametrize("status", [302, 404, 418])
def test_who_does_not_speak_like_keyborn_refuses_nothing(home: Home, service: Renewing, status: int) -> None:
    service.service.script(RENEW, plain(status, b"<html>", Location="https://elsewhere.example/"))
    with pytest.raises(WrongAnswer):
        renew(home)


# ── answers that are none ──


def half(exchange: Exchange) -> None:
    """Half of an answer."""
    exchange.send(201, b'{"thing', content_length="1000")
    exchange.hang_up()


@pytest.mark.parametrize("reply", [Exchange.hang_up, half, silent])
def test_an_answer_that_did_not_come_may_come_later(home: Home, service: Renewing, reply: Reply) -> None:
    service.service.script(RENEW, reply)
    with pytest.raises(ServiceUnreachable):
        renew(home, seconds=0.5)


def test_an_endless_answer_is_not_read_to_its_end(home: Home, service: Renewing) -> None:
    service.service.script(RENEW, endless)
    with pytest.raises(WrongAnswer, match="more than"):
        renew(home)


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"thingName": 7}'])
def test_an_answer_that_is_not_the_contract_is_a_wrong_one(
    home: Home, service: Renewing, body: bytes
) -> None:
    service.service.script(RENEW, plain(201, body))
    with pytest.raises(WrongAnswer):
        renew(home)


def test_an_answer_lost_after_everything_was_done_is_asked_for_again(home: Home, service: Renewing) -> None:
    def lose(exchange: Exchange) -> None:
        service.renew(_Deaf(exchange.handler, exchange.seen))
        exchange.hang_up()

    service.service.script(RENEW, lose, service.renew)
    with pytest.raises(ServiceUnreachable):
        renew(home)
    made = renew(home)
    assert len(service.service.issued) == 1
    assert made.identity.certificate_id in service.known


class _Deaf(Exchange):
    """An exchange whose answer nobody hears."""

    def send(self, status: int, body: bytes, **headers: str) -> None:
        """Nothing arrives."""


# ── wrong certificates ──


def answering(service: Renewing, wanted: Wanted) -> None:
    """From now on the service certifies like this, whatever was asked for."""

    def certificate(thing: str, csr_pem: str) -> x509.Certificate:
        key = x509.load_pem_x509_csr(csr_pem.encode()).public_key()
        return certify(service.service.pki.devices, key, wanted)

    service.service.certificate = certificate  # type: ignore[method-assign] # for this one object


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        (Wanted(name="other"), "another name"),
        (Wanted(authority=True), "certificate authority"),
        (Wanted(end=datetime(2020, 1, 2, tzinfo=UTC), start=datetime(2020, 1, 1, tzinfo=UTC)), "expired"),
        (Wanted(usages=None), "clientAuth"),
        (Wanted(strange=True), "critical extension"),
    ],
)
def test_a_certificate_that_is_not_this_device_s_is_never_stored(
    home: Home, service: Renewing, wanted: Wanted, why: str
) -> None:
    answering(service, wanted)
    with pytest.raises(WrongCertificate, match=why):
        renew(home)
    assert not home.of(Slot.NEXT).certificate.exists()


def test_a_certificate_of_another_key_is_refused(home: Home, service: Renewing) -> None:
    key = FileKeyStore(home.key)
    store = next_store(home)
    csr = key.sign_request(parse_subject("", own(home).thing))
    with pytest.raises(WrongCertificate, match="another key"):
        RenewalClient(home, FixedClock()).renew(own(home), csr, store.facts())


def test_a_chain_that_leads_to_a_strange_root_is_refused(home: Home, service: Renewing) -> None:
    service.service.pki = new_pki()  # from now on; its TLS certificate is of the old one
    with pytest.raises(WrongCertificate, match="trusted root"):
        renew(home)


# ── trust and time ──


def test_another_service_gets_no_signature(tmp_path: Path, home: Home, service: Renewing) -> None:
    stranger = new_pki()
    with renewing_service(tmp_path, pki=stranger) as other:
        moved = replace(own(home), service_url=other.service.url)
        with pytest.raises(UntrustedService):
            RenewalClient(home, FixedClock()).confirm(moved)
        assert other.service.seen == []


def test_nobody_listening_is_no_refusal(home: Home) -> None:
    with pytest.raises(ServiceUnreachable):
        RenewalClient(home, FixedClock()).confirm(replace(own(home), service_url="https://localhost:1"))


@pytest.mark.parametrize("years", [-50, 50])
def test_a_clock_years_off_does_not_stop_a_renewal_where_a_root_is_pinned(home: Home, years: int) -> None:
    clock = FixedClock(now() + timedelta(days=365 * years))
    assert renew(home, clock=clock).identity.not_after > now()


def test_a_clock_that_is_behind_takes_a_certificate_of_its_future(home: Home, service: Renewing) -> None:
    """It is inside the dates of the current certificate, and before those of the new one."""
    old = own(home)
    late = replace(old, not_before=now() - 60 * DAY, proved_time=now() - 60 * DAY)
    home.settings.write_text(identity.to_toml(late))
    answering(service, Wanted(start=now() - timedelta(minutes=5)))
    made = renew(home, clock=FixedClock(now() - timedelta(minutes=30)))
    assert made.identity.not_before > now() - timedelta(minutes=10)


def test_a_service_whose_certificate_has_expired_is_not_believed(tmp_path: Path) -> None:
    pki = shared_pki()
    expired = pki.servers.leaf("old", usage=SERVER, start=now() - 9 * DAY, end=now() - DAY, between=True)
    with renewing_service(tmp_path, leaf=expired) as service:
        home = home_in(tmp_path)
        identify(home, code=service.service.code())
        with pytest.raises(UntrustedService, match="expired"):
            renew(home)


@pytest.mark.parametrize("pinned", [True, False])
def test_a_service_of_the_future_shows_a_clock_that_is_behind_where_a_root_is_pinned(
    tmp_path: Path,
    pinned: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    """A device that slept for months resumes its old time: inside its own dates, before the service's."""
    pki = shared_pki()
    future = pki.servers.leaf("new", usage=SERVER, start=now() + 9 * DAY, end=now() + 39 * DAY, between=True)
    with renewing_service(tmp_path, leaf=future) as service:
        home = home_in(tmp_path)
        made = identify(home, code=service.service.code())
        service.know(home.certificate.read_bytes())
        if pinned:
            assert renew(home).identity.thing == made.thing
        else:
            home.settings.write_text(identity.to_toml(replace(made, root_fingerprint="")))
            with pytest.raises(UntrustedService):
                renew(home)


def test_the_service_s_time_is_what_its_answer_says(home: Home, service: Renewing) -> None:
    said = RenewalClient(home, FixedClock()).service_time(own(home))
    assert said is not None
    assert abs(said - now()) < timedelta(minutes=1)


# ── this device's own files ──


def test_a_current_key_that_cannot_be_used_is_said(home: Home) -> None:
    store = next_store(home)
    csr = store.sign_request(parse_subject("", own(home).thing))
    home.key.unlink()
    with pytest.raises(KeyUnusable):
        RenewalClient(home, FixedClock()).renew(own(home), csr, store.facts())


def test_missing_roots_are_a_trouble_of_this_device(home: Home) -> None:
    home.roots.unlink()
    with pytest.raises(DeviceError, match="No such file"):
        renew(home)


@pytest.mark.parametrize("key_type", FAST_KEYS)
def test_a_signed_request_verifies_with_the_public_half_alone(tmp_path: Path, key_type: str) -> None:
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    store = FileKeyStore(tmp_path / "k")
    files.run_steps(store.creation(key_type), files.no_checkpoint)
    body = signed_request(
        store, certificate_id="ab" * 32, url="https://s.example/v1/renew", nonce="n", payload=b"{}"
    )
    request = parse_jws(body)
    assert (request.payload, request.protected.url) == (b"{}", "https://s.example/v1/renew")
    jws_signature.verify(request, load_der_public_key(store.facts().public_key_der))
