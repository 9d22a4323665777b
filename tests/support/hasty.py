"""Many clients that enrol at full speed, in a process of their own, until nobody answers any more."""

import multiprocessing
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.synchronize import Event
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # `bench` is no installed package

from bench.support.driver import Driver, Plan
from bench.support.requests import Device, Door, make_device
from bench.support.verdict import judge


@dataclass(frozen=True)
class Rush:
    """Whom to ask, and which of the devices come."""

    address: tuple[str, int]
    pid: int
    secret: str
    clients: int
    first: int
    count: int
    longest: float
    """Seconds after which it is over even if somebody still answers."""


@dataclass(frozen=True)
class Heard:
    """What came of it."""

    given: frozenset[str]
    """Ids (SHA-256 of the DER) of the certificates in answers, each for the key that asked."""
    wrong: int
    """Answers of success without such a certificate."""
    refused: list[str]
    """Answers that were none of success."""
    answered: list[Device]
    unanswered: list[Device] = field(repr=False)
    """Those whose request was begun, and whose answer never came whole."""


def devices_of(rush: Rush) -> list[Device]:
    """Their names, and a key and a request for each."""
    return [make_device(number) for number in range(rush.first, rush.first + rush.count)]


_READY: list[Device] = []
_begins: list[Event] = []


def _tells(begins: Event) -> None:
    _begins.append(begins)


def prepare(rush: Rush) -> int:
    """Make the devices before anybody looks at a clock."""
    _READY[:] = devices_of(rush)
    return len(_READY)


def run(rush: Rush) -> Heard:
    """Enrol with all clients at once, each with the next device, until the server is gone."""
    door = Door("/v1/enroll", "thingName", "csr", ("certificatePem",), rush.secret)
    plan = Plan(*rush.address, door, rush.pid, True, False, rush.clients, 0.0, rush.longest)  # noqa: FBT003
    driver = Driver(plan, [door.request(device, close=False) for device in _READY])
    if _begins:
        _begins[0].set()
    with suppress(OSError):  # nobody listens any more
        driver.run()
    raw = driver.raw
    outcome = judge(raw, door, _READY)
    numbers = {number for number, *_ in raw.answers}
    begun = _READY[: driver.begun]
    refused = [what for what in raw.failures if what[:3].isdigit()]
    return Heard(
        given=outcome.certificates,
        wrong=outcome.wrong,
        refused=refused,
        answered=[device for number, device in enumerate(begun) if number in numbers],
        unanswered=[device for number, device in enumerate(begun) if number not in numbers],
    )


@contextmanager
def crowd() -> Iterator[Callable[[Rush], "Future[Heard]"]]:
    """Their process; yields what lets them loose, and returns as they begin."""
    spawn = multiprocessing.get_context("spawn")
    begins = spawn.Event()
    with ProcessPoolExecutor(1, mp_context=spawn, initializer=_tells, initargs=(begins,)) as pool:

        def loose(rush: Rush) -> "Future[Heard]":
            assert pool.submit(prepare, rush).result(60) == rush.count
            begins.clear()
            running = pool.submit(run, rush)
            assert begins.wait(20)
            return running

        yield loose
