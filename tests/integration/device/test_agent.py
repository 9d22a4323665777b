"""An agent in a thread, over real sockets and TLS, with a broker that does what a test asks."""

import contextlib
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from keyborn.device.agent import line as lines, run as runs
from keyborn.device.agent.bridge import Call
from keyborn.device.agent.client import wake
from keyborn.device.agent.place import NAME
from keyborn.device.agent.run import Agent, Options
from keyborn.device.agent.through import publish
from keyborn.device.home import Home
from keyborn.device.messages import Counts
from keyborn.device.messenger import Delivery, Published
from keyborn.device.opening import Will
from keyborn.device.outbox import Outbox, open_outbox
from keyborn.domain.errors import AgentRefused, AgentRunning, OutboxUnusable, PublishDenied, SessionRefused
from keyborn.domain.journey import Trouble
from support.agent_stage import FAST, running, status_of, talking
from support.device import keyborn
from support.device_home import DAY, OWN, eventually, home_in, identify, now
from support.device_pki import Wanted
from support.mosquitto_broker import mosquitto
from support.renewing_service import RENEW, renewing_service
from support.rude_broker import (
    CONNECT,
    DISCONNECT,
    PINGREQ,
    PUBLISH,
    SUBSCRIBE,
    Packet,
    RudeBroker,
    accept,
)

BY_AN_ADMINISTRATOR = b"\xe0\x02\x98\x00"
NOT_AUTHORIZED = b"\x20\x03\x00\x87\x00"
TAKEN_OVER = b"\xe0\x02\x8e\x00"
UNSUBSCRIBE = 10


@pytest.fixture
def home(enrolled: Home) -> Home:
    return enrolled


def keep(home: Home, *payloads: bytes) -> None:
    with open_outbox(home.outbox) as outbox:
        for payload in payloads:
            outbox.append(OWN, payload, now())


def send(home: Home, text: str, wait: float = 10) -> Published:
    with talking(home) as agent:
        return publish(agent, home, OWN, text.encode(), wait=wait)


def publishing(topic: str, payload: bytes, *, level: int = 5) -> bytes:
    """A PUBLISH with QoS 0, as a broker sends it."""
    name = topic.encode()
    body = len(name).to_bytes(2, "big") + name + (b"\0" if level == 5 else b"") + payload
    return b"\x30" + bytes([len(body)]) + body


# ── out ──


def test_what_waits_is_sent_and_what_comes_is_sent_at_once(home: Home, broker: RudeBroker) -> None:
    keep(home, b"1", b"2")
    with running(home) as agent:
        agent.connects()
        assert send(home, "3").delivery is Delivery.DELIVERED
    assert [packet.body[-1:] for packet in broker.seen if packet.kind == PUBLISH] == [b"1", b"2", b"3"]
    assert broker.kinds().count(CONNECT) == 1
    assert broker.kinds()[-1] == DISCONNECT


def test_a_message_without_a_network_is_kept_at_once(home: Home) -> None:
    identify(home, broker=("localhost", 1))
    with running(home) as agent:
        eventually(lambda: agent.status()["trouble"] == "broker")
        begun = time.monotonic()
        done = send(home, "x", wait=0)
        assert time.monotonic() - begun < 1
    assert (done.delivery, done.outbox) == (Delivery.KEPT, Counts(1, 0))
    assert "cannot be reached" in str(done.why)


def test_a_message_for_which_the_session_is_busy_elsewhere_is_kept_at_once(tmp_path: Path) -> None:
    """A network that drops packets holds a connection up for ten seconds; nobody else waits for that."""
    home = home_in(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        identify(home, broker=("localhost", mute.getsockname()[1]))
        with running(home):
            begun = time.monotonic()
            assert send(home, "x", wait=0).delivery is Delivery.KEPT
            assert status_of(home)["connected"] is False
            assert time.monotonic() - begun < 2
            mute.close()


def test_a_refused_message_is_told_to_who_waits_and_the_others_go_on(home: Home, broker: RudeBroker) -> None:
    def deny_first(packet: Packet, level: int) -> bytes | None:
        if packet.kind == PUBLISH and packet.body.endswith(b"bad"):
            return b"\x40\x03" + packet.number + b"\x87"
        return accept(packet, level)

    broker.answer = deny_first
    with running(home) as agent:
        agent.connects()
        with pytest.raises(PublishDenied, match="Not authorized"):
            send(home, "bad")
        assert send(home, "good").delivery is Delivery.DELIVERED
        assert agent.status()["outbox"] == {"waiting": 0, "refused": 1, "dropped": 0, "expired": 0}
    assert any("set aside" in event.get("text", "") for event in agent.events())


def test_a_disk_that_refuses_ends_neither_session_nor_agent(
    home: Home, broker: RudeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse = threading.Event()
    settle = Outbox.settle

    def full(self: Outbox, ends: object) -> None:
        if refuse.is_set():
            raise OutboxUnusable(path=home.outbox, detail="database or disk is full")
        settle(self, ends)  # type: ignore[arg-type] # passed on

    monkeypatch.setattr(Outbox, "settle", full)
    with running(home) as agent:
        agent.connects()
        refuse.set()
        assert send(home, "x", wait=0.8).delivery is Delivery.KEPT  # long enough to be tried twice
        refuse.clear()
        eventually(lambda: agent.status()["outbox"]["waiting"] == 0)
    assert broker.kinds().count(CONNECT) == 1
    assert [event["event"] for event in agent.events() if "disk is full" in event.get("text", "")] == ["note"]


def test_an_agent_that_is_told_to_end_sends_what_waits_first(home: Home, broker: RudeBroker) -> None:
    with running(home) as agent:
        agent.connects()
        keep(home, b"last", b"very last")
    assert [packet.body[-4:] for packet in broker.seen if packet.kind == PUBLISH] == [b"last", b"last"]


def test_what_another_program_keeps_or_retries_goes_at_once(home: Home, broker: RudeBroker) -> None:
    with running(home) as agent:
        agent.connects()
        eventually(lambda: agent.status()["outbox"] is not None)
        time.sleep(0.2)
        keep(home, b"1")
        assert wake(home)
        eventually(lambda: len(broker.published()) == 1)
    assert not wake(home)


# ── in ──


def test_a_program_gets_what_arrives_and_asks_again_in_the_next_session(
    home: Home, broker: RudeBroker
) -> None:
    hang_up = threading.Event()

    def answer(packet: Packet, level: int) -> bytes | None:
        if packet.kind == PUBLISH and hang_up.is_set():
            hang_up.clear()
            return None
        reply = accept(packet, level)
        if packet.kind == SUBSCRIBE and reply is not None:
            return reply + publishing(OWN, b"told")
        return reply

    broker.answer = answer
    with running(home) as agent, talking(home) as program:
        agent.connects()
        assert program.ask("subscribe", filter=OWN) == {"subscribed": OWN}
        assert (program.line(5) or {})["message"]["payload"] == "told"
        hang_up.set()
        assert send(home, "x").delivery is Delivery.DELIVERED
        assert (program.line(10) or {})["message"]["payload"] == "told"
    assert broker.kinds().count(SUBSCRIBE) == 2


def test_the_broker_is_asked_to_stop_when_nobody_listens_any_more(home: Home, broker: RudeBroker) -> None:
    with running(home) as agent:
        agent.connects()
        with talking(home) as program:
            program.ask("subscribe", filter=OWN)
        eventually(lambda: UNSUBSCRIBE in broker.kinds())


def test_a_broker_without_shared_subscriptions_is_said_to_be_one(home: Home, broker: RudeBroker) -> None:
    def answer(packet: Packet, level: int) -> bytes | None:
        if packet.kind == SUBSCRIBE and b"$share" in packet.body:
            return b"\x90\x04" + packet.number + b"\x00\x9e"
        return accept(packet, level)

    broker.answer = answer
    with running(home) as agent, talking(home) as program:
        agent.connects()
        with pytest.raises(AgentRefused, match="no shared subscriptions") as told:
            program.ask("subscribe", filter=f"$share/group/{OWN}")
        assert told.value.code == "shared_not_offered"
        assert program.ask("subscribe", filter=OWN) == {"subscribed": OWN}


@pytest.mark.needs("mosquitto")
def test_two_agents_share_what_comes_and_each_shares_it_among_its_programs(tmp_path: Path) -> None:
    """A group of three programs on two devices: each message once, for one of them."""
    group, told = f"$share/group/{OWN}/#", list[str]()
    with mosquitto(tmp_path) as port, contextlib.ExitStack() as stack:
        homes = [Home(tmp_path / name) for name in ("one", "two")]
        for home in homes:
            identify(home, home.path.name, broker=("localhost", port))
            stack.enter_context(running(home)).connects()
        programs = [stack.enter_context(talking(home)) for home in (homes[0], homes[0], homes[1])]
        for program in programs:
            assert program.ask("subscribe", filter=group) == {"subscribed": group}
        with talking(homes[1]) as source:
            for number in range(12):
                topic = f"{OWN}/{number}"
                assert source.ask("publish", topic=topic, payload="x", wait=5)["outcome"] == "delivered"
        for program in programs:
            while (line := program.line(0.3)) is not None:
                told.append(line["message"]["topic"])
    assert sorted(told) == sorted(f"{OWN}/{number}" for number in range(12))


# ── sessions ──


def test_a_rival_with_the_same_name_is_backed_off_from(home: Home, broker: RudeBroker) -> None:
    """Each takes the session from the other at once: both would do nothing else, if neither gave way."""

    def answer(packet: Packet, level: int) -> bytes | None:
        reply = accept(packet, level)
        return reply + TAKEN_OVER if packet.kind == CONNECT and reply is not None else reply

    broker.answer = answer
    with running(home) as agent:
        eventually(lambda: broker.kinds().count(CONNECT) >= 5)
        agent.stop()
    waits = [event["at"] for event in agent.events() if event.get("stage") == "connected"]
    assert len(waits) >= 5
    assert status_text(agent.events()).count("taken over") >= 1


def status_text(events: list[dict[str, object]]) -> str:
    return " ".join(str(event.get("text")) for event in events).lower()


def test_a_quiet_session_is_asked_for_a_sign_of_life_by_nobody_but_us(
    home: Home, broker: RudeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "PING_EVERY", 0.1)
    with running(home) as agent:
        agent.connects()
        eventually(lambda: broker.kinds().count(PINGREQ) >= 3)
        assert agent.status()["connected"]


def test_a_broker_that_gives_none_is_left(
    home: Home, broker: RudeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "PING_EVERY", 0.6)
    monkeypatch.setattr("keyborn.device.session.OPERATION_TIMEOUT", 0.2)
    broker.answer = lambda packet, level: b"" if packet.kind == PINGREQ else accept(packet, level)
    with running(home):
        eventually(lambda: broker.kinds().count(CONNECT) >= 2)


@pytest.mark.parametrize("retain", [True, False])
def test_the_last_will_goes_with_the_session(home: Home, broker: RudeBroker, *, retain: bool) -> None:
    with running(home, Options(rate=0, will=Will(f"{OWN}/state", b"lost", retain))) as agent:
        agent.connects()
    (connect,) = [packet for packet in broker.seen if packet.kind == CONNECT]
    flags = connect.body[7]
    assert flags & 0b0011_1100 == 0b0000_1100 | retain << 5
    assert b"certtest/gateway-1/state" in connect.body
    assert b"lost" in connect.body


# ── renewal ──


def _at(broker: RudeBroker, answer: dict[str, Any]) -> dict[str, Any]:
    return {**answer, "mqtt": {**answer["mqtt"], "port": broker.port}}


def test_it_renews_by_itself_when_it_is_due_and_programs_notice_nothing(
    tmp_path: Path, broker: RudeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, due = home_in(tmp_path), Wanted(start=now() - 80 * DAY, end=now() + 10 * DAY)
    with renewing_service(tmp_path) as service:
        answer = service.service.answer
        monkeypatch.setattr(service.service, "answer", lambda *asked: _at(broker, answer(*asked)))
        before = identify(home, broker=(broker.host, broker.port), code=service.service.code(), wanted=due)
        service.know(home.certificate.read_bytes())
        keep(home, b"before")
        with running(home) as agent, talking(home) as program:
            program.send("subscribe", filter=OWN)
            eventually(lambda: agent.status()["renewed"] == 1)
            agent.connects()
            assert send(home, "after").delivery is Delivery.DELIVERED
            status = agent.status()
        assert service.confirmed == [status["certificateId"]]
    assert status["certificateId"] != before.certificate_id
    assert [packet.body[-1:] for packet in broker.seen if packet.kind == PUBLISH] == [b"e", b"r"]
    assert broker.kinds().count(CONNECT) == 2
    assert broker.kinds().count(SUBSCRIBE) == 2


def test_a_service_that_is_away_is_asked_again_and_messages_flow(tmp_path: Path, broker: RudeBroker) -> None:
    home, due = home_in(tmp_path), Wanted(start=now() - 80 * DAY, end=now() + 10 * DAY)
    identify(home, broker=(broker.host, broker.port), wanted=due)
    with running(home) as agent:
        eventually(lambda: agent.status()["trouble"] == "service")
        agent.connects()
        assert send(home, "x").delivery is Delivery.DELIVERED
        assert "does not answer" in agent.status()["error"]


def test_what_is_wrong_is_said_once(tmp_path: Path) -> None:
    home = home_in(tmp_path)
    identify(home, broker=("localhost", 1))
    with running(home) as agent:
        eventually(lambda: agent.status()["trouble"] == "broker")
        assert agent.status()["error"] == f"{Trouble.BROKER} (localhost:1: Connection refused)"


def test_a_renewal_that_is_refused_is_remembered_when_the_broker_has_answered(
    tmp_path: Path, broker: RudeBroker
) -> None:
    """Of a revoked device broker and service speak in turn: who asked for the renewal wants the second."""
    home = home_in(tmp_path)
    with renewing_service(tmp_path) as service:
        identify(home, broker=(broker.host, broker.port), code=service.service.code())
        service.know(home.certificate.read_bytes())
        service.service.script(RENEW, service.refuse(403, "thing_revoked", detail="it is revoked"))
        with running(home) as agent:
            agent.connects()
            broker.answer = barred
            agent.agent.call(Call.RENEW)
            eventually(lambda: agent.status()["unrenewed"] == 1)
            eventually(lambda: agent.status()["trouble"] == "turned_away")
            said = agent.status()["renewalError"]
            done = keyborn("renew", "--now", "--home", home.path, "--timeout", "30", expect=1).stderr
    assert said.startswith(Trouble.RENEWAL)
    assert "it is revoked" in said
    assert done.count("it is revoked") == 1
    assert "goes on" not in done


def barred(packet: Packet, level: int) -> bytes | None:
    return NOT_AUTHORIZED if packet.kind == CONNECT else accept(packet, level)


def test_a_publish_that_waits_for_a_device_that_is_turned_away_says_so_and_keeps_it(
    home: Home, broker: RudeBroker
) -> None:
    broker.answer = barred
    with running(home) as agent:
        eventually(lambda: agent.status()["trouble"] == "turned_away")
        with pytest.raises(SessionRefused, match=f"{broker.port} refused the session: Not authorized"):
            send(home, "x", wait=0.1)
        assert send(home, "y", wait=0).delivery is Delivery.KEPT
        assert agent.status()["outbox"]["waiting"] == 2


def test_a_session_that_the_broker_ends_was_no_broker_out_of_reach(home: Home, broker: RudeBroker) -> None:
    with running(home) as agent:
        agent.connects()
        broker.answer = lambda packet, _level: BY_AN_ADMINISTRATOR if packet.kind == PUBLISH else None
        keep(home, b"x")
        assert wake(home)
        eventually(lambda: agent.status()["trouble"] == "turned_away")
    notes = [event["text"] for event in agent.events() if event["event"] == "note"]
    assert notes[0].startswith(f"{Trouble.LOST} (")
    assert "dministrative action" in notes[0]


# ── one per home ──


def test_a_second_agent_is_refused(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "PATIENCE", 0.0)
    with running(home) as agent:
        agent.connects()
        with pytest.raises(AgentRunning):
            Agent(home, agent.agent._around, FAST, {}, agent.agent._log).run()
        assert agent.status()["connected"]


def test_a_device_without_identity_leaves_the_home_free_and_sees_the_enrolment(
    tmp_path: Path, broker: RudeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "_GLANCE", 0.05)
    home = home_in(tmp_path)
    with running(home) as agent:
        eventually(lambda: agent.status()["trouble"] == "not_enrolled")
        with pytest.raises(AgentRunning):
            Agent(home, agent.agent._around, FAST, {}, agent.agent._log).run()
        with home.session(patience=5):
            identify(home, broker=(broker.host, broker.port))
            time.sleep(0.2)
            assert agent.status()["stage"] == "unprovisioned"
        agent.connects()
        assert agent.status()["thing"] == "gateway-1"


def test_a_call_while_the_home_is_lent_waits_for_it_and_stop_does_not(tmp_path: Path) -> None:
    home = home_in(tmp_path)
    with running(home) as agent:
        eventually(lambda: agent.status()["trouble"] == "not_enrolled")
        with home.session(patience=5):
            agent.agent.call(Call.LOOK)
            agent.stop()


def test_it_looks_at_its_files_anew_when_it_is_called(home: Home, broker: RudeBroker) -> None:
    with running(home) as agent:
        agent.connects()
        home.roots.write_text("changed")
        agent.agent.call(Call.LOOK)
        agent.comes_to("stranded")
        assert agent.status()["trouble"] == "files"
        identify(home, broker=(broker.host, broker.port))
        agent.agent.call(Call.LOOK)
        agent.connects()


def test_nothing_secret_is_logged(home: Home, broker: RudeBroker) -> None:
    with running(home) as agent:
        agent.connects()
        send(home, "very private")
    log = agent.log.getvalue()
    assert "very private" not in log
    assert "PRIVATE KEY" not in log
    assert [event["event"] for event in agent.events()][-1] == "ended"
    assert not (home.path / NAME).exists()
