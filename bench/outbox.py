"""The device's outbox: durable appends a second, one at a time and in batches; how fast it empties.

    python bench/outbox.py                         about two minutes
    python bench/outbox.py --quick                 a first look, to see that it works
    python bench/outbox.py --docs docs/outbox.md   put the table into the document

Messages have 100 bytes. It empties over mutual TLS, QoS 1, into Debian's mosquitto, which has a core and a
disk with us: the time is that of ``Courier``, from the first message to the last acknowledgement on disk.
Appends stand beside the other journals of SQLite, plain SQLite and a bare file; each figure is the median of
its repeats, each ratio the median of those within a repeat. The folder it runs in has the files.
"""

import argparse
import contextlib
import json
import os
import random
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for `bench.support`, wherever this is started
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))  # and for the tests' `support`

from bench.support import machine, pages
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
        home = home_in(Path(name).resolve())
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


def drain(seconds: float, version: int, place: str = ".") -> float:
    """Messages from disk to broker and off the disk."""
    with tempfile.TemporaryDirectory(dir=place) as name, mosquitto(Path(name)) as port:
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


def mosquitto_pub(seconds: float) -> float:
    """Another peer: Debian's publisher, which reads lines and keeps nothing; its start is in the time."""
    count = int(seconds * 12_000)
    with tempfile.TemporaryDirectory(dir=".") as name, mosquitto(Path(name)) as port:
        home = home_in(Path(name))
        identify(home, broker=("localhost", port))
        files = ["--cafile", home.roots, "--cert", home.certificate, "--key", home.key]
        where = ["-h", "localhost", "-p", port, "-i", "gateway-1", "-t", DRAFT.topic, "-q", 1]
        words = [str(word) for word in ("mosquitto_pub", *where, *files, "-l")]
        lines, begun = (DRAFT.payload + b"\n") * count, time.perf_counter()
        subprocess.run(words, input=lines, check=True, timeout=120)
        return count / (time.perf_counter() - begun)


def plain(seconds: float, batch: int) -> float:
    """The peer: SQLite with a table and nothing else, as durable as ours."""
    at = datetime.now(UTC).isoformat()
    rows = [(DRAFT.topic, DRAFT.payload, at)] * batch
    with (
        tempfile.TemporaryDirectory(dir=".") as name,
        contextlib.closing(sqlite3.connect(Path(name) / "plain.db", isolation_level=None)) as run,
    ):
        run.execute("PRAGMA journal_mode = WAL")
        run.execute("PRAGMA synchronous = FULL")
        run.execute("CREATE TABLE message (id INTEGER PRIMARY KEY, topic TEXT, payload BLOB, at TEXT)")

        def _append() -> int:
            run.execute("BEGIN IMMEDIATE")
            run.executemany("INSERT INTO message (topic, payload, at) VALUES (?, ?, ?)", rows)
            run.execute("COMMIT")
            return batch

        return per_second(_append, seconds)


def synced(seconds: float, batch: int) -> float:
    """What this disk can do at all: a file that grows by the bytes of a batch, and is synced."""
    data = (DRAFT.topic.encode() + DRAFT.payload) * batch
    with tempfile.TemporaryFile(dir=".", buffering=0) as file:

        def _append() -> int:
            file.write(data)
            os.fdatasync(file.fileno())
            return batch

        return per_second(_append, seconds)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; ``peer`` is the row it is held against."""

    name: str
    work: Callable[[float], float]
    peer: str = ""


def rows() -> Iterator[Row]:
    for batch, how in ((1, "one at a time"), (BATCH, f"{BATCH} at a time")):
        peer = f"append, {how}; plain SQLite, as durable"
        for name, journal in JOURNALS.items():
            yield Row(f"append, {how}; {name}", partial(appends, batch=batch, journal=journal), peer)
        yield Row(peer, partial(plain, batch=batch))
        yield Row(f"append, {how}; a bare file, synced", partial(synced, batch=batch), peer)
    yield Row("append, one at a time, in /dev/shm: without a disk", in_memory)
    yield Row("append to a full outbox, one at a time, the oldest dropped", full)
    for programs, ahead in ((1, 1), (1, BATCH), (8, 1), (8, BATCH)):
        name = f"through the agent's socket, {programs} at it, {ahead} ahead each"
        yield Row(name, partial(through_agent, ahead=ahead, programs=programs))
    peer = "paho alone into mosquitto, MQTT 5, nothing on disk"
    yield Row("empty into mosquitto, MQTT 5", partial(drain, version=MQTT_5), peer)
    yield Row("empty into mosquitto, MQTT 3.1.1", partial(drain, version=MQTT_3_1_1), peer)
    place = "/dev/shm"
    yield Row(
        "the same, MQTT 5, in /dev/shm: without a disk", partial(drain, version=MQTT_5, place=place), peer
    )
    yield Row(peer, partial(paho_alone, version=MQTT_5))
    yield Row("mosquitto_pub -l into mosquitto, nothing on disk", mosquitto_pub, peer)


def measure(seconds: float, repeats: int) -> Iterator[tuple[Row, list[float], float | None]]:
    """Every row with its figures, and the median of its ratios to its peer within a repeat."""
    kinds = list(rows())
    figures: dict[str, list[float]] = {row.name: [] for row in kinds}
    for _ in range(repeats):
        for row in random.sample(kinds, len(kinds)):
            figures[row.name].append(row.work(seconds))
    for row in kinds:
        ratios = [
            ours / peers for ours, peers in zip(figures[row.name], figures.get(row.peer, ()), strict=False)
        ]
        yield row, figures[row.name], statistics.median(ratios) if ratios else None


def page(seconds: float, repeats: int) -> Iterator[str]:
    """Lines of Markdown."""
    day = f"{datetime.now(UTC):%Y-%m-%d}"
    yield f"{day}: medians of {repeats} repeats of about {seconds:g} s, in an order drawn anew."
    yield f"Runnable at once on the machine, over the last five minutes of it: {os.getloadavg()[1]:.1f}."
    yield ""
    about = machine.describe(Path())
    yield from (f"- {line}" for line in (about[0], f"SQLite {sqlite3.sqlite_version}", about[-1]))
    yield ""
    yield "| messages of 100 bytes | per second (lowest to highest) | of the peer's |"
    yield "| --- | --- | --- |"
    for row, found, ratio in measure(seconds, repeats):
        figure = f"**{statistics.median(found):,.0f}** ({min(found):,.0f} to {max(found):,.0f})"
        yield f"| {row.name} | {figure} | {'-' if ratio is None else f'{ratio:.2f}'} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a twentieth of a second of each, once")
    parser.add_argument("--docs", type=Path, help="a page with the marks, for the figures")
    chosen = parser.parse_args()
    seconds, repeats = (0.05, 1) if chosen.quick else (chosen.seconds, chosen.repeats)
    pages.put("\n".join(page(seconds, repeats)), chosen.docs, "bench/outbox.py")


if __name__ == "__main__":
    main()
