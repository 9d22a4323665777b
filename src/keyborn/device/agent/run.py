"""The agent: the home's lock, the journey, one session, the desk; from its start to its end.

The lock is held all the time but while there is no identity to work with: then ``keyborn enroll`` must find
the home free. What a person did is seen within a minute, or at once after SIGHUP.
"""

import contextlib
import os
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from math import inf
from pathlib import Path

from keyborn.device.agent.box import Box
from keyborn.device.agent.bridge import Bridge, Call, Standing
from keyborn.device.agent.desk import Desk
from keyborn.device.agent.enrolling import Enroller, FirstWish
from keyborn.device.agent.line import AgentLine
from keyborn.device.agent.log import Log
from keyborn.device.agent.notify import Notifier
from keyborn.device.agent.place import dialed, listening
from keyborn.device.home import Home
from keyborn.device.journey import Runner
from keyborn.device.messages import OutboxLimits
from keyborn.device.opening import Will
from keyborn.device.outbox_settings import DEFAULT_RATE
from keyborn.device.renewal import RenewalClient
from keyborn.device.surroundings import Surroundings
from keyborn.domain.errors import AgentBroken, AgentRunning, HomeBusy, SessionLost
from keyborn.domain.journey import Stage
from keyborn.domain.journey.effects import Look, Serve, Wait

PATIENCE = 5.0
"""Seconds to outlast a command that has the home for a moment."""
DRAINING = 3.0
"""Seconds in which an agent that was told to end still sends what waits."""
_GLANCE = 60.0
_AGAIN = 1.0
_HELPLESS = frozenset({Stage.UNPROVISIONED, Stage.WAITING, Stage.STRANDED})
_JUST_BOOTED = 300.0
"""Seconds after the machine's start in which many others may have started with it."""
_UNLOGGED = frozenset({"error", "detail", "unrenewed", "renewal_error"})
"""Each is in a note, once."""


@dataclass(frozen=True, slots=True)
class Options:
    """How an agent works."""

    rate: float = DEFAULT_RATE
    limits: OutboxLimits = field(default_factory=OutboxLimits)
    will: Will | None = None
    patience: float = field(default_factory=lambda: PATIENCE)
    """Seconds to wait for a home that a command has."""
    first: FirstWish = field(default_factory=FirstWish)
    """How to enroll, where there is a code."""
    spread: float = 0.0
    """Seconds over which a fleet that is switched on at once spreads its first connections."""
    uptime: Callable[[], float] = field(default_factory=lambda: _uptime)
    """Seconds since this machine started."""


def _uptime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Agent:
    """One agent; ``run`` it once. ``call`` may come from a signal's handler."""

    def __init__(
        self,
        home: Home,
        around: Surroundings,
        options: Options,
        environment: Mapping[str, str],
        log: Log,
    ) -> None:
        self._home = home
        self._around = replace(around, pace=replace(around.pace, sleep=self._sleep))
        self._options = options
        self._log = log
        self._notifier = Notifier(environment, around.pace.monotonic)
        self._bridge = Bridge()
        self._hold = ExitStack()
        self._watching = False
        self._seen: list[tuple[int, int] | None] = []
        self._renewed = self._unrenewed = 0
        self._enroller = Enroller(home, self._around, options.first)

    def call(self, what: Call) -> None:
        """Have it end, look at its files anew, or renew."""
        self._bridge.call(what)

    def run(self) -> None:
        """Until it is called to stop.

        Raises HomeBusy or AgentRunning where another one works here, HomeUnusable; AgentBroken.
        """
        with contextlib.closing(self._bridge), self._hold:
            self._home.prepare()
            self._take()
            with listening(self._home) as listener:
                box = Box(self._home.outbox, self._options.limits)
                desk = Desk(self._bridge, listener, box, self._around)
                desk.start()
                try:
                    self._work()
                finally:
                    desk.stop()
        if self._bridge.failed is not None:
            name = type(self._bridge.failed).__name__
            raise AgentBroken(path=self._home.path, detail=name) from self._bridge.failed

    def _take(self) -> None:
        """Have the home; raises AgentRunning, or HomeBusy where it is a command that has it."""
        try:
            self._hold.enter_context(self._home.session(patience=self._options.patience))
        except HomeBusy:
            with dialed(self._home) as other:
                if other is not None:
                    raise AgentRunning(path=self._home.path) from None
            raise

    def _work(self) -> None:
        line = AgentLine(
            self._bridge,
            self._home,
            self._around,
            rate=self._options.rate,
            limits=self._options.limits,
            notifier=self._notifier,
            will=self._options.will,
        )
        self._notifier.ready()
        self._log("started", home=self._home.path, pid=os.getpid())
        try:
            self._spread()
            calls: frozenset[Call] = frozenset()
            while Call.STOP not in calls:
                self._journey(line, calls)
                calls = self._bridge.calls()
        finally:
            self._notifier.stopping()
            line.release()
            self._log("ended")

    def _spread(self) -> None:
        """Wait a moment of one's own where the power may just have come back for everybody."""
        if self._options.spread and self._options.uptime() < _JUST_BOOTED:
            seconds = self._options.spread * self._around.pace.fraction()
            self._log("spread", seconds=round(seconds, 1))
            self._sleep(seconds)

    def _journey(self, line: AgentLine, calls: frozenset[Call]) -> None:
        """A journey from its beginning, a look at the files, until somebody calls."""
        service = RenewalClient(self._home, self._around.clock)
        enroller = self._enroller
        runner = Runner(
            self._home,
            self._around,
            line,
            service,
            enroll=enroller,
            has_code=enroller.has_code,
            now=Call.RENEW in calls,
            check=Call.LOOK in calls,
        )
        before, unrenewed = self._renewed, self._unrenewed
        try:
            while not self._bridge.called:
                self._step(runner)
                if runner.own is not None:
                    enroller.spend(runner.own, self._around.clock.now())
                self._renewed, self._unrenewed = before + runner.renewed, unrenewed + runner.unrenewed
                self._tell(runner)
            with contextlib.suppress(SessionLost):
                line.drain(DRAINING)
        finally:
            runner.close()
            self._bridge.standing = replace(self._bridge.standing, connected=False)

    def _step(self, runner: Runner) -> None:
        self._notifier.beat()
        if isinstance(runner.next_effect, Look):
            self._seen = self._looks()  # before the look: what comes after it is news
        helpless = isinstance(runner.next_effect, Wait) and runner.journey.stage in _HELPLESS
        if not helpless:
            runner.step()
            return
        self._hold.close()
        self._watching = True
        try:
            runner.step()
        finally:
            self._watching = False
            self._take_back()

    def _take_back(self) -> None:
        """Whoever enrolls this device has the home for as long as that takes."""
        while not self._bridge.stopped:
            try:
                self._hold.enter_context(self._home.session())
            except HomeBusy:
                self._notifier.beat()
                self._bridge.rest(_AGAIN)
            else:
                return

    def _sleep(self, seconds: float) -> None:
        """Let time pass until somebody calls, or somebody has enrolled this device."""
        monotonic = self._around.pace.monotonic
        deadline = monotonic() + seconds
        while (left := deadline - monotonic()) > 0 and not self._bridge.called:
            self._notifier.beat()
            self._bridge.rest(min(left, self._notifier.every, _GLANCE if self._watching else inf, 3600.0))
            if self._watching and self._looks() != self._seen:
                return

    def _looks(self) -> list[tuple[int, int] | None]:
        """What tells that somebody has enrolled this device, or brought a code."""
        return [_look_of(path) for path in (self._home.settings, self._enroller.path)]

    def _tell(self, runner: Runner) -> None:
        """Where the device stands now, for programs, people and systemd."""
        journey, own = runner.journey, runner.own
        trouble = journey.trouble
        standing = Standing(
            stage=journey.stage.value,
            connected=isinstance(runner.next_effect, Serve),
            trouble=trouble.name.lower() if trouble else None,
            error=journey.error,
            detail=journey.detail or None,
            thing=own.thing if own else None,
            certificate_id=own.certificate_id if own else None,
            renewed=self._renewed,
            unrenewed=self._unrenewed,
            renewal_error=runner.renewal_error,
        )
        before, self._bridge.standing = self._bridge.standing, standing
        if (standing.stage, standing.renewed) != (before.stage, before.renewed):
            told = {name: value for name, value in asdict(standing).items() if name not in _UNLOGGED}
            self._log("stage", **told)
            self._notifier.status(standing.error or standing.stage)


def _look_of(path: Path) -> tuple[int, int] | None:
    with contextlib.suppress(OSError):
        seen = path.stat()
        return seen.st_ctime_ns, seen.st_ino
    return None
