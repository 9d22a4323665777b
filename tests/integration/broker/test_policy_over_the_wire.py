"""The table of policy cases once more, over real TLS and MQTT connections: the wire says what the rule says.

Each case runs on MQTT 3.1.1 and on 5. A second policy lets the client come as far as the question is asked
(to publish it must be connected) and touches nothing that the case asks. Nothing is proved by waiting: what
must not arrive is followed by something that must.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from keyborn.adapters.broker.packets import (
    Connect,
    Prop,
    Properties,
    PubAck,
    Publish,
    SubAck,
    Subscribe,
    Subscription as Filter,
    Will,
)
from keyborn.domain.access import Action
from support.broker import Device, Listener, Raw, World, running, until
from support.figures import Figure
from support.policy_case import (
    CONNECT,
    PERSISTENT,
    PUBLISH,
    RECEIVE,
    SUBSCRIBE,
    WILL,
    Case,
    Wire,
    allow,
    asking_only,
    document,
    leaf_for,
)
from support.policy_cases import wire_cases

MARKER, LAST_WORDS = "harness/marker", "harness/will"
"""Topics that no case has: what proves that something else did not come, and where wills go."""
LASTING: Properties = {Prop.SESSION_EXPIRY: 60}
NOT_AUTHORIZED = 0x87

_CONNECTED = allow(CONNECT, "*", when=asking_only(WILL, PERSISTENT))
_BEFORE = {
    Wire.CONNECT: [],
    Wire.PERSISTENT: [],
    Wire.WILL: [],
    Wire.PUBLISH: [_CONNECTED],
    Wire.RETAIN: [_CONNECTED, allow(PUBLISH, "topic/*")],
    Wire.SUBSCRIBE: [_CONNECTED],
    Wire.RECEIVE: [_CONNECTED, allow(SUBSCRIBE, "topicfilter/*"), allow(RECEIVE, f"topic/{MARKER}")],
}
"""What must be allowed before each question can be asked."""


class Stage:
    """A broker, somebody who hears everything, and one case after the other."""

    def __init__(self, world: World, ear: Listener, version: int) -> None:
        self.world = world
        self.ear = ear
        self.version = version
        self.case = wire_cases()[0]
        self.device: Device
        self.resource = ""

    def enter(self, case: Case) -> None:
        """Register who acts in ``case``, with its policies."""
        who, self.case = case.who, case
        self.device = self.world.device(who.name, leaf=leaf_for(who.subject), kind=who.kind)
        self.resource = case.resource_for(self.device.id)
        before = [*_BEFORE[case.wire or Wire.CONNECT]]
        if case.action is PUBLISH and case.wire is Wire.WILL:
            before.append(_CONNECTED)
        elif WILL in case.asks:
            before.append(allow(PUBLISH, f"topic/{LAST_WORDS}"))
        names = [f"case-{number}" for number in range(len(case.policies))]
        for name, text in zip(names, case.policies, strict=True):
            self.world.directory.put(name, text)
        if before:
            self.world.directory.put("before", document(*before))
            names.append("before")
        thing = self.world.directory.thing(self.device.thing)
        self.world.directory.things[thing.name] = replace(thing, attributes=dict(who.attributes))
        self.world.directory.attach(thing.name, *names)

    @property
    def will_topic(self) -> str:
        return self.resource if self.case.action is PUBLISH and self.case.wire is Wire.WILL else LAST_WORDS

    async def connect(self) -> Raw:
        """Connect with everything that the case asks for."""
        lasts = PERSISTENT in self.case.asks
        will = Will(self.will_topic, b"will", 1) if WILL in self.case.asks else None
        properties = LASTING if lasts and self.version == 5 else {}
        connect = Connect(self.version, self.case.who.client, not lasts, 60, will, properties=properties)
        return await self.world.connect(self.device, connect)

    async def connected(self) -> Raw:
        """Connect, where that is not the question."""
        raw = await self.connect()
        assert raw.connack.reason == 0, f"{self.case.name}: cannot connect"
        return raw

    async def refused(self, raw: Raw) -> bool:
        """Whether CONNECT was refused; a refusal must have been said, and the connection closed."""
        if raw.connack.reason == 0:
            return False
        assert raw.connack.reason == (NOT_AUTHORIZED if self.version == 5 else 5)
        assert await raw.closed() == []
        return True


# ── asking over the wire: each returns whether it was allowed ─────────────────────────────────────────


async def ask_connect(stage: Stage) -> bool:
    raw = await stage.connect()
    if await stage.refused(raw):
        return False
    await raw.ping()
    await raw.leave()
    return True


async def ask_persistent(stage: Stage) -> bool:
    if not await ask_connect(stage):
        return False
    again = await stage.connected()
    assert again.connack.session_present, "it has been kept"
    await again.leave()
    return True


async def ask_will(stage: Stage) -> bool:
    """Where it is accepted it is heard once the client has vanished."""
    raw = await stage.connect()
    if await stage.refused(raw):
        assert await stage.ear.settle() == []
        return False
    raw.vanish()
    await stage.ear.hears((stage.will_topic, b"will"))
    return True


async def ask_publish(stage: Stage, *, retain: bool = False) -> bool:
    """An acknowledgement and a message; or neither, and on 3.1.1 the end of the connection."""
    raw = await stage.connected()
    await raw.send(Publish(stage.resource, b"x", 1, retain, packet_id=1))
    answer = await raw.next()
    if stage.version == 5:
        assert isinstance(answer, PubAck)
        assert answer.reason in {0, NOT_AUTHORIZED}
        await raw.ping()
    allowed = isinstance(answer, PubAck) and answer.reason == 0
    assert allowed or stage.version == 5 or answer is None
    if answer is not None:
        await raw.leave()
    assert await stage.ear.settle() == ([(stage.resource, b"x")] if allowed else [])
    return allowed


async def ask_retain(stage: Stage) -> bool:
    """What was retained comes to whoever subscribes later."""
    allowed = await ask_publish(stage, retain=True)
    late = await stage.world.listener(stage.resource, name="late")
    await late.settle()
    kept = [(each.payload, each.retain) for each in late.packets]
    assert kept == ([(b"x", True)] if allowed else [])
    await late.raw.leave()
    stage.world.say(stage.resource, b"", retain=True)
    return allowed


async def ask_subscribe(stage: Stage) -> bool:
    """Granted; or a reason on 5, and the end of the connection on 3.1.1."""
    raw = await stage.connected()
    await raw.send(Subscribe(7, (Filter(stage.resource, 1),)))
    answer = await raw.next()
    if answer is None:
        assert stage.version == 4
        return False
    assert isinstance(answer, SubAck)
    assert answer.reasons in {(1,), (NOT_AUTHORIZED,)}
    await raw.ping()
    await raw.leave()
    return answer.reasons == (1,)


async def ask_receive(stage: Stage) -> bool:
    """Under the widest filter, what is said before the marker comes before it or not at all."""
    raw = await stage.connected()
    assert (await raw.subscribe("#", qos=0)).reasons == (0,)
    stage.world.say(stage.resource, b"x")
    stage.world.say(MARKER, b"marker")
    first = await raw.expect(Publish)
    allowed = (first.topic, first.payload) == (stage.resource, b"x")
    marker = await raw.expect(Publish) if allowed else first
    assert marker.topic == MARKER
    await raw.ping()
    await raw.leave()
    return allowed


ASK: dict[Wire, Callable[[Stage], Awaitable[bool]]] = {
    Wire.CONNECT: ask_connect,
    Wire.PERSISTENT: ask_persistent,
    Wire.WILL: ask_will,
    Wire.PUBLISH: ask_publish,
    Wire.RETAIN: ask_retain,
    Wire.SUBSCRIBE: ask_subscribe,
    Wire.RECEIVE: ask_receive,
}


@pytest.mark.parametrize("version", [pytest.param(4, id="3.1.1"), pytest.param(5, id="5")])
@pytest.mark.parametrize("wire", list(Wire))
async def test_the_wire_says_what_the_rule_says(
    tmp_path: Path, wire: Wire, version: int, figure: Figure
) -> None:
    rows = [case for case in wire_cases() if case.wire is wire]
    allowed = [case for case in rows if case.allowed]
    assert min(len(allowed), len(rows) - len(allowed)) >= 4, "both verdicts are shown"
    wrong = []
    async with running(tmp_path) as world:
        stage = Stage(world, await world.listener("#"), version)
        for case in rows:
            stage.enter(case)
            if await ASK[wire](stage) is not case.allowed:
                wrong.append(f"{case.name}: {case.rule}")
            await stage.ear.settle()
            stage.ear.packets.clear()
        await until(lambda: world.gateway.connected == 1, "only the listener is left: it")
    assert wrong == []
    figure(
        f"policy cases over TLS and MQTT {'5' if version == 5 else '3.1.1'}, {wire}: {len(rows)}"
        f" ({len(allowed)} allowed, {len(rows) - len(allowed)} denied), each as the rule has it"
    )


def test_every_action_is_shown_over_the_wire() -> None:
    assert len(wire_cases()) >= 60
    assert {case.action for case in wire_cases()} == set(Action)
    assert ASK.keys() == _BEFORE.keys() == set(Wire)
