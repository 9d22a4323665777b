"""The API's conversation with an agent that does what a test asks: answers, silence, nonsense, the end."""

import asyncio
import gc
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from keyborn.device.agent.place import NAME, dial
from keyborn.device.api import conversation as conversations
from keyborn.device.api.conversation import Conversation
from keyborn.device.api.device import Device
from keyborn.device.api.values import Receipt, Status, fate_of, status_of
from keyborn.device.home import Home
from keyborn.device.messages import Counts, Fate, Outcome
from keyborn.domain.errors import (
    AgentGone,
    AgentRefused,
    HomeUnusable,
    InvalidSetting,
    InvalidTopic,
    MessageTooLarge,
    NoIdentity,
    OutboxFull,
)

Members = dict[str, Any]
Answer = Callable[[Members], Members | bytes | None]
STATUS = {
    "stage": "connected",
    "connected": True,
    "trouble": None,
    "error": None,
    "thing": "gateway-1",
    "certificateId": "ab" * 32,
    "renewed": 2,
    "renewalError": "The service refuses.",
    "outbox": {"waiting": 1, "refused": 0, "dropped": 0, "expired": 0},
    "programs": 1,
}


class FakeAgent:
    """Listens where an agent does; ``answer`` decides, None says nothing, half a line is its last."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.heard: list[Members] = []
        self.open = 0
        self.visits = 0

    async def meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        self.visits += 1
        try:
            while line := await reader.readline():
                self.heard.append(json.loads(line))
                told = self.answer(self.heard[-1])
                if isinstance(told, dict):
                    told = json.dumps({"ref": self.heard[-1].get("ref"), **told}).encode() + b"\n"
                writer.write(told or b"")
                await writer.drain()
                if isinstance(told, bytes) and not told.endswith(b"\n"):
                    return
        except ConnectionError:
            pass
        finally:
            self.open -= 1
            writer.close()


@asynccontextmanager
async def agent(folder: Path, answer: Answer) -> AsyncIterator[tuple[FakeAgent, Home]]:
    home = Home(folder / "home")
    home.path.mkdir(mode=0o700)
    made = FakeAgent(answer)
    with socket.socket(socket.AF_UNIX) as listener:
        handle = f"{home.path}/{NAME}"
        listener.bind(handle)
        async with await asyncio.start_unix_server(made.meet, sock=listener, limit=2**20):
            yield made, home


def good(order: Members) -> Members:
    match order["op"]:
        case "status":
            return {"status": STATUS}
        case "subscribe":
            return {"ref": None, "subscribed": order["filter"]}
        case _:
            return {"id": 7, "outcome": "delivered", "outbox": STATUS["outbox"]}


def silent(_order: Members) -> None:
    """Says nothing."""


def refusing(_order: Members) -> Members:
    return {"error": {"code": "outbox_full", "detail": "It is full."}}


async def settles(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - of anything, not of an event
            await asyncio.sleep(0.005)


# ── values ──


def test_a_status_is_read_as_it_is_told() -> None:
    assert status_of(STATUS, own=False) == Status(
        stage="connected",
        connected=True,
        trouble=None,
        error=None,
        thing="gateway-1",
        certificate_id="ab" * 32,
        renewed=2,
        renewal_error="The service refuses.",
        outbox=Counts(1, 0),
        own=False,
    )
    assert status_of({**STATUS, "outbox": None}, own=True).outbox is None


def test_a_fate_has_the_reason_that_was_told() -> None:
    assert fate_of({"outcome": "waiting", "reason": "x"}) == Fate(Outcome.WAITING, "x")
    with pytest.raises(ValueError, match="lost"):
        fate_of({"outcome": "lost"})


# ── orders and answers ──


async def test_a_message_goes_to_the_agent_as_it_is(tmp_path: Path) -> None:
    async with agent(tmp_path, good) as (there, home), Device(home) as device:
        assert await device.publish("a/b", b"\xff", qos=0, lifetime=2.5) == Receipt(7, "a/b")
    (order,) = there.heard
    assert order.pop("ref")
    assert order == {"op": "publish", "topic": "a/b", "payloadBase64": "/w==", "qos": 0, "lifetime": 2.5}


async def test_answers_find_their_orders_in_any_order(tmp_path: Path) -> None:
    held: list[Members] = []

    def answer(order: Members) -> bytes | None:
        held.append(order)
        if len(held) < 20:
            return None
        lines = [{"ref": each["ref"], "id": each["id"], "outcome": "dropped"} for each in reversed(held)]
        lines = [{**each, "reason": str(each["id"])} for each in lines]
        return b"".join(json.dumps(each).encode() + b"\n" for each in lines)

    async with agent(tmp_path, answer) as (_, home), Device(home) as device:
        fates = await asyncio.gather(*(device.outcome(number) for number in range(1, 21)))
    assert [fate.reason for fate in fates] == [str(number) for number in range(1, 21)]


async def test_many_orders_use_one_connection(tmp_path: Path) -> None:
    async with agent(tmp_path, good) as (there, home), Device(home) as device:
        await asyncio.gather(*(device.publish("a", str(number)) for number in range(500)))
        assert there.visits == 1
    await settles(lambda: there.open == 0)


async def test_a_refusal_has_the_agent_s_code(tmp_path: Path) -> None:
    async with agent(tmp_path, refusing) as (_, home), Device(home) as device:
        with pytest.raises(AgentRefused, match="It is full") as refused:
            await device.publish("a", "x")
    assert refused.value.code == "outbox_full"


async def test_a_message_without_room_is_no_receipt(tmp_path: Path) -> None:
    async with (
        agent(tmp_path, lambda _: {"id": 1, "outcome": "dropped"}) as (_, home),
        Device(home) as device,
    ):
        with pytest.raises(OutboxFull):
            await device.publish("a", "x")


async def test_what_no_broker_takes_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    async with agent(tmp_path, good) as (there, home), Device(home) as device:
        with pytest.raises(InvalidTopic):
            await device.publish("a/#", "x")
        with pytest.raises(MessageTooLarge):
            await device.publish("a", bytes(131073))
        with pytest.raises(InvalidSetting):
            await device.publish("a", "x", qos=2)
        with pytest.raises(InvalidTopic):
            device.subscribe("a/#/b")
        with pytest.raises(InvalidTopic):
            device.subscribe()
    assert there.heard == []


async def test_a_last_word_is_told_to_all_who_wait(tmp_path: Path) -> None:
    word = b'{"error":{"code":"too_much_at_once","detail":"64 programs"}}\n'
    async with agent(tmp_path, lambda _: word) as (_, home):
        sock = dial(home)
        assert sock is not None
        talk = Conversation(home, await asyncio.open_unix_connection(sock=sock))
        waiting = asyncio.create_task(talk.ask("status"))
        await settles(lambda: talk._last_word is not None)
        await talk.close()
        with pytest.raises(AgentRefused, match="64 programs"):
            await waiting


@pytest.mark.parametrize("line", [b"no JSON\n", b"[1]\n", b'{"ref"', b"", b"x" * 3_000_000 + b"\n"])
async def test_an_agent_that_talks_nonsense_is_gone(tmp_path: Path, line: bytes) -> None:
    async with agent(tmp_path, lambda _: line) as (_, home), Device(home) as device:
        with pytest.raises(AgentGone):
            async with asyncio.timeout(10):
                await device.status()


# ── time ──


async def test_an_answer_that_does_not_come_is_an_agent_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversations, "PATIENCE", 0.05)
    async with agent(tmp_path, silent) as (_, home), Device(home) as device:
        with pytest.raises(AgentGone):
            await device.status()


async def test_an_outcome_is_asked_again_until_it_is_known(tmp_path: Path) -> None:
    told = iter(["waiting", "waiting", "delivered"])
    async with (
        agent(tmp_path, lambda _: {"outcome": next(told)}) as (there, home),
        Device(home) as device,
    ):
        assert (await device.outcome(3)).outcome is Outcome.DELIVERED
    assert [order["wait"] for order in there.heard] == [10.0, 10.0, 10.0]


async def test_an_outcome_that_is_not_known_in_time_still_waits(tmp_path: Path) -> None:
    async with agent(tmp_path, lambda _: {"outcome": "waiting"}) as (_, home), Device(home) as device:
        assert (await device.outcome(Receipt(3, "a"), wait=0.05)).waiting
        assert (await device.outcome(3, wait=0)).waiting


async def test_a_cancelled_task_leaves_nothing_behind_and_harms_nobody(tmp_path: Path) -> None:
    async with agent(tmp_path, lambda order: good(order) if order["op"] == "status" else None) as (
        there,
        home,
    ):
        async with Device(home) as device:
            tasks: list[asyncio.Task[object]] = [
                asyncio.create_task(device.outcome(number)) for number in range(1, 30)
            ]
            tasks += [asyncio.create_task(device.publish("a", "x")) for _ in range(130)]
            await settles(lambda: len(there.heard) == 129)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert all(task.cancelled() for task in tasks)
            talk = device._conversation
            assert talk is not None
            assert talk._answers == {}
            assert (await device.status()).thing == "gateway-1"
        assert {task for task in asyncio.all_tasks() if "Conversation" in repr(task)} == set()


async def test_a_device_that_is_closed_says_so(tmp_path: Path) -> None:
    async with agent(tmp_path, good) as (_, home):
        device = Device(home)
        with pytest.raises(RuntimeError, match="Open the device first"):
            await device.publish("a", "x")
        async with device:
            pass
        with pytest.raises(RuntimeError, match="closed"):
            await device.publish("a", "x")


# ── subscriptions ──


def telling(*payloads: str) -> Answer:
    """Subscribes, and tells these at once."""

    def _answer(order: Members) -> bytes:
        told: list[Members] = [{"subscribed": order["filter"]}]
        told += [{"message": {"topic": "a", "qos": 1, "retain": False, "payload": each}} for each in payloads]
        return b"".join(json.dumps(each).encode() + b"\n" for each in told)

    return _answer


async def test_messages_come_in_order_until_the_time_is_up(tmp_path: Path) -> None:
    async with agent(tmp_path, telling("1", "2")) as (_, home), Device(home) as device:
        heard = [message.payload async for message in device.subscribe("a", seconds=0.2)]
    assert heard == [b"1", b"2"]


async def test_a_cancelled_wait_loses_no_message(tmp_path: Path) -> None:
    async with (
        agent(tmp_path, telling("1")) as (_, home),
        Device(home) as device,
        device.subscribe("a") as messages,
    ):
        assert (await anext(messages)).payload == b"1"
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(messages), 0.05)
        assert messages._streams is not None
        messages._streams[1].write(b'{"op":"subscribe","filter":"a"}\n')
        assert (await anext(messages)).payload == b"1"


async def test_an_iterator_that_was_left_with_break_keeps_no_connection(tmp_path: Path) -> None:
    async with agent(tmp_path, telling("1")) as (there, home), Device(home) as device:
        for _ in range(100):
            async for _message in device.subscribe("a"):
                break
        gc.collect()
        await settles(lambda: there.open == 1)
        assert there.visits == 101


async def test_a_device_that_closes_ends_its_subscriptions(tmp_path: Path) -> None:
    async with agent(tmp_path, telling()) as (there, home):
        async with Device(home) as device:
            messages = device.subscribe("a", "b", "a")
            waiting = asyncio.create_task(messages.take())
            await settles(lambda: len(there.heard) == 2)
        assert await waiting is None
        await settles(lambda: there.open == 0)


async def test_a_subscription_that_the_agent_ends_is_made_again(tmp_path: Path) -> None:
    def answer(order: Members) -> Members | bytes:
        return b"" if len(there.heard) < 3 else telling("1")(order) or b""

    async with (
        agent(tmp_path, answer) as (there, home),
        Device(home) as device,
        device.subscribe("a") as messages,
    ):
        assert (await anext(messages)).payload == b"1"
    assert [order["filter"] for order in there.heard] == ["a", "a", "a"]


async def test_a_refused_filter_ends_the_subscription(tmp_path: Path) -> None:
    async with agent(tmp_path, refusing) as (there, home), Device(home) as device:
        with pytest.raises(AgentRefused, match="full"):
            await device.subscribe("a").take()
        with pytest.raises(AgentRefused, match="full"):
            async with device.subscribe("a"):
                pass
        await settles(lambda: there.open == 1)


# ── no home to work in ──


async def test_a_home_that_is_not_there_or_not_ours_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(NoIdentity):
        async with Device(Home(tmp_path / "nowhere")):
            pass
    (tmp_path / "file").touch()
    with pytest.raises(HomeUnusable):
        async with Device(Home(tmp_path / "file")):
            pass
