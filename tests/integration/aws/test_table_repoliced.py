"""An operator changes a thing's policies while its certificate is being signed: AWS IoT must follow.

Whoever is at work gives the certificate the policies that the thing had at the claim. If it dies before it
takes them back, nobody else would know: so the certificate is stored together with a note to look again.
"""

from keyborn.adapters.aws.table import Owed
from keyborn.domain.thing import Thing
from support.aws_stage import Stage, registry_of
from support.registry_cases import HOUR, Desk, certificate_for


async def owed(desk: Desk) -> list[Owed]:
    return list(await registry_of(desk).owed(before=desk.now + HOUR))


async def test_what_is_stored_after_a_change_is_to_be_looked_at_again(stage: Stage) -> None:
    async with stage.process() as desk:
        await desk.put("extra")
        issue = await desk.claim(await desk.token("secret", policies=["extra"]), "lamp-1", "k1")
        assert names(await desk.detach("lamp-1", "extra")) == ()
        assert await owed(desk) == []

        kept = await desk.registry.store(issue.intent, certificate_for(issue.intent))

        (entry,) = await owed(desk)
        assert (entry.certificate, entry.thing, entry.status) == (kept.id, "lamp-1", None)


async def test_what_was_attached_meanwhile_counts_as_well(stage: Stage) -> None:
    async with stage.process() as desk:
        await desk.put("extra")
        issue = await desk.claim(await desk.token("secret", policies=[]), "lamp-1", "k1")
        await desk.attach("lamp-1", "extra")

        kept = await desk.registry.store(issue.intent, certificate_for(issue.intent))

        assert [one.certificate for one in await owed(desk)] == [kept.id]


async def test_it_is_noted_though_another_process_stores(stage: Stage) -> None:
    async with stage.process() as desk, stage.process() as operator:
        await desk.put("extra")
        issue = await desk.claim(await desk.token("secret", policies=["extra"]), "lamp-1", "k1")
        await operator.detach("lamp-1", "extra")

        await desk.registry.store(issue.intent, certificate_for(issue.intent))

        assert len(await owed(desk)) == 1


async def test_without_a_change_there_is_nothing_to_look_at(stage: Stage) -> None:
    async with stage.process() as desk:
        await desk.put("extra")
        await desk.stored(await desk.token("secret", policies=["extra"]), "lamp-1", "k1")
        assert await owed(desk) == []


def names(thing: Thing) -> tuple[str, ...]:
    return tuple(thing.policies or ())
