"""Whatever crosses between core and workers is on the other side what it was on this one."""

import string
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from keyborn.adapters.workers.calls import BY_NAME, OF_CLAIMS, OF_CORE, OF_WORKER, Call
from keyborn.adapters.workers.forms import (
    REFUSALS,
    Form,
    OneOf,
    UnreadableError,
    read_refusal,
    write_refusal,
)
from keyborn.domain.enrollment import Issue, Repeat
from keyborn.domain.errors import AuditBroken, KeybornError, ThingRevoked, Throttled, Unavailable
from keyborn.domain.names import NameScope

MOMENTS = st.integers(0, 1 << 32).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
st.register_type_strategy(NameScope, st.from_regex(r"[a-z0-9:_*?-]{1,20}", fullmatch=True).map(NameScope))
LENGTHS = st.timedeltas(timedelta(0), timedelta(days=4000))
ALL = [*OF_CORE, *OF_CLAIMS, *OF_WORKER]


TEXTS = st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=2)


def values(kind: Any) -> st.SearchStrategy[Any]:  # noqa: ANN401 - a type expression
    st.register_type_strategy(datetime, MOMENTS)
    st.register_type_strategy(timedelta, LENGTHS)
    st.register_type_strategy(Mapping, TEXTS)
    st.register_type_strategy(float, st.floats(0, 100))
    return st.nothing() if kind is None else st.from_type(kind)


@pytest.mark.parametrize("call", ALL, ids=lambda call: call.name)
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_arguments_and_answers_come_over_as_they_were(call: Call, data: st.DataObject) -> None:
    for form in (call.takes, call.gives):
        for kind in form.kinds:
            value = None if kind is None else data.draw(values(kind))
            assert form.read(form.write(value)) == value


def test_the_list_of_calls_is_closed_and_numbered_by_its_order() -> None:
    for calls in (OF_CORE, OF_CLAIMS, OF_WORKER):
        assert [call.number for call in calls] == list(range(len(calls)))
    assert len(BY_NAME) == len(ALL)
    words = {word for call in ALL for word in call.name.split("_")}
    assert not words & {"token", "key", "withdraw", "revoke", "status", "policy", "group", "records"}


def test_a_serial_number_of_159_bits_and_a_read_only_mapping_come_over() -> None:
    form: Form[Any] = Form(tuple[int, dict[str, str]])
    assert form.read(form.write(((1 << 159) - 1, MappingProxyType({"a": "b"})))) == (
        (1 << 159) - 1,
        {"a": "b"},
    )


def test_what_must_not_cross_cannot_be_written() -> None:
    whatever: Form[object] = Form(object)
    with pytest.raises(TypeError, match="does not cross"):
        whatever.write(object())


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"null", b"[]", b'["Issue"]', b'["Attempt",{}]', b'["Issue",{}]', b"\xff", b"[" * 100_000],
)
def test_what_is_no_verdict_is_not_read(body: bytes) -> None:
    with pytest.raises(UnreadableError):
        OneOf((Issue, Repeat)).read(body)


def test_a_name_scope_that_no_constructor_lets_pass_does_not_cross() -> None:
    with pytest.raises(UnreadableError):
        Form(NameScope).read(b'{"pattern":"a b\\u0000"}')


# ── refusals ──────────────────────────────────────────────────────────────────────────────────────────


def made(kind: type[KeybornError]) -> KeybornError:
    """An error of this class, with a fact for each place in its sentence."""
    names = [name for _, name, _, _ in string.Formatter().parse(kind.sentence) if name]
    return kind(**{name: 7 if name in {"seconds", "limit", "sequence"} else f"a {name}" for name in names})


@pytest.mark.parametrize("name", sorted(REFUSALS))
def test_every_refusal_of_the_tree_comes_over_with_its_sentence_and_its_pause(name: str) -> None:
    refusal = made(REFUSALS[name])
    other = read_refusal(write_refusal(refusal))
    assert type(other) is type(refusal)
    assert (str(other), other.code, other.retry_after) == (str(refusal), refusal.code, refusal.retry_after)
    assert other.facts == refusal.facts


def test_the_whole_tree_is_known() -> None:
    few: set[type[KeybornError]] = {ThingRevoked, Throttled, AuditBroken, Unavailable}
    assert few <= set(REFUSALS.values())
    assert len(REFUSALS) > 150


@pytest.mark.parametrize(
    "body",
    [b'["SystemExit",{}]', b'["Throttled",{}]', b'["Throttled",{"seconds":"x"}]', b'["ThingRevoked",{}]'],
)
def test_a_refusal_that_nobody_knows_is_a_service_that_cannot_answer_now(body: bytes) -> None:
    assert type(read_refusal(body)) is Unavailable


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'["Throttled"]', b'["Throttled",{"a":[]}]', b"7"])
def test_what_is_no_refusal_is_not_read(body: bytes) -> None:
    with pytest.raises(UnreadableError):
        read_refusal(body)
