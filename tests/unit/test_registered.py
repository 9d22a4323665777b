"""What becomes of a batch of announced keys."""

from hypothesis import given, strategies as st

from keyborn.domain.names import GroupName, ThingName
from keyborn.domain.registered import Registered, RegisteredKey, announce
from support.registry_cases import key

KEYS = st.builds(
    RegisteredKey,
    st.sampled_from([key(name) for name in "abcdef"]),
    st.sampled_from([ThingName("lamp-1"), ThingName("lamp-2")]),
    st.sampled_from([GroupName("line-7"), GroupName("line-8")]),
)
KNOWN = st.lists(KEYS, max_size=4).map(lambda keys: {one.key_hash: one for one in keys})


def test_nothing_comes_of_nothing() -> None:
    assert announce([], {}) == ([], Registered(0, 0, ()))


@given(st.lists(KEYS, max_size=12), KNOWN)
def test_every_key_is_added_known_or_refused(
    keys: list[RegisteredKey], known: dict[str, RegisteredKey]
) -> None:
    fresh, told = announce(keys, known)  # type: ignore[arg-type] # a key hash is a string
    after = known | {one.key_hash: one for one in fresh}

    assert told.added + told.known + len(told.refused) == len(keys)
    assert told.added == len(fresh) == len({one.key_hash for one in fresh})
    assert not {one.key_hash for one in fresh} & known.keys(), "what is known stays as it is"
    assert {one.key_hash for one in keys} <= after.keys()
    for one in keys:
        assert (one in told.refused) == (after[one.key_hash] != one)


@given(st.lists(KEYS, max_size=12), KNOWN)
def test_announcing_again_adds_nothing_and_refuses_the_same(
    keys: list[RegisteredKey], known: dict[str, RegisteredKey]
) -> None:
    fresh, told = announce(keys, known)  # type: ignore[arg-type] # a key hash is a string
    after = known | {one.key_hash: one for one in fresh}
    again = announce(keys, after)  # type: ignore[arg-type] # a key hash is a string
    assert again == ([], Registered(0, told.known + told.added, told.refused))
