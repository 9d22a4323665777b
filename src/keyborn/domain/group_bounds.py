"""Traps about names, numbers, dates and what is given."""

from collections.abc import Iterator
from datetime import timedelta

from keyborn.domain.access_policy.document import DEFAULT_POLICY
from keyborn.domain.access_policy.lint_words import Finding, listed
from keyborn.domain.attributes import MAX_ATTRIBUTES
from keyborn.domain.group import EnrollmentGroup
from keyborn.domain.group_findings import Around, error, line, meet, own_pattern, warning
from keyborn.domain.moment import shown
from keyborn.domain.name_template import widest
from keyborn.domain.names import MAX_THING_NAME, RESERVED_PREFIX

_UNITS = {1: "s", 60: "m", 3600: "h", 86400: "d"}
_SHOWN = 3
_LONG = timedelta(days=5 * 365)


def any_name(group: EnrollmentGroup, _: Around) -> Iterator[Finding]:
    """A pattern of wildcards alone."""
    if not group.things.pattern.strip("*?"):
        yield warning(
            "any_name",
            "things",
            "The group may give any name, also those that are meant for devices of another kind. Begin the "
            "pattern with what its devices have in common.",
            line("things", own_pattern(group)),
        )


def reserved_name(group: EnrollmentGroup, around: Around) -> Iterator[Finding]:
    """Names that no thing may have."""
    fixed = group.things.pattern.partition("*")[0].partition("?")[0].lower()
    if fixed.startswith(RESERVED_PREFIX) or group.things.pattern.lower() in around.reserved:
        yield error(
            "reserved_name",
            "things",
            "Names of this pattern are reserved for the service itself: every request is refused.",
            line("things", f"my-{group.things.pattern}"[:MAX_THING_NAME]),
        )
    for where, name in _templates(group):
        if name.lower().startswith(RESERVED_PREFIX):
            yield error(
                "reserved_name",
                where,
                "Names that begin like this are reserved for the service itself: every request is refused.",
            )


def name_never_fits(group: EnrollmentGroup, _: Around) -> Iterator[Finding]:
    """What the credential gives a right to is nothing that the group may give."""
    for where, name in _templates(group):
        if not meet(widest(name), group.things.pattern):
            yield error(
                "name_never_fits",
                where,
                f"No name from {name} falls under things = {group.things.pattern}: every request is refused. "
                "Make the two agree.",
            )


def _templates(group: EnrollmentGroup) -> Iterator[tuple[str, str]]:
    if group.factory is not None:
        yield "factory.name", group.factory.name
    if group.oidc is not None:
        yield "oidc.name", group.oidc.name


def overlap(group: EnrollmentGroup, around: Around) -> Iterator[Finding]:
    """A name may be had under the weaker of two rules."""
    met = [
        name
        for name, pattern in around.others.items()
        if name != group.name and meet(pattern, group.things.pattern)
    ]
    if met:
        more = "" if len(met) <= _SHOWN else f" and {len(met) - _SHOWN} more"
        yield warning(
            "overlap",
            "things",
            f"{', '.join(met[:_SHOWN])}{more} may give names of this pattern, too: such a name is had under "
            "whichever rule demands less. Keep the patterns apart.",
        )


def rate_above_limit(group: EnrollmentGroup, _: Around) -> Iterator[Finding]:
    """A rate that is as large as the whole group never slows anybody down."""
    rate, limit = group.rate, group.limit
    if rate is not None and limit is not None and rate.count >= limit:
        unit = _UNITS[int(rate.period.total_seconds())]
        yield warning(
            "rate_above_limit",
            "rate",
            f"The rate lets all {limit} in within one period, so it bounds nothing. Lower it, or "
            "leave it out.",
            line("rate", f"{max(1, limit // 10)}/{unit}") if limit > 1 else None,
        )


def window_past(group: EnrollmentGroup, around: Around) -> Iterator[Finding]:
    """Nothing new is enrolled any more."""
    if around.now is not None and group.closes is not None and group.closes <= around.now:
        yield warning(
            "window_past",
            "closes",
            f"The group closed at {shown(group.closes)}: nothing new is enrolled under it. If that is not "
            "meant, set a later moment.",
        )


def no_policy(group: EnrollmentGroup, _: Around) -> Iterator[Finding]:
    """An empty list is none at all, not the default one."""
    if group.policies == ():
        yield warning(
            "no_policy",
            "give.policies",
            "An empty list gives no policy at all: the devices may not even connect. Leave the key out for "
            f"{DEFAULT_POLICY}, or name policies.",
            line("policies", [DEFAULT_POLICY]),
        )


def unknown_policy(group: EnrollmentGroup, around: Around) -> Iterator[Finding]:
    """A policy that nobody ever put gives nothing, and on AWS fails the enrolment."""
    if around.policies is None:
        return
    chosen = () if group.webhook is None else group.webhook.policies
    for where, names in (("give.policies", group.policies or ()), ("webhook.policies", chosen)):
        missing = tuple(each for each in names if each not in around.policies)
        if missing:
            yield error(
                "unknown_policy",
                where,
                f"There is no access policy called {listed(missing)}. Put it first: keyborn policy put "
                f"{missing[0]} FILE.",
            )


def self_granted(group: EnrollmentGroup, around: Around) -> Iterator[Finding]:
    """A device that sets the attribute by which its policy decides, chooses what it may do."""
    chosen = tuple(name for name in group.device_attributes if name in around.decided_by)
    if chosen:
        rest = [name for name in group.device_attributes if name not in chosen]
        yield warning(
            "self_granted",
            "give.device-attributes",
            f"The policy {around.decided_by[chosen[0]]} decides by the attribute {listed(chosen)}, and the "
            "device sets that itself: it chooses what it may do. Set it in attributes, or let the webhook.",
            line("device-attributes", rest),
        )


def too_many_attributes(group: EnrollmentGroup, _: Around) -> Iterator[Finding]:
    """A thing has at most three."""
    chosen = () if group.webhook is None else group.webhook.attributes
    names = {*group.attributes, *group.device_attributes, *chosen}
    if len(names) > MAX_ATTRIBUTES:
        yield warning(
            "too_many_attributes",
            "give.attributes",
            f"Together the group, the device and the webhook may set {len(names)} attributes, and a thing "
            f"has at most {MAX_ATTRIBUTES}: a request with more is refused. Leave some out.",
        )


def lifetime_fixed(group: EnrollmentGroup, around: Around) -> Iterator[Finding]:
    """The dates of AWS IoT's certificates are AWS IoT's."""
    if group.lifetime is not None and not around.own_dates:
        yield error(
            "lifetime_fixed",
            "give.lifetime",
            "Here AWS IoT makes the certificates, with dates of its own: the lifetime would be ignored. "
            "Leave it out.",
        )


def lifetime_long(group: EnrollmentGroup, around: Around) -> Iterator[Finding]:
    """What signs has an end of its own, and no certificate may outlive it."""
    if group.lifetime is not None and around.own_dates and group.lifetime > _LONG:
        yield warning(
            "lifetime_long",
            "give.lifetime",
            "No certificate may outlive the intermediate that signs it, which has ten years in all: with a "
            f"lifetime of more than {_LONG.days // 365} years enrolment ends long before. Devices renew by "
            "themselves; shorten it.",
            line("lifetime", "365d"),
        )
