"""Answers of gateways and proxies, in words that help."""

import pytest

from keyborn.device.strangers import status_words, stranger_words


@pytest.mark.parametrize(
    ("status", "words"),
    [(503, "status 503 (Service Unavailable)"), (429, "status 429 (Too Many Requests)"), (599, "status 599")],
)
def test_a_status_is_told_with_its_name_where_it_has_one(status: int, words: str) -> None:
    assert status_words(status) == words


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (403, "nothing behind this address is Keyborn"),
        (404, "the service was taken away or has moved"),
        (407, "a proxy stands between"),
    ],
)
def test_what_gateways_say_is_explained(status: int, words: str) -> None:
    assert words in stranger_words(status)


@pytest.mark.parametrize("status", [301, 400, 415, 499])
def test_what_means_nothing_in_particular_is_told_as_it_is(status: int) -> None:
    assert stranger_words(status).endswith("not in the words of a Keyborn service")
