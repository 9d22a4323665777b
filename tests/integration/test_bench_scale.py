"""The measurement of a million things runs, on few."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_call_is_measured_on_both_registries(tmp_path: Path) -> None:
    sizes = ["--small", "1000", "--large", "1200", "--repeats", "3", "--rounds", "0"]
    program = [sys.executable, str(ROOT / "bench" / "scale.py"), *sizes, "--folder", str(tmp_path)]
    done = subprocess.run(program, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "| through the ports, µs each | 1,000 | 1,200 | ratio |" in done.stdout
    rows = [
        line for line in done.stdout.splitlines() if line.startswith("| a") or "enrolments at once" in line
    ]
    assert len(rows) == 11
    assert all(line.count("|") == 5 for line in rows)
    assert list(tmp_path.iterdir()) == []
