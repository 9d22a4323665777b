"""Nonces of signed requests: from where they come, and what is done where one is refused."""

from collections.abc import Callable
from http import HTTPStatus

from keyborn.device.answer import parse_problem
from keyborn.device.https import Answer

NONCE_PATH = "/v1/nonce"
_BAD_NONCE = "bad_nonce"


def send_with(nonce: str, send: Callable[[str], Answer]) -> Answer:
    """Send a request that is signed with ``nonce``; once more with the one that comes with its refusal.

    RFC 8555, 6.5.
    """
    answer = send(nonce)
    if is_bad_nonce(answer) and answer.nonce is not None:
        answer = send(answer.nonce)
    return answer


def is_bad_nonce(answer: Answer) -> bool:
    """Whether it was the nonce that was refused."""
    return answer.status == HTTPStatus.BAD_REQUEST and parse_problem(answer.body, "")[0] == _BAD_NONCE
