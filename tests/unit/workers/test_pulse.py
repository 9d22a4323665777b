"""Signs of life: who misses one is asked again, who misses two in a row is ended."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, cast

import pytest

from keyborn.adapters.workers.line import Line
from keyborn.adapters.workers.nursery import Place
from keyborn.domain.errors import RegistryUnavailable
from keyborn.wiring.pulse import Pulse

PATIENCE = 0.02


class OneLine:
    """A line at whose other end somebody answers, hangs, or has gone."""

    def __init__(self) -> None:
        self.mood = "well"

    async def ask(self, _call: object) -> Any:  # noqa: ANN401 - as of a line
        if self.mood == "hangs":
            await asyncio.Event().wait()
        if self.mood == "gone":
            raise RegistryUnavailable


@pytest.fixture
def process() -> "Iterator[subprocess.Popen[bytes]]":
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield child
    child.kill()
    child.wait()
    assert child.stdin is not None
    child.stdin.close()


class Stage:
    def __init__(self, process: "subprocess.Popen[bytes]", beginning: float = 100.0) -> None:
        self.line, self.ended = OneLine(), list[Place]()
        self.place = Place(0, process, cast("Line", self.line), greeted=True, ready=True)
        self.pulse = Pulse([self.place], self.ended.append, beginning, PATIENCE)

    async def rounds(self, *moods: str) -> None:
        for mood in moods:
            self.line.mood = mood
            await self.pulse.round()


@pytest.mark.parametrize(
    ("moods", "is_ended"),
    [
        (("well", "well"), False),
        (("hangs",), False),
        (("hangs", "well", "hangs"), False),
        (("hangs", "hangs"), True),
        (("gone", "gone", "gone"), False),
    ],
)
async def test_two_misses_in_a_row_end_a_worker(
    moods: tuple[str, ...], *, is_ended: bool, process: "subprocess.Popen[bytes]"
) -> None:
    stage = Stage(process)
    await stage.rounds(*moods)
    assert bool(stage.ended) == is_ended


async def test_what_one_process_missed_does_not_count_against_the_next(
    process: "subprocess.Popen[bytes]",
) -> None:
    stage = Stage(process)
    await stage.rounds("hangs")
    stage.place.process = None
    await stage.rounds("hangs")
    stage.place.process = process
    await stage.rounds("hangs")
    assert not stage.ended


@pytest.mark.parametrize(("beginning", "is_ended"), [(1e9, False), (-1.0, True)])
async def test_a_worker_that_never_begins_is_ended(
    beginning: float, *, is_ended: bool, process: "subprocess.Popen[bytes]"
) -> None:
    stage = Stage(process, beginning)
    stage.place.ready = False
    await stage.rounds("hangs")
    assert bool(stage.ended) == is_ended
