"""What a process counts: closed labels, numbers that add up, histograms whose buckets are right."""

import time
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given, strategies as st

from keyborn.domain import errors
from keyborn.domain.method import Method
from keyborn.service import figures
from keyborn.service.figures import BOUNDS, COUNTED, FIGURES, OTHER, Kind
from keyborn.service.meter import Meter, Snapshot, merged

MS = 1_000_000
_ENROLLED = st.tuples(st.sampled_from(list(Method)), st.sampled_from([figures.ISSUED, "queued", "x y", ""]))
_TOOK = st.integers(0, 60_000 * MS)
DID = st.lists(st.one_of(_ENROLLED, _TOOK), max_size=30)


def metered(did: list[tuple[Method, str] | int]) -> Meter:
    meter = Meter(COUNTED)
    for each in did:
        if isinstance(each, int):
            meter.observe(each, figures.ENROLLMENT_SECONDS, figures.GRANTED)
        else:
            meter.count(figures.ENROLLMENTS, *each)
    return meter


def test_each_call_counts_one_under_its_labels() -> None:
    meter = Meter(COUNTED)
    for _ in range(3):
        meter.count(figures.ENROLLMENTS, Method.TOKEN, figures.ISSUED)
    meter.count(figures.ENROLLMENTS, "token", "credential_refused")
    assert meter.snapshot() == {figures.ENROLLMENTS: {"token issued": [3], "token credential_refused": [1]}}


@pytest.mark.parametrize(
    ("took", "bucket"),
    [(0, 0), (1 * MS, 0), (1 * MS + 1, 1), (30_000 * MS, len(BOUNDS) - 1), (30_000 * MS + 1, len(BOUNDS))],
)
def test_a_bound_belongs_to_its_bucket(took: int, bucket: int) -> None:
    meter = Meter(COUNTED)
    meter.observe(took, figures.ENROLLMENT_SECONDS, figures.GRANTED)
    (cell,) = meter.snapshot()[figures.ENROLLMENT_SECONDS].values()
    assert [place for place, number in enumerate(cell[:-1]) if number] == [bucket]
    assert cell[-1] == took


@given(st.text())
def test_what_is_not_on_the_list_is_counted_as_other(said: str) -> None:
    known = said in figures.CODES | {figures.ISSUED, figures.REPEATED}
    meter = Meter(COUNTED)
    meter.count(figures.ENROLLMENTS, said, said)
    assert meter.snapshot() == {figures.ENROLLMENTS: {f"{OTHER} {said if known else OTHER}": [1]}}


def test_callers_cannot_fill_the_memory() -> None:
    meter = Meter(COUNTED)
    for number in range(1000):
        meter.count(figures.ENROLLMENTS, Method.TOKEN, f"thing-{number}")
    assert meter.snapshot() == {figures.ENROLLMENTS: {f"token {OTHER}": [1000]}}
    assert not meter._cells


def test_nobody_counts_what_is_not_declared() -> None:
    with pytest.raises(KeyError):
        Meter(COUNTED).count("keyborn_unknown_total")
    with pytest.raises(ValueError, match="zip"):
        Meter(COUNTED).count(figures.ENROLLMENTS, Method.TOKEN)


@given(st.lists(DID, max_size=4))
def test_several_processes_count_what_one_would_have_counted(
    processes: list[list[tuple[Method, str] | int]],
) -> None:
    """Through the wire, in any order."""
    sent = [msgspec.json.encode(metered(did).snapshot()) for did in processes]
    got = [msgspec.json.decode(each, type=Snapshot) for each in sent]
    whole = metered([each for did in processes for each in did]).snapshot()
    assert merged(got) == merged(reversed(got)) == whole


def test_a_snapshot_stays_as_it_was() -> None:
    meter = metered([(Method.TOKEN, figures.ISSUED)])
    before = meter.snapshot()
    meter.count(figures.ENROLLMENTS, Method.TOKEN, figures.ISSUED)
    merged([before, before])
    assert before == {figures.ENROLLMENTS: {"token issued": [1]}}


def test_counting_takes_two_microseconds_at_most(figure: Callable[[str], None]) -> None:
    """The best of some rounds: the others tell of what else the machine does."""
    meter, rounds = Meter(COUNTED), []
    for _ in range(20):
        began = time.perf_counter_ns()
        for _ in range(500):
            meter.count(figures.ENROLLMENTS, "token", "issued")
            meter.observe(3 * MS, figures.HTTP_SECONDS, "/v1/enroll", "2xx")
        rounds.append((time.perf_counter_ns() - began) / 1000)
    figure(f"a figure is counted, or observed, within {min(rounds):.0f} ns")
    assert min(rounds) < 2000


def test_figures_are_named_as_prometheus_asks() -> None:
    names = [each.name for each in FIGURES]
    assert len(set(names)) == len(names)
    for each in FIGURES:
        assert each.name.startswith(("keyborn_", "process_"))
        assert each.name.endswith("_total") == (each.kind is Kind.COUNTER)
        assert bool(each.bounds) == (each.kind is Kind.HISTOGRAM)
        assert not each.bounds or each.name.endswith("_seconds")
        assert not each.says.endswith(".")


def test_label_values_are_words_of_the_lists_alone() -> None:
    values = {value for each in FIGURES for label in each.labels for value in label.values}
    assert not [value for value in values if " " in value or not value.isascii() or not value]
    assert {errors.CredentialRefused.code, errors.BadNonce.code, "internal"} <= figures.CODES
