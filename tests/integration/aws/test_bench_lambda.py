"""The measurement of the function works, and says by how much, and where, what."""

import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))  # `bench` is no installed package

from bench.support import function

from keyborn.adapters.aws.package import Package
from support.function_start import Invocation, Start

ROOT = Path(__file__).resolve().parents[3]
BEGIN, END = "<!-- bench/lambda.py writes from here -->", "<!-- bench/lambda.py writes to here -->"


def took(wall: float, cpu: float, *answers: Invocation) -> Start:
    return Start(wall, cpu, 50.4, frozenset(), answers)


@pytest.mark.whole
@pytest.mark.timeout(420)
def test_the_function_is_measured_and_what_was_measured_goes_into_the_document(tmp_path: Path) -> None:
    document = tmp_path / "benchmarks.md"
    document.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    order = [sys.executable, "bench/lambda.py", "--rounds", "1", "--enrollments", "2", "--no-sizes"]
    done = subprocess.run(
        [*order, "--docs", str(document)], cwd=ROOT, capture_output=True, text=True, check=False, timeout=400
    )
    assert done.returncode == 0, done.stderr
    written = document.read_text()
    assert done.stdout.strip() in written
    assert "old" not in written
    assert written.startswith("before\n")
    assert written.endswith("\nafter\n")
    for row in (function.BOTO3, function.SAME, function.FUNCTION, f"{function.FUNCTION}; no bytecode"):
        assert f"| {row} | **" in written
    for row in ("GET /healthz", "POST /v1/enroll"):
        assert f"| {row} | " in written


def test_beyond_is_the_median_of_differences_turn_by_turn() -> None:
    """A turn in which the machine is twice as slow is so for both."""
    found = {
        function.BOTO3: [took(200, 190), took(400, 380), took(210, 200)],
        function.SAME: [took(150, 140), took(300, 290), took(160, 150)],
        function.FUNCTION: [took(230, 225), took(430, 400), took(260, 240)],
    }
    lines = function.starts_table(found).splitlines()
    assert lines[0].count("|") == lines[1].count("|") == lines[2].count("|")
    assert lines[2] == f"| {function.BOTO3} | **210** (200) | 200 (190) | - | +50, +50 | 50 |"
    assert lines[4] == f"| {function.FUNCTION} | **260** (230) | 240 (225) | +30, +35 | +100, +90 | 50 |"


def test_what_was_measured_in_fewer_turns_is_compared_with_nothing() -> None:
    found = {
        function.BOTO3: [took(200, 190), took(210, 200)],
        function.SAME: [took(150, 140), took(160, 150)],
        "seldom": [took(900, 800)],
    }
    assert (
        function.starts_table(found).splitlines()[-1] == "| seldom | **900** (900) | 800 (800) | - | - | 50 |"
    )


def test_the_first_answer_of_a_process_stands_apart_from_the_later_ones() -> None:
    one = took(1, 1, Invocation(201, 130, 40), Invocation(201, 80, 20), Invocation(201, 90, 22))
    (line,) = function.invocations_table({"POST": [one, one]}).splitlines()[2:]
    assert line == "| POST | 130.0, 40.0 | 85.0, 21.0 | 3 | 50 |"


@pytest.mark.parametrize(
    ("health", "enrolled", "right"), [(200, 201, True), (503, 201, False), (200, 429, False)]
)
def test_an_answer_that_is_not_as_it_should_be_makes_the_run_fail(
    health: int, enrolled: int, *, right: bool
) -> None:
    found = {
        "GET /healthz": [took(1, 1, Invocation(200, 1, 1), Invocation(health, 1, 1))],
        "POST /v1/enroll": [took(1, 1, Invocation(201, 1, 1)), took(1, 1, Invocation(enrolled, 1, 1))],
    }
    assert function.right(found) is right


def test_sizes_say_whether_bytecode_is_counted() -> None:
    built = {"arm64": Package(bytes(9_400_000), "", 28_000_000, compiled=True), "x86_64": Package(b"", "", 0)}
    lines = function.sizes_table(built).splitlines()
    assert lines[2:] == ["| arm64 | 9.4 | 28.0 | yes |", "| x86_64 | 0.0 | 0.0 | no |"]
