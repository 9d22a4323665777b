"""The rude world: what may happen around each effect, drawn from one seed or written into a script."""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from random import Random
from typing import TypeVar

from keyborn.domain.errors import KeybornError, RegistryUnavailable
from keyborn.ports import (
    CertificateAuthority,
    Checkpoints,
    GroupingRegistry,
    KeyRegistry,
    Registry,
    RenewingRegistry,
)
from keyborn.testing.grouping import FaultyGroupingRegistry
from keyborn.testing.stepping import pause
from keyborn.testing.time import DAWN, SeededEntropy, VirtualClock
from keyborn.testing.wrappers import (
    Believing,
    FaultyAuthority,
    FaultyBeliefs,
    FaultyCheckpoints,
    FaultyKeys,
    FaultyRegistry,
    FaultyRenewingRegistry,
    FaultyScale,
    Scale,
)

T = TypeVar("T")

_MOST_PAUSES = 4


class Crash(BaseException):
    """The process dies here. Not an Exception: code under test must not be able to carry on."""


class Moment(StrEnum):
    """On which side of an effect something happens."""

    BEFORE = "before"
    AFTER = "after"


@dataclass(frozen=True, slots=True)
class Point:
    """A place in a run: before or after the ``turn``-th time (from 1) that ``effect`` is asked for."""

    effect: str
    moment: Moment
    turn: int = 1


@dataclass(frozen=True, slots=True)
class Rudeness:
    """How likely each discourtesy is, from 0 to 1, at each effect."""

    latency: float = 0.0
    """Others run first, and up to ``slowness`` passes."""
    refusal: float = 0.0
    """The effect does not happen: RegistryUnavailable (Unavailable at the certificate authority)."""
    lost_reply: float = 0.0
    """The effect happens, and the caller hears the same error."""
    duplicate: float = 0.0
    """The effect is asked for twice; the caller hears the first answer."""
    crash: float = 0.0
    """The process dies, before or after the effect."""
    slowness: timedelta = timedelta(seconds=2)


POLITE = Rudeness()


class World:
    """A clock, entropy, and effects that go wrong, all from one seed; the same seed is the same run."""

    def __init__(self, seed: int, rudeness: Rudeness = POLITE, start: datetime = DAWN) -> None:
        self.rudeness = rudeness
        self.clock = VirtualClock(start)
        self.entropy = SeededEntropy(seed)
        self.random = Random(seed)  # noqa: S311 - foreseeable on purpose
        self.journal: list[str] = []
        """Every effect that was asked for, in order."""
        self.dead = False
        self._turns: Counter[str] = Counter()
        self._crash_at: Point | None = None

    def registry(self, real: Registry) -> FaultyRegistry:
        """``real`` as seen through this world."""
        return FaultyRegistry(real, self)

    def renewing(self, real: RenewingRegistry) -> FaultyRenewingRegistry:
        """``real``, whose things renew, as seen through this world."""
        return FaultyRenewingRegistry(real, self)

    def grouping(self, real: GroupingRegistry) -> FaultyGroupingRegistry:
        """``real``, which knows enrolment groups, as seen through this world."""
        return FaultyGroupingRegistry(real, self)

    def beliefs(self, real: Believing) -> FaultyBeliefs:
        """What ``real`` knows of roots, as seen through this world."""
        return FaultyBeliefs(real, self)

    def keys(self, real: KeyRegistry) -> FaultyKeys:
        """What ``real`` knows of remote operators, as seen through this world."""
        return FaultyKeys(real, self)

    def scale(self, real: Scale) -> FaultyScale:
        """How ``real`` finds, counts and forgets, as seen through this world."""
        return FaultyScale(real, self)

    def checkpoints(self, real: Checkpoints) -> FaultyCheckpoints:
        """What ``real`` keeps of signatures under its trail, as seen through this world."""
        return FaultyCheckpoints(real, self)

    def authority(self, real: CertificateAuthority) -> FaultyAuthority:
        """``real`` as seen through this world."""
        return FaultyAuthority(real, self)

    def crash_at(self, point: Point) -> None:
        """Write one crash into the script; it happens once, whatever the rudeness."""
        self._crash_at = point
        self._turns.clear()

    def reboot(self) -> None:
        """A new process starts: effects work again, and turns are counted from the beginning."""
        self.dead = False
        self._turns.clear()

    async def effect(
        self,
        name: str,
        act: Callable[[], Awaitable[T]],
        trouble: Callable[[], KeybornError] = RegistryUnavailable,
        *,
        repeatable: bool = True,
    ) -> T:
        """Do ``act`` as this world permits: late, twice, not at all, without a reply, or for the last time.

        Raises Crash, or ``trouble()``, or whatever ``act`` raises.
        """
        self.journal.append(name)
        self._turns[name] += 1
        turn = self._turns[name]
        await self._dawdle()
        self._live_through(Point(name, Moment.BEFORE, turn))
        if self._happens(self.rudeness.refusal):
            raise trouble()
        result = await act()
        if repeatable and self._happens(self.rudeness.duplicate):
            await act()
        self._live_through(Point(name, Moment.AFTER, turn))
        await self._dawdle()
        if self.dead:
            raise Crash(name)
        if self._happens(self.rudeness.lost_reply):
            raise trouble()
        return result

    def _happens(self, chance: float) -> bool:
        return chance > 0 and self.random.random() < chance

    async def _dawdle(self) -> None:
        if self._happens(self.rudeness.latency):
            self.clock.advance(self.rudeness.slowness * self.random.random())
            for _ in range(self.random.randint(1, _MOST_PAUSES)):
                await pause()

    def _live_through(self, point: Point) -> None:
        """Die here if it is written or drawn; what runs on in a dead process has no effects any more."""
        if point == self._crash_at:
            self._crash_at = None
            self.dead = True
        elif self._happens(self.rudeness.crash / 2):  # two sides, one chance
            self.dead = True
        if self.dead:
            raise Crash(f"{point.moment} {point.effect}, turn {point.turn}")


def every_crash(journal: Sequence[str]) -> Iterator[Point]:
    """Every point at which a run with this journal could have died."""
    turns: Counter[str] = Counter()
    for effect in journal:
        turns[effect] += 1
        for moment in Moment:
            yield Point(effect, moment, turns[effect])
