"""Lint: the traps in a policy, each with a sentence and, where it can be said, the corrected statement.

The rules stand in ``lint_width`` (more than least privilege), ``lint_dead`` (resources that never match),
``lint_holding`` (conditions and variables) and ``lint_whole`` (between statements).
"""

from collections.abc import Iterator

from keyborn.domain.access_policy import lint_dead, lint_holding, lint_whole, lint_width
from keyborn.domain.access_policy.document import MAX_DOCUMENT, PolicyDocument
from keyborn.domain.access_policy.lint_words import Finding, Rule, Severity, about_document, each

__all__ = ["RULES", "Finding", "Rule", "Severity", "lint", "refused", "size"]


def size(text: str) -> int:
    """Characters of a document, white space not counted (AWS IoT API Reference, CreatePolicy)."""
    return sum(not character.isspace() for character in text)


def too_large(document: PolicyDocument) -> Iterator[Finding]:
    """AWS refuses a longer document."""
    length = size(document.text)
    if length > MAX_DOCUMENT:
        yield about_document(
            "too_large",
            Severity.ERROR,
            f"The document has {length} characters, white space not counted; AWS takes {MAX_DOCUMENT}. Use "
            "wildcards and variables, or split it: up to ten policies can be attached.",
        )


STATEMENT_RULES: tuple[Rule, ...] = (
    each(lint_dead.unfit_action),
    each(lint_dead.unused_resource),
    each(lint_dead.mqtt_wildcard),
    each(lint_dead.impossible_filter),
    each(lint_dead.wildcard_in_deny),
    each(lint_dead.client_id_never),
    each(lint_dead.literal_question),
    each(lint_dead.beyond_limits),
    each(lint_holding.thing_type),
    each(lint_holding.never_attached),
    each(lint_holding.deny_variable),
    each(lint_holding.all_of_nothing),
    each(lint_holding.deny_plain_connect),
    each(lint_holding.attributes_without_connect),
    each(lint_width.wide_action),
    each(lint_width.wide_resource),
    each(lint_width.client_id_untied),
    each(lint_width.attribute_variable),
)
"""Traps within one statement."""

DOCUMENT_RULES: tuple[Rule, ...] = (
    lint_width.client_id_in_topic,
    lint_width.loose_connect,
    lint_whole.no_connect,
    lint_whole.receive_missing,
    lint_whole.subscribe_missing,
    lint_whole.publish_missing,
    lint_whole.shadowed,
    lint_whole.duplicate,
    lint_whole.mixed_places,
    lint_whole.deny_goes_round,
)
"""Traps between statements: these compare resources with one another."""

RULES = STATEMENT_RULES + DOCUMENT_RULES
"""Every trap that a document of the right size can have; each rule is on its own."""


def lint(document: PolicyDocument) -> tuple[Finding, ...]:
    """Every trap in the document: the whole document first, then statement by statement, errors first.

    Of a document that AWS takes for too large, that alone is said: parts of it have to go anyway.
    """
    found = list(too_large(document)) or [finding for rule in _rules(document) for finding in rule(document)]
    return tuple(sorted(found, key=_order))


def refused(document: PolicyDocument) -> tuple[Finding, ...]:
    """The findings because of which `policy put` refuses the document."""
    return tuple(finding for finding in lint(document) if finding.severity is Severity.ERROR)


def _rules(document: PolicyDocument) -> tuple[Rule, ...]:
    """All, unless white space inside the resources makes them so long that comparing them takes its time."""
    written = sum(len(resource) for statement in document.statements for resource in statement.resources)
    return RULES if written <= MAX_DOCUMENT else STATEMENT_RULES


def _order(finding: Finding) -> tuple[int, bool]:
    place = -1 if finding.statement is None else finding.statement
    return (place, finding.severity is not Severity.ERROR)
