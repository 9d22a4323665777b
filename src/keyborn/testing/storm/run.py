"""The loop: an agenda in ticks of a virtual clock; each entry is a device that asks, or a step of a saga."""

from array import array
from collections import defaultdict
from random import Random

from keyborn.device.pace import Pace
from keyborn.testing.storm.cloud import Cloud, Instance, Throttle
from keyborn.testing.storm.model import Storm
from keyborn.testing.storm.report import Report, Sample

TICK = 0.02
"""Seconds; two things within one tick happen in the order in which they were planned."""
_SAMPLES = 300
_TRIES = 4
_HOPELESS = 20
"""Times the ideal: a storm that takes longer is ended, and its report says who is missing."""


def simulate(storm: Storm) -> Report:
    """Run the storm until everybody who did not go away is enrolled."""
    return _Run(storm).run()


class _Run:
    def __init__(self, storm: Storm) -> None:
        self.storm = storm
        self.random = Random(storm.seed)  # noqa: S311 - one seed, one run
        self.cloud = Cloud(storm, self.random)
        self.pace = Pace(lambda: 0.0, lambda _seconds: None, self.random.random)
        self.calls = {name: Throttle(rate, rate) for name, rate in storm.account.quotas.items()}
        self.arrivals: defaultdict[int, list[int]] = defaultdict(list)
        self.releases: defaultdict[int, list[Instance]] = defaultdict(list)
        self.sagas: defaultdict[int, list[_Saga]] = defaultdict(list)
        self.report = Report(storm)
        self.born = array("d", self._births())
        self.attempts = array("I", bytes(4 * len(self.born)))
        self.gone = bytearray(len(self.born))
        self.report.expected = len(self.born)
        self.tick = 0

    def run(self) -> Report:
        """The whole storm."""
        for device, at in enumerate(self.born):
            self._plan(device, at)
        every = max(1, int(self.storm.ideal / _SAMPLES / TICK))
        last = (self.storm.ideal + 600) * _HOPELESS / TICK
        while self.report.enrolled + self.report.lost < self.report.expected and self.tick < last:
            self._step()
            if self.tick % every == 0:
                self._sample()
        self._sample()
        return self._close()

    def _births(self) -> list[float]:
        storm = self.storm
        births = [self.random.random() * storm.within for _ in range(storm.devices)]
        newcomers = int(storm.trickle * storm.ideal)
        return births + [self.random.random() * storm.ideal for _ in range(newcomers)]

    def _step(self) -> None:
        self.tick += 1
        tick = self.tick
        self.cloud.now = tick * TICK
        if tick in self.releases:
            for instance in self.releases.pop(tick):
                self.cloud.release(instance)
        if tick in self.sagas:
            for saga in self.sagas.pop(tick):
                self._advance(saga)
        if tick in self.arrivals:
            for device in self.arrivals.pop(tick):
                self._ask(device)
        if tick % 500 == 0:
            self.cloud.tidy()

    def _plan(self, device: int, at: float) -> None:
        self.arrivals[max(self.tick + 1, int(at / TICK))].append(device)

    def _ask(self, device: int) -> None:
        """One request of one device, and what it does about the answer."""
        now = self.cloud.now
        self.report.requests += 1
        reply = self.cloud.request(str(device))
        if reply is None:
            self.report.bare += 1
            self._again(device, now, None)
            return
        done = now + reply.held + reply.took * self._jitter()
        if reply.retry_after is None:
            self._begin(device, done, reply.instance)
            return
        self.report.queued += 1
        self.releases[int(done / TICK) + 1].append(reply.instance)
        if self.storm.lost and not self.gone[device]:
            self.gone[device] = 2 if self.random.random() < self.storm.lost else 1
        if self.gone[device] == 2:  # noqa: PLR2004 - it has been asked whether it goes, and it does
            self.report.lost += 1
            return
        self._again(device, done, reply.retry_after)

    def _again(self, device: int, now: float, retry_after: float | None) -> None:
        attempt = self.attempts[device]
        self.attempts[device] += 1
        self._plan(device, now + self.pace.pause(attempt, retry_after))

    def _begin(self, device: int, at: float, instance: Instance) -> None:
        due = self.cloud.places.due(str(device))
        if due is not None:
            self.report.lateness.append(at - due)
        saga = _Saga(device, instance)
        self.sagas[int((at + self._pause(saga)) / TICK) + 1].append(saga)

    def _pause(self, saga: "_Saga") -> float:
        return self.storm.account.steps[saga.step][0] * self._jitter()

    def _advance(self, saga: "_Saga") -> None:
        """The calls of one step, side by side; a throttled one is repeated a few times, by itself."""
        names = saga.left if saga.left is not None else self.storm.account.steps[saga.step][1]
        saga.left = tuple(name for name in names if not self.calls[name].passes(self.cloud.now))
        if saga.left and saga.tries >= _TRIES:
            self._fail(saga)
            return
        if saga.left:
            saga.tries += 1
            pause = self.random.random() * 0.2 * 2**saga.tries
        else:
            saga.step, saga.tries, saga.left = saga.step + 1, 0, None
            if saga.step == len(self.storm.account.steps):
                self._finish(saga)
                return
            pause = self._pause(saga)
        self.sagas[self.tick + 1 + int(pause / TICK)].append(saga)

    def _fail(self, saga: "_Saga") -> None:
        self.releases[self.tick + 1].append(saga.instance)
        self._again(saga.device, self.cloud.now, 2.0)

    def _finish(self, saga: "_Saga") -> None:
        self.cloud.release(saga.instance)
        self.report.enrolled += 1
        self.report.waits.append(self.cloud.now - self.born[saga.device])
        self.report.seconds = self.cloud.now

    def _jitter(self) -> float:
        """Most calls take about as long as ever; one in a hundred takes much longer."""
        drawn = self.random.random()
        return 0.7 + 0.6 * drawn if drawn < 0.99 else 5.0  # noqa: PLR2004 - as the sentence says

    def _sample(self) -> None:
        report = self.report
        rejected = sum(each.refused for each in self.calls.values())
        waiting = (
            sum(1 for at in self.born if at <= self.cloud.now) if self.storm.trickle else report.expected
        )
        waiting -= report.enrolled + report.lost
        report.samples.append(
            Sample(self.cloud.now, report.enrolled, waiting, report.queued, report.bare, rejected)
        )

    def _close(self) -> Report:
        report, line = self.report, self.cloud.line
        report.rejected = sum(each.refused for each in self.calls.values())
        report.calls = report.rejected + sum(each.passed for each in self.calls.values())
        report.line_rejected = line.writes.refused
        report.line_writes = line.writes.refused + line.writes.passed
        report.most_instances = self.cloud.most_running
        report.early = self.cloud.early
        return report


class _Saga:
    """An admitted enrolment under way on its instance."""

    __slots__ = ("device", "instance", "left", "step", "tries")

    def __init__(self, device: int, instance: Instance) -> None:
        self.device, self.instance = device, instance
        self.step = self.tries = 0
        self.left: tuple[str, ...] | None = None
