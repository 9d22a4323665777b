"""Which policies a record has after it was given one more, or one less."""

from dataclasses import replace

import pytest
from hypothesis import given, strategies as st

from keyborn.domain.access_policy.attaching import attached, detached, in_force, revised
from keyborn.domain.access_policy.document import (
    DEFAULT_POLICY,
    MAX_ATTACHED,
    AccessPolicy,
    PolicyDocument,
    PolicyName,
)
from keyborn.domain.errors import TooManyPolicies
from keyborn.domain.names import ThingName
from keyborn.domain.thing import Thing, ThingStatus
from support.registry_cases import START, key, policy_names

LAMP = Thing(ThingName("lamp-1"), ThingStatus.ACTIVE, key("k1"), START)
FLEET = PolicyName("fleet")
NAMES = st.sampled_from([DEFAULT_POLICY, FLEET, *policy_names(*"abcdefghijk")])
THINGS = st.none() | st.lists(NAMES, unique=True, max_size=MAX_ATTACHED).map(tuple)


def test_no_policies_of_its_own_is_the_default_and_an_empty_list_is_none() -> None:
    assert in_force(LAMP) == (DEFAULT_POLICY,)
    assert in_force(replace(LAMP, policies=())) == ()
    assert in_force(replace(LAMP, policies=(FLEET,))) == (FLEET,)


def test_the_first_policy_of_its_own_keeps_the_default_by_name() -> None:
    assert attached(LAMP, FLEET).policies == (DEFAULT_POLICY, FLEET)
    assert attached(LAMP, DEFAULT_POLICY).policies == (DEFAULT_POLICY,)
    assert attached(replace(LAMP, policies=()), FLEET).policies == (FLEET,)


def test_what_was_taken_away_last_leaves_none() -> None:
    assert detached(replace(LAMP, policies=(FLEET,)), FLEET).policies == ()
    assert detached(LAMP, DEFAULT_POLICY).policies == ()
    assert detached(LAMP, FLEET) is LAMP


@given(THINGS, NAMES)
def test_nobody_ever_has_more_than_ten(names: tuple[PolicyName, ...] | None, policy: PolicyName) -> None:
    thing = replace(LAMP, policies=names)
    if len(in_force(thing)) == MAX_ATTACHED and policy not in in_force(thing):
        with pytest.raises(TooManyPolicies, match="10 policies"):
            attached(thing, policy)
        return

    given_it = attached(thing, policy)

    assert set(in_force(given_it)) == {*in_force(thing), policy}
    assert len(in_force(given_it)) <= MAX_ATTACHED
    assert attached(given_it, policy) is given_it, "a repeat is no change"


@given(THINGS, NAMES)
def test_taking_away_takes_that_one_alone(names: tuple[PolicyName, ...] | None, policy: PolicyName) -> None:
    thing = replace(LAMP, policies=names)

    without = detached(thing, policy)

    assert in_force(without) == tuple(name for name in in_force(thing) if name != policy)
    assert detached(without, policy) is without, "a repeat is no change"


def test_a_revision_counts_up_only_where_something_is_said_anew() -> None:
    put = AccessPolicy(FLEET, PolicyDocument((), "one"), START, version=9)
    first = revised(None, put)
    assert first == replace(put, version=1)
    assert revised(first, put) is first
    assert revised(first, replace(put, document=PolicyDocument((), "two"))).version == 2
    assert revised(first, replace(put, shipped=True)) == replace(put, shipped=True, version=2)
