"""The measurement of who ends TLS runs, and every connection of it is answered."""

import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[2] / "bench" / "tls.py"


@pytest.mark.whole
@pytest.mark.needs("haproxy")
def test_both_fronts_are_measured_on_every_kind_of_connection() -> None:
    words = [
        sys.executable,
        str(BENCH),
        "--seconds",
        "0.3",
        "--warmup",
        "0.2",
        "--repeats",
        "1",
        "--clients",
        "2",
    ]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    rows = [line.split("|")[1:-1] for line in done.stdout.splitlines() if line.startswith("| ")][2:]
    assert len(rows) == 8
    for _wire, front, rate, *_micros in rows:
        assert front.strip() in {"in-process", "HAProxy"}
        assert "failed" not in rate
        assert int(rate.replace(",", "")) > 0
