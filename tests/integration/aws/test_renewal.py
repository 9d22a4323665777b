"""A renewal on AWS, judged by AWS IoT's own lists: what its certificates may, and until when."""

import asyncio
from datetime import timedelta

import pytest

from keyborn.domain.certificate import Certificate, CertificateStatus, Slot
from keyborn.domain.errors import (
    BadNonce,
    CertificateNotActive,
    KeyNotNew,
    Queued,
    RenewalPending,
    SignatureRefused,
    ThingRevoked,
    Unavailable,
)
from keyborn.domain.renewal import OVERLAP
from keyborn.domain.thing import ThingStatus
from keyborn.service.quota import Confirm, NoQuota, Turn
from keyborn.service.things import Order
from support.aws_faults import ENDLESS, Fault, Plan
from support.aws_saga import CONFIRM_AT, IMPATIENT, LAMP, LEASE, RENEW_AT, SOURCE, Process, Stage
from support.csr_make import csr_for
from support.signing import NextKey, Signer

DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)


@pytest.fixture
async def stage(ground: Stage) -> Stage:
    """An account, begun anew."""
    await ground.prepare()
    return ground


@pytest.fixture
async def lamp(stage: Stage) -> Signer:
    return await stage.device()


async def renewed(one: Process, signer: Signer) -> tuple[Signer, Certificate]:
    following = signer.next_key()
    certificate = (await one.renew(signer, following)).certificate
    return following.with_certificate(certificate.id), certificate


def holding(stage: Stage) -> set[str]:
    """Who is active and bound to the lamp."""
    return set(stage.active()) & set(stage.principals())


# ── renew ─────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_successor_has_the_rights_of_its_thing_beside_its_predecessor(
    stage: Stage, lamp: Signer
) -> None:
    async with stage.process() as one:
        successor, certificate = await renewed(one, lamp)

    assert (certificate.status, certificate.slot) == (CertificateStatus.ACTIVE, Slot.SUCCESSOR)
    assert certificate.renews == lamp.certificate_id
    assert holding(stage) == {lamp.certificate_id, successor.certificate_id}
    assert stage.policies(successor.certificate_id) == stage.policies(lamp.certificate_id)
    assert stage.attached == ["EXCLUSIVE_THING"] * 2, "each is bound to this thing and to no other"
    stage.assert_foreign_untouched()


async def test_the_same_key_gets_the_same_certificate_from_every_process(stage: Stage, lamp: Signer) -> None:
    following = lamp.next_key()
    async with stage.process() as one, stage.process() as two:
        first = await one.renew(lamp, following)
        again = await two.renew(lamp, following)
    assert (first.repeated, again.repeated) == (False, True)
    assert again.certificate == first.certificate
    assert len(stage.certificates()) == 2


async def test_a_crowd_of_equal_requests_costs_one_signing(stage: Stage, lamp: Signer) -> None:
    following = lamp.next_key()
    async with stage.process() as one, stage.process() as two:
        given = await asyncio.gather(*(each.renew(lamp, following) for each in [one, two] * 5))
    assert len({one.certificate.id for one in given}) == 1
    assert len(stage.certificates()) == 2


async def test_another_key_takes_the_place_of_one_that_never_connected_at_once(
    stage: Stage, lamp: Signer
) -> None:
    async with stage.process() as one:
        second, _ = await renewed(one, lamp)
        third, _ = await renewed(one, lamp)
    assert holding(stage) == {lamp.certificate_id, third.certificate_id}
    assert stage.certificates()[second.certificate_id] == "REVOKED"
    assert (await stage.settle()).troubles == []
    assert set(stage.certificates()) == {lamp.certificate_id, third.certificate_id}


async def test_another_key_waits_for_one_that_was_seen_to_connect(stage: Stage, lamp: Signer) -> None:
    async with stage.process() as one:
        second, _ = await renewed(one, lamp)
        await one.registry.connected(second.certificate_id, stage.clock.now())
        with pytest.raises(RenewalPending):
            await renewed(one, lamp)
    assert holding(stage) == {lamp.certificate_id, second.certificate_id}, "connecting retires nobody"


async def test_policies_reach_predecessor_and_successor(stage: Stage, lamp: Signer) -> None:
    async with stage.process() as one:
        second, _ = await renewed(one, lamp)
        extra = await stage.put(one, "extra")
        await one.registry.attach_policy(LAMP, extra.name, stage.event("policy.attach"))
    for each in (lamp, second):
        assert "kb-extra" in stage.policies(each.certificate_id)


async def test_refusals_leave_nothing_in_aws_iot(stage: Stage, lamp: Signer) -> None:
    before = stage.certificates()
    async with stage.process() as one:
        with pytest.raises(KeyNotNew):
            await one.renew(lamp, NextKey(lamp.name, lamp.key, csr_for(lamp.key, lamp.name)))
        await one.registry.set_status(LAMP, ThingStatus.SUSPENDED, stage.event())
        with pytest.raises(ThingRevoked):
            await renewed(one, lamp)
    assert set(stage.certificates()) == set(before)


# ── confirm ───────────────────────────────────────────────────────────────────────────────────────────


async def test_confirming_revokes_the_predecessor_at_once(stage: Stage, lamp: Signer) -> None:
    async with stage.process() as one:
        second, _ = await renewed(one, lamp)
        confirmed = await one.confirm(second)
        assert (confirmed.id, confirmed.slot) == (second.certificate_id, Slot.CURRENT)
        assert stage.certificates() == {lamp.certificate_id: "REVOKED", second.certificate_id: "ACTIVE"}
        assert await one.confirm(second) == confirmed
        with pytest.raises(CertificateNotActive):
            await one.confirm(lamp)
    assert (await stage.settle()).troubles == []
    assert stage.certificates() == {second.certificate_id: "ACTIVE"}, "the predecessor is cleared away"
    assert stage.principals() == [second.certificate_id]
    stage.assert_enrolled(second.certificate_id)


async def test_where_aws_iot_does_not_answer_the_sweeper_revokes_the_predecessor(
    stage: Stage, lamp: Signer
) -> None:
    async with stage.process(patience=IMPATIENT) as one:
        second, _ = await renewed(one, lamp)
        with stage.iot.planned(Plan(Fault.BROKEN, times=ENDLESS)):
            assert (await one.confirm(second)).slot is Slot.CURRENT
        assert holding(stage) == {lamp.certificate_id, second.certificate_id}
    settled = await stage.settle()
    assert (settled.told, settled.troubles) == (1, [])
    stage.assert_enrolled(second.certificate_id)


async def test_ten_renewals_in_a_row_leave_one_certificate(stage: Stage, lamp: Signer) -> None:
    current = lamp
    async with stage.process() as one:
        for _ in range(10):
            current, _ = await renewed(one, current)
            await one.confirm(current)
            stage.clock.ahead += LEASE
    assert (await stage.settle(MINUTE * 6)).troubles == []
    assert stage.certificates() == {current.certificate_id: "ACTIVE"}
    stage.assert_enrolled(current.certificate_id)


# ── what waited too long, and orders ──────────────────────────────────────────────────────────────────


async def test_what_nobody_confirms_is_withdrawn_and_the_predecessor_stays(
    stage: Stage, lamp: Signer
) -> None:
    async with stage.process() as one:
        second, _ = await renewed(one, lamp)
        await one.registry.connected(second.certificate_id, stage.clock.now())
    assert (await stage.settle(OVERLAP - DAY)).withdrawn == 0
    assert holding(stage) == {lamp.certificate_id, second.certificate_id}

    settled = await stage.settle(2 * DAY)

    assert (settled.withdrawn, settled.troubles) == (1, [])
    assert stage.certificates() == {lamp.certificate_id: "ACTIVE"}
    async with stage.process() as one:
        with pytest.raises(CertificateNotActive):
            await one.confirm(second)
        third, _ = await renewed(one, lamp)
        assert (await one.confirm(third)).slot is Slot.CURRENT


@pytest.mark.parametrize("order", [ThingStatus.SUSPENDED, ThingStatus.REVOKED, ThingStatus.RETIRED])
async def test_an_order_takes_the_successor_along(stage: Stage, lamp: Signer, order: ThingStatus) -> None:
    async with stage.process() as one:
        second, _ = await renewed(one, lamp)
        await stage.things(one).carry_out(Order(LAMP, order))
        assert stage.active() == []
        with pytest.raises(ThingRevoked):
            await one.confirm(second)
    assert (await stage.settle(10 * MINUTE)).troubles == []
    assert stage.active() == []


# ── its turn, its nonces ──────────────────────────────────────────────────────────────────────────────


class NoTurn(NoQuota):
    """A quota under which everybody may claim, and nobody's turn comes."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def admit(self, who: str, confirm: Confirm) -> Turn:
        await confirm()
        self.asked.append(who)
        return self

    async def demand(self) -> None:
        raise Queued(seconds=7)


async def test_nothing_is_signed_before_its_turn_and_what_was_claimed_is_resumed(
    stage: Stage, lamp: Signer
) -> None:
    following, turns = lamp.next_key(), NoTurn()
    async with stage.process(quota=turns) as one:
        with pytest.raises(Queued):
            await one.renew(lamp, following)
        with pytest.raises(Queued):
            await one.renew(lamp, following)
    assert set(stage.certificates()) == {lamp.certificate_id}
    assert len(set(turns.asked)) == 1, "its place is its certificate's, whatever the key"
    async with stage.process() as one:
        given = (await one.renew(lamp, following)).certificate
    assert holding(stage) == {lamp.certificate_id, given.id}


async def test_a_nonce_is_good_for_once_in_all_processes(stage: Stage, lamp: Signer) -> None:
    async with stage.process() as one, stage.process() as two:
        body = lamp.body(CONFIRM_AT, await one.renewal.nonce())
        outcomes = await asyncio.gather(
            *(each.renewal.authenticate(body, [CONFIRM_AT], SOURCE) for each in (one, two)),
            return_exceptions=True,
        )
    assert sorted(type(one).__name__ for one in outcomes) == ["BadNonce", "SignedCaller"]


async def test_a_nonce_ends_after_five_minutes_and_strangers_cannot_spend_it(
    stage: Stage, lamp: Signer
) -> None:
    async with stage.process() as one:
        nonce = await one.renewal.nonce()
        stranger = Signer(lamp.name, lamp.next_key().key, lamp.certificate_id)
        with stage.dynamodb.listening() as calls, pytest.raises(SignatureRefused):
            await one.renewal.authenticate(stranger.body(RENEW_AT, nonce), [RENEW_AT], SOURCE)
        assert [call.operation for call in calls] == ["GetItem", "PutItem"], "a look, and the trail's record"
        await one.renewal.authenticate(lamp.body(RENEW_AT, nonce), [RENEW_AT], SOURCE)
        late = await one.renewal.nonce()
        stage.clock.ahead += 5 * MINUTE
        with pytest.raises(BadNonce):
            await one.renewal.authenticate(lamp.body(RENEW_AT, late), [RENEW_AT], SOURCE)


async def test_where_the_table_does_not_answer_nothing_is_believed(stage: Stage, lamp: Signer) -> None:
    async with stage.process(patience=IMPATIENT) as one:
        body = lamp.body(RENEW_AT, await one.renewal.nonce())
        with (
            stage.dynamodb.planned(Plan(Fault.BROKEN, times=ENDLESS, operations=["PutItem"])),
            pytest.raises(Unavailable),
        ):
            await one.renewal.authenticate(body, [RENEW_AT], SOURCE)
