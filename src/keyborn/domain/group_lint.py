"""Lint: the traps in an enrolment group, each with a sentence and, where it can be said, what to write.

The rules stand in ``group_traps`` (who gets in), ``group_bounds`` (names, numbers, dates and what is given).
"""

from keyborn.domain import group_bounds, group_traps
from keyborn.domain.access_policy.lint_words import Finding, Severity
from keyborn.domain.group import EnrollmentGroup
from keyborn.domain.group_findings import NOTHING_KNOWN, Around, Rule

__all__ = ["RULES", "Around", "Finding", "Rule", "Severity", "lint", "refused"]

RULES: tuple[Rule, ...] = (
    group_traps.webhook_alone,
    group_traps.open_ask,
    group_traps.key_without_limit,
    group_traps.idle_way,
    group_traps.replace_never,
    group_traps.replace_by_token,
    group_traps.replace_at_will,
    group_traps.http_url,
    group_traps.same_name,
    group_traps.nobodys_name,
    group_traps.authority_unfit,
    group_traps.authority_expired,
    group_bounds.any_name,
    group_bounds.reserved_name,
    group_bounds.name_never_fits,
    group_bounds.overlap,
    group_bounds.rate_above_limit,
    group_bounds.window_past,
    group_bounds.no_policy,
    group_bounds.unknown_policy,
    group_bounds.self_granted,
    group_bounds.too_many_attributes,
    group_bounds.lifetime_fixed,
    group_bounds.lifetime_long,
)
"""Every trap; each rule is on its own."""


def lint(group: EnrollmentGroup, around: Around = NOTHING_KNOWN) -> tuple[Finding, ...]:
    """Every trap in the group, errors first; what ``around`` does not know is not looked at."""
    found = [finding for rule in RULES for finding in rule(group, around)]
    return tuple(sorted(found, key=lambda finding: finding.severity is not Severity.ERROR))


def refused(group: EnrollmentGroup, around: Around = NOTHING_KNOWN) -> tuple[Finding, ...]:
    """The findings because of which ``group put`` refuses the file."""
    return tuple(finding for finding in lint(group, around) if finding.severity is Severity.ERROR)
