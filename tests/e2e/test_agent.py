"""``keyborn agent`` as a process, with a real server: what people and systemd see, what survives SIGKILL."""

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from keyborn.device.home import Home
from support.agent_stage import Process, status_of, talking
from support.device import enroll, keyborn, keyborn_json
from support.device_home import eventually, home_in
from support.server import Server, running

LIMIT = 35 * 1024
"""KiB of an idle agent (GOALS P11)."""
SHARED = ("subscribe", "$share/group/certtest/x")


@pytest.fixture
def home(server: Server, tmp_path: Path, thing: str) -> Home:
    """Its subject says more than a name."""
    home = home_in(tmp_path)
    enroll(home.path, server.token(thing=thing)["code"], thing, "--subject", "/C=JP/O=Example")
    return home


class Listener:
    """``keyborn subscribe`` in a process of its own."""

    def __init__(self, home: Home, name: str, *words: str) -> None:
        asked = [sys.executable, "-m", "keyborn", "subscribe", name, "--home", str(home.path), *words]
        self.process = subprocess.Popen(
            [*asked, "--timeout", "30"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stderr is not None
        assert "Listening" in self.process.stderr.readline()

    def end(self) -> tuple[int, str]:
        out, _ = self.process.communicate(timeout=40)
        return self.process.returncode, out


def test_the_commands_go_through_the_agent_s_one_session(
    server: Server, home: Home, agent: Process, topic: str
) -> None:
    agent.start().connected()
    first, second = Listener(home, f"{topic}/#", "--count", "2"), Listener(home, topic, "--count", "1")
    assert keyborn("publish", topic, "hello", "--home", home.path).stdout == "delivered\n"
    told = keyborn_json("publish", f"{topic}/deep", "-5", "--home", home.path)
    assert told == {
        "outcome": "delivered",
        "topic": f"{topic}/deep",
        "outbox": {"waiting": 0, "refused": 0},
    }
    assert first.end() == (0, f"{topic}  hello\n{topic}/deep  -5\n")
    assert second.end() == (0, f"{topic}  hello\n")
    assert agent.end() == 0


def test_refusals_are_the_same_as_without_an_agent(home: Home, agent: Process) -> None:
    for words in (("publish", "other/x", "hi"), ("subscribe", "other/x"), ("publish", "a/#", "x"), SHARED):
        alone = keyborn(*words, "--home", home.path, expect=1)
        agent.start().connected()
        through = keyborn(*words, "--home", home.path, expect=1)
        assert agent.end() == 0
        assert through.stderr == alone.stderr


def test_publish_returns_at_once_where_nobody_is_there(server: Server, home: Home, agent: Process) -> None:
    settings = home.settings.read_text()
    home.settings.write_text(settings.replace(f"port = {server.mqtt[1]}", "port = 1"))
    agent.start()
    begun = time.monotonic()
    done = keyborn("publish", "certtest/x", "hi", "--no-wait", "--home", home.path)
    assert done.stdout.startswith("kept: ")
    assert done.stdout.endswith("; 1 waiting in the outbox, sent by the agent\n")
    assert time.monotonic() - begun < 5
    report = keyborn_json("status", "--home", home.path)
    assert (report["agent"], report["connected"], report["outboxWaiting"]) == (True, False, 1)
    eventually(lambda: "cannot be reached" in str(status_of(home)["error"]))


def test_an_agent_that_was_there_first_knows_of_the_enrolment_when_that_ends(
    server: Server, tmp_path: Path, thing: str, topic: str
) -> None:
    home = home_in(tmp_path)
    early = Process(home, tmp_path / "early.log", "--rate", "0")
    early.start()
    try:
        enroll(home.path, server.token(thing=thing)["code"], thing)
        assert keyborn("publish", topic, "hi", "--home", home.path).stdout == "delivered\n"
    finally:
        early.close()


def test_the_status_shows_the_journey_with_and_without_an_agent(
    home: Home, agent: Process, thing: str
) -> None:
    before = keyborn_json("status", "--home", home.path)
    assert (before["agent"], before["journey"]) == (False, "enrolled")
    agent.start().connected()
    report = keyborn_json("status", "--home", home.path)
    assert (report["agent"], report["journey"], report["connected"]) == (True, "connected", True)
    assert report["renewsAt"] == before["renewsAt"]
    assert report["renewsAt"] < report["notAfter"]
    shown = keyborn("status", "--home", home.path).stdout
    assert "agent          yes" in shown
    assert f"thing          {thing}" in shown
    assert shown.endswith("This is what the agent and the files here say; no service was asked.\n")


# ── renewal ──


def test_a_renewal_that_is_not_due_does_nothing_but_say_so(home: Home) -> None:
    before = home.certificate.read_bytes()
    done = keyborn("renew", "--home", home.path)
    assert "Nothing was done" in done.stdout
    assert done.stdout.endswith(f"keyborn renew --now --home {home.path}\n")
    assert keyborn_json("renew", "--home", home.path)["renewed"] is False
    assert home.certificate.read_bytes() == before


def test_renew_now_without_an_agent(server: Server, home: Home, thing: str, topic: str) -> None:
    before = home.key.read_bytes()
    report = keyborn_json("renew", "--now", "--home", home.path)
    assert report["renewed"] is True
    assert home.key.read_bytes() != before
    assert [row["certificateId"] for row in server.active(thing)] == [report["certificateId"]]
    assert keyborn("publish", topic, "x", "--home", home.path).stdout == "delivered\n"
    assert f'subject = "/C=JP/O=Example/CN={thing}"' in home.settings.read_text()


def test_renew_now_by_the_agent(server: Server, home: Home, agent: Process, thing: str, topic: str) -> None:
    agent.start().connected()
    assert "The agent renews it" in keyborn("renew", "--home", home.path).stdout
    report = keyborn_json("renew", "--now", "--home", home.path)
    assert report["renewed"] is True
    assert [row["certificateId"] for row in server.active(thing)] == [report["certificateId"]]
    agent.connected()
    assert status_of(home)["certificateId"] == report["certificateId"]
    assert keyborn("publish", topic, "x", "--home", home.path).stdout == "delivered\n"


# ── what survives ──


@pytest.mark.whole
def test_nothing_is_lost_where_agent_and_broker_are_killed(
    tmp_path: Path, figure: Callable[[str], None]
) -> None:
    """Programs publish through the agent all the while; what they were told is kept, arrives, in order."""
    dice, thing = random.Random(8), "survivor"
    with running(tmp_path) as server:
        home = home_in(tmp_path)
        enroll(home.path, server.token(thing=thing)["code"], thing)
        agent, seen = Process(home, tmp_path / "agent.log", "--rate", "0"), tmp_path / "seen"
        with contextlib.ExitStack() as stack:
            stack.callback(agent.close)
            watch(stack, server, thing, seen)
            kept = _publish_and_kill(home, agent, dice, f"certtest/{thing}", range(5))
            _settled(home, agent)
            server.kill()
            kept += _publish_and_kill(home, agent, dice, f"certtest/{thing}", range(5, 8))
            server.start()
            watch(stack, server, thing, seen)
            _settled(home, agent)
            eventually(lambda: len(set(_arrived(seen))) >= len(kept))
            assert agent.end() == 0
    arrived = _arrived(seen)
    figure(f"agent killed 8 times, broker once: {len(kept)} messages kept, {len(arrived)} arrived")
    assert sorted(set(arrived), key=kept.index) == kept
    assert list(dict.fromkeys(arrived)) == kept, "the order of the first arrivals"


def watch(stack: contextlib.ExitStack, server: Server, thing: str, seen: Path) -> None:
    """The operator's view of what arrives, added to a file."""
    words = [
        sys.executable,
        "-m",
        "keyborn",
        "watch",
        f"certtest/{thing}",
        "--json",
        "--data",
        str(server.data),
    ]
    log = stack.enter_context(seen.open("ab"))
    process = subprocess.Popen(words, stdout=log, stderr=subprocess.PIPE)
    stack.callback(process.wait, 20)
    stack.callback(process.kill)
    assert process.stderr is not None
    stack.callback(process.stderr.close)
    assert process.stderr.readline()


def _arrived(seen: Path) -> list[str]:
    return [json.loads(line)["payload"] for line in seen.read_text().splitlines() if line.endswith("}")]


def _publish_and_kill(home: Home, agent: Process, dice: random.Random, name: str, turns: range) -> list[str]:
    """Ten messages a turn; what was answered is kept."""
    kept: list[str] = []
    for turn in turns:
        agent.close()
        agent.start()
        with talking(home) as program:
            for number in range(10):
                payload = f"{turn}-{number}"
                assert program.ask("publish", topic=name, payload=payload)["outcome"] in (
                    "waiting",
                    "delivered",
                )
                kept.append(payload)
        time.sleep(dice.random() / 5)
        agent.kill()
    return kept


def _settled(home: Home, agent: Process) -> None:
    agent.close()
    agent.start().connected()
    eventually(lambda: status_of(home)["outbox"]["waiting"] == 0)


def test_a_broker_that_starts_again_is_found_again(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        home = home_in(tmp_path)
        enroll(home.path, server.token(thing="again")["code"], "again")
        agent = Process(home, tmp_path / "agent.log")
        try:
            agent.start().connected()
            listener = Listener(home, "certtest/again", "--count", "1")
            server.kill()
            eventually(lambda: not status_of(home)["connected"])
            server.start()
            agent.connected()
            time.sleep(0.5)
            keyborn("publish", "certtest/again", "hello", "--wait", "20", "--home", home.path)
            assert listener.end() == (0, "certtest/again  hello\n")
            assert agent.end() == 0
        finally:
            agent.close()


def test_a_copy_of_the_device_starts_no_war_of_reconnections(
    home: Home, agent: Process, topic: str, tmp_path: Path, figure: Callable[[str], None]
) -> None:
    """Each session takes the other's place; both agents give way, longer each time."""
    shutil.copytree(home.path, tmp_path / "copy")
    rival = Process(Home(tmp_path / "copy"), tmp_path / "rival.log")
    try:
        agent.start().connected()
        rival.start()
        time.sleep(5)
        sessions = [each for one in (agent, rival) for each in one.events() if each.get("connected")]
        figure(f"two agents of one identity: {len(sessions)} sessions in 5 s")
        assert 2 <= len(sessions) <= 40
        assert any("taken over" in each.get("text", "") for each in agent.events())
        assert rival.end() == 0
        agent.send(signal.SIGHUP)  # it may have come to a long pause, which ends so
        agent.connected()
        done = keyborn("publish", topic, "x", "--wait", "20", "--home", home.path)
        assert done.stdout == "delivered\n"
    finally:
        rival.close()


# ── forgetting ──


def test_forget_is_refused_while_an_agent_runs_and_leaves_nothing_then(home: Home, agent: Process) -> None:
    agent.start().connected()
    refused = keyborn("forget", "--yes", "--home", home.path, expect=1)
    assert "[agent_running]" in refused.stderr
    assert agent.end() == 0
    keyborn("renew", "--now", "--home", home.path)
    keyborn("publish", "certtest/x", "x", "--no-wait", "--home", home.path)
    assert "Nobody is there to ask" in keyborn("forget", "--home", home.path, expect=2).stderr
    assert home.key.exists()
    report = keyborn_json("forget", "--yes", "--home", home.path)
    assert {"device.key", "device.crt", "device.toml", "roots.pem", "outbox.db"} <= set(report["removed"])
    assert {path.name for path in home.path.iterdir()} == {"lock"}
    assert "nothing to forget" in keyborn("forget", "--home", home.path).stdout


# ── as systemd sees it ──


def test_systemd_is_told_and_sigterm_ends_it_with_zero(home: Home, agent: Process, tmp_path: Path) -> None:
    address = f"\0keyborn-{os.getpid()}-{tmp_path.name}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        manager.settimeout(20)
        agent.start(NOTIFY_SOCKET="@" + address[1:], WATCHDOG_USEC="400000").connected()
        heard = {manager.recv(4096).decode() for _ in range(12)}
        assert {"READY=1", "WATCHDOG=1", "STATUS=connected"} <= heard
        assert agent.end() == 0
    assert agent.events()[-1]["event"] == "ended"


def test_sighup_has_it_look_anew(home: Home, agent: Process) -> None:
    agent.start().connected()
    agent.send(signal.SIGHUP)
    eventually(lambda: [each.get("stage") for each in agent.events()].count("connected") == 2)
    agent.connected()


def test_an_idle_agent_is_small_and_sleeps(home: Home, agent: Process, figure: Callable[[str], None]) -> None:
    agent.start().connected()
    time.sleep(1)
    before = agent.switches()
    time.sleep(3)
    switches, memory = agent.switches() - before, agent.memory()
    figure(f"idle agent: PSS {memory / 1024:.1f} MiB, {switches} wake-ups in 3 s")
    assert memory <= LIMIT
    assert switches <= 1


def test_a_misuse_of_the_command_is_said(home: Home) -> None:
    keyborn("agent", "--home", home.path, "--will", "a/#", "x", expect=1)
    keyborn("agent", "--home", home.path, "--rate", "-1", expect=2)
    busy = home.session()
    with busy:
        assert "[home_busy]" in keyborn("agent", "--home", home.path, expect=1).stderr
