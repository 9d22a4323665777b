"""The device's outbox: durable appends a second, one at a time and in batches; how fast it empties.

``python bench/outbox.py [--seconds 3] [--repeats 5] [--docs docs/outbox.md]``. Messages have 100 bytes. It
empties over mutual TLS, QoS 1, into Debian's mosquitto, which has a core and a disk with us: the time is that
of ``Courier``, from the first message to the last acknowledgement on disk. Appends are also measured against
the journals that SQLite offers; each figure is the median of its repeats, kinds by turns.
"""

import argparse
import contextlib
import json
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for `bench.support`, wherever this is started
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))  # and for the tests' `support`

from bench.support import machine
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from keyborn.adapters.system import SystemClock
from keyborn.device.connecting import tls_context
from keyborn.device.courier import Courier
from keyborn.device.home import Home
from keyborn.device.keystore import FileKeyStore
from keyborn.device.messages import UNBOUNDED, Draft, OutboxLimits
from keyborn.device.opening import Limits
from keyborn.device.outbox import Outbox, open_outbox
from keyborn.device.session import MQTT_3_1_1, MQTT_5, Session
from keyborn.device.surroundings import Surroundings
from support.agent_stage import Process, talking
from support.device_home import home_in, identify
from support.mosquitto_broker import mosquitto

DRAFT = Draft("certtest/gateway-1", b"x" * 100)
BATCH = 100
MARKS = "<!-- bench/outbox.py writes from here -->", "<!-- bench/outbox.py writes to here -->"
JOURNALS = {
    "WAL, FULL (ours)": ("WAL", "FULL"),
    "DELETE, EXTRA": ("DELETE", "EXTRA"),
    "TRUNCATE, EXTRA": ("TRUNCATE", "EXTRA"),
}


@contextlib.contextmanager
def fresh(limits: OutboxLimits = UNBOUNDED, place: str = ".") -> Iterator[Outbox]:
    with (
        tempfile.TemporaryDirectory(dir=place) as name,
        open_outbox(Path(name) / "outbox.db", limits) as made,
    ):
        yield made


def per_second(work: Callable[[], int], seconds: float) -> float:
    """How much ``work`` says it has done, in a second."""
    begun, done = time.perf_counter(), 0
    while (now := time.perf_counter()) - begun < seconds:
        done += work()
    return done / (now - begun)


def appends(seconds: float, batch: int, journal: tuple[str, str]) -> float:
    """Messages that were kept durably, in transactions of ``batch``."""
    drafts, at = [DRAFT] * batch, datetime.now(UTC)
    with fresh() as outbox:
        connection = outbox._connection  # noqa: SLF001 - what else there would be
        connection.execute(f"PRAGMA journal_mode = {journal[0]}")
        connection.execute(f"PRAGMA synchronous = {journal[1]}")
        return per_second(lambda: len(outbox.append_many(drafts, at)), seconds)


def in_memory(seconds: float) -> float:
    """Appends, one at a time, on a disk that costs nothing: what is left is ours."""
    at = datetime.now(UTC)
    with fresh(place="/dev/shm") as outbox:
        return per_second(lambda: len(outbox.append_many([DRAFT], at)), seconds)


def full(seconds: float) -> float:
    """Appends, one at a time, to an outbox that is full and drops its oldest message for each."""
    at = datetime.now(UTC)
    with fresh(OutboxLimits(messages=1000)) as outbox:
        outbox.append_many([DRAFT] * 1000, at)
        return per_second(lambda: len(outbox.append_many([DRAFT], at)), seconds)


def through_agent(seconds: float, ahead: int, programs: int) -> float:
    """Messages that an agent without a broker has kept; each program is so many ``ahead`` of its answers."""
    with tempfile.TemporaryDirectory(dir=".") as name:
        home = home_in(Path(name))
        identify(home, broker=("localhost", 1))
        agent = Process(home, Path(name) / "agent.log", "--outbox-messages", "0")
        try:
            agent.start()
            with ThreadPoolExecutor(programs) as pool:
                return sum(pool.map(lambda _: publishing(home, seconds, ahead), range(programs)))
        finally:
            agent.close()


def publishing(home: Home, seconds: float, ahead: int) -> float:
    """One program's messages in a second; orders and answers go as they come, not in turns."""
    order = json.dumps({"op": "publish", "topic": DRAFT.topic, "payload": DRAFT.payload.decode()}) + "\n"
    with talking(home) as program:
        sock = program._socket  # noqa: SLF001 - a program may speak to it without our client
        sock.settimeout(20)
        begun, open_ones, done = time.perf_counter(), 0, 0
        while (now := time.perf_counter()) - begun < seconds:
            sock.sendall(order.encode() * (ahead - open_ones))
            answered = sock.recv(65536).count(b"\n")
            open_ones, done = ahead - answered, done + answered
        return done / (now - begun)


def drain(seconds: float, version: int) -> float:
    """Messages from disk to broker and off the disk."""
    with tempfile.TemporaryDirectory(dir=".") as name, mosquitto(Path(name)) as port:
        folder = Path(name)
        home = home_in(folder)
        identity = identify(home, broker=("localhost", port))
        context = tls_context(home, FileKeyStore(home.key), identity, datetime.now(UTC))
        around = Surroundings(SystemClock(), "bench", print)
        with open_outbox(home.outbox, UNBOUNDED) as outbox:
            count = int(seconds * 12_000)
            outbox.append_many([DRAFT] * count, datetime.now(UTC))
            session = Session(identity, context, version, Limits(time.monotonic(), 10, 10))
            session.open()
            with contextlib.closing(session):
                return count / empty(Courier(outbox, around, 0), outbox, session)


def empty(courier: Courier, outbox: Outbox, session: Session) -> float:
    """Seconds until nothing waits."""
    begun = time.perf_counter()
    courier.begin(session)
    while outbox.counts().waiting:
        session.wait(min(courier.pump(session), 1))
    return time.perf_counter() - begun


def paho_alone(seconds: float, version: int) -> float:
    """The peer: paho as it comes, from memory, with what the broker takes on the way, nothing on a disk."""
    with tempfile.TemporaryDirectory(dir=".") as name, mosquitto(Path(name)) as port:
        home = home_in(Path(name))
        identity = identify(home, broker=("localhost", port))
        client = Client(CallbackAPIVersion.VERSION2, "gateway-1", protocol=MQTTProtocolVersion(version))
        client.tls_set_context(tls_context(home, FileKeyStore(home.key), identity, datetime.now(UTC)))
        client.max_inflight_messages = 0
        acknowledged = [0]
        client.on_publish = lambda *_: acknowledged.__setitem__(0, acknowledged[0] + 1)
        client.connect("localhost", port)
        while not client.is_connected():
            client.loop(0.1)
        begun, sent = time.perf_counter(), 0
        while (now := time.perf_counter()) - begun < seconds:
            while sent - acknowledged[0] < 20:
                client.publish(DRAFT.topic, DRAFT.payload, 1)
                sent += 1
            client.loop(1)
        client.disconnect()
        return acknowledged[0] / (now - begun)


def measure(seconds: float, repeats: int) -> Iterator[tuple[str, list[float]]]:
    kinds: dict[str, Callable[[], float]] = {}
    for name, journal in JOURNALS.items():
        kinds[f"append, one at a time; {name}"] = partial(appends, seconds, 1, journal)
        kinds[f"append, {BATCH} at a time; {name}"] = partial(appends, seconds, BATCH, journal)
    kinds["append, one at a time, in /dev/shm: without a disk"] = partial(in_memory, seconds)
    kinds["append to a full outbox, one at a time, the oldest dropped"] = partial(full, seconds)
    for programs, ahead in ((1, 1), (1, BATCH), (8, 1), (8, BATCH)):
        name = f"through the agent's socket, {programs} at it, {ahead} ahead each"
        kinds[name] = partial(through_agent, seconds, ahead, programs)
    kinds["empty into mosquitto, MQTT 5"] = partial(drain, seconds, MQTT_5)
    kinds["empty into mosquitto, MQTT 3.1.1"] = partial(drain, seconds, MQTT_3_1_1)
    kinds["paho alone into mosquitto, MQTT 5, nothing on disk"] = partial(paho_alone, seconds, MQTT_5)
    figures: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(repeats):
        for name, work in kinds.items():
            figures[name].append(work())
    yield from figures.items()


def page(seconds: float, repeats: int) -> Iterator[str]:
    """Lines of Markdown."""
    yield f"{datetime.now(UTC):%Y-%m-%d}: medians of {repeats} repeats of about {seconds:g} s, by turns."
    yield ""
    about = machine.describe(Path())
    yield from (f"- {line}" for line in (about[0], f"SQLite {sqlite3.sqlite_version}", about[-1]))
    yield ""
    yield "| messages of 100 bytes | per second (lowest to highest) |"
    yield "| --- | --- |"
    for name, found in measure(seconds, repeats):
        yield f"| {name} | **{statistics.median(found):,.0f}** ({min(found):,.0f} to {max(found):,.0f}) |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--docs", type=Path, help="a page with the marks, for the figures")
    chosen = parser.parse_args()
    text = "\n".join(page(chosen.seconds, chosen.repeats))
    print(text)
    if chosen.docs:
        before, _, rest = chosen.docs.read_text().partition(MARKS[0])
        after = rest.partition(MARKS[1])[2]
        chosen.docs.write_text(f"{before}{MARKS[0]}\n\n{text}\n\n{MARKS[1]}{after}")


if __name__ == "__main__":
    main()
