"""Clients that are connected and have nothing to do: memory, wake-ups, what they import, what they bring."""

import contextlib
import importlib.metadata
import random
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement

import keyborn
from support.device import enroll, keyborn as keyborn_command
from support.server import Server

AGENT = "`keyborn agent`"
RENEWED = "`keyborn agent`, after it has renewed its certificate"
CLIENTS = Path(__file__).resolve().parent / "clients"
_PATIENCE = 60.0
_SWITCHES = re.compile(r"^voluntary_ctxt_switches:\s+(\d+)", re.MULTILINE)
_IMPORT = re.compile(r"import time:\s+(\d+) \|")


@dataclass(frozen=True, slots=True)
class Kind:
    """A client: its words, and the distributions that it needs; ``programs`` are Debian's."""

    words: Callable[["Place"], list[str]]
    brings: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Place:
    """An enrolled device's home, and its broker."""

    home: Path
    thing: str
    broker: tuple[str, int]


@dataclass(frozen=True, slots=True)
class Rest:
    """What one process was like at rest: KiB, and switches that it asked for in the time it was watched."""

    pss: int
    rss: int
    wakes: int
    modules: int
    import_ms: float


def _agent(place: Place) -> list[str]:
    return [sys.executable, "-X", "importtime", "-m", "keyborn", "agent", "--home", str(place.home)]


def _script(which: str) -> Callable[[Place], list[str]]:
    def _words(place: Place) -> list[str]:
        files = [str(place.home / name) for name in ("device.crt", "device.key", "roots.pem")]
        host, port = place.broker
        script = [str(CLIENTS / "idle.py"), which, *files, place.thing, host, str(port)]
        return [sys.executable, "-X", "importtime", *script]

    return _words


def _mosquitto_sub(place: Place) -> list[str]:
    host, port = place.broker
    files = ["--cafile", place.home / "roots.pem", "--cert", place.home / "device.crt"]
    words = ["mosquitto_sub", "-h", host, "-p", port, *files, "--key", place.home / "device.key"]
    return [str(word) for word in (*words, "-i", place.thing, "-t", f"certtest/{place.thing}/#", "-q", 1)]


KINDS: Mapping[str, Kind] = {
    AGENT: Kind(_agent, ("keyborn",)),
    RENEWED: Kind(_agent, ("keyborn",)),
    "a script with paho": Kind(_script("paho"), ("paho-mqtt",)),
    "a script with paho and cryptography": Kind(_script("paho+cryptography"), ("paho-mqtt", "cryptography")),
    "a script with AWSIoTPythonSDK": Kind(_script("sdk"), ("AWSIoTPythonSDK",)),
    "a script with awscrt": Kind(_script("awscrt"), ("awscrt",)),
    "mosquitto_sub": Kind(_mosquitto_sub, programs=("mosquitto-clients", "libmosquitto1")),
}


def rounds(
    server: Server, folder: Path, count: int, seconds: float, names: Sequence[str]
) -> Iterator[tuple[str, Rest]]:
    """In each round every client once, all of them at the same time, each watched for ``seconds``."""
    for number in range(count):
        with contextlib.ExitStack() as running:
            started = [
                (name, *_start(server, folder, name, f"rest-{number}-{at}", running))
                for at, name in enumerate(random.sample(names, len(names)))
            ]
            time.sleep(min(3.0, seconds))  # what a start leaves behind has ended
            before = [wakes(process.pid) for _, process, _ in started]
            time.sleep(seconds)
            for (name, process, log), so_far in zip(started, before, strict=True):
                assert process.poll() is None, f"{name} ended: {log.read_text()[-500:]}"
                yield name, _look(process.pid, so_far, log)


def _look(pid: int, so_far: int, log: Path) -> Rest:
    memory, spent = _memory(pid), [int(each) for each in _IMPORT.findall(log.read_text())]
    return Rest(memory["Pss"], memory["Rss"], wakes(pid) - so_far, len(spent), sum(spent) / 1e3)


def present() -> list[str]:
    """The clients that are on this machine."""
    return [name for name, kind in KINDS.items() if not kind.programs or shutil.which(name)]


def _start(
    server: Server, folder: Path, name: str, thing: str, running: contextlib.ExitStack
) -> tuple["subprocess.Popen[bytes]", Path]:
    """Enroll a device and have it connected."""
    place = Place(folder / thing, thing, server.mqtt)
    enroll(place.home, server.token(thing=thing)["code"], thing)
    log = folder / f"{thing}.log"
    with log.open("wb") as errors:
        process = subprocess.Popen(KINDS[name].words(place), stdout=subprocess.DEVNULL, stderr=errors)
    running.callback(_end, process)
    deadline = time.monotonic() + _PATIENCE
    while server.active(thing)[0]["firstConnected"] is None:
        assert process.poll() is None, f"{name}: {log.read_text()[-500:]}"
        assert time.monotonic() < deadline, f"{name} does not connect"
        time.sleep(0.1)
    if name == RENEWED:
        keyborn_command("renew", "--now", "--home", place.home)
    return process, log


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    process.wait(_PATIENCE)


def wakes(pid: int) -> int:
    """How often the threads of a process went to sleep of their own accord, so far."""
    tasks = Path(f"/proc/{pid}/task").glob("*/status")
    found = [
        re.search(r"^voluntary_ctxt_switches:\s+(\d+)", task.read_text(), re.MULTILINE) for task in tasks
    ]
    return sum(int(each[1]) for each in found if each)


def _memory(pid: int) -> dict[str, int]:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    return {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}


def table(found: Sequence[tuple[str, Rest]], seconds: float) -> str:
    """Medians."""
    lines = [
        f"| at rest | PSS MiB | RSS MiB | woken in {seconds:g} s | modules | import ms | MiB on disk |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, kind in KINDS.items():
        if rests := [rest for each, rest in found if each == name]:
            lines.append(f"| {name} | {_row(rests)} | {installed(kind):.1f} |")
    return "\n".join(lines)


def _row(rests: Sequence[Rest]) -> str:
    pss, rss, woken, modules, spent = (
        statistics.median(each)
        for each in zip(
            *((r.pss / 1024, r.rss / 1024, r.wakes, r.modules, r.import_ms) for r in rests), strict=True
        )
    )
    imports = f"{modules:.0f} | {spent:.0f}" if modules else "- | -"
    return f"**{pss:.1f}** | {rss:.1f} | {woken:.0f} | {imports}"


def installed(kind: Kind) -> float:
    """MiB of everything that a client brings beside Python, OpenSSL and the C library; bytecode included."""
    if kind.programs:
        query = ["dpkg-query", "--show", "--showformat=${Installed-Size}\n", *kind.programs]
        return (
            sum(map(int, subprocess.run(query, capture_output=True, text=True, check=True).stdout.split()))
            / 1024
        )
    return sum(_size(name) for name in _closure(kind.brings)) / 2**20


def _closure(names: Sequence[str]) -> set[str]:
    """The distributions and all that they need, without extras."""
    found: set[str] = set()
    left = list(names)
    while left:
        if (name := left.pop().lower().replace("_", "-")) in found:
            continue
        found.add(name)
        needs = (Requirement(each) for each in importlib.metadata.requires(name) or ())
        left += [need.name for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})]
    return found


def _size(name: str) -> int:
    if name == "keyborn":  # a checkout has only a link to it
        folder = Path(keyborn.__file__).parent
        return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    files = [Path(str(file.locate())) for file in importlib.metadata.files(name) or ()]
    return sum(file.stat().st_size for file in files if file.is_file())
