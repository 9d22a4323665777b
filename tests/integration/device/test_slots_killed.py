"""SIGKILL at every step of a renewal on the disk: the device works, and the next run carries it on."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.device_slots import WHOLE
from support.figures import Figure

TESTS = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("slots")
    folder.chmod(0o700)
    words = [sys.executable, "-m", "support.slots_child", str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(TESTS), "PYTHONWARNINGS": "error"}
    done = subprocess.run(words, capture_output=True, timeout=100, check=False, env=environment)
    assert done.returncode == 0, done.stderr.decode()
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def test_every_process_died_where_it_was_told_to(report: dict[str, Any], figure: Figure) -> None:
    points = report["points"]
    assert {point["died"] for point in points} == {-9}
    assert {point["change"] for point in points} == {"renew", "change_mind"}
    assert len(points) > 50
    figure(f"steps of a renewal's files at which a device is killed: {len(points)}, a working identity each")


def test_after_every_kill_the_next_start_has_a_working_identity(report: dict[str, Any]) -> None:
    """Key and certificate are taken by a TLS context, in a process that knows only what the disk holds."""
    for point in report["points"]:
        assert point["after"]["state"] == "ready", point


def test_a_kill_before_the_point_of_no_return_leaves_the_old_identity_and_after_it_the_new_one(
    report: dict[str, Any],
) -> None:
    steps = [point for point in report["points"] if point["change"] == "renew"]
    marked = [point["step"] for point in steps].index("rename next.promoting")
    for number, point in enumerate(steps):
        assert (point["after"]["id"] == report["first"]) is (number <= marked), point


def test_the_run_after_a_kill_carries_the_change_to_its_end(report: dict[str, Any]) -> None:
    for point in report["points"]:
        assert point["finished"] == 0, point
        assert point["end"]["state"] == "ready", point
        assert (point["end"]["id"] == report["first"]) is (point["change"] == "change_mind"), point
        assert set(point["end"]["files"]) == WHOLE, point
