"""Answers wait for their commit, in order, and for nothing else."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest_asyncio
from hypothesis import given, strategies as st

from keyborn.adapters.broker.answers import Answers
from keyborn.adapters.broker.journal import Waiter
from keyborn.adapters.broker.keeper import Keeper
from support.durable import Shop


class Commits:
    """A journal whose commits end when the test says so."""

    def __init__(self) -> None:
        self.urgent = 0
        self.waiting: list[Waiter] = []
        self.journal = self

    def when_written(self, waiter: Waiter) -> None:
        self.waiting.append(waiter)

    def end(self, *, written: bool = True) -> None:
        waiting, self.waiting = self.waiting, []
        for waiter in waiting:
            waiter(written)


class Desk:
    """One connection's answers, and what was said."""

    def __init__(self, keeper: object, limit: int = 3) -> None:
        self.said: list[tuple[str, bool]] = []
        self.caught_up = 0
        self.answers = Answers(keeper, limit, self._count)  # type: ignore[arg-type] # only its journal is asked

    def _count(self) -> None:
        self.caught_up += 1

    def say(self, name: str) -> Callable[[bool], None]:
        return lambda written: self.said.append((name, written))


@pytest_asyncio.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    made = await Shop(tmp_path / "broker.db").open()
    yield made
    await made.close()


def test_without_a_journal_nothing_waits() -> None:
    desk = Desk(None)
    mark = desk.answers.mark()
    assert desk.answers.free(mark)
    desk.answers.after(mark, desk.say("a"))
    assert desk.said == [("a", True)]


def test_where_nothing_durable_changed_nothing_waits() -> None:
    desk = Desk(Commits())
    desk.answers.after(desk.answers.mark(), desk.say("a"))
    assert desk.said == [("a", True)]


def test_a_later_answer_does_not_overtake_one_that_waits() -> None:
    commits = Commits()
    desk = Desk(commits)
    mark = desk.answers.mark()
    commits.urgent += 1
    desk.answers.after(mark, desk.say("durable"))
    assert not desk.answers.free(desk.answers.mark())
    desk.answers.after(desk.answers.mark(), desk.say("plain"))
    assert desk.said == []
    commits.end()
    assert desk.said == [("durable", True), ("plain", True)]
    assert desk.answers.free(desk.answers.mark())


def test_a_commit_that_fails_is_told_to_those_who_waited_for_it_alone() -> None:
    commits = Commits()
    desk = Desk(commits)
    for name in "ab":
        mark = desk.answers.mark()
        commits.urgent += 1
        desk.answers.after(mark, desk.say(name))
    desk.answers.after(desk.answers.mark(), desk.say("plain"))
    commits.end(written=False)
    assert desk.said == [("a", False), ("b", False), ("plain", True)]


def test_who_has_left_is_not_answered() -> None:
    commits = Commits()
    desk = Desk(commits)
    commits.urgent += 1
    desk.answers.after(0, desk.say("a"))
    desk.answers.forget()
    commits.end()
    assert desk.said == []


def test_an_answer_may_end_the_connection_and_with_it_those_that_wait() -> None:
    commits = Commits()
    desk = Desk(commits, limit=1)
    for _ in range(3):
        mark = desk.answers.mark()
        commits.urgent += 1
        desk.answers.after(mark, lambda _written: desk.answers.forget())
    crowds = [desk.answers.crowded]
    commits.end(written=False)
    crowds.append(desk.answers.crowded)
    assert crowds == [True, False]


def test_a_crowd_is_said_and_its_end_is_told_once() -> None:
    commits = Commits()
    desk = Desk(commits, limit=2)
    for number in range(4):
        mark = desk.answers.mark()
        commits.urgent += 1
        desk.answers.after(mark, desk.say(f"{number}"))
        assert desk.answers.crowded is (number >= 2)
    first, *others = commits.waiting
    first(True)  # noqa: FBT003 - a callback's one argument
    seen = [(desk.answers.crowded, desk.caught_up)]
    commits.waiting = others
    commits.end()
    seen.append((desk.answers.crowded, desk.caught_up))
    assert seen == [(True, 0), (False, 1)]


@given(st.lists(st.sampled_from(["durable", "plain", "commit", "failure"]), max_size=30))
def test_whatever_happens_answers_keep_their_order(steps: list[str]) -> None:
    commits = Commits()
    desk = Desk(commits)
    asked = []
    for number, step in enumerate(steps):
        if step in {"commit", "failure"}:
            commits.end(written=step == "commit")
            continue
        mark = desk.answers.mark()
        commits.urgent += step == "durable"
        asked.append(f"{number}")
        desk.answers.after(mark, desk.say(f"{number}"))
    commits.end()
    assert [name for name, _ in desk.said] == asked


async def test_on_a_real_file_the_answer_comes_after_the_commit(shop: Shop) -> None:
    shop.waiting("a", "t")
    await shop.journal.durable()
    keeper = shop.hub.keeper
    assert isinstance(keeper, Keeper)
    desk = Desk(keeper)
    mark = desk.answers.mark()
    shop.say("t")
    desk.answers.after(mark, desk.say("x"))
    assert desk.said == []
    assert shop.rows("deliveries") == 0
    await shop.journal.durable()
    assert desk.said == [("x", True)]
    assert shop.rows("deliveries") == 1
