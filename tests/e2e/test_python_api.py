"""``import keyborn`` against a real server: with an agent, without one, and with one that dies meanwhile."""

import asyncio
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import keyborn
from keyborn.device.home import Home
from support.agent_stage import Process
from support.device import keyborn as command, keyborn_json

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "python"


@pytest.fixture(params=["agent", "alone"])
def either(request: pytest.FixtureRequest, home: Home) -> Home:
    """A home with an agent, and one without."""
    if request.param == "agent":
        request.getfixturevalue("agent").start().connected()
    return home


async def first(messages: keyborn.Subscription) -> bytes:
    async with asyncio.timeout(10):
        return (await anext(messages)).payload


# ── what it does ──


async def test_a_message_is_kept_delivered_and_heard(either: Home, topic: str) -> None:
    async with (
        keyborn.Device.open(either.path, rate=0) as device,
        device.subscribe(f"{topic}/#") as messages,
    ):
        receipt = await device.publish(f"{topic}/deep", b"\xff\x00")
        assert (await device.outcome(receipt, wait=10)).outcome is keyborn.Outcome.DELIVERED
        async with asyncio.timeout(10):
            heard = await anext(messages)
    assert heard == keyborn.Received(f"{topic}/deep", b"\xff\x00", 1, retain=False)


def test_the_same_without_asyncio(either: Home, topic: str) -> None:
    with (
        keyborn.SyncDevice.open(either.path, rate=0) as device,
        device.subscribe(f"{topic}/#", seconds=20) as messages,
    ):
        receipt = device.publish(topic, "grüße")
        assert device.outcome(receipt, wait=10).outcome is keyborn.Outcome.DELIVERED
        assert next(messages).payload.decode() == "grüße"
        assert device.status().connected


async def test_the_status_says_whose_session_it_is(either: Home, thing: str, topic: str) -> None:
    with_agent = (either.path / "agent.sock").exists()
    async with keyborn.Device.open(either.path) as device:
        await device.outcome(await device.publish(topic, "x"), wait=10)
        status = await device.status()
    assert (status.thing, status.own) == (thing, not with_agent)


async def test_what_the_device_may_not_is_told(either: Home) -> None:
    async with keyborn.Device.open(either.path, rate=0) as device:
        fate = await device.outcome(await device.publish("other/x", "hi"), wait=10)
        assert (fate.outcome, fate.reason) == (keyborn.Outcome.QUARANTINED, "Not authorized")
        with pytest.raises(keyborn.AgentRefused) as refused:
            async with device.subscribe("other/x"):
                pass
    assert refused.value.code == "subscribe_denied"


async def test_two_programs_and_the_command_line_share_one_session(home: Home, topic: str) -> None:
    async with (
        keyborn.Device.open(home.path, rate=0) as holder,
        keyborn.Device.open(home.path, rate=0) as other,
        other.subscribe(topic) as messages,
    ):
        assert [(await each.status()).own for each in (holder, other)] == [True, False]
        done = await asyncio.to_thread(command, "publish", topic, "hello", "--home", home.path)
        assert done.stdout == "delivered\n"
        assert await first(messages) == b"hello"


async def test_who_is_left_takes_the_session_over(home: Home, topic: str) -> None:
    async with keyborn.Device.open(home.path, rate=0) as other:
        holder = keyborn.Device.open(home.path, rate=0)
        async with holder:
            assert not (await holder.status()).own
        assert (await other.status()).own
    assert not (home.path / "agent.sock").exists()
    assert command("publish", topic, "x", "--home", home.path).stdout == "delivered\n"


# ── many at once ──


async def test_many_tasks_publish_at_once_and_every_message_arrives(either: Home, topic: str) -> None:
    async with keyborn.Device.open(either.path, rate=0) as device, device.subscribe(topic) as messages:
        receipts = await asyncio.gather(*(device.publish(topic, str(number)) for number in range(300)))
        fates = await asyncio.gather(*(device.outcome(each, wait=30) for each in receipts))
        assert {fate.outcome for fate in fates} == {keyborn.Outcome.DELIVERED}
        assert len({receipt.id for receipt in receipts}) == 300
        heard = {await first(messages) for _ in range(300)}
    assert heard == {str(number).encode() for number in range(300)}


def test_many_threads_share_one_device(either: Home, topic: str) -> None:
    outcomes: list[keyborn.Outcome] = []
    with keyborn.SyncDevice.open(either.path, rate=0) as device:

        def _report(number: int) -> None:
            for turn in range(10):
                receipt = device.publish(topic, f"{number}-{turn}")
                outcomes.append(device.outcome(receipt, wait=30).outcome)

        threads = [threading.Thread(target=_report, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert outcomes == [keyborn.Outcome.DELIVERED] * 80


# ── an agent that dies ──


async def test_an_agent_killed_in_the_middle_loses_no_message(home: Home, agent: Process, topic: str) -> None:
    agent.start().connected()
    async with keyborn.Device.open(home.path, rate=0) as device:
        tasks = [asyncio.create_task(device.publish(topic, str(number))) for number in range(200)]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        agent.kill()
        fates = [await device.outcome(await task, wait=30) for task in tasks]
        assert {fate.outcome for fate in fates} == {keyborn.Outcome.DELIVERED}
        assert (await device.status()).own
    assert keyborn_json("status", "--home", home.path)["outboxWaiting"] == 0


async def test_a_subscription_goes_on_after_its_agent_was_killed(
    home: Home, agent: Process, topic: str
) -> None:
    agent.start().connected()
    async with keyborn.Device.open(home.path, rate=0) as device, device.subscribe(topic) as messages:
        await device.publish(topic, "before")
        assert await first(messages) == b"before"
        agent.kill()
        waiting = asyncio.create_task(first(messages))
        while not waiting.done():
            await device.publish(topic, "after")
            await asyncio.sleep(0.1)
        assert await waiting == b"after"


async def test_an_agent_that_is_back_is_used_again(home: Home, agent: Process, topic: str) -> None:
    agent.start().connected()
    async with keyborn.Device.open(home.path, rate=0) as device:
        assert agent.end() == 0
        await asyncio.to_thread(agent.start)
        assert not (await device.status()).own
        assert (await device.outcome(await device.publish(topic, "x"), wait=10)).outcome == "delivered"


# ── the examples ──


def example(name: str, *words: str) -> list[str]:
    return [sys.executable, "-W", "error", str(EXAMPLES / name), *words]


def environment(home: Home) -> dict[str, str]:
    return {**os.environ, "KEYBORN_HOME": str(home.path)}


def report(home: Home, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        example("report.py", *words),
        env=environment(home),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_the_reporting_example_says_what_became_of_each_reading(either: Home, topic: str) -> None:
    done = report(either, topic, "21.5", "21.7")
    assert (done.returncode, done.stdout, done.stderr) == (0, "21.5: delivered\n21.7: delivered\n", "")


def test_the_reporting_example_ends_with_the_code_of_what_is_wrong(home: Home, tmp_path: Path) -> None:
    done = report(Home(tmp_path / "nowhere"), "a", "1")
    assert done.returncode == 1
    assert done.stderr.endswith("[no_identity]\n")
    refused = report(home, "other/x", "1")
    assert (refused.returncode, refused.stdout) == (1, "1: quarantined (Not authorized)\n")


def test_the_obeying_example_answers_commands(either: Home, topic: str) -> None:
    with subprocess.Popen(
        example("commands.py", topic), env=environment(either), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"ready: {topic}/commands\n"
        with keyborn.SyncDevice.open(either.path) as device, device.subscribe(f"{topic}/answers") as answers:
            device.publish(f"{topic}/commands", "open")
            assert next(answers).payload == b"done: open"
            device.publish(f"{topic}/commands", "stop")
            assert process.wait(20) == 0
        assert process.stdout.read() == "command: open\ncommand: stop\n"


def test_an_interrupt_ends_a_program_that_listens(home: Home, topic: str) -> None:
    code = (
        "import sys, keyborn\n"
        "with keyborn.SyncDevice.open() as device, device.subscribe(sys.argv[1]) as messages:\n"
        "    print('ready', flush=True)\n"
        "    for message in messages: print(message.payload)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, topic],
        env=environment(home),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        begun = time.monotonic()
        process.send_signal(2)
        _, said = process.communicate(timeout=20)
    assert "KeyboardInterrupt" in said
    assert time.monotonic() - begun < 5
    assert command("publish", topic, "x", "--home", home.path).stdout == "delivered\n"
