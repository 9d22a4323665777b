"""The table of policy cases against the evaluator: one test per row, named after it."""

from collections import Counter

import pytest

from keyborn.domain.access import Action
from keyborn.domain.access_policy.document import MAX_ATTACHED, MAX_DOCUMENT
from keyborn.domain.access_policy.evaluate import rights_of
from keyborn.domain.access_policy.explain import Verdict, explain
from support.figures import Figure
from support.policy_case import Case, Group, Wire
from support.policy_cases import cases, wire_cases

VERDICTS = {True, False}


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in cases()])
def test_a_case_gets_the_verdict_of_its_rule(case: Case) -> None:
    badge = case.badge
    ruling = rights_of(badge, case.circumstances).decide(case.action, case.resource_for(badge.certificate.id))
    assert ruling.allowed is case.allowed, f"{case.rule} Instead: {ruling.reason}"
    assert ruling.reason


def test_a_case_is_explained_as_it_is_decided() -> None:
    for case in cases():
        badge = case.badge
        resource = case.resource_for(badge.certificate.id)
        explained = explain(badge, case.circumstances, case.action, resource)
        assert (explained.verdict is Verdict.ALLOWED) is case.allowed, case.name


def test_a_connection_bound_once_answers_any_question_in_any_order() -> None:
    """Rights keep nothing from one question to the next."""
    for case in cases():
        badge = case.badge
        resource = case.resource_for(badge.certificate.id)
        rights = rights_of(badge, case.circumstances)
        for action in Action:
            for other in (resource, "", "x", "#"):
                rights.decide(action, other)
        assert rights.decide(case.action, resource).allowed is case.allowed, case.name


def test_the_order_of_policies_never_matters() -> None:
    several = [case for case in cases() if len(case.policies) > 1]
    assert len(several) >= 5
    for case in several:
        badge = case.badge
        turned = type(badge)(badge.certificate, badge.thing, badge.policies[::-1])
        resource = case.resource_for(badge.certificate.id)
        assert rights_of(turned, case.circumstances).decide(case.action, resource).allowed is case.allowed


def test_the_table_is_large_and_covers_every_rule_on_both_sides(figure: Figure) -> None:
    table = cases()
    verdicts = Counter(case.allowed for case in table)
    assert len(table) >= 450
    assert min(verdicts[True], verdicts[False]) >= 200
    assert {case.group for case in table} == set(Group)
    one_sided = [
        group for group in Group if {case.allowed for case in table if case.group is group} != VERDICTS
    ]
    assert one_sided == [Group.DEFAULT_DENY]
    for action in Action:
        assert {case.allowed for case in table if case.action is action} == VERDICTS, action
    figure(
        f"policy cases: {len(table)} ({verdicts[True]} allowed, {verdicts[False]} denied)"
        f" under {len(Group)} rules, each as the rule has it"
    )


def test_enough_of_the_table_can_be_shown_over_a_connection() -> None:
    assert len(wire_cases()) >= 60
    for wire in Wire:
        rows = [case for case in wire_cases() if case.wire is wire]
        assert {case.allowed for case in rows} == VERDICTS, wire
        assert len(rows) >= 10, wire


def test_every_row_has_a_name_of_its_own_and_a_rule_that_is_a_sentence() -> None:
    names = Counter(case.name for case in cases())
    assert [name for name, count in names.items() if count > 1] == []
    for case in cases():
        assert case.rule.endswith("."), case.rule
        assert 15 <= len(case.rule) <= 140, case.rule


def test_every_row_could_be_put_on_aws_too() -> None:
    """Within the quotas: what the table says of a policy can be tried there."""
    for case in cases():
        assert len(case.policies) <= MAX_ATTACHED, case.name
        assert all(len("".join(text.split())) <= MAX_DOCUMENT for text in case.policies), case.name
