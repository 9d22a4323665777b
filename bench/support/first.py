"""Ways from nothing to the first acknowledged message: what each runs, and what it took."""

import compileall
import random
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.support.verdict import quantile

import keyborn
from keyborn.cli.console import ask
from support.server import Server

KINDS = ("p256", "rsa2048")
CLIENTS = Path(__file__).resolve().parent / "clients"
KEYBORN = "`keyborn enroll --publish`"
TWO_COMMANDS = "`keyborn enroll`, then `keyborn publish`"
TOOLS = "openssl, curl, mosquitto_pub"
USUAL = "the usual script: Python, openssl, requests, AWSIoTPythonSDK"
_PATIENCE = 120.0


@dataclass(frozen=True, slots=True)
class Start:
    """What a device is given: an empty folder, its name, a token, and where the service is."""

    folder: Path
    thing: str
    kind: str
    code: str
    secret: str
    url: str
    root: Path
    broker: tuple[str, int]

    @property
    def place(self) -> list[str]:
        """What the scripts are told."""
        bearer = self.folder / "bearer.txt"
        bearer.write_text(f"Authorization: Bearer {self.secret}\n")
        host, port = self.broker
        return [self.kind, self.url, str(bearer), str(self.root), self.thing, host, str(port)]


@dataclass(frozen=True, slots=True)
class Took:
    """One device's way: seconds on the clock, and of CPU of its processes with their children."""

    wall: float
    cpu: float


Order = tuple[list[str], str]
"""A process: its words, and what is typed into it."""


def _keyborn(start: Start) -> list[Order]:
    (enroll, code), _ = _two_commands(start)
    return [([*enroll, "--publish", "hello"], code)]


def _two_commands(start: Start) -> list[Order]:
    command, home = str(Path(sys.executable).with_name("keyborn")), ["--home", str(start.folder / "home")]
    enroll = [command, "enroll", "-", "--thing", start.thing, "--key-type", start.kind, *home]
    return [(enroll, start.code), ([command, "publish", f"certtest/{start.thing}", "hello", *home], "")]


def _tools(start: Start) -> list[Order]:
    return [(["sh", str(CLIENTS / "openssl_curl.sh"), *start.place], "")]


def _usual(start: Start) -> list[Order]:
    return [([sys.executable, str(CLIENTS / "usual_script.py"), *start.place], "")]


WAYS: Mapping[str, Callable[[Start], list[Order]]] = {
    KEYBORN: _keyborn,
    TWO_COMMANDS: _two_commands,
    TOOLS: _tools,
    USUAL: _usual,
}


def installed() -> None:
    """Bytecode beside the sources, as every installation has it; a checkout may lack it."""
    compileall.compile_dir(str(Path(keyborn.__file__).parent), quiet=2)


def walk(start: Start, way: str) -> Took:
    """Let a device go its way; raises AssertionError with its words where it fails."""
    orders = WAYS[way](start)
    before, begun = _children(), time.perf_counter()
    for words, typed in orders:
        done = subprocess.run(
            words,
            input=typed,
            cwd=start.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=_PATIENCE,
        )
        assert done.returncode == 0, f"{way}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "keyborn" not in way or done.stdout.endswith("delivered\n"), done.stdout
    return Took(time.perf_counter() - begun, _children() - before)


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def rounds(server: Server, folder: Path, count: int, kinds: Sequence[str]) -> Iterator[tuple[str, str, Took]]:
    """In each round every way with each kind of key, in an order drawn anew: way, kind, what it took.

    A device got there only if the registry knows one active certificate of it afterwards.
    """
    root = folder / "root.pem"
    folder.mkdir()
    root.write_text(_root(server))
    order = [(way, kind) for way in WAYS for kind in kinds]
    for number in range(count):
        random.shuffle(order)
        for place, (way, kind) in enumerate(order):
            thing = f"{folder.name}-{number}-{place}"
            token = server.token(thing=thing)
            empty = folder / thing
            empty.mkdir()
            start = Start(
                empty, thing, kind, token["code"], token["secret"], server.about["url"], root, server.mqtt
            )
            took = walk(start, way)
            assert len(server.active(thing)) == 1, f"{way}: {thing} has no certificate"
            yield way, kind, took


def _root(server: Server) -> str:
    authorities = ask(server.data, "GET", "/v1/authorities")
    return str(next(row["pem"] for row in authorities if row["role"] == "root"))


def table(found: Sequence[tuple[str, str, Took]]) -> str:
    """Medians and 95th percentiles; ratios are medians of the ratios within a round."""
    head = (
        "| key | way | ms: p50 (p95) | CPU ms: p50 (p95) | of the tools' time | of the usual script's time |"
    )
    lines = [head, "| --- | --- | --- | --- | --- | --- |"]
    for kind in dict.fromkeys(kind for _, kind, _ in found):
        by_way = {way: [took for w, k, took in found if (w, k) == (way, kind)] for way in WAYS}
        for way, took in by_way.items():
            ratios = " | ".join(_ratio(took, by_way[peer], same=peer == way) for peer in (TOOLS, USUAL))
            wall = _span([each.wall for each in took])
            lines.append(f"| {kind} | {way} | {wall} | {_span([each.cpu for each in took])} | {ratios} |")
    return "\n".join(lines)


def _span(seconds: Sequence[float]) -> str:
    return f"**{1e3 * statistics.median(seconds):.0f}** ({1e3 * quantile(seconds, 0.95):.0f})"


def _ratio(ours: Sequence[Took], peers: Sequence[Took], *, same: bool) -> str:
    if same:
        return "1"
    ratio = statistics.median(mine.wall / peer.wall for mine, peer in zip(ours, peers, strict=True))
    return f"{ratio:.2f}"
