"""Every trap of a group is found, at its key, with what to write; and what is in order is left alone."""

import ast
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from keyborn.domain.group_file import parse_group
from keyborn.domain.group_findings import Around
from keyborn.domain.group_lint import RULES, lint, refused
from keyborn.domain.names import GroupName
from support.group_stage import HERE, NOON, codes, group, mended, only, text
from support.group_traps import ERROR, KNOWN, TRAPS, Trap, hooked, made, oidc
from support.pki import DAY, new_pki, pem

SOURCE = Path(__file__).resolve().parents[3] / "src" / "keyborn" / "domain"


def told(rule: Trap) -> str:
    return f"{rule.code} {rule.given}"[:60]


@pytest.mark.parametrize("trap", TRAPS, ids=told)
def test_a_trap_is_found_at_its_key_with_what_to_write(trap: Trap) -> None:
    finding = only(group(**trap.given), trap.code, trap.around)
    assert (finding.where, finding.corrected, finding.severity) == (trap.where, trap.corrected, trap.severity)
    assert finding.sentence.endswith(".")
    assert finding.sentence.isprintable()


@pytest.mark.parametrize("trap", [each for each in TRAPS if each.corrected], ids=told)
def test_what_lint_says_to_write_is_read_and_has_that_finding_no_more(trap: Trap) -> None:
    source = text(**trap.given)
    better = parse_group(mended(source, only(parse_group(source), trap.code, trap.around)))
    assert trap.code not in codes(better, trap.around)


SOUND = [
    {},
    {"methods": ["ask"], "limit": 5},
    {"methods": ["ask"], "networks": ["10.0.0.0/8"]},
    {"methods": ["registered"]},
    {"methods": ["ask + registered"]},
    {"methods": ["group-key"], "limit": 5, "rate": "4/h"},
    {"methods": ["token + ask", "group-key"], "limit": 5},
    {"methods": ["token + ask", "registered + token"]},
    {"methods": ["registered"], "taken": "replace"},
    {"taken": "person", "ask": {"wait": "1h"}},
    made(name="sensor-{serial}"),
    made(),
    oidc(name="sensor-{sub}") | {"things": "sensor-*"},
    oidc(name="{line}-*") | {"things": "s*"},
    hooked("token + webhook", attributes=["a"], policies=["known"]),
    {"closes": NOON + timedelta(seconds=1), "opens": NOON},
    {
        "give": {
            "policies": ["known"],
            "attributes": {"a": "1"},
            "device-attributes": ["b", "c"],
            "lifetime": "1d",
        }
    },
]


@pytest.mark.parametrize("given", SOUND, ids=lambda each: str(each)[:60])
def test_what_is_in_order_is_left_alone(given: dict[str, Any]) -> None:
    apart = {GroupName("line-7"): "*", GroupName("other"): "pump-*"}
    around = replace(KNOWN, others=apart, reserved=frozenset({"localhost"}))
    assert codes(group(**given), around) == set()


def test_every_rule_has_a_trap_here_and_a_code_of_its_own() -> None:
    rules = {name for file in ("group_traps", "group_bounds") for name in _codes(file)}
    assert {trap.code for trap in TRAPS} == rules == {rule.__name__ for rule in RULES}


def _codes(module: str) -> set[str]:
    """First arguments of every finding that is made."""
    calls = [
        each
        for each in ast.walk(ast.parse((SOURCE / f"{module}.py").read_text()))
        if isinstance(each, ast.Call)
    ]
    makers = {"error", "warning", "make"}
    named = [each for each in calls if isinstance(each.func, ast.Name) and each.func.id in makers]
    return {str(each.args[0].value) for each in named if isinstance(each.args[0], ast.Constant)}


def test_errors_come_first_and_are_what_put_refuses() -> None:
    source = group(**(made(name="pump-1") | {"closes": NOON, "things": "*"}))
    found = lint(source, HERE)
    assert [each.severity for each in found] == sorted(
        (each.severity for each in found), key=lambda each: each is not ERROR
    )
    assert refused(source, HERE) == tuple(each for each in found if each.severity is ERROR)


def test_what_is_not_known_is_not_guessed() -> None:
    unknown = group(closes=NOON, give={"policies": ["nobody"], "lifetime": "1d"})
    assert lint(unknown) == ()


def test_many_groups_that_overlap_are_counted() -> None:
    others = {GroupName(f"g{number}"): "*" for number in range(5)}
    finding = only(group(), "overlap", replace(HERE, others=others))
    assert "g0, g1, g2 and 2 more may give" in finding.sentence


def test_an_expired_authority_is_named() -> None:
    root = new_pki().root
    late = Around(now=root.certificate.not_valid_after_utc + DAY)
    finding = only(group(**made(authorities=pem(root.certificate))), "authority_expired", late)
    assert "test root" in finding.sentence
