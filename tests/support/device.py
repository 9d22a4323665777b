"""The ``keyborn`` command as a person types it on a device or at the operator's desk."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PATIENCE = 60.0


def keyborn(*words: str | Path, typed: str = "", expect: int | None = 0) -> subprocess.CompletedProcess[str]:
    """Run the command; asserts its exit code unless ``expect`` is None."""
    asked = [sys.executable, "-m", "keyborn", *map(str, words)]
    done = subprocess.run(asked, input=typed, capture_output=True, text=True, timeout=PATIENCE, check=False)
    if expect is not None:
        assert done.returncode == expect, f"{words}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def keyborn_json(*words: str | Path, typed: str = "") -> Any:  # noqa: ANN401 - JSON
    """Run the command with ``--json``."""
    return json.loads(keyborn(*words, "--json", typed=typed).stdout)


def enroll(home: Path, code: str, thing: str, *more: str) -> dict[str, Any]:
    """Enroll a device whose files lie in ``home``."""
    words: Sequence[str | Path] = ("enroll", "-", "--thing", thing, "--home", home, *more)
    outcome: dict[str, Any] = keyborn_json(*words, typed=code)
    return outcome
