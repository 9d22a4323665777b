"""The courier over real sessions: outcomes that a program can wait for, and what happens in between."""

import contextlib
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from keyborn.adapters.system import SystemClock
from keyborn.device import session as sessions
from keyborn.device.connecting import connect, tls_context
from keyborn.device.courier import RECORDED_AT_ONCE, Courier
from keyborn.device.drain import WINDOW, Ending
from keyborn.device.home import Home
from keyborn.device.identity import Identity
from keyborn.device.keystore import FileKeyStore
from keyborn.device.messages import UNBOUNDED, Draft, Fate, OutboxLimits, Outcome
from keyborn.device.outbox import Outbox, open_outbox
from keyborn.device.session import Session
from keyborn.device.surroundings import Surroundings
from keyborn.domain.errors import SessionLost
from support.device_home import OWN, identify, now
from support.mosquitto_broker import mosquitto
from support.rude_broker import PINGREQ, PUBLISH, Packet, RudeBroker, accept

DELIVERED = Fate(Outcome.DELIVERED)


@pytest.fixture
def identity(home: Home, broker: RudeBroker) -> Identity:
    return identify(home, broker=(broker.host, broker.port))


@pytest.fixture
def outbox(home: Home, identity: Identity) -> Iterator[Outbox]:
    with open_outbox(home.outbox, UNBOUNDED) as opened:
        yield opened


@pytest.fixture
def courier(outbox: Outbox) -> Courier:
    return Courier(outbox, Surroundings(SystemClock(), "host", lambda _text: None), 0)


@contextlib.contextmanager
def session(home: Home, identity: Identity) -> Iterator[Session]:
    context = tls_context(home, FileKeyStore(home.key), identity, now())
    with contextlib.closing(connect(identity, context)) as opened:
        yield opened


def empty(courier: Courier, outbox: Outbox, over: Session) -> None:
    while outbox.counts().waiting:
        over.wait(min(courier.pump(over), 1))


def keep(outbox: Outbox, count: int, topic: str = OWN) -> list[int]:
    return outbox.append_many([Draft(topic, b"%d" % number) for number in range(count)], now())


def test_an_observer_hears_of_every_message_in_the_order_of_its_topic(
    home: Home, identity: Identity, outbox: Outbox, courier: Courier
) -> None:
    heard: list[tuple[int, Fate]] = []
    outbox.observe(lambda number, fate: heard.append((number, fate)))
    kept = keep(outbox, 200)
    with session(home, identity) as over:
        courier.begin(over)
        empty(courier, outbox, over)
    assert heard == [(number, DELIVERED) for number in kept]


def test_many_ends_are_recorded_together(
    home: Home, identity: Identity, outbox: Outbox, courier: Courier
) -> None:
    statements: list[str] = []
    keep(outbox, 300)
    outbox._connection.set_trace_callback(statements.append)
    with session(home, identity) as over:
        courier.begin(over)
        empty(courier, outbox, over)
    assert statements.count("COMMIT") <= 2 * 300 // RECORDED_AT_ONCE + 30


def test_who_is_done_waits_for_the_answers_that_are_due_and_sends_no_more(
    home: Home, identity: Identity, outbox: Outbox, courier: Courier, broker: RudeBroker
) -> None:
    """What was sent and has no answer would be sent again by whoever comes next."""

    def slowly(packet: Packet, level: int) -> bytes | None:
        if packet.kind == PUBLISH:
            time.sleep(0.1)
        return accept(packet, level)

    broker.answer = slowly
    keep(outbox, 3)
    with session(home, identity) as over:
        courier.begin(over)
        courier.pump(over)
        keep(outbox, 1, f"{OWN}/later")
        courier.linger(over, 10)
        courier.finish(over)
    assert broker.published() == [OWN] * 3
    assert outbox.counts().waiting == 1


def test_who_is_done_does_not_wait_for_ever(
    home: Home, identity: Identity, outbox: Outbox, courier: Courier, broker: RudeBroker
) -> None:
    broker.answer = lambda packet, level: b"" if packet.kind == PUBLISH else accept(packet, level)
    keep(outbox, 1)
    with session(home, identity) as over:
        courier.begin(over)
        courier.pump(over)
        courier.linger(over, 0.1)
        courier.finish(over)
    assert outbox.counts().waiting == 1


def test_an_idle_session_does_not_wake_up(
    home: Home, identity: Identity, outbox: Outbox, courier: Courier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for what comes in, and for keep-alive."""
    turns: list[float] = []
    with session(home, identity) as over:
        courier.begin(over)
        turn = over._turn

        def count(seconds: float) -> None:
            turns.append(seconds)
            turn(seconds)

        monkeypatch.setattr(over, "_turn", count)
        over.wait(min(courier.pump(over), 1.5))
    assert len(turns) <= 2


def test_a_message_that_comes_while_it_works_goes_at_once(
    home: Home, identity: Identity, outbox: Outbox, courier: Courier
) -> None:
    with session(home, identity) as over:
        courier.begin(over)
        assert courier.pump(over) == float("inf")
        with open_outbox(home.outbox) as other:
            number = other.append(OWN, b"from another process", now())
        empty(courier, outbox, over)
    assert outbox.fate(number) == DELIVERED


def test_what_was_answered_before_the_end_is_recorded_and_not_sent_again(
    home: Home, identity: Identity, broker: RudeBroker, outbox: Outbox, courier: Courier
) -> None:
    kept = keep(outbox, 20)
    broker.answer = lambda packet, level: (
        None if packet.kind == PUBLISH and packet.body.endswith(b"10") else accept(packet, level)
    )
    with session(home, identity) as over:
        courier.begin(over)
        with pytest.raises(SessionLost) as raised:
            empty(courier, outbox, over)
        assert over.ending is Ending.UNEXPLAINED
        courier.lost(over, raised.value)
        courier.finish(over)
    assert {outbox.fate(number) for number in kept[:10]} == {DELIVERED}
    broker.answer = accept
    with session(home, identity) as over:
        courier.begin(over)
        empty(courier, outbox, over)
    assert broker.published().count(OWN) == 11 + 10
    assert {outbox.fate(number) for number in kept} == {DELIVERED}


def test_a_refusal_for_now_ends_the_session_and_nothing_is_lost(
    home: Home, identity: Identity, broker: RudeBroker, outbox: Outbox, courier: Courier
) -> None:
    """0x97, quota exceeded: AWS says so to MQTT 5."""
    (number,) = keep(outbox, 1)
    broker.answer = lambda packet, level: (
        b"\x40\x03" + packet.number + b"\x97" if packet.kind == PUBLISH else accept(packet, level)
    )
    with session(home, identity) as over:
        courier.begin(over)
        with pytest.raises(SessionLost, match=r"did not take the message \(Quota exceeded\)") as raised:
            empty(courier, outbox, over)
        courier.lost(over, raised.value)
    assert outbox.fate(number).waiting


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "OPERATION_TIMEOUT", 0.4)


@pytest.mark.usefixtures("impatient")
def test_silence_is_the_network_s_and_an_answered_ping_is_not(
    home: Home, identity: Identity, broker: RudeBroker, outbox: Outbox, courier: Courier
) -> None:
    keep(outbox, 1)
    endings = []
    for ignored in ({PUBLISH, PINGREQ}, {PUBLISH}):
        broker.answer = lambda packet, level, ignored=ignored: (  # type: ignore[misc] # a default binds it
            b"" if packet.kind in ignored else accept(packet, level)
        )
        with session(home, identity) as over:
            courier.begin(over)
            with pytest.raises(SessionLost, match=r"did not acknowledge the message within 0\.4 s"):
                empty(courier, outbox, over)
            endings.append(over.ending)
    assert endings == [Ending.NETWORK, Ending.IGNORED]


def test_the_window_is_full_and_no_fuller(
    home: Home, identity: Identity, broker: RudeBroker, outbox: Outbox, courier: Courier
) -> None:
    keep(outbox, 3 * WINDOW)
    broker.answer = lambda packet, level: b"" if packet.kind == PUBLISH else accept(packet, level)
    with session(home, identity) as over:
        courier.begin(over)
        for _ in range(3):
            courier.pump(over)
            over.wait(0.1)
        assert broker.kinds().count(PUBLISH) == WINDOW
        assert courier.busy


def test_what_had_to_make_room_on_its_way_and_arrived_is_not_counted_as_lost(
    home: Home, identity: Identity, broker: RudeBroker, courier: Courier, outbox: Outbox
) -> None:
    (first,) = keep(outbox, 1)
    with session(home, identity) as over:
        courier.begin(over)
        courier.pump(over)
        with open_outbox(home.outbox, OutboxLimits(messages=1)) as other:
            (second,) = keep(other, 1)
            assert other.fate(first).outcome is Outcome.DROPPED
        empty(courier, outbox, over)
        courier.finish(over)
    assert [outbox.fate(first), outbox.fate(second)] == [DELIVERED, DELIVERED]
    assert outbox.counts().dropped == 0


@pytest.mark.needs("mosquitto")
def test_a_small_window_leaves_more_to_be_recorded_at_once(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a crash repeats stays the same, and the disk is synced less often."""
    recorded: list[int] = []
    with mosquitto(tmp_path) as port:
        identity = identify(home, broker=("localhost", port))
        around = Surroundings(SystemClock(), "host", lambda _text: None)
        with open_outbox(home.outbox) as outbox, session(home, identity) as over:
            keep(outbox, 500)
            courier, settle = Courier(outbox, around, 0), outbox.settle

            def _counted(ends: Iterable[tuple[int, Fate]]) -> None:
                recorded.append(len(told := list(ends)))
                settle(told)

            monkeypatch.setattr(outbox, "settle", _counted)
            courier.begin(over)
            empty(courier, outbox, over)
    most = WINDOW + RECORDED_AT_ONCE
    assert sum(recorded) == 500
    assert most - 2 * over.terms.in_flight < max(recorded) <= most


@pytest.mark.needs("mosquitto")
def test_mosquitto_gets_everything_in_order_with_its_own_small_window(home: Home, tmp_path: Path) -> None:
    """It takes 20 at once and says so; paho's own queue never holds one."""
    with mosquitto(tmp_path) as port:
        identity = identify(home, broker=("localhost", port))
        around = Surroundings(SystemClock(), "host", lambda _text: None)
        with open_outbox(home.outbox) as outbox, session(home, identity) as over:
            over.subscribe(f"{OWN}/#")
            kept = outbox.append_many([Draft(f"{OWN}/a", b"%d" % number) for number in range(500)], now())
            courier = Courier(outbox, around, 0)
            courier.begin(over)
            assert over.terms.in_flight == 20
            empty(courier, outbox, over)
            heard: list[int] = []
            while len(heard) < 500 and (received := over.receive(5)) is not None:
                heard.append(int(received.payload))
    assert heard == list(range(500))
    assert len(kept) == 500
