"""The desk over real Unix sockets, without any session: programs that are right, wrong, slow and many."""

import base64
import contextlib
import json
import socket
import stat
import threading
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from keyborn.adapters.system import SystemClock
from keyborn.device.agent import desk as module
from keyborn.device.agent.box import Box
from keyborn.device.agent.bridge import Arrived, Bridge, Call, Denied, Ended, Granted, Standing
from keyborn.device.agent.client import AgentClient, agent_of
from keyborn.device.agent.desk import Desk
from keyborn.device.agent.guest import MAX_UNSENT
from keyborn.device.agent.place import NAME, listening
from keyborn.device.agent.protocol import MAX_LINE
from keyborn.device.home import Home
from keyborn.device.messages import Draft, Fate, OutboxLimits, Outcome, Overflow
from keyborn.device.outbox import Outbox, open_outbox
from keyborn.device.session import Received
from keyborn.device.surroundings import Surroundings
from keyborn.domain.errors import (
    AgentGone,
    AgentRefused,
    AgentRunning,
    OutboxUnusable,
    SubscribeDenied,
)
from support.device_home import eventually, home_in

UP = Standing(stage="connected", connected=True, thing="gateway-1", certificate_id="ab")
TOPIC = "certtest/gateway-1"


class Stage:
    """A desk, and in the place of a session the test itself."""

    def __init__(self, home: Home, limits: OutboxLimits) -> None:
        self.home = home
        self.bridge = Bridge()
        self.bridge.standing = UP
        self.said: list[str] = []
        self.limits = limits

    @contextlib.contextmanager
    def open(self) -> Iterator["Stage"]:
        around = Surroundings(SystemClock(), "host", self.said.append)
        with contextlib.closing(self.bridge), listening(self.home) as listener:
            desk = Desk(self.bridge, listener, Box(self.home.outbox, self.limits), around)
            desk.start()
            try:
                yield self
            finally:
                desk.stop()
        assert self.bridge.failed is None

    @contextlib.contextmanager
    def talk(self) -> Iterator[AgentClient]:
        with agent_of(self.home) as agent:
            assert agent is not None
            yield agent

    def arrives(self, topic: str, payload: bytes = b"x", *, retain: bool = False) -> None:
        self.bridge.tell(Arrived(Received(topic, payload, 1, retain)))

    def grants(self, name: str, since: int | None = None) -> None:
        eventually(lambda: name in self.bridge.wants)
        self.bridge.tell(Granted(name, self.bridge.wants[name] if since is None else since))

    def subscribe(self, agent: AgentClient, name: str) -> None:
        before = self.bridge.wants.get(name, 0)
        agent.send("subscribe", filter=name)
        eventually(lambda: self.bridge.wants.get(name, 0) > before)
        self.grants(name)
        assert agent.line(5) == {"subscribed": name}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = home_in(tmp_path)
    home.prepare()
    return home


@pytest.fixture
def stage(home: Home) -> Iterator[Stage]:
    with Stage(home, OutboxLimits()).open() as opened:
        yield opened


def dial(home: Home) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(str(home.path / NAME))
    sock.settimeout(5)
    return sock


def rest_of(sock: socket.socket) -> list[dict[str, Any]]:
    """Everything until the agent hangs up; what it has not read of ours makes that a reset."""
    told: list[dict[str, Any]] = []
    with sock, sock.makefile("rb") as stream, contextlib.suppress(ConnectionResetError):
        told.extend(json.loads(line) for line in stream)
    return told


# ── publishing ──


def test_a_message_is_on_disk_when_its_number_comes(stage: Stage) -> None:
    with stage.talk() as agent:
        answer = agent.ask("publish", topic=TOPIC, payload="hello")
    assert (answer["id"], answer["outcome"]) == (1, "waiting")
    assert answer["outbox"] == {"waiting": 1, "refused": 0, "dropped": 0, "expired": 0}
    with open_outbox(stage.home.outbox) as outbox:
        assert [each.payload for each in outbox.waiting(0, 9)] == [b"hello"]


def test_who_waits_is_told_when_the_message_has_gone(stage: Stage) -> None:
    with stage.talk() as agent:
        agent.send("publish", topic=TOPIC, payload="x", wait=60, ref="r")
        eventually(lambda: 1 in stage.bridge.awaited)
        with open_outbox(stage.home.outbox) as outbox:
            outbox.settle([(1, Fate(Outcome.DELIVERED))])
        stage.bridge.tell(Ended(1, Fate(Outcome.DELIVERED)))
        answer = agent.line(5)
    assert answer is not None
    assert (answer["ref"], answer["id"], answer["outcome"]) == ("r", 1, "delivered")
    assert stage.bridge.awaited == set()


def test_who_has_waited_long_enough_is_told_why(stage: Stage) -> None:
    stage.bridge.standing = Standing(stage="enrolled", error="The broker cannot be reached.")
    with stage.talk() as agent:
        answer = agent.ask("publish", topic=TOPIC, payload="x", wait=0.05)
    assert (answer["outcome"], answer["reason"]) == ("waiting", "The broker cannot be reached.")
    assert stage.bridge.awaited == set()


def test_an_end_that_nobody_told_is_found_in_the_outbox(stage: Stage) -> None:
    """Another process may have dropped it."""
    with stage.talk() as agent:
        agent.send("publish", topic=TOPIC, payload="x", wait=0.3)
        eventually(lambda: 1 in stage.bridge.awaited)
        with open_outbox(stage.home.outbox) as outbox:
            outbox.settle([(1, Fate(Outcome.DROPPED, "by a test"))])
        answer = agent.line(5)
    assert answer is not None
    assert (answer["outcome"], answer["reason"]) == ("dropped", "by a test")


def test_what_became_of_a_message_can_be_asked_later(stage: Stage) -> None:
    with stage.talk() as agent:
        agent.ask("publish", topic=TOPIC, payload="x")
    with stage.talk() as agent:
        assert agent.ask("outcome", id=1)["outcome"] == "waiting"
        assert agent.ask("outcome", id=99)["outcome"] == "forgotten"


def test_messages_of_many_programs_are_all_kept_in_the_order_of_each(stage: Stage) -> None:
    def publish(name: str) -> None:
        with stage.talk() as agent:
            for number in range(20):
                agent.send("publish", topic=f"t/{name}", payload=str(number), ref=number)
            assert [(agent.line(20) or {}).get("ref") for _ in range(20)] == list(range(20))

    threads = [threading.Thread(target=publish, args=(str(i),)) for i in range(5)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    with open_outbox(stage.home.outbox) as outbox:
        kept = outbox.waiting(0, 1000)
    assert len(kept) == 100
    for name in range(5):
        own = [int(each.payload) for each in kept if each.topic == f"t/{name}"]
        assert own == list(range(20))


def test_a_full_outbox_refuses_in_its_own_words(home: Home) -> None:
    limits = OutboxLimits(messages=1, overflow=Overflow.REFUSE)
    with Stage(home, limits).open() as stage, stage.talk() as agent:
        agent.ask("publish", topic=TOPIC, payload="x")
        with pytest.raises(AgentRefused) as told:
            agent.ask("publish", topic=TOPIC, payload="y")
    assert told.value.code == "outbox_full"


def test_an_outbox_that_is_damaged_is_said_and_does_not_end_the_agent(home: Home) -> None:
    home.outbox.write_bytes(b"not a database" * 100)
    home.outbox.chmod(0o600)
    with Stage(home, OutboxLimits()).open() as stage, stage.talk() as agent:
        with pytest.raises(AgentRefused) as told:
            agent.ask("publish", topic=TOPIC, payload="x")
        assert told.value.code == "outbox_unusable"
        assert agent.ask("status")["status"]["outbox"] is None
        home.outbox.unlink()
        assert agent.ask("publish", topic=TOPIC, payload="x")["outcome"] == "waiting"


def test_a_device_without_identity_keeps_nothing(stage: Stage) -> None:
    stage.bridge.standing = Standing(stage="unprovisioned")
    with stage.talk() as agent, pytest.raises(AgentRefused) as told:
        agent.ask("publish", topic=TOPIC, payload="x")
    assert told.value.code == "no_identity"


# ── many at once ──


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many messages each transaction has kept."""
    sizes: list[int] = []
    append = Outbox.append_many

    def count(self: Outbox, drafts: Sequence[Draft], at: datetime) -> list[int]:
        sizes.append(len(drafts))
        return append(self, drafts, at)

    monkeypatch.setattr(Outbox, "append_many", count)
    return sizes


def publishing(*payloads: str) -> bytes:
    """Orders in one piece, each with its payload as its reference."""
    orders = [{"op": "publish", "topic": TOPIC, "payload": each, "ref": each} for each in payloads]
    return b"".join(json.dumps(order).encode() + b"\n" for order in orders)


def test_what_has_arrived_together_is_kept_together(stage: Stage, batches: list[int]) -> None:
    with dial(stage.home) as sock:
        sock.sendall(publishing(*map(str, range(100))))
        sock.shutdown(socket.SHUT_WR)
        told = rest_of(sock)
    assert [each["id"] for each in told] == list(range(1, 101))
    assert [each["ref"] for each in told] == [str(number) for number in range(100)]
    assert sum(batches) == 100
    assert len(batches) <= 10


def test_a_message_that_comes_alone_waits_for_nobody(stage: Stage, batches: list[int]) -> None:
    with dial(stage.home), stage.talk() as agent:
        for _ in range(3):
            assert agent.ask("publish", topic=TOPIC, payload="x")["outcome"] == "waiting"
    assert batches == [1, 1, 1]


def test_other_orders_are_answered_in_their_turn(stage: Stage) -> None:
    with dial(stage.home) as sock:
        sock.sendall(publishing("1") + b'{"op":"status","ref":2}\nwrong\n' + publishing("3"))
        sock.shutdown(socket.SHUT_WR)
        told = rest_of(sock)
    assert [each.get("ref") for each in told] == ["1", 2, None, "3"]
    assert told[1]["status"]["outbox"]["waiting"] == 1


def test_where_not_all_fit_those_that_do_are_kept(home: Home) -> None:
    limits = OutboxLimits(messages=2, overflow=Overflow.REFUSE)
    with Stage(home, limits).open(), dial(home) as sock:
        sock.sendall(publishing("1", "2", "3", "4"))
        sock.shutdown(socket.SHUT_WR)
        told = rest_of(sock)
    assert [each["ref"] for each in told] == ["1", "2", "3", "4"]
    assert [each.get("error", {}).get("code") for each in told] == [None, None, "outbox_full", "outbox_full"]
    with open_outbox(home.outbox) as outbox:
        assert [each.payload for each in outbox.waiting(0, 9)] == [b"1", b"2"]


def test_where_the_disk_refuses_each_is_told_and_none_is_kept(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_outbox: Outbox, _drafts: object, _at: object) -> list[int]:
        raise OutboxUnusable(path=stage.home.outbox, detail="database or disk is full")

    monkeypatch.setattr(Outbox, "append_many", refuse)
    with dial(stage.home) as sock:
        sock.sendall(publishing("1", "2", "3"))
        sock.shutdown(socket.SHUT_WR)
        told = rest_of(sock)
    assert [each["ref"] for each in told] == ["1", "2", "3"]
    assert {each["error"]["code"] for each in told} == {"outbox_unusable"}
    assert _kept(stage) == 0


# ── listening ──


def test_each_program_gets_what_it_asked_for_once(stage: Stage) -> None:
    with stage.talk() as one, stage.talk() as two:
        stage.subscribe(one, "a/#")
        stage.subscribe(one, "a/+")
        stage.subscribe(two, "b")
        stage.arrives("a/1", b"\xff")
        stage.arrives("b", b"text")
        stage.arrives("a/2")
        first, second = one.line(5), one.line(5)
        assert first == {"message": {"topic": "a/1", "qos": 1, "retain": False, "payloadBase64": "/w=="}}
        assert second is not None
        assert second["message"]["topic"] == "a/2"
        assert two.line(5) == {"message": {"topic": "b", "qos": 1, "retain": False, "payload": "text"}}
        assert two.line(0.05) is None


def test_what_the_broker_had_kept_goes_only_to_who_has_asked_since(stage: Stage) -> None:
    with stage.talk() as old, stage.talk() as new:
        stage.subscribe(old, "a")
        stage.subscribe(new, "a")
        stage.arrives("a", b"kept", retain=True)
        assert new.line(5) is not None
        assert old.line(0.05) is None
        stage.grants("a", since=0)  # a new session: all have missed something
        stage.arrives("a", b"kept", retain=True)
        assert new.line(5) is not None
        assert old.line(5) is not None


def texts(agent: AgentClient, count: int) -> list[str]:
    """The payloads of the next messages."""
    lines = [agent.line(5) for _ in range(count)]
    return [line["message"]["payload"] for line in lines if line is not None]


def test_who_share_a_filter_take_turns(stage: Stage) -> None:
    with stage.talk() as one, stage.talk() as two:
        for each in (one, two):
            stage.subscribe(each, "$share/group/a/#")
        for number in range(6):
            stage.arrives("a/x", str(number).encode())
        told = [texts(one, 3), texts(two, 3)]
        assert sorted(told) == [["0", "2", "4"], ["1", "3", "5"]]
        for each in (one, two):
            assert each.line(0.05) is None


def test_who_comes_later_shares_and_who_goes_leaves_its_share_to_the_others(stage: Stage) -> None:
    with stage.talk() as one:
        stage.subscribe(one, "$share/group/a")
        stage.arrives("a", b"0")
        with stage.talk() as two:
            stage.subscribe(two, "$share/group/a")
            stage.arrives("a", b"1")
            stage.arrives("a", b"2")
            assert sorted(texts(one, 2) + texts(two, 1)) == ["0", "1", "2"]
        eventually(lambda: one.ask("status")["status"]["programs"] == 1)
        stage.arrives("a", b"3")
        stage.arrives("a", b"4")
        assert texts(one, 2) == ["3", "4"]


def test_a_shared_filter_beside_plain_ones(stage: Stage) -> None:
    """Each program once; one of each group; what the broker had kept for none that shares."""
    with stage.talk() as plain, stage.talk() as both, stage.talk() as shares, stage.talk() as other:
        stage.subscribe(plain, "a")
        stage.subscribe(both, "a")
        stage.subscribe(both, "$share/g/+")
        stage.subscribe(shares, "$share/g/+")
        stage.subscribe(other, "$share/h/a")
        stage.arrives("a", b"1")
        stage.arrives("a", b"kept", retain=True)
        stage.arrives("b", b"2")
        stage.arrives("b", b"3")
        assert texts(plain, 1) == ["1"]
        assert [texts(each, 1) for each in (both, shares, other)] == [["1"]] * 3
        assert texts(both, 2)[1:] + texts(shares, 1) in (["2", "3"], ["3", "2"])
        for each in (plain, shares, other):  # what was kept is for who asked last for ``a``
            assert each.line(0.05) is None


def test_a_filter_that_is_denied_is_told_to_all_and_wanted_no_more(stage: Stage) -> None:
    with stage.talk() as one, stage.talk() as two:
        stage.subscribe(one, "a")
        two.send("subscribe", filter="a")
        eventually(lambda: stage.bridge.wants.get("a", 0) == 2)
        stage.bridge.tell(Denied("a", SubscribeDenied(topic="a", reason="Not authorized", own="b")))
        for each in (one, two):
            with pytest.raises(AgentRefused, match="Not authorized") as told:
                each.line(5)
            assert told.value.code == "subscribe_denied"
        eventually(lambda: not stage.bridge.wants)


def test_without_a_session_a_subscription_waits_and_says_so(stage: Stage) -> None:
    stage.bridge.standing = Standing(stage="enrolled", error="No network.")
    with stage.talk() as agent:
        assert agent.ask("subscribe", filter="a") == {"waiting": "a", "reason": "No network."}
        stage.grants("a")
        assert agent.line(5) == {"subscribed": "a"}


def test_what_nobody_wants_any_more_is_not_wanted(stage: Stage) -> None:
    with stage.talk() as one:
        stage.subscribe(one, "a")
        with stage.talk() as two:
            stage.subscribe(two, "a")
            stage.subscribe(two, "b")
        eventually(lambda: set(stage.bridge.wants) == {"a"})
        assert one.ask("unsubscribe", filter="a") == {"unsubscribed": "a"}
        eventually(lambda: not stage.bridge.wants)
        stage.arrives("a")
        assert one.line(0.05) is None


def test_who_does_not_read_is_dropped_with_a_word_and_the_others_go_on(stage: Stage) -> None:
    with stage.talk() as slow, stage.talk() as good:
        stage.subscribe(slow, "a")
        stage.subscribe(good, "a")
        for _ in range(MAX_UNSENT // 100_000 + 5):
            stage.arrives("a", b"x" * 100_000)
            assert good.line(5) is not None
        with pytest.raises(AgentRefused) as told:
            list(slow.lines(5))
        assert told.value.code == "slow_reader"
        assert any("not read" in text for text in stage.said)
        assert good.ask("status")["status"]["connected"] is True
    eventually(lambda: not stage.bridge.wants)


def test_who_never_reads_that_it_is_dropped_keeps_neither_place_nor_memory(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that hangs would have both for as long as it hangs."""
    monkeypatch.setattr(module, "LAST_WORD", 0.1)
    with stage.talk() as hangs, stage.talk() as good:
        stage.subscribe(hangs, "a")
        for _ in range(MAX_UNSENT // 100_000 + 5):
            stage.arrives("a", b"x" * 100_000)
        eventually(lambda: good.ask("status")["status"]["programs"] == 1)
    eventually(lambda: not stage.bridge.wants)


# ── status, calls ──


def test_the_status_says_where_the_device_stands(stage: Stage) -> None:
    with stage.talk() as agent:
        assert agent.ask("status", ref=7) == {
            "ref": 7,
            "status": {
                "stage": "connected",
                "connected": True,
                "trouble": None,
                "error": None,
                "detail": None,
                "thing": "gateway-1",
                "certificateId": "ab",
                "renewed": 0,
                "unrenewed": 0,
                "renewalError": None,
                "outbox": {"waiting": 0, "refused": 0, "dropped": 0, "expired": 0},
                "programs": 1,
            },
        }


@pytest.mark.parametrize(("op", "call"), [("look", Call.LOOK), ("renew", Call.RENEW)])
def test_the_agent_can_be_called(stage: Stage, op: str, call: Call) -> None:
    with stage.talk() as agent:
        assert agent.ask(op) == {"called": True}
    assert stage.bridge.calls() == {call}


# ── bounds ──


def test_the_socket_is_ours_alone(stage: Stage) -> None:
    mode = (stage.home.path / NAME).stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600


def test_a_second_desk_in_the_same_home_is_refused(stage: Stage) -> None:
    with pytest.raises(AgentRunning), listening(stage.home):
        pass


def test_a_socket_that_a_crash_left_is_replaced(home: Home) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(home.path / NAME))
    with agent_of(home) as agent:
        assert agent is None
    with Stage(home, OutboxLimits()).open() as stage, stage.talk() as again:
        assert again.ask("status")
    assert not (home.path / NAME).exists()


def test_a_home_so_deep_that_no_socket_s_path_would_fit_works(tmp_path: Path) -> None:
    home = Home(tmp_path / ("deep" * 20) / ("deeper" * 20))
    home.prepare()
    with Stage(home, OutboxLimits()).open() as stage, stage.talk() as agent:
        assert agent.ask("status")


def test_programs_are_bounded(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_GUESTS", 2)
    with stage.talk() as one, stage.talk() as two:
        one.ask("status")
        two.ask("status")
        with stage.talk() as three, pytest.raises(AgentRefused) as told:
            three.line(5)
        assert told.value.code == "too_much_at_once"
        assert one.ask("status")
    eventually(lambda: _comes_in(stage))


def _comes_in(stage: Stage) -> bool:
    with stage.talk() as agent, contextlib.suppress(AgentRefused, AgentGone):
        return bool(agent.ask("status"))
    return False


def test_filters_of_a_program_are_bounded(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_FILTERS", 1)
    with stage.talk() as agent:
        stage.subscribe(agent, "a")
        stage.subscribe(agent, "a")
        with pytest.raises(AgentRefused) as told:
            agent.ask("subscribe", filter="b")
    assert told.value.code == "too_much_at_once"


def test_answers_that_are_waited_for_are_bounded(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 1)
    with stage.talk() as agent:
        agent.send("publish", topic=TOPIC, payload="x", wait=60)
        assert agent.ask("publish", topic=TOPIC, payload="x", wait=60)["outcome"] == "waiting"


def test_a_line_that_is_too_long_ends_the_conversation_with_a_word(stage: Stage) -> None:
    with dial(stage.home) as sock:
        with contextlib.suppress(OSError):
            for _ in range(MAX_LINE // 1000 + 200):
                sock.sendall(b"x" * 1000)
        (told,) = rest_of(sock)
    assert told["error"]["code"] == "invalid_line"


def test_a_wrong_line_is_answered_and_the_next_one_works(stage: Stage) -> None:
    with dial(stage.home) as sock:
        sock.sendall(b'\xff\n\n  \n{"op":"publish","ref":5}\n{"op":"status","ref":6}\n')
        sock.shutdown(socket.SHUT_WR)
        told = rest_of(sock)
    assert [each.get("ref") for each in told] == [None, 5, 6]
    assert ["error" in each for each in told] == [True, True, False]


def test_who_says_all_at_once_and_hangs_up_is_still_heard(stage: Stage) -> None:
    body = base64.b64encode(b"x" * 10).decode()
    with dial(stage.home) as sock:
        sock.sendall(
            b"".join(
                json.dumps({"op": "publish", "topic": "a", "payloadBase64": body}).encode() + b"\n"
                for _ in range(100)
            )
        )
    eventually(lambda: _kept(stage) == 100)


def _kept(stage: Stage) -> int:
    with stage.talk() as agent:
        waiting: int = agent.ask("status")["status"]["outbox"]["waiting"]
        return waiting


def test_who_hangs_up_while_it_waits_is_forgotten(stage: Stage) -> None:
    with stage.talk() as agent:
        agent.send("publish", topic=TOPIC, payload="x", wait=60)
        eventually(lambda: stage.bridge.awaited == {1})
    eventually(lambda: not stage.bridge.awaited)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.binary(max_size=60)
        | st.sampled_from([b"\n", b'{"op":', b'"status"}', b"{}\n", b"[[[[", b"\xff\n", b'{"op":"look"}\n']),
        max_size=8,
    )
)
def test_whatever_a_program_says_the_desk_goes_on(stage: Stage, pieces: list[bytes]) -> None:
    with dial(stage.home) as sock:
        with contextlib.suppress(OSError):
            for piece in pieces:
                sock.sendall(piece)
            sock.shutdown(socket.SHUT_WR)
        for told in rest_of(sock):
            assert told.keys() & {"error", "status", "called"}
    with stage.talk() as agent:
        assert agent.ask("status")["status"]["connected"] is True
    assert stage.bridge.failed is None


def test_a_desk_that_breaks_has_the_agent_end(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_self: Desk, _news: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Desk, "_hear", broken)
    stage = Stage(home, OutboxLimits())
    with pytest.raises(AssertionError):
        _break(stage)
    assert isinstance(stage.bridge.failed, ZeroDivisionError)


def _break(stage: Stage) -> None:
    with stage.open():
        stage.arrives("a")
        eventually(lambda: stage.bridge.stopped)
        stage.arrives("a")  # nobody is there to hear it, and nobody waits for that
