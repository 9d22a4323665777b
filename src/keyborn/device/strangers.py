"""Answers that are not the service's own: a gateway's, a proxy's, a firewall's. What they mean.

API Gateway answers ``{"message": "Forbidden"}`` where a custom domain leads to no API, and ``{"message": "Not
Found"}`` where the API has no such route. Only the status is believed: the text is a stranger's.
"""

from http import HTTPStatus

_MEANING = {
    HTTPStatus.FORBIDDEN: (
        "nothing behind this address is Keyborn, or something before it (a proxy, a firewall) lets nobody in"
    ),
    HTTPStatus.NOT_FOUND: (
        "something else answers at this address, or the service was taken away or has moved"
    ),
    HTTPStatus.PROXY_AUTHENTICATION_REQUIRED: "a proxy stands between, which wants to know who asks",
}


_PASSING = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})


def is_passing(status: int) -> bool:
    """Whether the same request may be answered better later, whoever answered it now."""
    return status in _PASSING or status >= HTTPStatus.INTERNAL_SERVER_ERROR


def status_words(status: int) -> str:
    """A status as people look it up: ``status 503 (Service Unavailable)``."""
    try:
        return f"status {status} ({HTTPStatus(status).phrase})"
    except ValueError:
        return f"status {status}"


def stranger_words(status: int) -> str:
    """What an answer means that no Keyborn gives, for the middle of a sentence."""
    words = f"{status_words(status)}, not in the words of a Keyborn service"
    return f"{words}: {_MEANING[HTTPStatus(status)]}" if status in _MEANING else words
