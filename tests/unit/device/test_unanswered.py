"""What a session waits for: who is owed an answer, since when, and whether anybody is there."""

import math

from keyborn.device.reasons import Reason
from keyborn.device.unanswered import Unanswered

DONE = Reason(0, "Success")


def test_nothing_is_owed_at_first() -> None:
    waiting = Unanswered(100)
    assert waiting.since() == math.inf
    assert not waiting.alive
    assert waiting.take() == {}


def test_an_answer_goes_to_the_message_of_its_packet_and_is_taken_once() -> None:
    waiting = Unanswered(100)
    waiting.sent(1, 70, 101)
    waiting.sent(2, 71, 101)
    waiting.answered(2, DONE, 102)
    assert waiting.take() == {71: DONE}
    assert waiting.take() == {}


def test_an_answer_to_a_packet_that_nobody_sent_is_none() -> None:
    waiting = Unanswered(100)
    waiting.answered(9, DONE, 101)
    assert waiting.take() == {}


def test_an_answer_that_comes_twice_counts_once() -> None:
    waiting = Unanswered(100)
    waiting.sent(1, 70, 101)
    waiting.answered(1, DONE, 102)
    waiting.take()
    waiting.answered(1, DONE, 103)
    assert waiting.take() == {}


def test_an_answer_is_owed_since_the_oldest_was_sent_or_the_last_answer_came() -> None:
    """A slow network that carries one message after the other is no silence."""
    waiting = Unanswered(100)
    for mid in range(3):
        waiting.sent(mid, mid, 101)
    assert waiting.since() == 101
    waiting.answered(0, DONE, 105)
    assert waiting.since() == 105
    waiting.answered(1, DONE, 106)
    waiting.answered(2, DONE, 107)
    assert waiting.since() == math.inf


def test_a_sign_of_life_is_owed_once_it_was_asked_for() -> None:
    waiting = Unanswered(100)
    waiting.asked(101)
    assert (waiting.since(), waiting.alive, waiting.wanted()) == (101, False, "answer")
    waiting.pong(102)
    assert (waiting.since(), waiting.alive) == (math.inf, True)


def test_an_older_sign_of_life_does_not_answer_a_newer_question() -> None:
    waiting = Unanswered(100)
    waiting.asked(101)
    waiting.pong(102)
    waiting.asked(103)
    assert not waiting.alive


def test_who_owes_acknowledgements_is_asked_once_whether_he_is_there() -> None:
    waiting = Unanswered(100)
    waiting.asked(100.5)
    waiting.pong(100.6)
    waiting.sent(1, 70, 101)
    assert waiting.wanted() == "acknowledge the message"
    assert waiting.doubtful(waiting.since())
    waiting.asked(103)
    assert not waiting.doubtful(101)


def test_a_sign_of_life_does_not_make_an_acknowledgement_less_late() -> None:
    waiting = Unanswered(100)
    waiting.sent(1, 70, 101)
    waiting.asked(103)
    waiting.pong(104)
    assert waiting.since() == 101
