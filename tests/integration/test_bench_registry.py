"""The measurement of enrolments at the registry's port runs, and says what it measured."""

import re
import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).parents[2] / "bench" / "registry.py"


def test_both_ways_are_measured_with_one_caller_and_with_many(tmp_path: Path) -> None:
    words = [sys.executable, str(BENCH), "--count", "40", "--repeats", "1", "--filled", "1000"]
    run = subprocess.run([*words, "--folder", str(tmp_path)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    rows = re.findall(
        r"^ *(\d+) callers, (three steps|one command): +[\d,]+/s +CPU +\d+ µs", run.stdout, re.MULTILINE
    )
    assert rows == [(str(callers), way) for callers in (1, 32) for way in ("three steps", "one command")]
    assert list(tmp_path.iterdir()) == [], "nothing is left behind"
