"""SIGKILL of a real device at every step of a renewal, against a real server: it ends with one certificate.

The steps are those of an undisturbed renewal, from the code itself: every effect of the journey and every
write, name and sync of its files.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.device import enroll
from support.figures import Figure
from support.server import running

TESTS = Path(__file__).parents[1]
NAME = "walker"
EVERY = 1 if os.environ.get("KEYBORN_FULL") else 6


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_after_a_kill_at_any_step_the_device_renews_and_one_certificate_is_active(
    tmp_path: Path, figure: Figure
) -> None:
    with running(tmp_path) as server:
        home = tmp_path / "home"
        enroll(home, server.token(thing=NAME)["code"], NAME)
        words = [sys.executable, "-m", "support.journey_child", str(home), str(EVERY)]
        environment = {**os.environ, "PYTHONPATH": str(TESTS)}
        with subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        ) as child:
            assert child.stdin is not None
            assert child.stdout is not None
            points = 0
            for line in child.stdout:
                report: dict[str, Any] = json.loads(line)
                if "steps" in report:
                    figure(f"steps of a renewal at which a device is killed: {points} of {report['steps']}")
                    break
                points += 1
                assert report["died"] == -9, report
                assert report["after"]["state"] == "ready", report
                assert report["status"] == 0, report
                active = server.active(NAME)
                assert [row["certificateId"] for row in active] == [report["end"]["id"]], report
                child.stdin.write("\n")
                child.stdin.flush()
            assert child.wait(10) == 0
        assert points >= 5
