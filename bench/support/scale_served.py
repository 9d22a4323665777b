"""``keyborn serve`` over several registries at once: how long it takes to start, what calls cost there."""

import contextlib
import shutil
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from bench.support import fleet
from bench.support.driver import Driver, Plan
from bench.support.requests import make_device
from bench.support.system import Target
from bench.support.systems import Keyborn

from keyborn.cli.console import ask

_SECONDS = {1: 1.0, 32: 2.0}
"""How long so many clients enroll, in each round."""
_MOST = {1: 1_000, 32: 3_000}
_WARMUP = 0.2
"""Enrolments a second that there are devices for."""
_CALLS = 60
_STARTS = 3


@dataclass
class Served:
    """One running service."""

    data: Path
    target: Target
    size: int
    figures: dict[str, list[float]] = field(default_factory=dict)

    def note(self, name: str, value: float) -> None:
        """Keep one figure."""
        self.figures.setdefault(name, []).append(value)


def measure(folder: Path, places: Sequence[Path], rounds: int) -> list[tuple[str, float, float]]:
    """Medians: what was measured, on the first registry, on the last."""
    folders = [_data(folder / f"served-{number}", place) for number, place in enumerate(places)]
    starts = [_starts(each) for each in folders]
    with ExitStack() as stack:
        running = [
            Served(each / "data", stack.enter_context(_running(each)), _things(place))
            for each, place in zip(folders, places, strict=True)
        ]
        for number in range(rounds):
            _round(running, number)
        memory = [_resident(one.target.pid) for one in running]
    names = [("start to listening, ms", [statistics.median(one) for one in starts])]
    names += [
        (name, [statistics.median(one.figures[name]) for one in running]) for name in running[0].figures
    ]
    names += [("resident memory afterwards, MiB", memory)]
    return [(name, values[0], values[-1]) for name, values in names]


def _data(folder: Path, place: Path) -> Path:
    """A data folder with that registry in it."""
    data = folder / "data"
    data.mkdir(parents=True, mode=0o700)
    data.chmod(0o700)
    shutil.move(place, data / "registry.db")
    for rest in ("-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            shutil.move(f"{place}{rest}", data / f"registry.db{rest}")
    with _running(folder):
        pass  # makes the authority, once
    return folder


def _things(place: Path) -> int:
    return int(place.stem.rpartition("-")[2])


@contextlib.contextmanager
def _running(folder: Path) -> Iterator[Target]:
    with Keyborn(tls=True).running(folder) as target:
        yield target


def _starts(folder: Path) -> list[float]:
    spans = []
    for _ in range(_STARTS):
        begun = time.perf_counter()
        with _running(folder):
            spans.append((time.perf_counter() - begun) * 1e3)
    return spans


def _round(running: Sequence[Served], number: int) -> None:
    for clients, seconds in _SECONDS.items():
        count = int(_MOST[clients] * (seconds + _WARMUP))
        first = (number * len(_SECONDS) + list(_SECONDS).index(clients)) * 10_000
        devices = [make_device(first + each) for each in range(count)]
        for one in running if number % 2 else [*running][::-1]:
            door = one.target.door
            requests = [door.request(device, close=False) for device in devices]
            plan = Plan(
                *(one.target.host, one.target.port, door, one.target.pid),
                tls=True,
                fresh=False,
                clients=clients,
                warmup=_WARMUP,
                seconds=seconds,
            )
            raw = Driver(plan, requests).run()
            inside = [got - sent for _, sent, got, _ in raw.answers if raw.opened <= got <= raw.closed]
            who = "alone" if clients == 1 else f"{clients} clients"
            one.note(f"enrolment, {who}: p50 ms", statistics.median(inside) * 1e3)
            one.note(f"enrolment, {who}: server CPU µs each", raw.load.server * 1e6 / len(inside))
    for name, call in _calls(number).items():
        for each in range(_CALLS):
            for one in running:
                begun = time.perf_counter()
                call(one, each)
                one.note(name, (time.perf_counter() - begun) * 1e3)


def _calls(number: int) -> dict[str, Callable[[Served, int], object]]:
    return {
        "thing show: p50 ms": lambda one, each: ask(one.data, "GET", f"/v1/things/{_name(one, each * 7)}"),
        "thing list, 100 in the middle: p50 ms": lambda one, _: ask(
            one.data, "GET", "/v1/things", after="sensor-02", limit=100
        ),
        "thing list --where model=m3, 100: p50 ms": lambda one, _: ask(
            one.data, "GET", "/v1/things", where=["model=m3"], limit=100
        ),
        "thing revoke: p50 ms": lambda one, each: ask(
            one.data,
            "POST",
            f"/v1/things/{_name(one, 500 + number * _CALLS + each)}/status",
            {"status": "revoked"},
        ),
    }


def _name(one: Served, number: int) -> str:
    """Names spread over the whole registry."""
    return fleet.record(number * (one.size // 1000) % one.size).name


def _resident(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("the server is gone")
