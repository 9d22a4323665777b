"""Many at once through the door, when Lambda runs fewer than come: who is refused comes again."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from keyborn.cli.device import surroundings
from keyborn.device.enroll import Outcome, Wish, enroll
from keyborn.device.home import Home
from keyborn.domain.token import EnrollmentCode
from support.aws_party import Party
from support.figures import Figure

DEVICES = 4


@pytest.mark.timeout(300)
def test_devices_that_lambda_has_no_room_for_come_again_until_all_are_enrolled(
    stack: Party, tmp_path: Path, figure: Figure
) -> None:
    told = stack.keyborn(
        "token", "create", "--match", "crowd-*", "--uses", str(DEVICES), "--aws", stack.stack
    )
    code = EnrollmentCode.decode(told.stdout.splitlines()[-1])
    before, seen = stack.active(), len(stack.front.statuses)
    together = threading.Barrier(DEVICES)

    def _enroll(number: int) -> Outcome:
        home, wish = Home(tmp_path / f"home-{number}"), Wish(f"crowd-{number}")
        return enroll(
            home, wish, lambda: code, replace(surroundings(quiet=True), checkpoint=meet), timeout=90
        )

    def meet(step: str) -> None:
        if step == "ask whom to trust":
            together.wait(30)

    with ThreadPoolExecutor(DEVICES) as pool:
        outcomes = list(pool.map(_enroll, range(DEVICES)))
    made = {one.identity.certificate_id for one in outcomes}
    assert len(made) == DEVICES
    assert stack.active() - before == made
    answers = Counter(stack.front.statuses[seen:])
    assert answers[429] > 0, answers
    assert answers[201] == DEVICES, answers
    figure(f"{DEVICES} devices at once, 2 functions: {dict(sorted(answers.items()))}")
