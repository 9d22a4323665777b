"""Which policies a record has: the rules that every registry applies under its own guarantee. Pure."""

from dataclasses import replace

from keyborn.domain.access_policy.document import (
    DEFAULT_POLICY,
    MAX_ATTACHED,
    AccessPolicy,
    PolicyName,
)
from keyborn.domain.errors import TooManyPolicies
from keyborn.domain.thing import Thing


def in_force(thing: Thing) -> tuple[PolicyName, ...]:
    """The names of the policies that decide for ``thing``: its own, or else the default one."""
    return (DEFAULT_POLICY,) if thing.policies is None else thing.policies


def attached(thing: Thing, policy: PolicyName) -> Thing:
    """``thing`` with one more policy, at the end; the very same object if it has it by name already.

    What it had by default it keeps, by name. Raises TooManyPolicies.
    """
    names = in_force(thing)
    if policy in names:
        return thing if thing.policies is not None else replace(thing, policies=names)
    if len(names) >= MAX_ATTACHED:
        raise TooManyPolicies(thing=thing.name, limit=MAX_ATTACHED)
    return replace(thing, policies=(*names, policy))


def detached(thing: Thing, policy: PolicyName) -> Thing:
    """``thing`` without a policy; the very same object if it does not have it.

    The default policy can be taken away, too, from a thing that has it by default. The last one leaves none.
    """
    names = in_force(thing)
    if policy not in names:
        return thing
    return replace(thing, policies=tuple(name for name in names if name != policy))


def revised(known: AccessPolicy | None, put: AccessPolicy) -> AccessPolicy:
    """What is kept when ``put`` comes over ``known``: ``known`` itself if both say the same."""
    if known is None:
        return replace(put, version=1)
    if (known.document.text, known.shipped) == (put.document.text, put.shipped):
        return known
    return replace(put, version=known.version + 1)


def after_replacement(gone: Thing, granted: tuple[PolicyName, ...] | None) -> tuple[PolicyName, ...] | None:
    """What the new holder of a freed name may do: what its credential grants by name, else what the old had.

    A thing that an operator had narrowed does not widen by being revoked and replaced.
    """
    return gone.policies if granted is None else granted
