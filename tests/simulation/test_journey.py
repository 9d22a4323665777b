"""A device's life in a rude world: ten renewals in a row, never stranded, one active after each confirmation.

Requests and answers are lost, the power fails at any effect, the disk is full now and then, clocks are years
off, a second agent is started beside the first, the service's processes die. A seed replays exactly:
``KEYBORN_SEED=17 .venv/bin/pytest tests/simulation/test_journey.py`` lives that one life alone.

`make test` lives some of them; `make test-full` all.
"""

import os
from pathlib import Path

import pytest

from keyborn.adapters.ca import EmbeddedAuthority, open_authority
from keyborn.adapters.system import SystemEntropy
from keyborn.domain.certificate import Certificate
from keyborn.testing import POLITE, World
from support.figures import Figure
from support.journey_cloud import Cloud, Weather
from support.journey_world import DAY, Life
from support.office import folder
from support.walks import FULL

SEEDS = range(1000) if FULL else range(0, 1000, 500)
if "KEYBORN_SEED" in os.environ:
    SEEDS = range(int(os.environ["KEYBORN_SEED"]), int(os.environ["KEYBORN_SEED"]) + 1)
EACH = 50
"""Lives of one test: some of them run side by side."""
RENEWALS = 10


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> EmbeddedAuthority:
    path = folder(tmp_path_factory.mktemp("ca"))
    return open_authority(path / "ca", clock=World(0).clock, entropy=SystemEntropy())


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """The power fails in the simulation only: nothing waits for a real disk."""
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)


def life(tmp_path: Path, ca: EmbeddedAuthority, seed: int, **more: object) -> Life:
    place = tmp_path / f"seed-{seed}"
    place.mkdir(parents=True)
    return Life(place / "home", ca, seed, **more)  # type: ignore[arg-type] # fields of the life


def lived(tmp_path: Path, ca: EmbeddedAuthority, seed: int, **more: object) -> Life:
    """A whole life; what went wrong comes with the seed and the last pages of the diary."""
    one = life(tmp_path, ca, seed, **more)
    try:
        one.live(RENEWALS)
    except BaseException as wrong:
        wrong.add_note("\n".join([f"KEYBORN_SEED={seed}, trace {one.trace}", *one.diary[-40:]]))
        raise
    return one


def test_in_a_polite_world_ten_renewals_take_one_start_and_no_trouble(
    tmp_path: Path, ca: EmbeddedAuthority
) -> None:
    one = lived(tmp_path, ca, 1, weather=Weather(), rudeness=POLITE, skews=(0 * DAY,))
    assert (one.starts, one.renewals, one.stranded) == (1, RENEWALS, 0)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("part", range(0, len(SEEDS), EACH))
def test_ten_renewals_in_a_rude_world_strand_nobody(
    tmp_path: Path, ca: EmbeddedAuthority, part: int, figure: Figure
) -> None:
    seeds = SEEDS[part : part + EACH]
    lives = [lived(tmp_path, ca, seed) for seed in seeds]
    assert all(one.renewals == RENEWALS for one in lives)
    assert all(len(one.cloud.active()) == 1 for one in lives)
    told = f"{len(seeds)} seeds from {seeds[0]}"
    figure(f"lives of ten renewals: {told}; nobody stranded, one active after each")


def test_a_seed_replays_exactly(tmp_path: Path, ca: EmbeddedAuthority) -> None:
    first, again = (lived(tmp_path / time, ca, 17) for time in ("first", "again"))
    assert first.diary == again.diary
    assert first.trace == again.trace
    assert first.starts > 1
    assert lived(tmp_path / "other", ca, 18, weather=Weather()).trace != first.trace


def test_a_seed_that_fails_fails_again_at_the_same_step(
    tmp_path: Path, ca: EmbeddedAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service that loses one confirmation in four, and says it has it: the simulation sees that."""
    confirm = Cloud.confirm

    async def careless(cloud: Cloud, body: bytes) -> Certificate | None:
        return None if cloud.chance(0.25) else await confirm(cloud, body)

    monkeypatch.setattr(Cloud, "confirm", careless)
    failures = []
    for time in ("first", "again"):
        one = life(tmp_path / time, ca, 3)
        with pytest.raises(AssertionError, match="not the one active certificate") as failure:
            one.live(RENEWALS)
        failures.append((str(failure.value), one.trace, one.steps, tuple(one.diary)))
    assert failures[0] == failures[1]
    assert failures[0][2] > 0, "it had begun to live"
