"""The agent's session, point by point over a real socket: versions, ports, limits, pauses."""

import socket
import threading
import time
from pathlib import Path

import pytest

from keyborn.device import connecting, session
from keyborn.device.answer import Fallback
from keyborn.device.home import Home
from support.agent_stage import running, talking
from support.device_home import OWN, eventually, home_in, identify
from support.rude_broker import CONNECT, PUBLISH, SUBSCRIBE, Packet, RudeBroker, accept, rude_broker

ALPN = "x-amzn-mqtt-ca"


@pytest.fixture
def home(enrolled: Home) -> Home:
    return enrolled


def delivers(home: Home, text: str = "x") -> None:
    with talking(home) as program:
        answer = program.ask("publish", topic=OWN, payload=text, wait=10)
    assert answer["outcome"] == "delivered", answer


def test_mqtt_5_is_spoken_where_it_can_be(home: Home, broker: RudeBroker) -> None:
    with running(home) as agent:
        agent.connects()
        delivers(home)
    assert [packet.level for packet in broker.seen if packet.kind == CONNECT] == [5]


def test_a_broker_of_3_1_1_is_served_with_everything(home: Home, broker: RudeBroker) -> None:
    """Messages in and out, and 5 is tried first again in the next session: brokers are renewed, too."""

    def answer(packet: Packet, level: int) -> bytes | None:
        if packet.kind == CONNECT and level == 5:
            return b"\x20\x02\x00\x01"
        reply = accept(packet, level)
        told = b"\x30" + bytes([2 + len(OWN) + 4]) + len(OWN).to_bytes(2, "big") + OWN.encode() + b"told"
        return reply + told if packet.kind == SUBSCRIBE and reply else reply

    broker.answer = answer
    with running(home) as agent, talking(home) as program:
        agent.connects()
        assert program.ask("subscribe", filter=OWN) == {"subscribed": OWN}
        assert (program.line(5) or {})["message"]["payload"] == "told"
        delivers(home)
    assert [packet.level for packet in broker.seen if packet.kind == CONNECT] == [5, 4]


def test_where_8883_is_barred_443_with_alpn_leads_there(tmp_path: Path) -> None:
    home = home_in(tmp_path)
    with rude_broker(tmp_path, alpn=ALPN) as second, socket.socket() as barred:
        barred.bind(("127.0.0.1", 0))
        first = ("localhost", barred.getsockname()[1])
        identify(home, broker=first, fallback=Fallback(second.port, ALPN))
        with running(home) as agent:
            agent.connects()
            delivers(home)
        assert second.alpn == [ALPN]


def test_the_limits_are_ten_seconds_for_a_connection_and_five_for_an_answer() -> None:
    assert connecting.CONNECT_TIMEOUT == 10
    assert session.OPERATION_TIMEOUT == 5


def test_a_port_that_says_nothing_is_left_at_the_limit(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connecting, "CONNECT_TIMEOUT", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        identify(home, broker=("localhost", mute.getsockname()[1]))
        begun = time.monotonic()
        with running(home) as agent:
            eventually(lambda: "no answer within 0.3 s" in str(agent.status()["error"]))
            assert time.monotonic() - begun < 3


def test_a_broker_that_answers_no_message_is_left_and_the_message_sent_again(
    home: Home, broker: RudeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "OPERATION_TIMEOUT", 0.3)
    mute = threading.Event()
    mute.set()

    def answer(packet: Packet, level: int) -> bytes | None:
        return b"" if packet.kind == PUBLISH and mute.is_set() else accept(packet, level)

    broker.answer = answer
    with running(home) as agent:
        agent.connects()
        with talking(home) as program:
            kept = program.ask("publish", topic=OWN, payload="x")
            eventually(lambda: broker.kinds().count(CONNECT) >= 2)
            mute.clear()
            assert program.ask("outcome", id=kept["id"], wait=10)["outcome"] == "delivered"


def test_a_broker_that_answers_no_subscription_is_left_and_asked_again(
    home: Home, broker: RudeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "OPERATION_TIMEOUT", 0.3)
    ignored = threading.Event()

    def answer(packet: Packet, level: int) -> bytes | None:
        if packet.kind == SUBSCRIBE and not ignored.is_set():
            ignored.set()
            return b""
        return accept(packet, level)

    broker.answer = answer
    with running(home) as agent, talking(home) as program:
        agent.connects()
        program.send("subscribe", filter=OWN)
        assert (program.line(10) or {}) == {"subscribed": OWN}
    assert broker.kinds().count(CONNECT) == 2


def test_pauses_between_connections_are_drawn_from_nothing_to_twice_as_much_up_to_two_minutes(
    home: Home, pauses: list[float]
) -> None:
    """Full jitter: the whole pause is drawn, here always a twentieth, so that a fleet comes by and by."""
    identify(home, broker=("localhost", 1))
    with running(home):
        eventually(lambda: len(pauses) >= 10)
    assert [pause / 0.05 for pause in pauses[:10]] == pytest.approx([0.5, 1, 2, 4, 8, 16, 32, 64, 120, 120])


def test_who_takes_its_sessions_over_is_met_ever_more_seldom(
    home: Home, broker: RudeBroker, pauses: list[float]
) -> None:
    """A copy of this device: the pauses grow although every connection succeeds, so the fight is bounded."""

    def answer(packet: Packet, level: int) -> bytes | None:
        reply = accept(packet, level)
        return reply + b"\xe0\x02\x8e\x00" if packet.kind == CONNECT and reply else reply

    broker.answer = answer
    with running(home) as agent:
        eventually(lambda: len(pauses) >= 6)
        assert "taken over" in str(agent.events())
    assert [pause / 0.05 for pause in pauses[:6]] == pytest.approx([0.5, 1, 2, 4, 8, 16])
