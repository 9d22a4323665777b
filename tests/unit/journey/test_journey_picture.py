"""The journey for people: every row of the table is on the page, and the page is in order."""

import pytest

from keyborn.domain.journey import Slot, Stage, Trouble
from keyborn.domain.journey.effects import ConnectWith, Effect, Look, Pause, Rest, Span, Wait
from keyborn.domain.journey.picture import page, words_of
from keyborn.domain.journey.table import ANYWHERE, STAGES
from keyborn.domain.journey.words import MEANING

PAGE = page()


def section(title: str) -> str:
    return PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]


@pytest.mark.parametrize("stage", Stage)
def test_every_stage_has_a_section_with_its_meaning_and_its_rows(stage: Stage) -> None:
    text = section(stage.value.capitalize())
    assert MEANING[stage] in text
    for happened, row in STAGES[stage].items():
        line = next(line for line in text.splitlines() if line.startswith(f"| {happened.value} |"))
        assert f"| {(row.stage or stage).value} |" in line
        assert all(words_of(effect) in line for effect in row.effects)
        assert (row.trouble is None) == line.endswith("|  |")


def test_what_can_happen_anywhere_is_there_once() -> None:
    lines = [line for line in section("Anywhere else").splitlines() if line.startswith("| ")]
    assert len(lines) == len(ANYWHERE) + 2


def test_every_trouble_has_its_sentence() -> None:
    assert all(each.value in section("What it says") for each in Trouble)


@pytest.mark.parametrize(
    ("effect", "words"),
    [
        (Look(), "Look"),
        (ConnectWith(Slot.NEXT), "ConnectWith the next"),
        (Wait(Pause(0.5, 120)), "Wait 0.5 s … 2 min"),
        (Rest(Pause(3600, 86400)), "Rest 1 h … 1 d"),
        (Wait(Pause(60, 60)), "Wait 1 min"),
        (Wait(Span(1, 2)), "Wait"),
    ],
)
def test_effects_are_named_as_in_the_code(effect: Effect, words: str) -> None:
    assert words_of(effect) == words
