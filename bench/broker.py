"""Messages and mutual-TLS connections per second: the embedded broker beside Mosquitto, on loopback.

    python bench/broker.py                             about a minute
    python bench/broker.py --seconds 0.3 --repeats 1   a first look
    python bench/broker.py --docs docs/benchmarks.md   put the table into the document

Each broker runs in a process of its own, and takes its turn in each repeat. The client is one for both, cut
as thin as it goes, so that the broker is what is measured: it publishes to its own subscription, 200 messages
under way, and counts what comes back. The limits on a connection's rate are lifted for it.
"""

import argparse
import asyncio
import multiprocessing
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for `bench.support`, wherever this is started
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))  # and for the tests' `support`

from bench.support import machine, mqtt_line, pages
from bench.support.load import process_cpu

from keyborn.adapters.broker.limits import Limits
from support.broker import running
from support.mosquitto_broker import Mosquitto
from support.pki import shared_pki

NAME = "bench/broker.py"
OURS, THEIRS = "the embedded broker", "Mosquitto"
DEVICES = 8
PAYLOAD = b"x" * 64
UNDER_WAY = 200
UNHURRIED = Limits(packets_per_second=1e9, bytes_per_second=1e12)
BEST = ("max_inflight_messages 0", "set_tcp_nodelay true")
"""Mosquitto would keep 20 messages of QoS 1 under way, and let the kernel wait for more to send."""


@dataclass(frozen=True)
class Broker:
    """One that runs: where, as which process, and who may connect."""

    address: tuple[str, int]
    pid: int
    devices: dict[str, ssl.SSLContext]


@dataclass(frozen=True)
class Figure:
    """What was counted in a second, and CPU seconds of the broker and of the client for each."""

    rate: float
    broker: float
    client: float


def main() -> None:
    options = _parse()
    found: dict[tuple[str, str], list[Figure]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        facts = [*machine.describe(folder)[:2], mosquitto_version()]
        with _all(folder) as brokers:
            for repeat in range(options.repeats):
                labels = list(brokers)[:: -1 if repeat % 2 else 1]
                for label in labels:
                    for what, figure in _measured(brokers[label], options.seconds):
                        found[what, label].append(figure)
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    how = f"{today}: medians of {options.repeats} repeats of {options.seconds:g} s, in turn."
    lines = [how, "", *(f"- {fact}" for fact in facts), "", *_table(found)]
    pages.put("\n".join(lines), options.docs, NAME)


_ORDER = ("QoS 0, messages", "QoS 1, messages", "mutual TLS connections")


def _measured(broker: Broker, seconds: float) -> Iterator[tuple[str, Figure]]:
    names = list(broker.devices)
    for qos in (0, 1):
        yield _ORDER[qos], round_trip(broker, names[qos], qos, seconds)
    yield _ORDER[2], connects(broker, seconds)


def round_trip(broker: Broker, name: str, qos: int, seconds: float) -> Figure:
    """Messages per second that came back."""
    tls = mqtt_line.dial(broker.address, broker.devices[name], name)
    mqtt_line.subscribe(tls, f"certtest/{name}/#", qos)
    packet = mqtt_line.publish(f"certtest/{name}/t", PAYLOAD, qos)
    where = len(packet) - len(PAYLOAD) - 2
    before = process_cpu(broker.pid), time.process_time()
    tls.sendall(packet * UNDER_WAY)
    rest, got, began = b"", 0, time.perf_counter()
    while (now := time.perf_counter()) - began < seconds:
        data, at, fresh, answers = rest + tls.recv(1 << 16), 0, 0, []
        while at + 4 <= len(data):
            if data[at] == mqtt_line.PUBACK:
                at += 4
                continue
            if at + len(packet) > len(data):
                break
            if qos:
                answers.append(b"\x40\x02" + data[at + where : at + where + 2])
            at += len(packet)
            fresh += 1
        rest = data[at:]
        tls.sendall(b"".join(answers) + packet * fresh)
        got += fresh
    figure = _figure(broker, got, now - began, before)
    tls.close()
    return figure


def connects(broker: Broker, seconds: float) -> Figure:
    """TLS 1.3 with a client certificate, CONNECT, CONNACK; per second, eight at a time."""
    until = time.perf_counter() + seconds
    before = process_cpu(broker.pid), time.process_time()

    def again(name: str) -> int:
        done = 0
        while time.perf_counter() < until:
            mqtt_line.dial(broker.address, broker.devices[name], name).close()
            done += 1
        return done

    with ThreadPoolExecutor(len(broker.devices)) as pool:
        done = sum(pool.map(again, broker.devices))
    return _figure(broker, done, seconds, before)


def _figure(broker: Broker, done: int, seconds: float, before: tuple[float, float]) -> Figure:
    each = max(1, done)
    cpu = process_cpu(broker.pid) - before[0], time.process_time() - before[1]
    return Figure(done / seconds, cpu[0] / each, cpu[1] / each)


def _table(found: dict[tuple[str, str], list[Figure]]) -> Iterator[str]:
    columns = ["what", "broker", "each second (lowest to highest)", "of Mosquitto"]
    columns += ["broker CPU µs each", "client CPU µs each"]
    yield f"| {' | '.join(columns)} |"
    yield "| --- " * len(columns) + "|"
    for (what, label), figures in sorted(found.items(), key=lambda one: _ORDER.index(one[0][0])):
        rates = [figure.rate for figure in figures]
        theirs = [figure.rate for figure in found.get((what, THEIRS), [])]
        share = median(a / b for a, b in zip(rates, theirs, strict=True)) if theirs else None
        cells = [
            what,
            label,
            f"**{median(rates):,.0f}** ({min(rates):,.0f} to {max(rates):,.0f})",
            "—" if share is None else f"{share:.2f}",
            *(f"{median(getattr(one, who) for one in figures) * 1e6:,.0f}" for who in ("broker", "client")),
        ]
        yield f"| {' | '.join(cells)} |"


@contextmanager
def _all(folder: Path) -> Iterator[dict[str, Broker]]:
    with _embedded(folder / "ours") as ours:
        if shutil.which("mosquitto", path="/usr/sbin:/usr/bin") is None:
            yield {OURS: ours}
            return
        with _mosquitto(folder / "theirs") as theirs:
            yield {OURS: ours, THEIRS: theirs}


@contextmanager
def _embedded(folder: Path) -> Iterator[Broker]:
    folder.mkdir()
    here, there = multiprocessing.Pipe()
    process = multiprocessing.Process(target=serve, args=(folder, there), daemon=True)
    process.start()
    if not here.poll(30):
        raise SystemExit("the broker did not start")
    port, devices = here.recv()
    contexts = {str(device.thing): device.context for device in devices}
    assert process.pid is not None
    yield Broker(("localhost", port), process.pid, contexts)
    here.send(None)
    process.join(10)


def serve(folder: Path, pipe: Connection) -> None:
    """The embedded broker's process: sends port and devices when it is ready, ends when told."""

    async def until_told() -> None:
        async with running(folder, limits=UNHURRIED) as world:
            devices = [world.device(f"dev-{number}") for number in range(DEVICES)]
            pipe.send((world.port, devices))
            await asyncio.get_running_loop().run_in_executor(None, pipe.recv)

    asyncio.run(until_told())


@contextmanager
def _mosquitto(folder: Path) -> Iterator[Broker]:
    folder.mkdir()
    broker, pki = Mosquitto(folder, more=BEST).start(), shared_pki()
    contexts = {}
    for name in (f"dev-{number}" for number in range(DEVICES)):
        chain, key = pki.devices.leaf(name).write(folder, name)
        contexts[name] = ssl.create_default_context(cadata=pki.root_pem)
        contexts[name].load_cert_chain(chain, key)
    assert broker.process is not None
    try:
        yield Broker(broker.mqtt, broker.process.pid, contexts)
    finally:
        broker.stop()


def mosquitto_version() -> str:
    """What it says of itself, on one line."""
    program = shutil.which("mosquitto", path="/usr/sbin:/usr/bin")
    if program is None:
        return "Mosquitto: not installed"
    said = subprocess.run([program, "-h"], capture_output=True, text=True, check=False).stdout
    return said.partition("\n")[0]


def _parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--docs", type=Path, help="put the table between the marks in this file")
    return parser.parse_args(words)


if __name__ == "__main__":
    main()
