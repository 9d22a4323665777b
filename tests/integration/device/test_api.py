"""The API in a home of its own, over real sockets and TLS: an agent inside this process, or nobody at all."""

import asyncio
import logging
import threading
import time
from concurrent.futures import CancelledError
from pathlib import Path

import pytest

import keyborn
from keyborn.device.api.device import Device
from keyborn.device.api.door import Door
from keyborn.device.api.own import OwnAgent
from keyborn.device.home import Home
from keyborn.device.outbox import open_outbox
from keyborn.device.outbox_settings import OutboxSettings
from keyborn.domain.errors import HomeBusy
from support.agent_stage import running
from support.device_home import OWN, eventually, home_in, identify
from support.rude_broker import CONNECT, DISCONNECT, PUBLISH, SUBSCRIBE, Packet, RudeBroker, accept


@pytest.fixture
def home(enrolled: Home) -> Home:
    return enrolled


@pytest.fixture
def away(tmp_path: Path) -> Home:
    """The home of a device whose broker is not there."""
    home = home_in(tmp_path)
    identify(home, broker=("localhost", 1))
    return home


def waiting(home: Home) -> int:
    with open_outbox(home.outbox) as outbox:
        return outbox.counts().waiting


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate()} & {"keyborn", "keyborn-agent", "desk"}


# ── a session of its own ──


async def test_one_session_carries_everything_and_ends_with_the_device(
    home: Home, broker: RudeBroker
) -> None:
    async with Device.open(home.path, rate=0) as device, device.subscribe("a", "b/#"):
        for number in range(5):
            receipt = await device.publish(OWN, str(number))
            assert (await device.outcome(receipt, wait=10)).outcome is keyborn.Outcome.DELIVERED
    assert [broker.kinds().count(kind) for kind in (CONNECT, SUBSCRIBE, PUBLISH)] == [1, 2, 5]
    assert broker.kinds()[-1] == DISCONNECT
    assert threads() == set()
    with home.session():
        assert not (home.path / "agent.sock").exists()


async def test_what_waits_is_still_sent_where_the_device_is_closed_at_once(
    home: Home, broker: RudeBroker
) -> None:
    async with Device.open(home.path, rate=0) as device:
        await device.outcome(await device.publish(OWN, "0"), wait=10)
        for number in range(1, 20):
            await device.publish(OWN, str(number))
    assert broker.published() == [OWN] * 20
    assert waiting(home) == 0


async def test_the_agent_s_log_is_the_program_s(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "keyborn.agent"):
        async with Device.open(home.path) as device:
            await device.outcome(await device.publish(OWN, "secret"), wait=10)
    assert "started" in caplog.text
    assert "stage=connected" in caplog.text
    assert "secret" not in caplog.text


def test_the_home_is_found_where_the_command_line_finds_it(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEYBORN_HOME", str(home.path))
    with keyborn.SyncDevice.open() as device:
        device.publish(OWN, "x")
    with keyborn.SyncDevice.open(str(home.path)) as device:
        device.publish(OWN, "x")


# ── without a network ──


async def test_without_a_network_a_message_is_kept_at_once_and_the_status_says_why(away: Home) -> None:
    async with Device.open(away.path) as device:
        begun = time.monotonic()
        receipt = await device.publish(OWN, "x")
        assert time.monotonic() - begun < 1
        assert waiting(away) == 1
        fate = await device.outcome(receipt, wait=0.5)
        assert fate.waiting
        while (status := await device.status()).trouble is None:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)
    assert (status.connected, status.trouble) == (False, "broker")
    assert "cannot be reached" in str(status.error)


async def test_a_subscription_without_a_network_waits_for_one(
    away: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keyborn.device.api.subscription.PATIENCE", 0.2)
    async with Device.open(away.path) as device, device.subscribe("a", seconds=1) as messages:
        assert [message async for message in messages] == []


async def test_a_message_whose_time_is_up_says_so(away: Home, broker: RudeBroker) -> None:
    async with Device.open(away.path) as device:
        receipt = await device.publish(OWN, "x", lifetime=0.2)
    await asyncio.sleep(0.3)
    identify(away, broker=(broker.host, broker.port))
    async with Device.open(away.path, rate=0) as device:
        assert (await device.outcome(receipt.id, wait=10)).outcome is keyborn.Outcome.EXPIRED
    assert broker.published() == []


# ── a home that is taken ──


async def test_while_a_command_has_the_home_messages_are_kept_for_it_to_send(home: Home) -> None:
    with home.session():
        async with Device.open(home.path) as device:
            receipt = await device.publish(OWN, "x")
            assert waiting(home) == 1
            assert (await device.outcome(receipt, wait=0)).waiting
            with pytest.raises(HomeBusy):
                await device.status()
            with pytest.raises(HomeBusy):
                await device.subscribe("a").take()
    assert threads() == set()


async def test_once_the_command_has_ended_the_device_has_the_session(home: Home, broker: RudeBroker) -> None:
    async with Device.open(home.path, rate=0) as device:
        await device.outcome(await device.publish(OWN, "0"), wait=10)
    with home.session():
        device = Device.open(home.path, rate=0)
        await device.__aenter__()
        receipt = await device.publish(OWN, "1")
    async with device:
        assert (await device.outcome(receipt, wait=10)).outcome is keyborn.Outcome.DELIVERED
    assert broker.published() == [OWN, OWN]


async def test_many_tasks_that_open_at_once_share_one_session(home: Home, broker: RudeBroker) -> None:
    async def report(number: int) -> keyborn.Outcome:
        async with Device.open(home.path, rate=0) as device:
            return (await device.outcome(await device.publish(OWN, str(number)), wait=20)).outcome

    async with Device.open(home.path, rate=0) as first:
        assert set(await asyncio.gather(*(report(number) for number in range(20)))) == {"delivered"}
        assert (await first.status()).own
    assert broker.kinds().count(CONNECT) == 1


async def test_tasks_race_for_a_home_in_which_nothing_runs(home: Home) -> None:
    devices = [Device.open(home.path, rate=0) for _ in range(5)]
    await asyncio.gather(*(device.__aenter__() for device in devices))
    try:
        assert [(await device.status()).own for device in devices].count(True) == 1
    finally:
        for device in devices:
            await device.close()
    assert threads() == set()


# ── canceled ──


async def test_opening_that_is_canceled_leaves_the_home_free(home: Home) -> None:
    """At any moment: before its agent has a thread, too."""
    for pause in (0.0, 0.0005, 0.001, 0.002, 0.005, 0.02, 0.05):
        device = Device.open(home.path)
        task = asyncio.create_task(device.__aenter__())
        await asyncio.sleep(pause)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        if not task.cancelled():
            await device.close()
        await asyncio.to_thread(eventually, lambda: threads() == set())
        with home.session(patience=5):
            pass


async def test_canceled_waits_leave_an_agent_that_works(home: Home, broker: RudeBroker) -> None:
    def answer(packet: Packet, level: int) -> bytes | None:
        return b"" if packet.kind == PUBLISH and b"held" in packet.body else accept(packet, level)

    broker.answer = answer
    with running(home) as agent:
        agent.connects()
        async with Device.open(home.path) as device:
            receipts = [await device.publish(OWN, f"held {number}") for number in range(20)]
            tasks = [asyncio.create_task(device.outcome(receipt)) for receipt in receipts]
            await asyncio.sleep(0.1)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            broker.answer = accept
            assert {(await device.outcome(each, wait=20)).outcome for each in receipts} == {"delivered"}
        eventually(lambda: agent.status()["programs"] == 1)


# ── without asyncio ──


def test_errors_are_the_same_without_asyncio(home: Home, tmp_path: Path) -> None:
    with pytest.raises(keyborn.KeybornError) as nowhere, keyborn.SyncDevice.open(tmp_path / "nowhere"):
        pass
    assert nowhere.value.code == "no_identity"
    with keyborn.SyncDevice.open(home.path) as device:
        with pytest.raises(keyborn.KeybornError) as wrong:
            device.publish("a/#", "x")
        assert wrong.value.code == "invalid_topic"
        with pytest.raises(keyborn.KeybornError):
            device.subscribe()
    with pytest.raises(RuntimeError, match="Open the device first"):
        device.publish("a", "x")
    assert threads() == set()


def test_an_iterator_without_asyncio_ends_with_its_time(home: Home) -> None:
    with keyborn.SyncDevice.open(home.path) as device:
        assert list(device.subscribe("a", seconds=0.3)) == []


def test_a_thread_that_waits_is_let_go_when_the_device_closes(away: Home) -> None:
    ended: list[BaseException] = []

    def _wait() -> None:
        try:
            device.outcome(receipt)
        except BaseException as wrong:  # noqa: BLE001 - looked at below
            ended.append(wrong)

    with keyborn.SyncDevice.open(away.path) as device:
        receipt = device.publish(OWN, "x")
        thread = threading.Thread(target=_wait)
        thread.start()
        time.sleep(0.1)
    thread.join(10)
    assert not thread.is_alive()
    assert isinstance(ended[0], RuntimeError | CancelledError)


# ── the parts ──


def test_an_agent_that_cannot_begin_says_why_and_ends(home: Home) -> None:
    with running(home):
        second = OwnAgent(home, OutboxSettings(rate=0))
        second.start()
        with pytest.raises(keyborn.KeybornError):
            second.begun()
        second.stop()
        second.join()
        assert not second.alive


async def test_a_door_that_is_closed_lets_nobody_in(home: Home) -> None:
    door = Door(home, 0)
    await door.close()
    with pytest.raises(RuntimeError, match="closed"):
        await door.streams()
