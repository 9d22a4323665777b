"""What a session has asked the broker and waits for: acknowledgements, and signs of life."""

import math

from keyborn.device.reasons import Reason


class Unanswered:
    """Packet ids on the way with their messages, answers that nobody has taken yet; times are monotonic."""

    def __init__(self, now: float) -> None:
        self._sent: dict[int, tuple[int, float]] = {}
        self._answers: dict[int, Reason] = {}
        self._heard = self._ponged = now
        self._asked: float | None = None

    def sent(self, mid: int, message_id: int, now: float) -> None:
        """A message is on its way, as packet ``mid``."""
        self._sent[mid] = message_id, now

    def settled(self, message_id: int, reason: Reason) -> None:
        """Nobody will answer this one: QoS 0."""
        self._answers[message_id] = reason

    def answered(self, mid: int, reason: Reason, now: float) -> None:
        """The broker has answered packet ``mid``."""
        self._heard = now
        if (sent := self._sent.pop(mid, None)) is not None:
            self._answers[sent[0]] = reason

    def asked(self, now: float) -> None:
        """The broker was asked for a sign of life."""
        self._asked = now

    def pong(self, now: float) -> None:
        """It gave one."""
        self._ponged = now

    @property
    def alive(self) -> bool:
        """Whether it has answered the last question for a sign of life."""
        return self._asked is not None and self._ponged >= self._asked

    @property
    def answers(self) -> dict[int, Reason]:
        """By message id."""
        return self._answers

    def take(self) -> dict[int, Reason]:
        """The answers, once."""
        answers, self._answers = self._answers, {}
        return answers

    def since(self) -> float:
        """Since when the broker owes an answer without having given any; never is infinite."""
        since = math.inf
        if self._sent:
            since = max(next(iter(self._sent.values()))[1], self._heard)
        if self._asked is not None and not self.alive:
            since = min(since, self._asked)
        return since

    def wanted(self) -> str:
        """What it owes, in the middle of a sentence."""
        return "acknowledge the message" if self._sent else "answer"

    def doubtful(self, since: float) -> bool:
        """Whether it owes acknowledgements, and was not asked since then whether it is there."""
        return bool(self._sent) and (self._asked is None or self._asked < since)
