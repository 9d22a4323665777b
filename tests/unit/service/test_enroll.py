"""The registration authority, rule by rule (design PROTOCOL "Enroll")."""

import asyncio
import json
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from keyborn.domain.audit import AuditEvent
from keyborn.domain.certificate import CertificateStatus, Slot
from keyborn.domain.errors import (
    CredentialMissing,
    CredentialRefused,
    CsrMalformed,
    CsrNameMismatch,
    GenericNameRefused,
    InvalidThingName,
    KeybornError,
    KeyInUse,
    KeyRevoked,
    MalformedRequest,
    NameNotPermitted,
    ReservedThingName,
    ThingNameCase,
    ThingNameTaken,
    ThingRevoked,
    Throttled,
    TokenExhausted,
    TokenExpired,
)
from keyborn.domain.issuance import GENERIC_COMMON_NAME
from keyborn.domain.names import ThingName
from keyborn.domain.thing import ThingStatus
from keyborn.ports import Credential
from keyborn.service.enroll import EnrollmentRequest
from keyborn.service.saga import SagaStep
from support.csr_make import csr_for, make_csr, make_key
from support.office import NOON, SOURCE, Crash, OfficeWorld


async def test_a_new_name_with_a_new_key_gets_a_certificate_for_exactly_that(world: OfficeWorld) -> None:
    key, csr = make_csr("sensor-1")
    outcome = await world.enroll("sensor-1", csr, await world.token("sensor-1"))
    leaf = x509.load_der_x509_certificate(outcome.certificate.der)
    assert leaf.public_key() == key.public_key()
    assert [a.value for a in leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)] == ["sensor-1"]
    assert outcome.certificate.status is CertificateStatus.ACTIVE
    assert not outcome.repeated


async def test_the_steps_come_in_the_order_of_the_protocol(world: OfficeWorld) -> None:
    await world.enrolled("sensor-1")
    assert world.steps == list(SagaStep)


async def test_the_same_request_again_gets_the_same_certificate_and_stops_after_the_claim(
    world: OfficeWorld,
) -> None:
    csr, token, first = await world.enrolled("sensor-1")
    world.steps.clear()
    again = await world.enroll("sensor-1", csr, token)
    assert again.certificate.der == first.der
    assert again.repeated
    assert SagaStep.CLAIMED not in world.steps


async def test_another_request_from_the_same_key_is_the_same_enrolment(world: OfficeWorld) -> None:
    key = make_key()
    token = await world.token("sensor-1")
    first = await world.enroll("sensor-1", csr_for(key, "sensor-1"), token)
    again = await world.enroll("sensor-1", csr_for(key, "sensor-1"), token)
    assert again.certificate.id == first.certificate.id


@pytest.mark.parametrize("step", list(SagaStep))
async def test_a_crash_after_any_step_and_a_retry_end_with_one_active_certificate(
    world: OfficeWorld, step: SagaStep
) -> None:
    token, (_, csr) = await world.token("sensor-1"), make_csr("sensor-1")
    world.crash_at = step
    with pytest.raises(Crash):
        await world.enroll("sensor-1", csr, token)
    active_after_crash = await world.active("sensor-1")
    assert len(active_after_crash) == (1 if step is SagaStep.ACTIVATED else 0)
    world.crash_at = None
    outcome = await world.enroll("sensor-1", csr, token)
    assert [c.id for c in await world.active("sensor-1")] == [outcome.certificate.id]
    held = await world.registry.certificates(ThingName("sensor-1"))
    assert len(held) == 1, "no leftover beside it"


@pytest.mark.parametrize("step", list(SagaStep))
async def test_a_crash_then_a_late_retry_past_the_token_s_expiry_strands_nobody(
    world: OfficeWorld, step: SagaStep
) -> None:
    token, (_, csr) = await world.token("sensor-1"), make_csr("sensor-1")
    world.crash_at = step
    with pytest.raises(Crash):
        await world.enroll("sensor-1", csr, token)
    world.crash_at = None
    world.clock.turn(timedelta(hours=2))
    claimed = [SagaStep.CLAIMED, SagaStep.SIGNED, SagaStep.STORED, SagaStep.ACTIVATED]
    if step in claimed:
        await world.enroll("sensor-1", csr, token)
        assert len(await world.active("sensor-1")) == 1
    else:
        with pytest.raises(TokenExpired):
            await world.enroll("sensor-1", csr, token)


async def test_fifty_equal_requests_at_once_get_one_certificate(world: OfficeWorld) -> None:
    token, (_, csr) = await world.token("sensor-1"), make_csr("sensor-1")
    outcomes = await asyncio.gather(*(world.enroll("sensor-1", csr, token) for _ in range(50)))
    assert len({outcome.certificate.der for outcome in outcomes}) == 1
    assert len(await world.active("sensor-1")) == 1


async def test_fifty_keys_for_one_name_have_one_winner(world: OfficeWorld) -> None:
    token = await world.token("sensor-1", uses=50)

    async def claim() -> str:
        try:
            return (await world.enroll("sensor-1", make_csr("sensor-1")[1], token)).certificate.id
        except ThingNameTaken as refused:
            return refused.code

    results = await asyncio.gather(*(claim() for _ in range(50)))
    assert results.count("thing_name_taken") == 49
    assert len(await world.active("sensor-1")) == 1


async def test_an_expired_certificate_is_replaced_for_the_same_key_with_a_valid_token(
    world: OfficeWorld,
) -> None:
    csr, _, first = await world.enrolled("sensor-1")
    world.clock.turn(timedelta(days=91))
    outcome = await world.enroll("sensor-1", csr, await world.token("sensor-1"))
    assert outcome.certificate.id != first.id
    assert [c.id for c in await world.active("sensor-1")] == [outcome.certificate.id]


async def test_an_expired_certificate_is_not_replaced_with_an_expired_token(world: OfficeWorld) -> None:
    csr, token, _ = await world.enrolled("sensor-1")
    world.clock.turn(timedelta(days=91))
    with pytest.raises(TokenExpired):
        await world.enroll("sensor-1", csr, token)


async def test_after_the_first_connection_an_expired_token_repeats_nothing(world: OfficeWorld) -> None:
    csr, token, certificate = await world.enrolled("sensor-1")
    world.clock.turn(timedelta(hours=2))
    assert (await world.enroll("sensor-1", csr, token)).certificate.id == certificate.id
    await world.registry.connected(certificate.id, world.clock.now())
    with pytest.raises(TokenExpired):
        await world.enroll("sensor-1", csr, token)


async def test_after_its_withdrawal_a_token_repeats_nothing(world: OfficeWorld) -> None:
    csr, token, _ = await world.enrolled("sensor-1")
    await world.tokens.withdraw(token.token.id)
    with pytest.raises(CredentialRefused):
        await world.enroll("sensor-1", csr, token)


async def test_a_taken_name_is_refused_to_another_key_and_the_sentence_says_what_to_do(
    world: OfficeWorld,
) -> None:
    await world.enrolled("sensor-1")
    with pytest.raises(ThingNameTaken, match=r"keyborn token create --thing sensor-1 --replace"):
        await world.enroll("sensor-1", make_csr("sensor-1")[1], await world.token("sensor-1"))


async def test_a_replacement_waits_beside_the_old_certificate_until_it_connects(world: OfficeWorld) -> None:
    _, _, old = await world.enrolled("sensor-1")
    token = await world.token("sensor-1", replace=True)
    new = (await world.enroll("sensor-1", make_csr("sensor-1")[1], token)).certificate
    assert new.slot is Slot.SUCCESSOR
    assert {c.id for c in await world.active("sensor-1")} == {old.id, new.id}
    await world.registry.connected(new.id, world.clock.now())
    assert [c.id for c in await world.active("sensor-1")] == [new.id]


async def test_the_replaced_key_never_returns(world: OfficeWorld) -> None:
    csr, _, _ = await world.enrolled("sensor-1")
    token = await world.token("sensor-1", replace=True)
    new = (await world.enroll("sensor-1", make_csr("sensor-1")[1], token)).certificate
    await world.registry.connected(new.id, world.clock.now())
    with pytest.raises(KeyRevoked):
        await world.enroll("sensor-1", csr, await world.token("sensor-1", replace=True))


async def test_a_key_of_another_thing_is_refused_and_told_to_make_a_new_one(world: OfficeWorld) -> None:
    key = make_key()
    await world.enroll("sensor-1", csr_for(key, "sensor-1"), await world.token("sensor-1"))
    with pytest.raises(KeyInUse, match="make a new key"):
        await world.enroll("sensor-2", csr_for(key, "sensor-2"), await world.token("sensor-2"))


@pytest.mark.parametrize("status", [ThingStatus.REVOKED, ThingStatus.RETIRED])
async def test_a_revoked_thing_gets_nothing_neither_name_nor_key(
    world: OfficeWorld, status: ThingStatus
) -> None:
    csr, token, _ = await world.enrolled("sensor-1")
    await world.registry.set_status(ThingName("sensor-1"), status, event("thing.end"))
    for credential in (token, await world.token("sensor-1")):
        with pytest.raises((ThingRevoked, KeyRevoked)):
            await world.enroll("sensor-1", csr, credential)
        with pytest.raises(ThingRevoked):
            await world.enroll("sensor-1", make_csr("sensor-1")[1], credential)
    assert not await world.active("sensor-1")


async def test_a_replace_token_frees_the_name_but_not_the_key(world: OfficeWorld) -> None:
    csr, _, _ = await world.enrolled("sensor-1")
    await world.registry.set_status(ThingName("sensor-1"), ThingStatus.REVOKED, event("thing.revoke"))
    token = await world.token("sensor-1", replace=True)
    with pytest.raises(KeyRevoked):
        await world.enroll("sensor-1", csr, token)
    new = (await world.enroll("sensor-1", make_csr("sensor-1")[1], token)).certificate
    assert [c.id for c in await world.active("sensor-1")] == [new.id]


async def test_a_thing_revoked_while_it_enrols_ends_revoked(world: OfficeWorld) -> None:
    token, (_, csr) = await world.token("sensor-1"), make_csr("sensor-1")
    world.crash_at = SagaStep.STORED
    with pytest.raises(Crash):
        await world.enroll("sensor-1", csr, token)
    await world.registry.set_status(ThingName("sensor-1"), ThingStatus.REVOKED, event("thing.revoke"))
    world.crash_at = None
    with pytest.raises((ThingRevoked, KeyRevoked)):
        await world.enroll("sensor-1", csr, token)
    assert not await world.active("sensor-1")


async def test_a_suspended_thing_gets_nothing_until_it_is_active_again(world: OfficeWorld) -> None:
    csr, token, certificate = await world.enrolled("sensor-1")
    await world.registry.set_status(ThingName("sensor-1"), ThingStatus.SUSPENDED, event("thing.suspend"))
    with pytest.raises(ThingRevoked, match="suspended"):
        await world.enroll("sensor-1", csr, token)
    await world.registry.set_status(ThingName("sensor-1"), ThingStatus.ACTIVE, event("thing.activate"))
    assert (await world.enroll("sensor-1", csr, token)).certificate.id == certificate.id


async def test_names_that_differ_only_by_case_are_refused(world: OfficeWorld) -> None:
    await world.enrolled("sensor-1")
    with pytest.raises(ThingNameCase):
        await world.enroll("Sensor-1", make_csr("Sensor-1")[1], await world.token())


async def test_a_token_is_good_for_its_own_names_only(world: OfficeWorld) -> None:
    for pattern, name in [("sensor-1", "sensor-2"), ("sensor-*", "valve-1"), ("sensor-?", "sensor-10")]:
        with pytest.raises(NameNotPermitted, match=name):
            await world.enroll(name, make_csr(name)[1], await world.token(pattern))


async def test_a_token_serves_as_many_devices_as_it_has_uses(world: OfficeWorld) -> None:
    token = await world.token("sensor-*", uses=2)
    for name in ("sensor-1", "sensor-2"):
        await world.enroll(name, make_csr(name)[1], token)
    with pytest.raises(TokenExhausted):
        await world.enroll("sensor-3", make_csr("sensor-3")[1], token)


async def test_a_refused_enrolment_costs_no_use(world: OfficeWorld) -> None:
    token = await world.token("sensor-*", uses=1)
    with pytest.raises(CsrMalformed):
        await world.enroll("sensor-1", "nonsense", token)
    await world.enroll("sensor-1", make_csr("sensor-1")[1], token)


async def test_a_generic_common_name_needs_the_compatibility_door_and_a_token_for_one_name(
    world: OfficeWorld,
) -> None:
    _, csr = make_csr(GENERIC_COMMON_NAME)
    with pytest.raises(CsrNameMismatch):
        await world.enroll("sensor-1", csr, await world.token("sensor-1"))
    with pytest.raises(GenericNameRefused, match="--thing NAME"):
        await world.enroll("sensor-1", csr, await world.token("sensor-*"), generic=True)
    outcome = await world.enroll("sensor-1", csr, await world.token("sensor-1"), generic=True)
    assert b"sensor-1" in outcome.certificate.der
    assert GENERIC_COMMON_NAME.encode() not in outcome.certificate.der


async def test_the_same_generic_csr_under_a_second_name_is_refused(world: OfficeWorld) -> None:
    _, csr = make_csr(GENERIC_COMMON_NAME)
    await world.enroll("sensor-1", csr, await world.token("sensor-1"), generic=True)
    with pytest.raises(KeyInUse):
        await world.enroll("sensor-2", csr, await world.token("sensor-2"), generic=True)


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("", InvalidThingName),
        ("a/b", InvalidThingName),
        (None, InvalidThingName),
        ("x" * 65, InvalidThingName),
        ("keyborn-1", ReservedThingName),
        ("Localhost", ReservedThingName),
    ],
)
async def test_unusable_names_are_refused(
    world: OfficeWorld, name: object, error: type[KeybornError]
) -> None:
    with pytest.raises(error):
        await world.enroll(name, make_csr("x")[1], await world.token())


async def test_attributes_are_kept_with_the_thing_and_bad_ones_refused(world: OfficeWorld) -> None:
    token, (_, csr) = await world.token("sensor-1"), make_csr("sensor-1")
    credential = Credential(_secret(token), SOURCE)
    for bad in ({"a b": "c"}, {"a": "b c"}, {str(n): "x" for n in range(4)}, {"Keyborn.group": "x"}):
        with pytest.raises(MalformedRequest):
            await world.present(credential, "sensor-1", csr, bad)
    await world.present(credential, "sensor-1", csr, {"site": "hall-3"})
    thing = await world.registry.thing(ThingName("sensor-1"))
    assert thing is not None
    assert dict(thing.attributes) == {"site": "hall-3"}


async def test_without_a_good_credential_nothing_is_parsed_or_written(world: OfficeWorld) -> None:
    token = await world.token("sensor-1")
    wrong = token.code.secret[:-1] + bytes([token.code.secret[-1] ^ 1])
    _, csr = make_csr("sensor-1")
    for bearer, error in [
        (None, CredentialMissing),
        ("", CredentialRefused),
        ("x", CredentialRefused),
        ("ü" * 43, CredentialRefused),
        (_encode(wrong), CredentialRefused),
        (_secret(token) + "=", CredentialRefused),
    ]:
        with pytest.raises((error, Throttled)):
            await world.present(Credential(bearer, SOURCE), "sensor-1", csr)
    assert world.steps == []
    assert await world.registry.thing(ThingName("sensor-1")) is None


async def test_failures_are_throttled_and_good_credentials_behind_the_same_address_are_not(
    world: OfficeWorld,
) -> None:
    token, (_, csr) = await world.token("sensor-1"), make_csr("sensor-1")
    for _ in range(5):
        with pytest.raises(CredentialMissing):
            await world.enroll("sensor-1", csr, None)
    with pytest.raises(Throttled) as throttled:
        await world.enroll("sensor-1", csr, None)
    assert throttled.value.retry_after
    await world.enroll("sensor-1", csr, token)
    assert (await world.outcomes()).count("credential_missing") == 5, "throttled failures fill no disk"


async def test_every_decision_is_in_the_audit_trail_and_no_secret_or_csr_is(world: OfficeWorld) -> None:
    csr, token, certificate = await world.enrolled("sensor-1")
    await world.enroll("sensor-1", csr, token)
    with pytest.raises(ThingNameTaken):
        await world.enroll("sensor-1", make_csr("sensor-1")[1], await world.token("sensor-1"))
    with pytest.raises(CredentialMissing):
        await world.enroll("x" * 4000, csr, None)
    records = await world.registry.records()
    outcomes = [(record.event.action, record.event.outcome) for record in records]
    assert outcomes == [
        ("token.create", "done"),
        ("enroll", "done"),
        ("token.create", "done"),
        ("enroll", "thing_name_taken"),
        ("enroll", "credential_missing"),
    ]
    assert records[1].event.details["certificateId"] == certificate.id
    assert records[1].event.source == SOURCE
    everything = json.dumps([str(record) for record in records])
    assert _secret(token) not in everything
    assert csr.splitlines()[1] not in everything
    assert "x" * 129 not in everything


def test_a_request_and_a_credential_do_not_print_their_secrets() -> None:
    request = EnrollmentRequest("sensor-1", "the-csr", SOURCE)
    assert "the-secret" not in repr(Credential("the-secret", SOURCE))
    assert "the-csr" not in repr(request)


def event(action: str) -> AuditEvent:
    return AuditEvent(NOON, action, "done", "sensor-1", "operator")


def _secret(token: object) -> str:
    from keyborn.service.tokens import FreshToken

    assert isinstance(token, FreshToken)
    return _encode(token.code.secret)


def _encode(secret: bytes) -> str:
    from keyborn.domain.token import encode_secret

    return encode_secret(secret)
