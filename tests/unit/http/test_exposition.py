"""What a scraper reads, by the parser of Prometheus's own Python client."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
from hypothesis import given, strategies as st
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from keyborn.adapters.memory import MemoryRegistry
from keyborn.adapters.process import process_readings
from keyborn.domain.census import Census
from keyborn.domain.errors import RegistryUnavailable
from keyborn.domain.method import Method
from keyborn.http.exposition import exposition
from keyborn.ports import Censuses, Clock
from keyborn.service import figures
from keyborn.service.figures import COUNTED, FIGURES, Kind
from keyborn.service.meter import Meter, Snapshot
from keyborn.service.watching import Family, Sample, Watching
from keyborn.testing.time import SkewedClock, VirtualClock

MS = 1_000_000
_LINES = st.text(st.characters(exclude_categories=["Cs"]))
"""Any text that UTF-8 can write."""
_HELP = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp", "Zs"])).map(
    lambda text: f"a{text}z"
)


def parsed(families: Sequence[Family]) -> dict[str, Metric]:
    return {each.name: each for each in text_string_to_metric_families(exposition(families))}


@given(value=_LINES, number=st.one_of(st.integers(0, 2**53), st.floats(0, 1e9)))
def test_every_label_is_read_as_it_was(value: str, number: float) -> None:
    family = Family("keyborn_things", Kind.GAUGE, "x", [Sample({"status": value, "other": "y"}, number)])
    (sample,) = parsed([family])["keyborn_things"].samples
    assert sample.labels == {"status": value, "other": "y"}
    assert sample.value == number


@given(_HELP, st.sampled_from(["", "\\", "\n", "\\n", '"']))
def test_every_help_is_read_as_it_was(said: str, more: str) -> None:
    read = parsed([Family("keyborn_things", Kind.GAUGE, f"{said}{more}{said}", [])])
    assert read["keyborn_things"].documentation == f"{said}{more}{said}"


class Registry:
    """Counts how often it is counted; may be out of order."""

    def __init__(self) -> None:
        self.asked = 0
        self.broken = False

    async def census(self, at: datetime) -> Census:
        self.asked += 1
        if self.broken:
            raise RegistryUnavailable
        return await MemoryRegistry().census(at)


def watching(meter: Meter, clock: Clock, censuses: Censuses) -> Watching:
    async def _snapshots() -> list[Snapshot]:
        return [meter.snapshot(), meter.snapshot()]

    return Watching(_snapshots, [process_readings], censuses, clock)


async def test_histograms_and_counters_of_all_processes_are_added_up() -> None:
    meter = Meter(COUNTED)
    meter.count(figures.ENROLLMENTS, Method.GROUP_KEY, figures.ISSUED)
    for took in (1, 3, 70_000):
        meter.observe(took * MS, figures.ENROLLMENT_SECONDS, figures.GRANTED)

    read = parsed(await watching(meter, VirtualClock(), Registry()).families())

    (counter,) = read["keyborn_enrollments"].samples
    assert (counter.labels, counter.value) == ({"method": "group-key", "outcome": "issued"}, 2)
    histogram = read["keyborn_enrollment_seconds"]
    buckets = {each.labels["le"]: each.value for each in histogram.samples if each.name.endswith("_bucket")}
    assert len(buckets) == len(figures.BOUNDS) + 1
    assert (buckets["0.001"], buckets["0.0025"], buckets["0.005"], buckets["30"]) == (2, 2, 4, 4)
    assert buckets["+Inf"] == 6
    numbers = {each.name.rpartition("_")[2]: each.value for each in histogram.samples}
    assert numbers["count"] == 6
    assert numbers["sum"] == pytest.approx(140.008)


async def test_every_declared_figure_is_told_with_its_type_and_nothing_else() -> None:
    text = exposition(await watching(Meter(COUNTED), VirtualClock(), Registry()).families())
    told = [line.split()[2:] for line in text.splitlines() if line.startswith("# TYPE ")]
    assert told == [[each.name, each.kind.value] for each in FIGURES]
    for each in process_readings():
        assert f"\n{each} " in text


async def test_the_registry_is_counted_once_in_a_while_whoever_asks() -> None:
    registry, time = Registry(), VirtualClock()
    clock = SkewedClock(time, timedelta())
    figures_of = watching(Meter(COUNTED), clock, registry)
    for _ in range(5):
        await figures_of.families()
    time.advance(timedelta(seconds=14))
    await figures_of.families()
    assert registry.asked == 1
    time.advance(timedelta(seconds=2))
    await figures_of.families()
    assert registry.asked == 2
    clock.skew = timedelta(days=-1)
    await figures_of.families()
    assert registry.asked == 3, "a clock that went back must not keep an old count for a day"


async def test_a_registry_that_cannot_be_counted_is_said_to_be_so() -> None:
    registry = Registry()
    registry.broken = True
    read = parsed(await watching(Meter(COUNTED), VirtualClock(), registry).families())
    assert [each.value for each in read["keyborn_registry_readable"].samples] == [0]
    assert not read["keyborn_things"].samples
    assert read["process_resident_memory_bytes"].samples
