"""The office of groups: what is kept, refused and recorded, and the one moment at which a secret is shown."""

import hashlib
from datetime import timedelta

import pytest

from keyborn.adapters.memory import MemoryRegistry
from keyborn.domain.access_policy.document import AccessPolicy, PolicyName
from keyborn.domain.access_policy.parse import parse_document
from keyborn.domain.audit import AuditEvent
from keyborn.domain.errors import InvalidGroup, InvalidGroupName, NotFound, PolicyInUse
from keyborn.domain.group import GroupDocument
from keyborn.domain.names import GroupName
from keyborn.policies import device_policy
from keyborn.service.groups import GroupOffice, GroupPorts, changed
from support.group_stage import WEBHOOK, text
from support.grouping_cases import FREE, GroupingDesk, proving
from support.lint_stage import allow, document
from support.office import TurnedClock


class Chance:
    """Counts up: every secret is another one, and known."""

    def __init__(self) -> None:
        self.count = 0

    def token_bytes(self, count: int) -> bytes:
        self.count += 1
        return bytes([self.count]) * count


class World:
    """An office over a registry in memory."""

    def __init__(self, *, own_dates: bool = True) -> None:
        self.memory = MemoryRegistry()
        self.clock = TurnedClock()
        self.chance = Chance()
        self.office = GroupOffice(
            GroupPorts(self.memory, self.memory, self.memory),
            clock=self.clock,
            entropy=self.chance,
            own_dates=own_dates,
            reserved=frozenset({"gateway"}),
        )

    async def last(self) -> AuditEvent:
        return (await self.memory.records())[-1].event

    async def policy(self, name: str) -> None:
        event = AuditEvent(self.clock.now(), "policy.put", "done", name, "operator")
        document = parse_document(device_policy())
        await self.memory.put_policy(AccessPolicy(PolicyName(name), document, self.clock.now()), event)


@pytest.fixture
def world() -> World:
    return World()


async def test_a_group_is_kept_as_it_was_written_and_counted_up(world: World) -> None:
    source = "# ours\n" + text()
    first = await world.office.put("line-7", source, actor="somebody")
    assert (first.document.version, first.document.text, first.enrolled) == (1, source, 0)
    assert first.group is not None
    assert first.group.things.pattern == "sensor-*"
    event = await world.last()
    assert (event.action, event.subject, event.actor) == ("group.put", "line-7", "somebody")
    assert event.details == {"documentHash": hashlib.sha256(source.encode()).hexdigest(), "changed": "all"}
    second = await world.office.put("line-7", text(limit=5, taken="person"))
    assert second.document.version == 2
    assert (await world.last()).details["changed"] == "limit, taken"


async def test_the_same_file_changes_and_records_nothing(world: World) -> None:
    await world.office.put("line-7", text())
    before = await world.memory.records()
    world.clock.turn(timedelta(hours=1))
    again = await world.office.put("line-7", text())
    assert (again.document.version, await world.memory.records()) == (1, before)


@pytest.mark.parametrize(
    ("name", "source", "detail"),
    [
        ("line-8", text(), "it says line-7"),
        ("line-7", "name = 1", "not a string"),
        ("line-7", text(methods=["webhook"], webhook=WEBHOOK, taken="replace"), "nothing is ever replaced"),
        ("line-7", text(things="keyborn-*"), "reserved for the service"),
        ("line-7", text(things="gateway"), "reserved for the service"),
        ("line-7", text(give={"policies": ["nobody"]}), "keyborn policy put nobody FILE"),
    ],
)
async def test_what_cannot_be_is_refused_and_nothing_is_kept(
    world: World, name: str, source: str, detail: str
) -> None:
    with pytest.raises(InvalidGroup, match=detail):
        await world.office.put(name, source)
    assert await world.memory.groups() == []
    assert await world.memory.records() == []
    assert world.chance.count == 0


async def test_a_name_that_no_group_has_is_refused(world: World) -> None:
    with pytest.raises(InvalidGroupName):
        await world.office.put("Line 7", text())


async def test_policies_that_are_there_may_be_given(world: World) -> None:
    await world.policy("narrow")
    kept = await world.office.put("line-7", text(give={"policies": ["narrow"]}))
    assert kept.findings == ()
    assert kept.document.policies == ("narrow",)
    with pytest.raises(PolicyInUse):
        await world.memory.remove_policy(PolicyName("narrow"), await world.last())


async def test_an_attribute_by_which_a_policy_decides_is_not_the_device_s_to_set(world: World) -> None:
    statement = allow("Publish", "topic/${iot:Connection.Thing.Attributes[line]}/a")
    event = AuditEvent(world.clock.now(), "policy.put", "done", "lines", "operator")
    lines = AccessPolicy(PolicyName("lines"), document(statement), world.clock.now())
    await world.memory.put_policy(lines, event)
    give = {"policies": ["lines"], "device-attributes": ["line", "serial"]}
    kept = await world.office.put("line-7", text(give=give))
    assert [each.code for each in kept.findings] == ["self_granted"]
    apart = give | {"device-attributes": ["serial"], "attributes": {"line": "7"}}
    assert (await world.office.put("line-7", text(give=apart))).findings == ()


async def test_where_certificates_have_dates_of_their_own_a_lifetime_is_refused() -> None:
    world = World(own_dates=False)
    with pytest.raises(InvalidGroup, match="AWS IoT makes the certificates"):
        await world.office.put("line-7", text(give={"lifetime": "30d"}))


async def test_warnings_are_told_and_other_groups_are_looked_at(world: World) -> None:
    await world.office.put("line-7", text())
    kept = await world.office.put("wide", text(name="wide", things="*"))
    assert {each.code for each in kept.findings} == {"any_name", "overlap"}
    shown = await world.office.show("line-7")
    assert [each.code for each in shown.findings] == ["overlap"]
    _, found = await world.office.check("line-7", text(things="sensor-1*"))
    assert [each.code for each in found] == ["overlap"]


# ── the webhook's secret ──────────────────────────────────────────────────────────────────────────────

HOOKED = text(methods=["token + webhook"], webhook=WEBHOOK)


async def test_the_secret_of_a_webhook_is_made_once_and_shown_once(world: World) -> None:
    first = await world.office.put("line-7", HOOKED)
    assert first.webhook_secret == b"\1" * 32
    assert first.document.webhook_secret == first.webhook_secret
    for source in (HOOKED, HOOKED + "# more\n", text(), HOOKED):
        later = await world.office.put("line-7", source)
        assert later.webhook_secret is None
        assert later.document.webhook_secret == first.webhook_secret
    assert (await world.office.show("line-7")).webhook_secret is None
    assert world.chance.count == 1


async def test_a_group_without_a_webhook_has_no_secret(world: World) -> None:
    kept = await world.office.put("line-7", text())
    assert kept.webhook_secret is kept.document.webhook_secret is None
    assert world.chance.count == 0


async def test_nobody_sees_the_secret_in_a_log_or_in_the_trail(world: World) -> None:
    kept = await world.office.put("line-7", HOOKED)
    secret = (b"\1" * 32).hex()
    said = repr(kept) + repr(await world.memory.records())
    assert secret not in said
    assert "x01" not in said


async def test_a_group_put_again_after_its_removal_has_another_secret(world: World) -> None:
    await world.office.put("line-7", HOOKED)
    await world.office.remove("line-7")
    assert (await world.office.put("line-7", HOOKED)).webhook_secret == b"\2" * 32


# ── looking, and taking away ──────────────────────────────────────────────────────────────────────────


async def test_a_group_is_shown_with_how_many_enrolled(world: World) -> None:
    for name in ("line-6", "line-7", "line-70"):
        await world.office.put(name, text(name=name, things=f"{name}-*"))
    await GroupingDesk(world.memory).join(proving("a"), "line-7-a", "k1", FREE)
    assert (await world.office.show("line-7")).enrolled == 1
    assert (await world.office.show("line-6")).enrolled == 0
    assert (await world.office.show("line-70")).enrolled == 0
    assert [use.taken for use in await world.office.page()] == [0, 1, 0]
    assert [use.document.name for use in await world.office.page(after="line-6", limit=1)] == ["line-7"]


async def test_a_removed_group_is_gone_and_recorded(world: World) -> None:
    await world.office.put("line-7", text())
    await world.office.remove("line-7", actor="somebody")
    event = await world.last()
    assert (event.action, event.subject, event.actor) == ("group.remove", "line-7", "somebody")
    for again in (world.office.show("line-7"), world.office.remove("line-7")):
        with pytest.raises(NotFound, match="keyborn group list"):
            await again


async def test_what_another_keyborn_kept_is_shown_and_opens_no_door(world: World) -> None:
    event = AuditEvent(world.clock.now(), "group.put", "done", "line-7", "operator")
    newer = GroupDocument(GroupName("line-7"), text(methods=["telepathy"]), world.clock.now())
    await world.memory.put_group(newer, event)
    shown = await world.office.show("line-7")
    assert (shown.group, shown.findings) == (None, ())
    assert "telepathy" in shown.document.text


def test_what_changed_is_told_by_its_keys() -> None:
    assert changed(None, text()) == "all"
    assert changed(text(), "# a word\n" + text()) == "comments"
    assert changed(text(limit=1, rate="1/h"), text(limit=2)) == "limit, rate"
    assert changed("=", text()) == "methods, name, things"
