"""A device's life in a rude world: ten renewals in a row, never stranded, one active after each confirmation.

Requests and answers are lost, the power fails at any effect, the disk is full now and then, clocks are years
off, a second agent is started beside the first, the service's processes die. A seed replays exactly.
"""

import os
from pathlib import Path

import pytest

from keyborn.adapters.ca import EmbeddedAuthority, open_authority
from keyborn.adapters.system import SystemEntropy
from keyborn.testing import POLITE, World
from support.figures import Figure
from support.journey_cloud import Weather
from support.journey_world import DAY, Life
from support.office import folder

SEEDS = 1000 if os.environ.get("KEYBORN_FULL") else 24
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
    except BaseException:
        print(f"seed {seed}", *one.diary[-40:], sep="\n")  # noqa: T201 - pytest shows it with the failure
        raise
    return one


def test_in_a_polite_world_ten_renewals_take_one_start_and_no_trouble(
    tmp_path: Path, ca: EmbeddedAuthority
) -> None:
    one = lived(tmp_path, ca, 1, weather=Weather(), rudeness=POLITE, skews=(0 * DAY,))
    assert (one.starts, one.renewals, one.stranded) == (1, RENEWALS, 0)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("part", range(8))
def test_ten_renewals_in_a_rude_world_strand_nobody(
    tmp_path: Path, ca: EmbeddedAuthority, part: int, figure: Figure
) -> None:
    lives = [lived(tmp_path, ca, seed) for seed in range(part * SEEDS // 8, (part + 1) * SEEDS // 8)]
    assert all(one.renewals == RENEWALS for one in lives)
    if part == 0:
        figure(
            f"lives of ten renewals, by seed: {SEEDS}; nobody stranded, one active after each confirmation"
        )


@pytest.mark.parametrize("seed", [3, 17])
def test_a_seed_replays_exactly(tmp_path: Path, ca: EmbeddedAuthority, seed: int) -> None:
    first, again = (lived(tmp_path / time, ca, seed) for time in ("first", "again"))
    assert first.diary == again.diary
    assert first.starts > 1
