"""A runner on a stage: a real home, and service and broker that do what a test writes into their scripts."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from keyborn.device import roots, slots
from keyborn.device.home import Home
from keyborn.device.identity import Identity
from keyborn.device.journey import Enrollment, Runner
from keyborn.device.keystore import KeyFacts
from keyborn.device.renewal import Successor
from keyborn.device.slots import Survey
from keyborn.domain.errors import KeybornError, SessionRefused
from keyborn.domain.journey import Journey, Stage
from support.device_home import Machine, home_in, now
from support.device_slots import certified


@dataclass
class Broker:
    """Takes every certificate, unless the next error is raised; ``served`` are the lengths of sessions."""

    troubles: deque[KeybornError | None] = field(default_factory=deque)
    losses: deque[KeybornError | None] = field(default_factory=deque)
    connected: list[str] = field(default_factory=list)
    served: list[float] = field(default_factory=list)
    open: str | None = None
    refuses: Callable[[str], bool] = lambda _certificate: False
    pass_time: Callable[[float], None] = lambda _seconds: None

    def connect(self, home: Home, own: Identity) -> None:
        assert self.open is None, "two sessions at once"
        if self.troubles and (trouble := self.troubles.popleft()) is not None:
            raise trouble
        if self.refuses(own.certificate_id):
            raise SessionRefused(broker="b", detail="closed", thing=own.thing)
        self.open = own.certificate_id
        self.connected.append(f"{home.slot.value} {own.certificate_id}")

    def serve(self, seconds: float) -> None:
        assert self.open is not None
        self.served.append(seconds)
        self.pass_time(seconds)
        if self.losses and (loss := self.losses.popleft()) is not None:
            raise loss

    def close(self) -> None:
        assert self.open is not None
        self.open = None


@dataclass
class Service:
    """Renews and confirms at once, unless the next error is raised; ``asked`` is what it was asked."""

    home: Home
    troubles: deque[KeybornError | None] = field(default_factory=deque)
    asked: list[str] = field(default_factory=list)
    time: datetime | None = None
    answers: dict[str, Successor] = field(default_factory=dict)
    bundle: bytes = b""
    """Its roots, where they are others than the device's."""
    believed: list[str] = field(default_factory=list)
    """Hashes of the roots that the device said it has."""
    roots_trouble: KeybornError | None = None
    csrs: list[str] = field(default_factory=list)
    """The requests for the next certificate."""
    deaf: KeybornError | None = None
    """What it says to who tells which roots it has: AWS has no such route."""

    def service_time(self, own: Identity) -> datetime | None:
        self._note("time")
        return self.time

    def new_roots(self, own: Identity, moment: datetime) -> roots.Change | None:
        if self.roots_trouble is not None:
            raise self.roots_trouble
        return roots.weigh(self.bundle, self.home.roots.read_text(), moment, url="u") if self.bundle else None

    def tell_roots(self, own: Identity) -> None:
        if self.deaf is not None:
            raise self.deaf
        if self.roots_trouble is not None:
            raise self.roots_trouble
        self.believed.append(own.roots_hash)

    def renew(self, own: Identity, csr_pem: str, key: KeyFacts) -> Successor:
        self._note(f"renew by {own.certificate_id[:8]}")
        self.csrs.append(csr_pem)
        if key.key_hash not in self.answers:
            self.answers[key.key_hash] = Successor(*certified(self.home))
        return self.answers[key.key_hash]

    def confirm(self, own: Identity) -> None:
        self._note(f"confirm by {own.certificate_id[:8]}")

    def _note(self, what: str) -> None:
        self.asked.append(what)
        if self.troubles and (trouble := self.troubles.popleft()) is not None:
            raise trouble


@dataclass
class Scene:
    """Everything of one device, over several starts."""

    folder: Path
    machine: Machine = field(default_factory=Machine)
    enroll: Enrollment | None = None

    def __post_init__(self) -> None:
        self.home = home_in(self.folder)
        self.broker = Broker(pass_time=self.wait)
        self.service = Service(self.home)

    def wait(self, seconds: float) -> None:
        self.machine.seconds += seconds

    def start(self, *, renew_now: bool = False, check: bool = False) -> Runner:
        """A new process."""
        self.broker.open = None
        around = self.machine.surroundings()
        return Runner(
            self.home, around, self.broker, self.service, enroll=self.enroll, now=renew_now, check=check
        )

    def run(self, until: Callable[[Journey], bool], *, renew_now: bool = False) -> Journey:
        return self.start(renew_now=renew_now).run(until)

    def survey(self) -> Survey:
        return slots.survey(self.home, now())


def at(stage: Stage) -> Callable[[Journey], bool]:
    return lambda journey: journey.stage is stage
