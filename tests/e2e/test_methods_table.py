"""Every method of enrolment, on both backends, tried with everything that is not as it should be.

``tests/support/method_cases.py`` says how each case is brought about, ``method_table.py`` what is answered,
and ``docs/reference/methods.md`` tells people the same. Each refusal is looked at from all sides: its status
and code, its sentence, one record in the audit trail that holds no secret, and nothing else written anywhere.
"""

import io
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from keyborn.cli.failures import run
from keyborn.cli.main import cli
from keyborn.domain import errors
from support.desks import Said
from support.figures import Figure
from support.method_actors import ACTORS, AskActor, Line, World
from support.method_cases import CASES, WAYS
from support.method_grounds import Aws, Machine
from support.method_table import TABLE, expected
from support.method_walk import GROUNDS, ROOM, Walk, open_ground, render, require_certificate
from support.walks import FULL

DOCS = Path(__file__).parents[2] / "docs" / "reference" / "methods.md"
ONE_MACHINE, AWS = GROUNDS
BY_CODE = tuple(way for way in WAYS if way != "webhook")
"""Ways of ``keyborn enroll``: nothing at all is shown for a webhook alone, so there is no code for it."""
SAMPLED = {
    "token": ("expired", "withdrawn", "group full"),
    "group-key": ("another name", "used up"),
    "factory": ("replayed", "group rate"),
    "oidc": ("replayed", "another group"),
    "registered": ("withdrawn", "another network"),
    "ask": ("person refuses", "before the window"),
    "webhook": ("webhook says no", "name taken"),
    "token + ask": ("withdrawn", "expired"),
    "factory + webhook": ("webhook down", "too early"),
    "registered + webhook": ("wrong", "after the window"),
}
"""What is tried on AWS where the whole table would take too long: each way, and each kind of refusal."""


def _refusals(way: str, cases: Iterable[str] = CASES) -> list[str]:
    """What a way answers to those cases, where that is a refusal."""
    return [told for told in (expected(case, way) for case in cases) if told[0] in "45"]


# ── the table ─────────────────────────────────────────────────────────────────────────────────────────


def test_the_table_has_every_method_and_every_case_and_no_hole(figure: Figure) -> None:
    assert list(TABLE) == list(CASES)
    assert {name for way in WAYS for name in way.split(" + ")} == set(ACTORS)
    assert all({"*"} <= row.keys() <= {"*", *WAYS} for row in TABLE.values())
    for case in CASES:
        for way in WAYS:
            told = expected(case, way)
            if told.startswith("— "):
                assert len(told.split()) > 3, (case, way)
            else:
                status, _, code = told.partition(" ")
                assert status in {"200", "201", "202"} or code in _codes(), told
    whole = [told for way in WAYS for told in _refusals(way)]
    on_aws = whole if FULL else [told for way in WAYS for told in _refusals(way, SAMPLED[way])]
    figure(
        f"refusals of methods: {len(whole)} on one machine, {len(on_aws)} on AWS, each with its own code "
        f"({len(set(whole))} codes)"
    )


def _codes() -> set[str]:
    named = [getattr(errors, name) for name in dir(errors)]
    return {each.code for each in named if isinstance(each, type) and issubclass(each, errors.KeybornError)}


def test_what_is_asked_of_every_method_is_tried_with_every_method() -> None:
    """The words of the promise: wrong, expired, replayed, reused, and so on, each refused or explained."""
    for way in WAYS:
        refused = {case for case in CASES if expected(case, way)[0] in "45"}
        assert {"group full", "group rate", "another network", "before the window"} <= refused
        assert {"after the window", "name taken", "not of the group", "group removed"} <= refused
        assert expected("works", way) == "201"


def test_people_read_the_same_table() -> None:
    """``KEYBORN_WRITE=1`` writes it."""
    head, mark, _ = DOCS.read_text().partition("<!-- written by tests/e2e/test_methods_table.py -->\n")
    whole = f"{head}{mark}\n{render(TABLE, WAYS)}"
    if os.environ.get("KEYBORN_WRITE"):
        DOCS.write_text(whole)
    assert mark
    assert DOCS.read_text() == whole


# ── walked ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("way", WAYS)
def test_on_one_machine_each_case_is_answered_as_the_table_says(way: str, tmp_path: Path) -> None:
    _walk(ONE_MACHINE, way, tuple(CASES), tmp_path)


@pytest.mark.parametrize("way", WAYS)
def test_on_aws_a_part_of_the_table_holds_too(way: str, tmp_path: Path) -> None:
    _walk(AWS, way, SAMPLED[way], tmp_path)


@pytest.mark.whole
@pytest.mark.parametrize("way", WAYS)
def test_on_aws_each_case_is_answered_as_the_table_says(way: str, tmp_path: Path) -> None:
    _walk(AWS, way, tuple(CASES), tmp_path)


def _walk(which: str, way: str, cases: Sequence[str], folder: Path) -> None:
    with open_ground(which, folder) as (ground, world):
        walk = Walk(ground, world)
        told = {case: walk.told(case, way) for case in cases}
    assert told == {case: expected(case, way) for case in cases}
    assert walk.refused == len(_refusals(way, cases))


# ── from end to end ───────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module", params=list(GROUNDS))
def stage(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Machine | Aws, World]]:
    with open_ground(request.param, tmp_path_factory.mktemp("stage")) as opened:
        yield opened


def _keyborn(code: str, *words: str) -> Said:
    """The command as a device runs it, in this process."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", ["keyborn", *words])
        patch.setenv("KEYBORN_CODE", code)
        ended = run(cli)
    return Said(ended, out.getvalue(), err.getvalue())


@pytest.mark.parametrize("way", BY_CODE)
def test_keyborn_enroll_gets_a_certificate_by_each_method_and_publishes_with_it(
    way: str, stage: tuple[Machine | Aws, World], tmp_path: Path
) -> None:
    ground, world = stage
    line = Line(ground, world, way).put()
    device = line.device()
    code, options = line.first.words(device, tmp_path)
    words = ["enroll", "--thing", device.name, "--home", str(tmp_path / "home"), *options]
    if any(isinstance(each, AskActor) for each in line.actors):
        waiting = _keyborn(code, *words, "--timeout", "2")
        assert waiting.code != 0
        assert "key words" in waiting.out + waiting.err
        _approve(line, waiting)
    said = _keyborn(code, *words, "--publish", "hello")
    assert said.code == 0, said
    assert f"This device is now {device.name}." in said.out
    assert len(ground.active(device.name)) == 1


def _approve(line: Line, waiting: Said) -> None:
    """A person who compares what the device shows with what asks."""
    (asked,) = [
        each for each in line.ground.order("GET", "/v1/approvals", limit=1000) if each["group"] == line.group
    ]
    assert asked["code"] in waiting.out + waiting.err
    assert asked["words"] in waiting.out + waiting.err
    line.order("POST", f"/v1/approvals/{asked['id']}", {"state": "approved", "words": asked["words"]})


def test_a_webhook_alone_gives_a_certificate_to_whoever_it_says_yes_to(
    stage: tuple[Machine | Aws, World],
) -> None:
    ground, world = stage
    device, answer = Line(ground, world, "webhook").put().enroll()
    certificate = require_certificate(answer, device.name, device.key)
    assert ground.active(device.name) == [certificate]


@pytest.mark.parametrize("way", WAYS)
def test_the_certificate_is_of_the_devices_own_key(way: str, stage: tuple[Machine | Aws, World]) -> None:
    ground, world = stage
    device, answer = Line(ground, world, way).put().enroll()
    certificate = require_certificate(answer, device.name, device.key)
    assert ground.active(device.name) == [certificate]


# ── the trail of strangers ────────────────────────────────────────────────────────────────────────────


def test_strangers_leave_ten_records_at_once_and_then_six_a_minute(tmp_path: Path) -> None:
    """What is beyond is counted by the next record: nobody fills the trail who has proved nothing."""
    with open_ground(ONE_MACHINE, tmp_path) as (ground, world):
        walk, line = Walk(ground, world), Line(ground, world, "factory").put()
        walk.trail.news()
        for _ in range(15):
            line.first.forge(line.device()).send(ground)  # type: ignore[attr-defined] # it is a factory's
        assert len(walk.trail.news()) == 10
        ground.clock.ahead += ROOM
        line.first.forge(line.device()).send(ground)  # type: ignore[attr-defined] # as above
        (record,) = walk.trail.news()
    assert record["details"] == {"group": line.group, "method": "factory", "more": "5"}
