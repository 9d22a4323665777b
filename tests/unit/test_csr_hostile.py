"""The table of hostile requests: each is refused for its own reason, and by nothing but an error of ours."""

import re
import time
from collections import Counter

import pytest

from keyborn.domain.csr import parse_csr
from keyborn.domain.errors import CsrNameMismatch, CsrRefused
from support.csr_build import Row
from support.csr_hostile import as_json, hostile
from support.figures import Figure

SENTENCE = re.compile(r"[ -~…]{20,300}")
"""What may reach a client or a log: printable ASCII (and our own ellipsis), of a readable length."""


def _outcome(row: Row) -> str:
    """``refused``, or what went wrong, in words."""
    name, text, code = row
    try:
        parse_csr(text)
    except CsrRefused as refusal:
        return "refused" if refusal.code == code else f"{name}: {refusal.code} instead of {code}"
    except Exception as error:  # noqa: BLE001 - the point of the test
        return f"{name}: unexpected {error!r}"
    return f"{name}: accepted"


def test_every_hostile_request_is_refused_with_the_code_of_its_fault(figure: Figure) -> None:
    outcomes = Counter(map(_outcome, hostile()))
    refused = outcomes.pop("refused")
    assert not outcomes
    figure(f"hostile CSRs: {refused} refused, 0 accepted, 0 unexpected errors")
    assert refused == len(hostile()) >= 600


def test_the_rows_of_the_table_have_names_of_their_own() -> None:
    names = [name for name, _, _ in hostile()]
    assert len(set(names)) == len(names)


def test_the_table_holds_every_reason_that_the_parser_can_give() -> None:
    leaves = {leaf.code for leaf in CsrRefused.__subclasses__()} - {CsrNameMismatch.code}
    assert {code for _, _, code in hostile()} == leaves


def test_nearly_every_row_can_be_sent_as_json() -> None:
    unsendable = [name for name, text, _ in hostile() if not as_json(text)]
    assert unsendable == ["not a string: bytes", "not a string: a bytearray"]


def test_no_sentence_carries_hostile_characters_or_the_request() -> None:
    for name, text, _ in hostile():
        with pytest.raises(CsrRefused) as refusal:
            parse_csr(text)
        sentence = str(refusal.value)
        assert SENTENCE.fullmatch(sentence), name
        lines = str(text).split("\n")
        assert not any(line[:40] in sentence for line in lines if len(line) >= 40), name


def test_the_whole_table_takes_less_than_two_milliseconds_a_row() -> None:
    rows = hostile()
    _outcome(rows[0])
    start = time.process_time()
    for row in rows:
        _outcome(row)
    assert time.process_time() - start < 0.002 * len(rows)
