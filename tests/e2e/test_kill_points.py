"""SIGKILL of real processes at every effect of enrolling and of renewing: devices and servers, both backends.

The points are enumerated by the code (``support.kill_points``): an undisturbed run announces them. At each,
one process dies; whoever is left goes on as a person would: the device is started again, the server too. Then
the device has a session with a broker under a certificate that is its thing's one active certificate.

On AWS the broker is the stand-in's: it takes a certificate by its status and policy, as AWS IoT does. That
AWS IoT itself keeps a session, or when it ends one, cannot be shown here.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from support.kill_grounds import Devices, Ground, open_aws, open_devices, open_machine
from support.kill_points import (
    QUADRANTS,
    Backend,
    Change,
    Death,
    Quadrant,
    Recorder,
    Row,
    Side,
    Table,
    sample,
    share,
)
from support.walks import FULL

PARTS = 3 if FULL else 1
SAMPLE = 1


@dataclass
class Scene:
    """A ground, and the devices that come to it."""

    ground: Ground
    devices: Devices
    folder: Path
    _numbers: "count[int]" = field(default_factory=count)

    def newcomer(self) -> "Device":
        """One that has nothing but a code."""
        self.ground.begin()
        thing = f"walker-{next(self._numbers)}"
        return Device(self, thing, self.folder / thing, self.ground.code(thing))


@dataclass
class Device:
    """One device, whose processes come and go."""

    scene: Scene
    thing: str
    home: Path
    code: str

    def run(self, change: Change, **more: object) -> tuple[int, Any]:
        """One process; how it ended, and what it said."""
        first = {"code": self.code, "thing": self.thing} if change is Change.ENROLL else {}
        return self.scene.devices.order(change.value, self.home, **first, **more)

    def do(self, change: Change) -> dict[str, Any]:
        """The same, undisturbed: what it said."""
        status, said = self.run(change)
        assert (status, said["trouble"], said["stage"]) == (0, None, "connected"), said
        done: dict[str, Any] = said
        return done

    def assert_works(self) -> None:
        """What it has on its disk works: a whole identity whose certificate is active."""
        status, said = self.scene.devices.order("look", self.home)
        assert (status, said["state"]) == (0, "ready"), said
        assert said["id"] in self.scene.ground.active(self.thing)

    def assert_one(self, certificate: str) -> None:
        """This is the one active certificate, and stays so when the sweeper has been there."""
        assert self.scene.ground.active(self.thing) == [certificate]
        self.scene.ground.settle(certificate)
        assert self.scene.ground.active(self.thing) == [certificate]


@pytest.fixture(scope="module")
def devices() -> Iterator[Devices]:
    with open_devices() as opened:
        yield opened


@pytest.fixture(scope="module")
def stages(devices: Devices, tmp_path_factory: pytest.TempPathFactory) -> Iterator["Stages"]:
    with ExitStack() as stack:
        yield Stages(devices, tmp_path_factory, stack)


@dataclass
class Stages:
    """A scene for each backend, opened when it is first asked for."""

    devices: Devices
    folders: pytest.TempPathFactory
    stack: ExitStack
    opened: dict[Backend, Scene] = field(default_factory=dict)

    def of(self, backend: Backend) -> Scene:
        """Always the same one."""
        if backend not in self.opened:
            folder = self.folders.mktemp("scene")
            ground: AbstractContextManager[Ground] = (
                open_machine(folder) if backend is Backend.MACHINE else open_aws()
            )
            self.opened[backend] = Scene(self.stack.enter_context(ground), self.devices, folder)
        return self.opened[backend]


def points_of(scene: Scene, quadrant: Quadrant) -> list[Death]:
    """Every point of a quadrant: what an undisturbed run goes through."""
    device = scene.newcomer()
    if quadrant.change is Change.RENEW:
        device.do(Change.ENROLL)
    scene.ground.arm()
    said = device.do(quadrant.change)
    passed = scene.ground.passed()
    device.assert_one(said["id"])
    return [tuple(step) for step in said["steps"]] if quadrant.side is Side.DEVICE else passed


def assert_outlived(scene: Scene, quadrant: Quadrant, point: Death) -> None:
    """A process dies at this point; all is well when it and the device were started again."""
    device, first = scene.newcomer(), None
    if quadrant.change is Change.RENEW:
        first = device.do(Change.ENROLL)["id"]
    if quadrant.side is Side.DEVICE:
        status, _ = device.run(quadrant.change, death=point)
        assert status == -9, "the device died where it was told to"
    else:
        scene.ground.arm(point)
        device.run(quadrant.change)
        assert scene.ground.has_died(), "the server died where it was told to"
        scene.ground.revive()
    if quadrant.change is Change.RENEW:
        device.assert_works()
    done = device.do(quadrant.change)
    assert done["id"] != first
    device.assert_one(done["id"])


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("quadrant", QUADRANTS, ids=str)
def test_whoever_is_killed_wherever_the_device_ends_with_the_one_active_certificate(
    stages: Stages, quadrant: Quadrant, part: int, recorder: Recorder
) -> None:
    scene = stages.of(quadrant.backend)
    points = points_of(scene, quadrant)
    recorder.enumerated(quadrant, points)
    for point in share(points, part, PARTS) if FULL else sample(points, SAMPLE):
        try:
            assert_outlived(scene, quadrant, point)
        except BaseException as wrong:
            wrong.add_note(f"{quadrant}: killed at {point}")
            raise
        recorder.killed(quadrant, point)


def test_the_shares_of_all_parts_are_all_points() -> None:
    points: list[Death] = [("step", turn) for turn in range(17)]
    shares = [share(points, part, 3) for part in range(3)]
    assert sorted(point for one in shares for point in one) == points
    assert [share(points[::-1], part, 3) for part in range(3)] == shares
    assert sample(points, 2) == [points[4], points[12]]
    assert sample(points, 40) == points


def told(quadrant: Quadrant, points: list[Death], killed: list[Death]) -> list[str]:
    said: list[str] = []
    recorder = Recorder(lambda _name, value: said.append(str(value)))
    recorder.enumerated(quadrant, points)
    for point in killed:
        recorder.killed(quadrant, point)
    return said


def test_the_table_misses_a_quadrant_and_a_point_that_nobody_walked() -> None:
    points: list[Death] = [("one", 0), ("two", 0)]
    everything = [line for quadrant in QUADRANTS for line in told(quadrant, points, points)]
    assert Table(everything).troubles(whole=True) == []
    assert Table(everything).lines()[-1].split()[-3:] == ["16", "of", "16"]
    missing = Table(everything[len(told(QUADRANTS[0], points, points)) :])
    assert [line.partition(":")[0] for line in missing.troubles(whole=True)] == [str(QUADRANTS[0])]
    assert missing.troubles(whole=False) == []
    half = Table(told(QUADRANTS[0], points, points[:1]))
    assert any("('two', 0)" in line for line in half.troubles(whole=True))


def test_two_walks_that_disagree_about_the_points_are_named() -> None:
    assert Row([frozenset({("one", 0)}), frozenset()]).troubles(whole=False) == [
        "two tests found different points"
    ]
    assert Table(told(QUADRANTS[3], [], [("one", 0)])).troubles(whole=False) == [
        f"{QUADRANTS[3]}: killed at 1 points that nobody enumerated"
    ]
