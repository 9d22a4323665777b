"""A message that the broker never takes: quarantined and reported, the others flow, no reconnect loop.

Against the embedded broker in both versions of MQTT, against mosquitto, and against rude ones.
"""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from keyborn.adapters.system import SystemClock
from keyborn.device import messenger as messengers, session as sessions
from keyborn.device.drain import STRIKES
from keyborn.device.home import Home
from keyborn.device.identity import Identity
from keyborn.device.messages import Counts, Draft, Fate, Outcome
from keyborn.device.messenger import Delivery, Messenger
from keyborn.device.opening import Limits
from keyborn.device.outbox import open_outbox
from keyborn.device.pace import Pace
from keyborn.device.session import MQTT_3_1_1, MQTT_5, Session
from keyborn.device.surroundings import Surroundings
from keyborn.domain import errors
from keyborn.domain.certificate import Certificate, CertificateStatus
from keyborn.domain.names import CertificateId, KeyHash
from support.broker import World, running
from support.device_home import OWN, home_in, identify, leaf_of, now
from support.mosquitto_broker import mosquitto
from support.rude_broker import CONNECT, PINGREQ, PUBLISH, Packet, RudeBroker, accept, rude_broker

DENIED = "certtest/somebody-else"


@dataclass
class Device:
    """A device that counts its connections, speaks one version of MQTT, and does not wait long between."""

    home: Home
    said: list[str] = field(default_factory=list)
    connections: int = 0

    @property
    def messenger(self) -> Messenger:
        pace = Pace(fraction=lambda: 0.01)
        return Messenger(self.home, Surroundings(SystemClock(), "host", self.said.append, pace), rate=0)

    def keep(self, *topics: str) -> list[int]:
        with open_outbox(self.home.outbox) as outbox:
            return outbox.append_many(
                [Draft(topic, b"%d" % place) for place, topic in enumerate(topics)], now()
            )

    def fates(self, numbers: list[int]) -> list[Fate]:
        with open_outbox(self.home.outbox) as outbox:
            return [outbox.fate(each) for each in numbers]

    def flush(self) -> None:
        """Publish a few times more, as a device does: others go before a suspect is tried again."""
        for _ in range(STRIKES + 1):
            if not self.counts().waiting:
                return
            self.messenger.publish(f"{OWN}/more", b"", wait=30)

    def counts(self) -> Counts:
        with open_outbox(self.home.outbox) as outbox:
            return outbox.counts()


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(home_in(tmp_path))


def speak(monkeypatch: pytest.MonkeyPatch, device: Device, version: int) -> None:
    """Connect in this version alone, as to a broker that knows no other."""

    def connect(identity: Identity, context: object, *, patience: float) -> Session:
        import time

        device.connections += 1
        session = Session(identity, context, version, Limits(time.monotonic(), patience, patience))  # type: ignore[arg-type] # a context
        answer = session.open()
        if answer is None or answer.code:
            session.close()
            raise errors.BrokerUnreachable(broker="here", detail=str(answer))
        return session

    monkeypatch.setattr(messengers, "connect", connect)


# ── the embedded broker ──


class Embedded:
    """The embedded broker in a thread of its own; notes what reached a listener."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.heard: list[tuple[str, bytes]] = []
        self.port = 0
        self._ready, self._loop = threading.Event(), asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run)

    def start(self, home: Home) -> None:
        self._home = home
        self._thread.start()
        assert self._ready.wait(20)

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        async with running(self.folder) as world:
            self.port = world.port
            self._admit(world)
            self._over = asyncio.Event()
            listener = await world.listener("certtest/#")
            self._ready.set()
            await self._over.wait()
            self.heard = await listener.settle()

    def _admit(self, world: World) -> None:
        identity = identify(self._home, broker=("localhost", world.port))
        leaf = leaf_of(self._home)
        world.directory.thing(identity.thing)
        certificate_id = CertificateId(identity.certificate_id)
        world.directory.certificates[certificate_id] = Certificate(
            certificate_id,
            identity.thing,
            KeyHash("0" * 64),
            b"",
            leaf.not_valid_before_utc,
            leaf.not_valid_after_utc,
            CertificateStatus.ACTIVE,
        )

    def stop(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._over.set)
            self._thread.join(20)


@pytest.fixture
def embedded(tmp_path: Path, device: Device) -> Iterator[Embedded]:
    folder = tmp_path / "broker"
    folder.mkdir()
    broker = Embedded(folder)
    broker.start(device.home)
    with contextlib.closing(contextlib.ExitStack()) as stack:
        stack.callback(broker.stop)
        yield broker


@pytest.mark.parametrize("version", [MQTT_5, MQTT_3_1_1])
def test_the_embedded_broker_s_denial_is_quarantined_and_the_others_arrive_in_order(
    device: Device, embedded: Embedded, version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On 3.1.1 it hangs up without a word, as AWS does."""
    speak(monkeypatch, device, version)
    kept = device.keep(OWN, DENIED, f"{OWN}/a", OWN, f"{OWN}/a")
    assert device.messenger.publish(OWN, b"last", wait=30).delivery is Delivery.DELIVERED
    device.flush()
    outcomes = [fate.outcome for fate in device.fates(kept)]
    assert outcomes == [Outcome.DELIVERED, Outcome.QUARANTINED, *[Outcome.DELIVERED] * 3]
    assert device.counts() == Counts(0, 1)
    assert any(DENIED in line and "set aside" in line for line in device.said)
    assert device.connections <= (1 if version == MQTT_5 else 2 * STRIKES + 2)
    embedded.stop()
    arrived = list(dict.fromkeys(embedded.heard))
    assert [payload for topic, payload in arrived if topic == OWN] == [b"0", b"3", b"last"]
    assert [payload for topic, payload in arrived if topic == f"{OWN}/a"] == [b"2", b"4"]
    assert DENIED not in {topic for topic, _ in arrived}


@pytest.mark.parametrize("version", [MQTT_5, MQTT_3_1_1])
def test_whoever_asked_for_it_is_told_and_nothing_is_sent_again(
    device: Device, embedded: Embedded, version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    speak(monkeypatch, device, version)
    with pytest.raises(errors.PublishDenied):
        device.messenger.publish(DENIED, b"x", wait=30)
    before = device.connections
    assert before <= STRIKES + 1
    assert device.messenger.publish(OWN, b"y", wait=30).delivery is Delivery.DELIVERED
    assert device.connections == before + 1


# ── mosquitto ──


@pytest.mark.needs("mosquitto")
def test_mosquitto_says_so_in_mqtt_5(device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Version 2.0.11 answers, and then closes the connection on whatever came behind."""
    with mosquitto(tmp_path, denied=(DENIED,)) as port:
        identify(device.home, broker=("localhost", port))
        speak(monkeypatch, device, MQTT_5)
        kept = device.keep(*[OWN] * 30, DENIED, *[OWN] * 30)
        assert device.messenger.publish(OWN, b"last", wait=30).delivery is Delivery.DELIVERED
        refused = [fate for fate in device.fates(kept) if fate.outcome is Outcome.QUARANTINED]
        assert refused == [Fate(Outcome.QUARANTINED, "Not authorized")]
        assert device.counts() == Counts(0, 1)
        assert device.connections <= 2


@pytest.mark.needs("mosquitto")
def test_mosquitto_takes_everything_in_3_1_1_and_that_is_no_loop(
    device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It acknowledges what it denies: nobody can tell. Then it closes, as above."""
    with mosquitto(tmp_path, denied=(DENIED,)) as port:
        identify(device.home, broker=("localhost", port))
        speak(monkeypatch, device, MQTT_3_1_1)
        device.keep(OWN, DENIED, OWN)
        assert device.messenger.publish(OWN, b"last", wait=30).delivery is Delivery.DELIVERED
        assert device.counts() == Counts(0, 0)
        assert device.connections <= 2


# ── rude brokers ──


@pytest.fixture
def rude(tmp_path: Path, device: Device) -> Iterator[RudeBroker]:
    with rude_broker(tmp_path) as running_one:
        identify(device.home, broker=(running_one.host, running_one.port))
        yield running_one


def hanging_up(*topics: str) -> object:
    def answer(packet: Packet, level: int) -> bytes | None:
        return None if packet.kind == PUBLISH and packet.topic in topics else accept(packet, level)

    return answer


def test_a_sign_of_life_comes_before_each_suspect(
    device: Device, rude: RudeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    speak(monkeypatch, device, MQTT_3_1_1)
    rude.answer = hanging_up(DENIED)  # type: ignore[assignment] # an Answer
    with pytest.raises(errors.PublishDenied, match="hangs up on it"):
        device.messenger.publish(DENIED, b"x", wait=30)
    told = [packet.kind for packet in rude.seen if packet.kind in {CONNECT, PINGREQ, PUBLISH}]
    assert told == [CONNECT, PINGREQ, PUBLISH] * STRIKES


def test_in_mqtt_5_a_hang_up_is_found_out_as_well(device: Device, rude: RudeBroker) -> None:
    rude.answer = hanging_up(DENIED)  # type: ignore[assignment] # an Answer
    kept = device.keep(OWN, DENIED, f"{OWN}/a", OWN)
    assert device.messenger.publish(OWN, b"last", wait=30).delivery is Delivery.DELIVERED
    assert [fate.outcome for fate in device.fates(kept)].count(Outcome.QUARANTINED) <= 1
    device.messenger.publish(OWN, b"and once more", wait=30)
    with contextlib.suppress(errors.PublishDenied):
        device.messenger.publish(DENIED, b"again", wait=30)
    assert device.fates(kept)[1].outcome is Outcome.QUARANTINED
    assert rude.kinds().count(CONNECT) <= 2 * (STRIKES + 2) + 2


def test_a_broker_that_dies_once_condemns_nobody(
    device: Device, rude: RudeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    speak(monkeypatch, device, MQTT_3_1_1)
    deaths = [0, 0]

    def answer(packet: Packet, level: int) -> bytes | None:
        return deaths.pop() or None if packet.kind == PUBLISH and deaths else accept(packet, level)  # type: ignore[return-value] # None

    rude.answer = answer
    device.keep(OWN, f"{OWN}/a")
    assert device.messenger.publish(OWN, b"last", wait=30).delivery is Delivery.DELIVERED
    assert device.counts() == Counts(0, 0)


def test_a_broker_that_ignores_a_message_does_not_stop_the_others(
    device: Device, rude: RudeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It answers everything else, and never hangs up."""
    monkeypatch.setattr(sessions, "OPERATION_TIMEOUT", 0.3)
    rude.answer = lambda packet, level: (
        b"" if packet.kind == PUBLISH and packet.topic == DENIED else accept(packet, level)
    )
    (ignored,) = device.keep(DENIED)
    for number in range(STRIKES + 1):
        done = device.messenger.publish(f"{OWN}/{number}", b"x", wait=30)
        assert done.delivery is Delivery.DELIVERED
    assert device.fates([ignored])[0].outcome in {Outcome.WAITING, Outcome.QUARANTINED}
    assert rude.kinds().count(CONNECT) <= 2 * (STRIKES + 2)


def test_a_large_message_for_a_small_broker_is_quarantined_unsent(device: Device, rude: RudeBroker) -> None:
    """Maximum packet size in its CONNACK (MQTT 5 3.2.2.3.6)."""
    small = b"\x20\x08\x00\x00\x05\x27\x00\x00\x04\x00"
    rude.answer = lambda packet, level: small if packet.kind == CONNECT else accept(packet, level)
    with pytest.raises(errors.PublishDenied, match="Packet too large: the broker takes 1024 bytes"):
        device.messenger.publish(OWN, bytes(1024), wait=10)
    assert rude.published() == []


def test_the_broker_s_receive_maximum_is_kept(
    device: Device, rude: RudeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MQTT 5 3.2.2.3.3: no more than that without an answer."""
    monkeypatch.setattr(sessions, "OPERATION_TIMEOUT", 0.3)
    three = b"\x20\x06\x00\x00\x03\x21\x00\x03"
    rude.answer = lambda packet, level: (
        three if packet.kind == CONNECT else b"" if packet.kind == PUBLISH else accept(packet, level)
    )
    device.keep(*[OWN] * 20)
    assert device.messenger.publish(OWN, b"x", wait=0.4).delivery is Delivery.KEPT
    assert rude.kinds().count(PUBLISH) == 3 * rude.kinds().count(CONNECT)


def test_what_is_left_of_a_message_s_life_goes_with_it(device: Device, rude: RudeBroker) -> None:
    """Message expiry interval (MQTT 5 3.3.2.3.3), property 0x02."""
    with open_outbox(device.home.outbox) as outbox:
        outbox.append(OWN, b"x", now(), lifetime=1000)
        gone = outbox.append(OWN, b"y", now(), lifetime=1e-6)
    device.messenger.publish(OWN, b"last", wait=10)
    first = next(packet for packet in rude.seen if packet.kind == PUBLISH)
    properties = first.body[2 + len(OWN) + 2 :][:6]
    assert properties[:2] == b"\x05\x02"
    assert 990 <= int.from_bytes(properties[2:], "big") <= 1000
    assert device.fates([gone]) == [Fate(Outcome.EXPIRED)]
    assert len(rude.published()) == 2


def test_qos_0_is_sent_once_and_is_done(device: Device, rude: RudeBroker) -> None:
    with open_outbox(device.home.outbox) as outbox:
        number = outbox.append(OWN, b"x", now(), qos=0)
    device.messenger.publish(OWN, b"last", wait=10)
    assert [packet.flags >> 1 & 3 for packet in rude.seen if packet.kind == PUBLISH] == [0, 1]
    assert device.fates([number]) == [Fate(Outcome.DELIVERED)]
