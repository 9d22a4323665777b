"""The error tree as a contract: codes, sentences, and one mapping per edge."""

import inspect
import json
import re
import string
from collections.abc import Iterator

import click
import pytest

from keyborn.cli.failures import run
from keyborn.domain import errors
from keyborn.domain.errors import KeybornError
from keyborn.http.problems import STATUS, answer_problem

BRANCHES = (
    errors.InputError, errors.CsrRefused, errors.TooLarge, errors.Unauthenticated, errors.Forbidden,
    errors.Conflict, errors.NotFound, errors.Throttled, errors.Queued, errors.Unavailable,
    errors.AwaitsApproval, errors.DeviceError, errors.OperatorError,
)  # fmt: skip


def leaves(node: type[KeybornError] = KeybornError) -> Iterator[type[KeybornError]]:
    children = [
        child for child in node.__subclasses__() if child.__module__.startswith("keyborn.domain.errors")
    ]
    for child in children:
        yield from leaves(child)
    if not children:
        yield node


def example(leaf: type[KeybornError]) -> KeybornError:
    """An instance whose facts are all filled."""
    names = {name for _, name, _, _ in string.Formatter().parse(leaf.sentence) if name}
    signature = inspect.signature(leaf.__init__).parameters.values()
    names |= {one.name for one in signature if one.kind is one.KEYWORD_ONLY and one.default is one.empty}
    numbers = {"seconds", "bits", "limit", "status", "retry_after"}
    return leaf(**{name: 7 if name in numbers else "x" for name in names})


LEAVES = sorted(set(leaves()), key=lambda leaf: leaf.__name__)


def test_every_leaf_hangs_on_a_branch_and_is_exported() -> None:
    for leaf in LEAVES:
        assert issubclass(leaf, BRANCHES), leaf
        assert getattr(errors, leaf.__name__) is leaf


def test_codes_are_unique_and_stable_words() -> None:
    codes = [leaf.code for leaf in LEAVES]
    assert len(set(codes)) == len(codes), sorted(code for code in codes if codes.count(code) > 1)
    assert all(re.fullmatch(r"[a-z0-9]+(_[a-z0-9]+)*", code) for code in codes)


@pytest.mark.parametrize("leaf", LEAVES, ids=lambda leaf: leaf.code)
def test_each_sentence_says_what_happened_in_plain_words(leaf: type[KeybornError]) -> None:
    sentence = str(example(leaf))
    assert sentence[0].isupper() or sentence[0] in "'x7{", sentence
    assert len(sentence) > 20, sentence
    assert "{" not in sentence
    assert "Traceback" not in sentence


@pytest.mark.parametrize("leaf", LEAVES, ids=lambda leaf: leaf.code)
def test_each_server_side_leaf_becomes_a_problem_document(leaf: type[KeybornError]) -> None:
    error = example(leaf)
    answer = answer_problem(error)
    body = json.loads(bytes(answer.body))
    if issubclass(leaf, errors.DeviceError):
        assert (answer.status_code, body["code"]) == (500, "internal"), "a server never speaks for a device"
        return
    if issubclass(leaf, errors.AwaitsApproval):
        assert (answer.status_code, body["status"], answer.media_type) == (202, "pending", "application/json")
        assert int(answer.headers["retry-after"]) >= 1
        return  # no problem: the request waits for a person
    assert body["code"] == leaf.code
    assert body["detail"] == str(error)
    assert body["status"] == answer.status_code
    assert answer.media_type == "application/problem+json"
    if answer.status_code in (429, 503):
        assert int(answer.headers["retry-after"]) >= 1
    if answer.status_code == 401:
        assert "www-authenticate" in answer.headers


def test_every_branch_has_one_status_and_a_leaf_its_own_before_that() -> None:
    for leaf in LEAVES:
        matches = [branch for branch, _ in STATUS if issubclass(leaf, branch)]
        widest = [one for one in matches if not any(one is not it and issubclass(one, it) for it in matches)]
        assert len(widest) == (0 if issubclass(leaf, errors.DeviceError) else 1), leaf
    order = [branch for branch, _ in STATUS]
    for number, branch in enumerate(order):
        assert not any(issubclass(branch, earlier) for earlier in order[:number]), branch


def test_a_fault_of_ours_says_nothing_more() -> None:
    answer = answer_problem(KeybornError())
    assert answer.status_code == 500
    assert json.loads(bytes(answer.body))["code"] == "internal"


def fails_with(error: BaseException) -> click.Command:
    @click.command()
    @click.option("--json", "as_json", is_flag=True)
    def command(*, as_json: bool) -> None:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.NotFound(what="thing", name="x"), 1),
        (click.UsageError("no such option"), 2),
        (click.Abort(), 130),
        (KeyboardInterrupt(), 130),
    ],
)
def test_the_command_line_maps_the_tree_to_exit_codes(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["keyborn"])
    assert run(fails_with(error)) == code


def test_an_error_is_one_sentence_with_its_code(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["keyborn"])
    run(fails_with(errors.ThingNameTaken(name="sensor-1", owner="another key", otherwise=".")))
    shown = capsys.readouterr().err
    assert shown.startswith("keyborn: The thing name sensor-1 belongs to another key.")
    assert shown.rstrip().endswith("[thing_name_taken]")


def test_with_json_an_error_is_an_object_for_programs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["keyborn", "--json"])
    run(fails_with(errors.Overloaded(seconds=2)))
    assert json.loads(capsys.readouterr().err) == {
        "code": "overloaded",
        "detail": "The service is busy. Repeat the same request in 2 s.",
        "retryAfter": 2.0,
    }
