"""The stores in memory keep what fits and know what it costs."""

import pytest
from hypothesis import given, strategies as st

from keyborn.adapters.broker.limits import Limits
from keyborn.adapters.broker.message import Message
from keyborn.adapters.broker.session import Budget, Session
from keyborn.adapters.broker.store import MemoryRetained, MemorySessions
from keyborn.domain.access import Principal
from keyborn.domain.names import CertificateId, ThingName
from support.rights import Anything


def message(topic: str, payload: bytes = b"x", thing: str | None = "me", **more: float) -> Message:
    return Message(topic, payload, retain=True, thing=ThingName(thing) if thing else None, **more)  # type: ignore[arg-type] # only expires is passed


def texts(store: MemoryRetained, topic_filter: str, now: float = 0) -> list[bytes]:
    return sorted(each.payload for each in store.select(topic_filter, now))


def test_the_last_message_of_a_topic_is_kept() -> None:
    store = MemoryRetained(Limits())
    assert store.keep(message("a", b"1"))
    assert store.keep(message("a", b"2"))
    assert store.keep(message("b", b"3"))
    assert texts(store, "#") == [b"2", b"3"]
    store.drop("a")
    store.drop("a")
    assert texts(store, "#") == [b"3"]
    assert len(store) == 1


@pytest.mark.parametrize(
    "limits",
    [Limits(retained_messages=2), Limits(retained_bytes=2 * message("a").cost), Limits(retained_per_thing=2)],
    ids=["number", "bytes", "number per thing"],
)
def test_more_than_may_be_is_refused_and_replacing_is_not_more(limits: Limits) -> None:
    store = MemoryRetained(limits)
    assert store.keep(message("a"))
    assert store.keep(message("b"))
    assert not store.keep(message("c"))
    assert store.keep(message("a", b"y"))
    assert texts(store, "#") == [b"x", b"y"]


def test_one_thing_cannot_take_everybodys_room() -> None:
    store = MemoryRetained(Limits(retained_per_thing=1))
    assert store.keep(message("a", thing="greedy"))
    assert not store.keep(message("b", thing="greedy"))
    assert store.keep(message("c", thing="modest"))
    assert store.keep(message("d", thing=None))
    assert store.keep(message("e", thing=None)), "the service itself is not a thing"


def test_a_message_whose_time_is_over_is_gone() -> None:
    store = MemoryRetained(Limits())
    store.keep(message("a", expires=5.0))
    assert texts(store, "a", 4.9) == [b"x"]
    assert texts(store, "a", 5.0) == []
    assert len(store) == 0


def test_a_purge_forgets_what_one_thing_published() -> None:
    store = MemoryRetained(Limits())
    store.keep(message("a", thing="gone"))
    store.keep(message("b", thing="stays"))
    assert store.purge_from(ThingName("gone")) == 1
    assert store.purge_from(ThingName("gone")) == 0
    assert texts(store, "#") == [b"x"]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["x", "y"]), st.integers(0, 3))))
def test_the_books_balance(steps: list[tuple[str, str, int]]) -> None:
    store = MemoryRetained(Limits(retained_messages=2, retained_per_thing=2))
    for topic, thing, size in steps:
        if size:
            store.keep(message(topic, b"p" * size, thing))
        else:
            store.drop(topic)
    held = store.select("#", 0)
    assert len(store) == len(held) <= 2
    assert store._bytes == sum(each.cost for each in held)
    assert sum(map(len, store._topics.values())) == len(held)


def test_sessions_are_found_by_client_id_up_to_the_limit() -> None:
    store, limits = MemorySessions(Limits(sessions=1)), Limits()
    principal = Principal(CertificateId("1" * 64), ThingName("a"), Anything())
    one, two = (Session(name, principal, limits, Budget(9)) for name in ("a", "b"))
    assert store.keep(one)
    assert not store.keep(two)
    assert store.find("a") is one
    assert store.find("b") is None
    store.drop(one)
    store.drop(one)
    assert store.keep(two)
    assert list(store) == [two]
    assert len(store) == 1
