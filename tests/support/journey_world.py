"""A device's whole life in a simulated world: real journey, real slots in a real folder, all else drawn.

Everything but keys follows from one seed: what is lost, when the power fails, how wrong the clock is. The
diary says what happened, without what is different in every run.
"""

import errno
import hashlib
import shutil
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from keyborn.adapters.ca import EmbeddedAuthority
from keyborn.device import files, identity, slots, verify
from keyborn.device.home import Home
from keyborn.device.identity import Identity
from keyborn.device.journey import Runner
from keyborn.device.keystore import FileKeyStore
from keyborn.device.pace import Pace
from keyborn.device.subject import parse_subject
from keyborn.device.surroundings import Surroundings
from keyborn.domain.errors import HomeBusy
from keyborn.domain.journey import Stage
from keyborn.domain.profile import CertificateProfile
from keyborn.testing import Rudeness, SkewedClock, World
from support.device_home import Crash
from support.journey_cloud import THING, URL, Cloud, DistantBroker, DistantService, Network, Weather

DAY = timedelta(days=1)
ROUGH = Weather(
    lost_request=0.08, lost_answer=0.08, no_broker=0.08, hang_up=0.02, dropped=0.02,
    power_cut=0.006, full_disk=0.02, outage=0.004, suspended=0.0003,
)  # fmt: skip
RUDE = Rudeness(refusal=0.03, lost_reply=0.03, duplicate=0.03, crash=0.02)
SKEWS = (
    *(timedelta(0),) * 6,
    timedelta(minutes=-3), timedelta(minutes=3),
    -25 * DAY, 25 * DAY, -3650 * DAY, 3650 * DAY,
)  # fmt: skip
ABSENCES = (*(timedelta(minutes=1),) * 16, *(timedelta(hours=7),) * 3, 3 * DAY, 12 * DAY)
LIVES = (20, 30, 60, 90)
"""Days that a certificate is valid."""
MOST_STEPS = 20_000


@dataclass
class Life:
    """One device, from its first start to its tenth renewal."""

    folder: Path
    ca: EmbeddedAuthority
    seed: int
    weather: Weather = ROUGH
    rudeness: Rudeness = RUDE
    skews: tuple[timedelta, ...] = SKEWS
    absences: tuple[timedelta, ...] = ABSENCES
    diary: list[str] = field(default_factory=list)
    starts: int = 0
    steps: int = 0
    renewals: int = 0
    stranded: int = 0
    graces: int = 0

    def __post_init__(self) -> None:
        self.home = Home(self.folder)
        self.world = World(self.seed, self.rudeness)
        lifetime = timedelta(days=self.world.random.choice(LIVES))
        self.cloud = Cloud(self.world, self.ca, CertificateProfile(lifetime=lifetime), self.weather)
        self.network = Network(self.cloud, self.weather, self.cut)
        self.start = self.world.clock.now()
        self.home.prepare()

    # ── what can happen to the device ──

    def cut(self, name: str) -> None:
        """The power may fail here, or the disk be full."""
        if self.network.chance(self.weather.power_cut):
            self.note(f"power cut before {name}")
            raise Crash(name)
        writes = name.startswith(("write ", "keep "))
        if writes and self.network.chance(self.weather.full_disk):
            self.note(f"disk full at {name}")
            if name.startswith("write "):
                (self.home.path / name.removeprefix("write ")).write_bytes(b"half of it")
            raise OSError(errno.ENOSPC, "No space left on device")

    def note(self, what: str) -> None:
        self.diary.append(f"{self.world.clock.now() - self.start} {what}")

    @property
    def trace(self) -> str:
        """A digest of all that happened: the diary, each effect on the service, how often was drawn."""
        drawn = repr(self.world.random.getstate())
        text = "\n".join([*self.diary, *self.world.journal, drawn])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    # ── a life ──

    def live(self, renewals: int) -> None:
        """Until so many renewals are confirmed; raises AssertionError where anything must not be."""
        try:
            while self.renewals < renewals:
                self._start_once(renewals)
        finally:
            self.cloud.close()

    def _start_once(self, renewals: int) -> None:
        """One process, to its end by a power cut or by having done everything."""
        self.starts += 1
        skew = self.world.random.choice(self.skews)
        self.note(f"start, clock off by {skew}")
        with self.home.session():
            self._second_agent()
            runner = self._runner(skew)
            with suppress(Crash):
                self._run(runner, renewals)
        if self.renewals < renewals:
            self._look_at_what_is_left()
            self.cloud.pass_time(self.world.random.choice(self.absences).total_seconds())

    def _run(self, runner: Runner, renewals: int) -> None:
        before = 0
        while self.renewals < renewals:
            self.steps += 1
            assert self.steps < MOST_STEPS, "it does not come to an end"
            effect = type(runner.next_effect).__name__
            was = runner.journey.stage
            now = runner.step()
            if now.stage is not was:
                self.note(f"{effect}: {was.value} to {now.stage.value}")
            if effect not in ("Serve", "Wait"):
                self._check(runner)
            if runner.renewed != before:
                before = runner.renewed
                self._check_confirmed(runner)

    def _runner(self, skew: timedelta) -> Runner:
        clock = SkewedClock(self.world.clock, skew)
        pace = Pace(
            monotonic=self._seconds,
            sleep=self.cloud.pass_time,
            fraction=self.world.random.random,
        )
        around = Surroundings(clock, "host", lambda _text: None, pace, self.cut)
        service = DistantService(self.home, self.network, clock)
        return Runner(self.home, around, DistantBroker(self.network), service, enroll=self._enroll)

    def _seconds(self) -> float:
        return (self.world.clock.now() - self.start).total_seconds()

    def _second_agent(self) -> None:
        """Started twice, as service managers do: the second one ends at once."""
        try:
            with self.home.session():
                raise AssertionError("two agents in one home")
        except HomeBusy:
            pass

    def _enroll(self) -> None:
        """The first identity: as ``keyborn enroll``, with the same steps on the disk."""
        store = FileKeyStore(self.home.key)
        if not store.exists():
            files.run_steps(store.creation("p256"), self.cut)
        csr = store.sign_request(parse_subject("", THING))
        certificate = self.network.travel(lambda: self.cloud.call(lambda: self.cloud.enroll(csr)))
        answer = self.cloud.answer(certificate)
        text = verify.to_pem([*verify.read_many(answer.certificate_pem), *verify.read_many(answer.chain_pem)])
        made = Identity(
            thing=THING,
            certificate_id=answer.certificate_id,
            key_type="p256",
            not_before=certificate.not_before,
            not_after=certificate.not_after,
            certificate_hash=identity.file_hash(text.encode()),
            roots_hash=identity.file_hash(answer.roots_pem.encode()),
            service_url=URL,
            root_fingerprint="ab" * 32,
            proved_time=certificate.not_before,
            broker=answer.broker,
        )
        files.run_steps(identity.storage_steps(self.home, text, answer.roots_pem, made), self.cut)

    # ── what must hold ──

    def _check(self, runner: Runner) -> None:
        assert len(self.cloud.active()) <= 2, "more than two certificates are active"
        if runner.journey.stage is Stage.STRANDED:
            self.stranded += 1
            self.note(f"stranded: {runner.journey.trouble.name if runner.journey.trouble else None}")
            self._help(runner)

    def _help(self, runner: Runner) -> None:
        """An operator helps one that expired. Else only suspension may strand it, or what is over by now."""
        own = runner.own
        assert own is not None, runner.journey.detail
        expired = self.world.clock.now() > own.not_after
        assert expired or self.cloud.suspended or self.cloud.live(own.certificate_id), runner.journey
        if expired:
            self.graces += 1
            self.cloud.grant_grace()

    def _check_confirmed(self, runner: Runner) -> None:
        assert runner.own is not None
        active = self.cloud.active()
        assert active == [runner.own.certificate_id], "confirmed, and not the one active certificate"
        self.renewals += 1
        self.note(f"renewal {self.renewals} confirmed")

    def _look_at_what_is_left(self) -> None:
        """In a copy of the folder: the next start would find a working identity, once there was one."""
        if not self.home.settings.exists():
            return
        copy = Home(self.folder.with_name("copy"))
        shutil.copytree(self.home.path, copy.path)
        slots.settle(copy)
        seen = slots.survey(copy, self.world.clock.now())
        assert seen.current.whole, seen.current.problems
        shutil.rmtree(copy.path)
