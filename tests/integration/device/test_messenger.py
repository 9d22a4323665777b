"""Publishing and listening: what is durable, in which order it leaves, who empties the outbox."""

import threading
import time
from pathlib import Path

import pytest

from keyborn.adapters.system import SystemClock
from keyborn.device.home import Home
from keyborn.device.messages import Counts
from keyborn.device.messenger import Delivery, Messenger
from keyborn.device.outbox import open_outbox
from keyborn.device.surroundings import Surroundings
from keyborn.domain import errors
from support.device_home import OWN, Machine, eventually, home_in, identify, now
from support.rude_broker import CONNECT, PUBLISH, SUBSCRIBE, Packet, RudeBroker, accept

SHUTTING_DOWN = b"\xe0\x02\x8b\x00"


@pytest.fixture
def home(enrolled: Home) -> Home:
    return enrolled


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def messenger(home: Home, said: list[str]) -> Messenger:
    return Messenger(home, Surroundings(SystemClock(), "host", said.append), rate=1000)


def keep(home: Home, *topics: str) -> None:
    with open_outbox(home.outbox) as outbox:
        for topic in topics:
            outbox.append(topic, b"kept", now())


def counts(home: Home) -> Counts:
    with open_outbox(home.outbox) as outbox:
        return outbox.counts()


def denying(*topics: str) -> object:
    def answer(packet: Packet, level: int) -> bytes | None:
        if packet.kind == PUBLISH and packet.topic in topics:
            return b"\x40\x03" + packet.number + b"\x87"
        return accept(packet, level)

    return answer


# ── publishing ──


def test_a_message_is_delivered_and_leaves_the_outbox(messenger: Messenger, broker: RudeBroker) -> None:
    done = messenger.publish(OWN, b"hello")
    assert (done.delivery, done.outbox) == (Delivery.DELIVERED, Counts(0, 0))
    assert broker.published() == [OWN]


def test_a_single_message_is_not_slowed_by_the_rate(home: Home, broker: RudeBroker) -> None:
    slow = Messenger(home, Surroundings(SystemClock(), "host", lambda _text: None), rate=0.01)
    begun = time.monotonic()
    assert slow.publish(OWN, b"hello").delivery is Delivery.DELIVERED
    assert time.monotonic() - begun < 5


def test_what_was_kept_leaves_first_in_order(messenger: Messenger, home: Home, broker: RudeBroker) -> None:
    keep(home, f"{OWN}/1", f"{OWN}/2", f"{OWN}/3")
    messenger.publish(f"{OWN}/4", b"new")
    assert broker.published() == [f"{OWN}/{number}" for number in range(1, 5)]
    assert broker.kinds().count(CONNECT) == 1


def test_the_outbox_empties_no_faster_than_the_rate(home: Home, broker: RudeBroker) -> None:
    keep(home, OWN, OWN, OWN)
    begun = time.monotonic()
    Messenger(home, Surroundings(SystemClock(), "host", lambda _text: None), rate=10).publish(OWN, b"4")
    assert time.monotonic() - begun >= 0.3
    assert len(broker.published()) == 4


def test_a_broker_that_is_away_means_kept_and_that_is_no_failure(tmp_path: Path, said: list[str]) -> None:
    home = home_in(tmp_path)
    identify(home, broker=("localhost", 1))
    machine = Machine()
    done = Messenger(home, machine.surroundings()).publish(OWN, b"hello", wait=30)
    assert (done.delivery, done.outbox) == (Delivery.KEPT, Counts(1, 0))
    assert done.why is not None
    assert done.why.startswith("the broker localhost:1 cannot be reached: ")
    assert machine.said == []
    assert machine.slept[:6] == [0.25, 0.5, 1, 2, 4, 8], "full jitter, ever longer"
    assert 29 < machine.seconds < 30, "it is tried for as long as was asked"


def test_no_time_to_send_means_kept_without_a_connection(messenger: Messenger, broker: RudeBroker) -> None:
    assert messenger.publish(OWN, b"hello", wait=0).delivery is Delivery.KEPT
    assert broker.seen == []


def test_a_backlog_that_does_not_fit_into_the_time_stays(home: Home, broker: RudeBroker) -> None:
    keep(home, OWN, OWN, OWN)
    slow = Messenger(home, Surroundings(SystemClock(), "host", lambda _text: None), rate=0.01)
    done = slow.publish(OWN, b"last", wait=5)
    assert done.delivery is Delivery.KEPT
    assert done.outbox.waiting == 3


def test_a_denied_message_is_set_aside_and_told(messenger: Messenger, home: Home, broker: RudeBroker) -> None:
    broker.answer = denying("certtest/other")  # type: ignore[assignment] # an Answer
    with pytest.raises(errors.PublishDenied, match="has certtest/gateway-1 and what lies below"):
        messenger.publish("certtest/other", b"x")
    assert counts(home) == Counts(0, 1)


def test_a_denied_message_does_not_hold_up_those_behind_it(
    messenger: Messenger, home: Home, broker: RudeBroker, said: list[str]
) -> None:
    keep(home, "certtest/other")
    broker.answer = denying("certtest/other")  # type: ignore[assignment] # an Answer
    done = messenger.publish(OWN, b"x")
    assert (done.delivery, done.outbox) == (Delivery.DELIVERED, Counts(0, 1))
    assert any("certtest/other" in line and "set aside" in line for line in said)


def test_a_denied_message_is_never_sent_again(messenger: Messenger, broker: RudeBroker) -> None:
    broker.answer = denying("certtest/other")  # type: ignore[assignment] # an Answer
    with pytest.raises(errors.PublishDenied):
        messenger.publish("certtest/other", b"x")
    messenger.publish(OWN, b"x")
    assert broker.published() == ["certtest/other", OWN]


def test_a_hang_up_without_a_reason_keeps_the_message_for_next_time(
    messenger: Messenger, broker: RudeBroker, said: list[str]
) -> None:
    broker.answer = lambda packet, level: None if packet.kind == PUBLISH else accept(packet, level)
    kept = messenger.publish(OWN, b"1", wait=0.4)
    assert kept.delivery is Delivery.KEPT
    assert "ended the connection" in str(kept.why)
    broker.answer = accept
    assert messenger.publish(OWN, b"2").delivery is Delivery.DELIVERED
    assert broker.published() == [OWN, OWN, OWN]


def test_a_session_that_is_refused_is_told_and_the_message_is_kept(
    messenger: Messenger, home: Home, broker: RudeBroker
) -> None:
    broker.answer = lambda _packet, _level: b"\x20\x03\x00\x87\x00"
    with pytest.raises(errors.SessionRefused):
        messenger.publish(OWN, b"x")
    assert counts(home) == Counts(1, 0)


@pytest.mark.parametrize("topic", ["", "a/#", "a/+/b", "$SYS/x", "a\x00b", "x" * 257, "/" * 8])
def test_a_topic_that_nobody_takes_is_never_kept(messenger: Messenger, home: Home, topic: str) -> None:
    with pytest.raises(errors.InvalidTopic):
        messenger.publish(topic, b"x")
    assert not home.outbox.exists()


def test_a_message_that_is_too_large_is_never_kept(messenger: Messenger, home: Home) -> None:
    with pytest.raises(errors.MessageTooLarge, match="131072"):
        messenger.publish(OWN, b"x" * 131_073)
    assert not home.outbox.exists()


def test_the_largest_message_goes_through(messenger: Messenger, broker: RudeBroker) -> None:
    assert messenger.publish(OWN, b"x" * 131_072).delivery is Delivery.DELIVERED


def test_without_an_identity_nothing_is_kept(tmp_path: Path, said: list[str]) -> None:
    home = Home(tmp_path / "new")
    home.prepare()
    with pytest.raises(errors.NoIdentity, match="keyborn enroll"):
        Messenger(home, Surroundings(SystemClock(), "host", said.append)).publish(OWN, b"x")
    assert not home.outbox.exists()


def test_two_publishers_at_once_use_one_session_after_the_other(
    messenger: Messenger, broker: RudeBroker
) -> None:
    """Two connections with one client id would evict each other; the home's lock keeps them apart."""
    results: list[Delivery] = []

    def run(number: int) -> None:
        results.append(messenger.publish(f"{OWN}/{number}", b"x").delivery)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [Delivery.DELIVERED] * 4
    assert sorted(broker.published()) == [f"{OWN}/{number}" for number in range(4)]


# ── listening ──


def echoing(*payloads: bytes) -> object:
    """A broker that sends messages as soon as somebody listens."""

    def answer(packet: Packet, level: int) -> bytes | None:
        reply = accept(packet, level)
        if packet.kind == SUBSCRIBE and reply is not None:
            for payload in payloads:
                body = b"\x00\x01t\x00" + payload
                reply += b"\x30" + bytes([len(body)]) + body
        return reply

    return answer


def test_messages_arrive_in_order(messenger: Messenger, broker: RudeBroker) -> None:
    broker.answer = echoing(b"1", b"2", b"3")  # type: ignore[assignment] # an Answer
    heard = [each.payload for _, each in zip(range(3), messenger.listen("t", seconds=10), strict=False)]
    assert heard == [b"1", b"2", b"3"]


def test_listening_ends_when_its_time_is_up(messenger: Messenger, broker: RudeBroker) -> None:
    begun = time.monotonic()
    assert list(messenger.listen(f"{OWN}/#", seconds=0.3)) == []
    assert time.monotonic() - begun < 5


def test_a_refused_filter_is_told(messenger: Messenger, broker: RudeBroker) -> None:
    def answer(packet: Packet, level: int) -> bytes | None:
        refusal = b"\x90\x04" + packet.number + b"\x00\x87" if packet.kind == SUBSCRIBE else None
        return refusal or accept(packet, level)

    broker.answer = answer
    with pytest.raises(errors.SubscribeDenied, match="Not authorized"):
        list(messenger.listen("#", seconds=5))


def test_a_first_connection_that_fails_is_told_at_once(tmp_path: Path, said: list[str]) -> None:
    home = home_in(tmp_path)
    identify(home, broker=("localhost", 1))
    with pytest.raises(errors.BrokerUnreachable):
        list(Messenger(home, Surroundings(SystemClock(), "host", said.append)).listen("t"))


def test_a_lost_connection_is_made_again(messenger: Messenger, broker: RudeBroker, said: list[str]) -> None:
    polite = echoing(b"x")

    def answer(packet: Packet, level: int) -> bytes | None:
        if packet.kind == PUBLISH and broker.kinds().count(CONNECT) == 1:
            return None
        return polite(packet, level)  # type: ignore[operator,no-any-return] # an Answer

    broker.answer = answer
    heard = 0
    for _ in messenger.listen("t", seconds=20):
        heard += 1
        if heard == 1:
            keep(messenger.home, OWN)  # sending it makes this broker hang up
        else:
            break
    assert heard == 2
    assert broker.kinds().count(CONNECT) == 2
    assert any("ended" in line for line in said)


def test_a_listener_empties_the_outbox_for_a_publisher(
    messenger: Messenger, home: Home, broker: RudeBroker
) -> None:
    """The publisher finds the home busy, and watches its message leave through the listener's session."""

    def answer(packet: Packet, level: int) -> bytes | None:
        reply = accept(packet, level)
        if packet.kind == PUBLISH and reply is not None:
            return reply + b"\x30\x05\x00\x01t\x00x"  # ends the listener
        return reply

    broker.answer = answer
    listening = threading.Thread(target=lambda: next(messenger.listen("t", seconds=30)))
    listening.start()
    eventually(lambda: SUBSCRIBE in broker.kinds())
    done = messenger.publish(OWN, b"through the other one", wait=20)
    assert done.delivery is Delivery.DELIVERED
    listening.join()
    assert broker.kinds().count(CONNECT) == 1


def test_two_listeners_of_one_home_are_refused(messenger: Messenger, broker: RudeBroker) -> None:
    listener = messenger.listen("t", seconds=20)
    broker.answer = echoing(b"x")  # type: ignore[assignment] # an Answer
    next(listener)
    with pytest.raises(errors.HomeBusy):
        list(messenger.listen("t", seconds=1))
    listener.close()  # type: ignore[attr-defined] # it is a generator


@pytest.mark.parametrize("topic_filter", ["", "a#", "#/a", "a+/b", "x" * 257, "a\nb"])
def test_a_filter_that_makes_no_sense_is_never_sent(
    messenger: Messenger, broker: RudeBroker, topic_filter: str
) -> None:
    with pytest.raises(errors.InvalidTopic):
        list(messenger.listen(topic_filter))
    assert broker.seen == []


def test_a_backlog_that_does_not_fit_into_the_time_is_one_connection(home: Home, broker: RudeBroker) -> None:
    """Out of time is no reason to connect again and again until it is over."""
    keep(home, OWN, OWN)
    slow = Messenger(home, Surroundings(SystemClock(), "host", lambda _text: None), rate=0.1)
    assert slow.publish(OWN, b"x", wait=1).delivery is Delivery.KEPT
    assert broker.kinds().count(CONNECT) == 1


def test_a_message_that_was_acknowledged_is_heard_even_if_the_session_ends_then(
    messenger: Messenger, home: Home, broker: RudeBroker
) -> None:
    def answer(packet: Packet, level: int) -> bytes | None:
        if packet.kind == PUBLISH:
            return b"\x32\x0e\x00\x01t\x00\x07\x00precious" + SHUTTING_DOWN
        return accept(packet, level)

    broker.answer = answer
    keep(home, OWN)
    received = next(messenger.listen("t", seconds=10))
    assert received.payload == b"precious"


def test_a_broker_that_always_drops_its_listener_is_asked_ever_less_often(
    home: Home, broker: RudeBroker
) -> None:
    def answer(packet: Packet, level: int) -> bytes | None:
        reply = accept(packet, level)
        return reply + SHUTTING_DOWN if packet.kind == SUBSCRIBE and reply else reply

    broker.answer = answer
    machine = Machine()
    list(Messenger(home, machine.surroundings()).listen("t", seconds=100))
    assert machine.slept[:7] == [0.25, 0.5, 1, 2, 4, 8, 10]
