"""From the order to revoke to the end of the open session: the embedded broker, beside Mosquitto.

    python bench/revoke.py                             500 sessions, 200 of them ended, half a minute
    python bench/revoke.py --docs docs/benchmarks.md   put the table into the document

Every session is a device's, with mutual TLS. The clock starts before the order is given and stops when the
device's socket tells of its end. Keyborn's order is durable when it returns, and the device does not come
back. Mosquitto's is ``disableClient`` of its dynamic security plugin, which ends the session and, with
certificates, lets the device in again.
"""

import argparse
import select
import ssl
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for `bench.support`, wherever this is started
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))  # and for the tests' `support`

from bench.support import machine, mqtt_line, pages
from bench.support.verdict import quantile

from keyborn.cli.console import ask
from support.mosquitto_broker import Mosquitto
from support.pki import shared_pki
from support.server import running
from support.talker import enroll_device

NAME = "bench/revoke.py"
PATIENCE = 10.0
"""Seconds after which a session counts as not ended."""


@dataclass(frozen=True)
class Scene:
    """Who is connected, and how one of them is ended."""

    label: str
    lines: dict[str, ssl.SSLSocket]
    end: Callable[[str], None]
    back: Callable[[str], bool]
    """Whether a device that was ended gets in again."""


def main() -> int:
    """Measure and print; 1 if a session of ours outlived its order."""
    options = _parse()
    rows, late = [], 0
    with tempfile.TemporaryDirectory(prefix="bench-revoke-", dir=options.folder) as name:
        folder = Path(name)
        facts = machine.describe(folder)
        for scene in _scenes(folder, options.sessions):
            taken, stayed = _ended(scene, options.count)
            rows.append(_row(scene, taken, stayed))
            late += stayed
    head = "| order | sessions open | ended | p50 ms | p99 ms | longest ms | not ended | lets it in again |"
    how = f"{datetime.now(UTC):%Y-%m-%d}: one order after the other."
    lines = [how, "", *(f"- {fact}" for fact in facts), "", head, "| --- " * 8 + "|", *rows]
    pages.put("\n".join(lines), options.docs, NAME)
    return 1 if late else 0


def _ended(scene: Scene, count: int) -> tuple[list[float], int]:
    """Seconds of each, and how many sessions stayed."""
    taken, stayed = [], 0
    for name in list(scene.lines)[:count]:
        line = scene.lines[name]
        with ThreadPoolExecutor(1) as pool:
            began = time.monotonic()
            watching = pool.submit(_until_closed, line)
            scene.end(name)
            closed = watching.result()
        if closed is None:
            stayed += 1
        else:
            taken.append(closed - began)
        line.close()
    return taken, stayed


def _until_closed(line: ssl.SSLSocket) -> float | None:
    """The moment at which the socket told of its end."""
    until = time.monotonic() + PATIENCE
    while (left := until - time.monotonic()) > 0:
        if not select.select([line], [], [], left)[0]:
            break
        try:
            if not line.recv(4096):
                return time.monotonic()
        except OSError:
            return time.monotonic()
    return None


def _row(scene: Scene, taken: Sequence[float], stayed: int) -> str:
    milliseconds = [quantile(taken, share) * 1e3 for share in (0.5, 0.99, 1.0)]
    again = "yes" if scene.back(next(iter(scene.lines))) else "no"
    values = [f"{value:.1f}" for value in milliseconds]
    values[1] = f"**{values[1]}**"
    return (
        f"| {scene.label} | {len(scene.lines)} | {len(taken)} | {' | '.join(values)} | {stayed} | {again} |"
    )


def _scenes(folder: Path, sessions: int) -> Iterator[Scene]:
    with _keyborn(folder, sessions) as scene:
        yield scene
    if mqtt_line.plugin():
        with _mosquitto(folder, sessions) as scene:
            yield scene


@contextmanager
def _keyborn(folder: Path, sessions: int) -> Iterator[Scene]:
    with running(folder) as server:
        names = [f"dev-{number}" for number in range(sessions)]
        with ThreadPoolExecutor(8) as pool:
            made = list(pool.map(lambda name: enroll_device(server, folder, name), names))
        contexts = {one.name: one.context for one in made}
        lines = {name: mqtt_line.dial(server.mqtt, contexts[name], name) for name in names}
        try:
            yield Scene(
                "`keyborn thing revoke`",
                lines,
                lambda name: ask(server.data, "POST", f"/v1/things/{name}/status", {"status": "revoked"}),
                lambda name: _gets_in(server.mqtt, contexts[name], name),
            )
        finally:
            _hang_up(lines)


@contextmanager
def _mosquitto(folder: Path, sessions: int) -> Iterator[Scene]:
    names = [f"dev-{number}" for number in range(sessions)]
    place = folder / "mosquitto"
    place.mkdir()
    mqtt_line.write_dynamic_security(place / "dynsec.json", names)
    plugin = [f"plugin {mqtt_line.plugin()}", f"plugin_opt_config_file {place}/dynsec.json"]
    broker = Mosquitto(place, more=tuple(plugin)).start()
    contexts = {name: _context(place, name) for name in [*names, "admin"]}
    lines: dict[str, ssl.SSLSocket] = {}
    try:
        admin = mqtt_line.dial(broker.mqtt, contexts["admin"], "admin")
        lines |= {name: mqtt_line.dial(broker.mqtt, contexts[name], name) for name in names}
        yield Scene(
            "Mosquitto, `disableClient`",
            lines,
            lambda name: mqtt_line.order(admin, "disableClient", name),
            lambda name: _gets_in(broker.mqtt, contexts[name], name),
        )
        admin.close()
    finally:
        _hang_up(lines)
        broker.stop()


def _context(folder: Path, name: str) -> ssl.SSLContext:
    pki = shared_pki()
    chain, key = pki.devices.leaf(name).write(folder, name)
    context = ssl.create_default_context(cadata=pki.root_pem)
    context.load_cert_chain(chain, key)
    return context


def _gets_in(address: tuple[str, int], context: ssl.SSLContext, name: str) -> bool:
    try:
        mqtt_line.dial(address, context, name).close()
    except (OSError, SystemExit):
        return False
    return True


def _hang_up(lines: dict[str, ssl.SSLSocket]) -> None:
    for line in lines.values():
        line.close()


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sessions", type=int, default=500)
    parser.add_argument("--count", type=int, default=200, help="of them that are ended")
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp"), help="for the data; not a tmpfs")
    parser.add_argument("--docs", type=Path, help="put the table between the marks in this file")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
