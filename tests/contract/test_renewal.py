"""Renewal in every registry that offers it: one successor, confirmed by its key or withdrawn."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from keyborn.domain.audit import verify
from keyborn.domain.certificate import Certificate, CertificateStatus, Slot
from keyborn.domain.enrollment import Issue, Repeat
from keyborn.domain.errors import (
    CertificateExpired,
    CertificateNotActive,
    EnrollmentInterrupted,
    KeyInUse,
    KeyNotNew,
    KeyRevoked,
    NotFound,
    RegistryUnavailable,
    RenewalPending,
    RenewalUnconfirmed,
    ReplacementPending,
    SignatureRefused,
    ThingRevoked,
)
from keyborn.domain.names import CertificateId, ThingName
from keyborn.domain.renewal import OVERLAP, Confirmation
from keyborn.domain.thing import ThingStatus
from keyborn.ports import RenewingRegistry
from support.registry_cases import HOUR, LIFETIME, START, certificate_for, event, key
from support.renewing_cases import RENEWING, RenewingDesk, as_current

LAMP = ThingName("lamp-1")
REVOKED = CertificateStatus.REVOKED
SECOND = timedelta(seconds=1)


@pytest.fixture(params=RENEWING)
async def registry(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[RenewingRegistry]:
    async with RENEWING[request.param](tmp_path) as opened:
        yield opened


@pytest.fixture
def desk(registry: RenewingRegistry) -> RenewingDesk:
    return RenewingDesk(registry)


@pytest.fixture
async def first(desk: RenewingDesk) -> Certificate:
    """The certificate that lamp-1 enrolled with, an hour ago; it has connected."""
    enrolled = await desk.enroll(await desk.token("secret"), "lamp-1", "k1")
    desk.pass_time(HOUR)
    return await desk.connect(enrolled)


async def is_buried(desk: RenewingDesk, key_name: str) -> bool:
    """Whether a key can never enrol again."""
    token = await desk.token(f"probe {key_name}", "probe")
    try:
        await desk.registry.claim(desk.attempt(token, "probe", key_name))
    except KeyRevoked:
        return True
    except KeyInUse:
        return False
    raise AssertionError("the key is not bound to anybody")


# ── renew ─────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_successor_is_active_beside_the_current_one(desk: RenewingDesk, first: Certificate) -> None:
    second = await desk.renew(first, "k2")

    assert (second.status, second.slot, second.renews) == (CertificateStatus.ACTIVE, Slot.SUCCESSOR, first.id)
    assert await desk.active("lamp-1") == [first, second]
    assert (await desk.thing("lamp-1")).key_hash == key("k1"), "the name still belongs to the old key"


async def test_connecting_with_it_is_recorded_and_retires_nobody(
    desk: RenewingDesk, first: Certificate
) -> None:
    second = await desk.renew(first, "k2")
    met = await desk.connect(second)

    assert met == replace(second, connected_at=desk.now)
    assert await desk.active("lamp-1") == [first, met]
    desk.pass_time(SECOND)
    assert await desk.connect(second) == met, "the first time stays"


async def test_the_same_key_gets_the_same_successor_until_it_is_confirmed(
    desk: RenewingDesk, first: Certificate
) -> None:
    second = await desk.renew(first, "k2")
    records = await desk.registry.records()

    assert await desk.registry.records() == records
    assert await desk.renewing.renew(desk.renewal(first, "k2")) == Repeat(second)
    met = await desk.connect(second)
    assert await desk.renewing.renew(desk.renewal(first, "k2")) == Repeat(met)
    await desk.confirm(second)
    with pytest.raises(CertificateNotActive):
        await desk.renewing.renew(desk.renewal(first, "k2"))
    assert len(await desk.registry.certificates(LAMP)) == 2


async def test_another_key_takes_the_place_of_one_that_has_never_connected(
    desk: RenewingDesk, first: Certificate
) -> None:
    second = await desk.renew(first, "k2")
    third = await desk.renew(first, "k3")

    assert await desk.active("lamp-1") == [first, third]
    assert (await desk.look(second)).status is REVOKED
    assert await is_buried(desk, "k2")
    assert "renew.withdraw" in await desk.actions()
    with pytest.raises(KeyRevoked):
        await desk.renewing.renew(desk.renewal(first, "k2"))


async def test_another_key_waits_for_one_that_has_connected(desk: RenewingDesk, first: Certificate) -> None:
    second = await desk.connect(await desk.renew(first, "k2"))
    with pytest.raises(RenewalPending):
        await desk.renewing.renew(desk.renewal(first, "k3"))
    assert await desk.active("lamp-1") == [first, second]


async def test_an_attempt_that_came_half_way_is_resumed(desk: RenewingDesk, first: Certificate) -> None:
    begun = await desk.claimed(first, "k2")
    again = await desk.claimed(first, "k2")

    assert again == Issue(begun.intent, resumed=True)
    kept = await desk.renewing.store(begun.intent, certificate_for(begun.intent))
    other = await desk.renewing.store(begun.intent, certificate_for(begun.intent, "another signature"))
    assert other == kept, "the first one stored is for all"
    assert (await desk.finish(again)).id == kept.id


async def test_another_key_undoes_an_attempt_that_came_half_way(
    desk: RenewingDesk, first: Certificate
) -> None:
    begun = await desk.claimed(first, "k2")
    await desk.renewing.store(begun.intent, certificate_for(begun.intent))
    second = await desk.renew(first, "k3")

    with pytest.raises(EnrollmentInterrupted):
        await desk.renewing.activate(begun.intent.id, event("renew"))
    assert await desk.active("lamp-1") == [first, second]
    assert (await desk.look(certificate_for(begun.intent))).status is REVOKED


async def test_two_at_once_with_one_key_get_one_successor(desk: RenewingDesk, first: Certificate) -> None:
    successors = await asyncio.gather(*(desk.renew(first, "k2") for _ in range(8)))
    assert len({one.id for one in successors}) == 1
    assert len(await desk.active("lamp-1")) == 2


async def test_two_at_once_with_two_keys_leave_one_successor(desk: RenewingDesk, first: Certificate) -> None:
    outcomes = await asyncio.gather(
        *(desk.renew(first, f"k{number}") for number in range(2, 8)), return_exceptions=True
    )
    strange = [one for one in outcomes if not isinstance(one, Certificate | EnrollmentInterrupted)]
    assert not strange
    active = await desk.active("lamp-1")
    assert [one.slot for one in active] == [Slot.CURRENT, Slot.SUCCESSOR]


async def test_the_rules_are_asked_about_what_the_registry_holds(
    desk: RenewingDesk, first: Certificate
) -> None:
    other = await desk.enroll(await desk.token("other"), "lamp-2", "k9")
    stranger = replace(first, id=CertificateId("0" * 64))
    with pytest.raises(SignatureRefused):
        await desk.renewing.renew(desk.renewal(stranger, "k2"))
    with pytest.raises(KeyNotNew):
        await desk.renewing.renew(desk.renewal(first, "k1"))
    with pytest.raises(KeyInUse):
        await desk.renewing.renew(desk.renewal(first, "k9"))
    second = await desk.renew(first, "k2")
    with pytest.raises(RenewalUnconfirmed):
        await desk.renewing.renew(desk.renewal(second, "k3"))
    assert await desk.active("lamp-2") == [other]


async def test_a_serial_that_is_taken_is_drawn_again(desk: RenewingDesk, first: Certificate) -> None:
    """At the claim, or when it is stored: a certificate of a taken serial is never kept."""
    attempt = desk.renewal(first, "k2")
    twin = replace(attempt, proposal=replace(attempt.proposal, serial=1))
    with pytest.raises(RegistryUnavailable):
        await desk.finish(Issue((await desk.renewing.renew(twin)).intent))  # type: ignore[union-attr] # an Issue
    assert (await desk.renew(first, "k3")).slot is Slot.SUCCESSOR


# ── confirm ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("connects", [True, False])
async def test_confirming_retires_the_predecessor_and_buries_its_key(
    desk: RenewingDesk, first: Certificate, *, connects: bool
) -> None:
    second = await desk.renew(first, "k2")
    if connects:
        second = await desk.connect(second)
    confirmed = await desk.confirm(second)

    assert confirmed == as_current(second)
    assert await desk.active("lamp-1") == [confirmed]
    assert (await desk.look(first)).status is REVOKED
    assert (await desk.thing("lamp-1")).key_hash == key("k2")
    assert await is_buried(desk, "k1")
    last = (await desk.registry.records(limit=1000))[-2].event
    assert (last.action, last.subject, last.actor) == ("renew.confirm", "lamp-1", second.id)
    assert last.details == {"keyHash": key("k2"), "retiredKeyHash": key("k1")}


async def test_confirming_again_changes_and_records_nothing(desk: RenewingDesk, first: Certificate) -> None:
    confirmed = await desk.confirm(await desk.renew(first, "k2"))
    records = await desk.registry.records()
    desk.pass_time(2 * LIFETIME)

    assert await desk.confirm(confirmed) == confirmed
    assert await desk.registry.records() == records


async def test_who_never_renewed_has_nothing_to_confirm_and_is_told_so_kindly(
    desk: RenewingDesk, first: Certificate
) -> None:
    records = await desk.registry.records()
    assert await desk.confirm(first) == first
    assert await desk.registry.records() == records


async def test_the_retired_predecessor_confirms_nothing(desk: RenewingDesk, first: Certificate) -> None:
    await desk.confirm(await desk.renew(first, "k2"))
    with pytest.raises(CertificateNotActive):
        await desk.confirm(first)


async def test_what_nobody_signed_or_knows_confirms_nothing(desk: RenewingDesk, first: Certificate) -> None:
    begun = await desk.claimed(first, "k2")
    with pytest.raises(SignatureRefused):
        await desk.confirm(certificate_for(begun.intent))
    await desk.renewing.store(begun.intent, certificate_for(begun.intent))
    with pytest.raises(CertificateNotActive, match="inactive"):
        await desk.confirm(certificate_for(begun.intent))


async def test_two_confirmations_at_once_are_one(desk: RenewingDesk, first: Certificate) -> None:
    second = await desk.renew(first, "k2")
    answers = await asyncio.gather(*(desk.confirm(second) for _ in range(6)))
    assert answers == [as_current(second)] * 6
    assert (await desk.actions()).count("renew.confirm") == 1


async def test_ten_renewals_in_a_row_leave_one_active_certificate(
    desk: RenewingDesk, first: Certificate
) -> None:
    current = first
    for number in range(2, 12):
        desk.pass_time(LIFETIME * 2 / 3)
        current = await desk.confirm(await desk.connect(await desk.renew(current, f"k{number}")))
    assert await desk.active("lamp-1") == [current]
    assert len(await desk.registry.certificates(LAMP)) == 11
    verify(await desk.registry.records(limit=1000))


# ── suspend, revoke, replace ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("status", [ThingStatus.SUSPENDED, ThingStatus.REVOKED, ThingStatus.RETIRED])
async def test_an_order_takes_the_successor_along(
    desk: RenewingDesk, first: Certificate, status: ThingStatus
) -> None:
    second = await desk.renew(first, "k2")
    await desk.order("lamp-1", status)

    assert await desk.active("lamp-1") == []
    for certificate in (first, second):
        with pytest.raises(ThingRevoked):
            await desk.confirm(certificate)
        with pytest.raises(ThingRevoked):
            await desk.renewing.renew(desk.renewal(certificate, "k3"))
    if status.is_gone:
        assert await is_buried(desk, "k2")
        return
    await desk.order("lamp-1", ThingStatus.ACTIVE)
    assert await desk.active("lamp-1") == [first, second]


@pytest.mark.parametrize("status", [ThingStatus.SUSPENDED, ThingStatus.REVOKED])
async def test_an_order_in_the_middle_of_a_renewal_ends_it(
    desk: RenewingDesk, first: Certificate, status: ThingStatus
) -> None:
    begun = await desk.claimed(first, "k2")
    await desk.renewing.store(begun.intent, certificate_for(begun.intent))
    await desk.order("lamp-1", status)
    with pytest.raises(ThingRevoked):
        await desk.renewing.activate(begun.intent.id, event("renew"))
    assert await desk.active("lamp-1") == []


async def test_a_pending_replacement_refuses_a_renewal(desk: RenewingDesk, first: Certificate) -> None:
    swap = await desk.token("swap", "lamp-1", replaces=True)
    begun = await desk.claim(swap, "lamp-1", "k5")
    with pytest.raises(ReplacementPending):
        await desk.renewing.renew(desk.renewal(first, "k2"))
    await desk.registry.store(begun.intent, certificate_for(begun.intent))
    ordered = await desk.registry.activate(begun.intent.id, event("enroll"))
    with pytest.raises(ReplacementPending):
        await desk.renewing.renew(desk.renewal(first, "k2"))
    with pytest.raises(RenewalUnconfirmed, match="connect"):
        await desk.confirm(ordered)


async def test_a_replacement_takes_the_place_of_a_renewal(desk: RenewingDesk, first: Certificate) -> None:
    second = await desk.connect(await desk.renew(first, "k2"))
    ordered = await desk.enroll(await desk.token("swap", "lamp-1", replaces=True), "lamp-1", "k5")

    assert await desk.active("lamp-1") == [first, ordered]
    assert (await desk.look(second)).status is REVOKED
    assert await is_buried(desk, "k2")
    promoted = await desk.connect(ordered)
    assert promoted.slot is Slot.CURRENT
    assert await desk.active("lamp-1") == [promoted]


async def test_a_replacement_may_have_the_renewals_own_key(desk: RenewingDesk, first: Certificate) -> None:
    second = await desk.renew(first, "k2")
    ordered = await desk.enroll(await desk.token("swap", "lamp-1", replaces=True), "lamp-1", "k2")

    assert ordered.id != second.id
    assert ordered.renews is None
    assert (await desk.connect(ordered)).slot is Slot.CURRENT
    assert not await is_buried(desk, "k2")


async def test_a_renewal_confirmed_while_a_replacement_is_under_way_stays(
    desk: RenewingDesk, first: Certificate
) -> None:
    second = await desk.renew(first, "k2")
    begun = await desk.claim(await desk.token("swap", "lamp-1", replaces=True), "lamp-1", "k5")
    confirmed = await desk.confirm(second)
    ordered = await desk.finish(begun)

    assert await desk.active("lamp-1") == [confirmed, ordered]
    promoted = await desk.connect(ordered)
    assert await desk.active("lamp-1") == [promoted]
    assert await is_buried(desk, "k2")


# ── dates and grace ───────────────────────────────────────────────────────────────────────────────────


async def test_an_expired_certificate_renews_only_by_grace(desk: RenewingDesk, first: Certificate) -> None:
    desk.pass_time(LIFETIME)
    with pytest.raises(CertificateExpired):
        await desk.renewing.renew(desk.renewal(first, "k2"))
    granted = await desk.grace("lamp-1", desk.now + HOUR)
    assert granted.grace_until == desk.now + HOUR
    assert await desk.thing("lamp-1") == granted
    badge = await desk.registry.badge(first.id)
    assert badge is not None
    assert badge.thing == granted

    confirmed = await desk.confirm(await desk.renew(first, "k2"))
    assert await desk.active("lamp-1") == [confirmed]


async def test_grace_ends_by_itself_and_at_will(desk: RenewingDesk, first: Certificate) -> None:
    desk.pass_time(LIFETIME)
    await desk.grace("lamp-1", desk.now + HOUR)
    desk.pass_time(2 * HOUR)
    with pytest.raises(CertificateExpired):
        await desk.renewing.renew(desk.renewal(first, "k2"))
    await desk.grace("lamp-1", desk.now + HOUR)
    assert (await desk.grace("lamp-1", None)).grace_until is None
    with pytest.raises(CertificateExpired):
        await desk.renewing.renew(desk.renewal(first, "k2"))


async def test_granting_the_same_again_records_nothing(desk: RenewingDesk, first: Certificate) -> None:
    granted = await desk.grace("lamp-1", START + 9 * HOUR)
    records = await desk.registry.records()
    assert await desk.grace("lamp-1", START + 9 * HOUR) == granted
    assert await desk.registry.records() == records


async def test_grace_is_for_things_that_are_here(desk: RenewingDesk, first: Certificate) -> None:
    with pytest.raises(NotFound):
        await desk.grace("lamp-9", START)
    await desk.grace("lamp-1", START + LIFETIME)
    assert (await desk.order("lamp-1", ThingStatus.REVOKED)).grace_until is None
    assert (await desk.thing("lamp-1")).grace_until is None
    with pytest.raises(ThingRevoked):
        await desk.grace("lamp-1", START)


async def test_a_name_that_is_freed_again_has_no_grace(desk: RenewingDesk, first: Certificate) -> None:
    await desk.grace("lamp-1", START + LIFETIME)
    await desk.order("lamp-1", ThingStatus.RETIRED)
    begun = await desk.claim(await desk.token("swap", "lamp-1", replaces=True), "lamp-1", "k5")
    assert (await desk.thing("lamp-1")).grace_until is None
    await desk.grace("lamp-1", START + LIFETIME)
    await desk.drop(begun)
    assert (await desk.thing("lamp-1")).grace_until is None, "it is gone again"


# ── the sweeper ───────────────────────────────────────────────────────────────────────────────────────


async def test_a_renewal_that_died_half_way_is_swept_and_its_key_is_free(
    desk: RenewingDesk, first: Certificate
) -> None:
    begun = await desk.claimed(first, "k2")
    await desk.renewing.store(begun.intent, certificate_for(begun.intent))
    desk.pass_time(HOUR)
    assert list(await desk.registry.leftovers(before=desk.now)) == [begun.intent]

    assert await desk.drop(begun)

    assert await desk.active("lamp-1") == [first]
    assert (await desk.thing("lamp-1")).status is ThingStatus.ACTIVE
    second = await desk.renew(first, "k2")
    assert await desk.active("lamp-1") == [first, second]


async def test_what_is_not_confirmed_in_time_is_withdrawn_and_the_predecessor_stays(
    desk: RenewingDesk, first: Certificate
) -> None:
    second = await desk.connect(await desk.renew(first, "k2"))
    desk.pass_time(OVERLAP)
    assert await desk.overdue(OVERLAP) == []
    desk.pass_time(SECOND)
    assert await desk.overdue(OVERLAP) == [second]

    assert await desk.withdraw(second)

    assert await desk.active("lamp-1") == [first]
    assert await is_buried(desk, "k2")
    with pytest.raises(CertificateNotActive):
        await desk.confirm(second)
    assert await desk.overdue(OVERLAP) == []
    records = await desk.registry.records(limit=1000)
    assert not await desk.withdraw(second), "it does not wait any more"
    assert await desk.registry.records(limit=1000) == records
    assert (await desk.renew(first, "k3")).slot is Slot.SUCCESSOR


async def test_a_replacement_that_never_connects_is_withdrawn_too(
    desk: RenewingDesk, first: Certificate
) -> None:
    ordered = await desk.enroll(await desk.token("swap", "lamp-1", replaces=True), "lamp-1", "k5")
    desk.pass_time(OVERLAP + SECOND)
    assert await desk.overdue(OVERLAP) == [ordered]
    assert await desk.withdraw(ordered)
    assert await desk.active("lamp-1") == [first]


async def test_what_was_confirmed_is_never_withdrawn(desk: RenewingDesk, first: Certificate) -> None:
    confirmed = await desk.confirm(await desk.renew(first, "k2"))
    desk.pass_time(2 * OVERLAP)
    assert await desk.overdue(OVERLAP) == []
    assert not await desk.withdraw(confirmed)
    assert not await desk.withdraw(replace(first, id=CertificateId("0" * 64)))
    assert await desk.active("lamp-1") == [confirmed]


async def test_the_last_certificate_with_which_a_device_connects_is_spared(
    desk: RenewingDesk, first: Certificate
) -> None:
    desk.pass_time(LIFETIME - 2 * HOUR)
    second = await desk.connect(await desk.renew(first, "k2"))
    desk.pass_time(OVERLAP + HOUR)
    assert await desk.overdue(OVERLAP) == []
    assert not await desk.withdraw(second)
    assert await desk.confirm(second) == as_current(second)


async def test_one_that_never_connected_is_not_spared(desk: RenewingDesk, first: Certificate) -> None:
    desk.pass_time(LIFETIME - 2 * HOUR)
    second = await desk.renew(first, "k2")
    desk.pass_time(OVERLAP + HOUR)
    assert await desk.overdue(OVERLAP) == [second]
    assert await desk.withdraw(second)


async def test_the_spared_one_goes_when_it_has_expired_itself(desk: RenewingDesk, first: Certificate) -> None:
    second = await desk.connect(await desk.renew(first, "k2"))
    desk.pass_time(LIFETIME)
    assert await desk.overdue(OVERLAP) == []
    desk.pass_time(SECOND)
    assert await desk.overdue(OVERLAP) == [second]
    assert await desk.withdraw(second)


async def test_overdue_ones_come_longest_first_and_in_pages(desk: RenewingDesk) -> None:
    waiting = []
    for number in range(5):
        token = await desk.token(f"secret {number}")
        enrolled = await desk.enroll(token, f"lamp-{number}", f"k{number}")
        waiting.append(await desk.renew(enrolled, f"n{number}"))
        desk.pass_time(HOUR)
    desk.pass_time(OVERLAP)
    page = await desk.renewing.overdue(before=desk.now - OVERLAP, at=desk.now, limit=3)
    assert list(page) == waiting[:3]


async def test_a_confirmation_and_a_withdrawal_at_once_do_one_of_both(
    desk: RenewingDesk, first: Certificate
) -> None:
    second = await desk.renew(first, "k2")
    desk.pass_time(OVERLAP + SECOND)
    asked = Confirmation(second.id, desk.now)
    confirmed, withdrawn = await asyncio.gather(
        desk.renewing.confirm(asked), desk.withdraw(second), return_exceptions=True
    )
    (active,) = await desk.active("lamp-1")
    assert isinstance(confirmed, Certificate) != (withdrawn is True)
    assert active.key_hash == (key("k1") if withdrawn is True else key("k2"))
