"""What AWS IoT has to follow is written with the decision, and nowhere else."""

import pytest

from keyborn.adapters.aws.table import Dirt, Owed
from keyborn.domain.access_policy.document import DEFAULT_POLICY
from keyborn.domain.certificate import Certificate, CertificateStatus
from keyborn.domain.names import ThingName
from keyborn.domain.thing import ThingKind, ThingStatus
from support.aws_stage import Stage, registry_of
from support.registry_cases import HOUR, LIFETIME, Desk, certificate_for

INACTIVE, ACTIVE, REVOKED = CertificateStatus.INACTIVE, CertificateStatus.ACTIVE, CertificateStatus.REVOKED


async def owed(desk: Desk) -> list[Owed]:
    return list(await registry_of(desk).owed(before=desk.now + HOUR))


async def strike(desk: Desk) -> None:
    """Somebody has seen to it all."""
    await registry_of(desk).settle(await owed(desk))


async def told(desk: Desk) -> set[tuple[str | None, CertificateStatus | None]]:
    return {(one.certificate, one.status) for one in await owed(desk)}


async def pair(desk: Desk) -> tuple[Certificate, Certificate]:
    """A device with a successor waiting."""
    old = await desk.enroll(await desk.token("secret"), "lamp-1", "k1")
    new = await desk.enroll(await desk.token("swap", "lamp-1", replaces=True), "lamp-1", "k2")
    assert await owed(desk) == [], "who enrolls tells AWS IoT himself"
    return old, new


@pytest.mark.parametrize(
    ("order", "status"),
    [(ThingStatus.SUSPENDED, INACTIVE), (ThingStatus.REVOKED, REVOKED), (ThingStatus.RETIRED, REVOKED)],
)
async def test_an_order_is_owed_for_each_certificate(
    stage: Stage, order: ThingStatus, status: CertificateStatus
) -> None:
    async with stage.process() as desk:
        old, new = await pair(desk)
        await desk.order("lamp-1", order)
        await desk.order("lamp-1", order)

        entries = await owed(desk)

        assert {(one.certificate, one.status) for one in entries} == {(old.id, status), (new.id, status)}
        assert {(one.thing, one.kind, one.due) for one in entries} == {("lamp-1", ThingKind.DEVICE, desk.now)}


async def test_what_was_suspended_is_owed_its_activity_back(stage: Stage) -> None:
    async with stage.process() as desk:
        old, new = await pair(desk)
        await desk.order("lamp-1", ThingStatus.SUSPENDED)
        await strike(desk)
        await desk.order("lamp-1", ThingStatus.ACTIVE)

        assert await told(desk) == {(old.id, ACTIVE), (new.id, ACTIVE)}


async def test_the_predecessor_of_a_successor_that_connects_is_revoked(stage: Stage) -> None:
    async with stage.process() as desk:
        old, new = await pair(desk)
        await desk.connect(new)

        assert await told(desk) == {(old.id, REVOKED)}


async def test_an_expired_certificate_that_is_followed_by_another_is_revoked(stage: Stage) -> None:
    async with stage.process() as desk:
        old = await desk.enroll(await desk.token("first"), "lamp-1", "k1")
        desk.pass_time(LIFETIME * 2)
        await desk.enroll(await desk.token("second"), "lamp-1", "k1")

        assert await told(desk) == {(old.id, REVOKED)}


async def test_a_dropped_claim_leaves_a_certificate_to_revoke_or_one_to_look_for(stage: Stage) -> None:
    async with stage.process() as desk:
        token = await desk.token("secret")
        stored, claimed = await desk.stored(token, "lamp-1", "k1"), await desk.claim(token, "lamp-2", "k2")
        for issue in (stored, claimed):
            await desk.drop(issue)

        assert await told(desk) == {(certificate_for(stored.intent).id, REVOKED)}
        (dirt,) = await registry_of(desk).dirt()
        assert (dirt.intent, dirt.key, dirt.kind) == (
            claimed.intent.id,
            claimed.intent.key_hash,
            ThingKind.DEVICE,
        )
        await registry_of(desk).settle([dirt])
        assert await registry_of(desk).dirt() == []


async def test_what_is_attached_and_detached_is_owed_for_each_certificate(stage: Stage) -> None:
    async with stage.process() as desk:
        old, new = await pair(desk)
        await desk.put("fleet")
        await desk.attach("lamp-1", "fleet")
        await desk.attach("lamp-1", "fleet")

        entries = await owed(desk)
        assert {(one.certificate, one.attach, one.detach) for one in entries} == {
            (one.id, (DEFAULT_POLICY, "fleet"), ()) for one in (old, new)
        }
        assert {one.status for one in entries} == {None}

        await strike(desk)
        await desk.detach("lamp-1", DEFAULT_POLICY)
        assert {(one.attach, one.detach) for one in await owed(desk)} == {((), (DEFAULT_POLICY,))}


async def test_a_refused_order_owes_nothing(stage: Stage) -> None:
    async with stage.process() as desk:
        await pair(desk)
        before = len(stage.items())
        with pytest.raises(ValueError, match="claimed"):
            await desk.order("lamp-1", ThingStatus.CLAIMED)

        assert (await owed(desk), len(stage.items())) == ([], before)


async def test_entries_come_by_due_date_and_are_asked_for_by_thing(stage: Stage) -> None:
    async with stage.process() as desk:
        for number in range(3):
            await desk.enroll(await desk.token(f"secret {number}"), f"lamp-{number}", f"k{number}")
        for number in (2, 0, 1):
            desk.pass_time(HOUR / 60)
            await desk.order(f"lamp-{number}", ThingStatus.REVOKED)

        registry = registry_of(desk)
        assert [one.thing for one in await owed(desk)] == ["lamp-2", "lamp-0", "lamp-1"]
        assert [one.thing for one in await registry.owed(before=desk.now)] == ["lamp-2", "lamp-0"]
        assert len(await registry.owed(before=desk.now + HOUR, limit=1)) == 1
        (own,) = await registry.owed(before=desk.now + HOUR, of=ThingName("lamp-1"), limit=1)
        assert own.thing == "lamp-1"


async def test_settling_twice_is_harmless_and_takes_only_what_was_named(stage: Stage) -> None:
    async with stage.process() as desk:
        await pair(desk)
        await desk.order("lamp-1", ThingStatus.REVOKED)
        first, second = await owed(desk)
        for _ in range(2):
            await registry_of(desk).settle([first])

        assert await owed(desk) == [second]


async def test_tidying_takes_closed_intents_off_the_list_and_no_open_one(stage: Stage) -> None:
    async with stage.process() as desk:
        token = await desk.token("secret")
        for number in range(3):
            await desk.enroll(token, f"lamp-{number}", f"k{number}")
        waiting = await desk.claim(token, "lamp-9", "k9")

        def rows() -> int:
            return sum(item["pk"]["S"] == "open" for item in stage.items())

        assert rows() == 4
        assert await registry_of(desk).tidy() == 3
        assert (rows(), await registry_of(desk).tidy()) == (1, 0)
        assert await desk.registry.leftovers(before=desk.now + HOUR) == [waiting.intent]


def test_entries_are_values() -> None:
    assert Owed.__dataclass_params__.frozen  # type: ignore[attr-defined] # the stubs leave it out
    assert Dirt.__dataclass_params__.frozen  # type: ignore[attr-defined] # as above
