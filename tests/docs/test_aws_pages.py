"""The pages on AWS say what the template and the code say: resources, roles, checks, alarms."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cfnlint.decode import cfn_yaml

from keyborn.adapters.aws.smoke.catalog import ALL
from keyborn.cli.aws_deploy import deploy

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE: dict[str, Any] = json.loads(
    json.dumps(cfn_yaml.loads((ROOT / "src/keyborn/adapters/aws/stack/template.yaml").read_text()))
)
STACK = (ROOT / "docs/aws-stack.md").read_text()
RUNNING = (ROOT / "docs/how-to/aws-run-it.md").read_text()
WORKING = (ROOT / "docs/aws-how-it-works.md").read_text()
COLUMNS = 4
"""Of a role's table: statement, action, resource, used by; the last one is why."""


def section(page: str, title: str) -> str:
    """What stands under a heading, up to the next one of its rank or a higher one."""
    found = re.search(rf"^(#+) {re.escape(title)}\n(.*?)(?=^#{{1,3}} |\Z)", page, re.MULTILINE | re.DOTALL)
    assert found is not None, title
    return found[2]


def rows(text: str) -> Iterator[list[str]]:
    """The cells of a table's rows; its head is left out."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    for line in lines[2:]:
        yield [cell.strip() for cell in line.strip("|").split(" | ")]


def names(cell: str) -> list[str]:
    """What is set in code type."""
    return re.findall(r"`([^`]+)`", cell)


def of_type(kind: str) -> set[str]:
    return {name for name, one in TEMPLATE["Resources"].items() if one["Type"] == kind}


def permitted(role: str) -> Iterator[tuple[str, str, bool]]:
    """Statement, action, and whether it is allowed on ``*``."""
    for policy in TEMPLATE["Resources"][role]["Properties"]["Policies"]:
        for one in policy["PolicyDocument"]["Statement"]:
            actions = [one["Action"]] if isinstance(one["Action"], str) else one["Action"]
            yield from ((one["Sid"], action, one["Resource"] == "*") for action in actions)


def documented(role: str) -> Iterator[tuple[str, str, bool]]:
    """The same, as the page has it."""
    statement = ""
    for row in rows(section(STACK, role)):
        statement = row[0] or statement
        (action,) = names(row[1])
        yield statement, action, row[2] == "`*`"


def test_the_page_lists_what_the_template_makes() -> None:
    listed = [names(row[0])[0] for row in rows(section(STACK, "What is created"))]
    assert sorted(listed) == sorted(TEMPLATE["Resources"])


@pytest.mark.parametrize("role", sorted(of_type("AWS::IAM::Role")))
def test_the_page_goes_through_the_role_as_the_template_has_it(role: str) -> None:
    assert sorted(documented(role)) == sorted(permitted(role))


@pytest.mark.parametrize("role", sorted(of_type("AWS::IAM::Role")))
def test_each_line_of_a_role_says_who_uses_it_and_a_star_says_why(role: str) -> None:
    for row in rows(section(STACK, role)):
        assert len(row) == COLUMNS + 1
        assert row[COLUMNS - 1], row
        assert row[COLUMNS] or row[2] != "`*`", row


def test_code_that_a_role_s_line_names_is_there() -> None:
    code = "\n".join(path.read_text() for path in (ROOT / "src/keyborn").rglob("*.py"))
    for role in of_type("AWS::IAM::Role"):
        for row in rows(section(STACK, role)):
            for name in names(row[COLUMNS - 1]):
                word = name.rpartition(".")[2]
                assert re.search(rf"\b(def|class) {word}\b|\b{word} =", code) or word in TEMPLATE["Resources"]


def test_there_is_something_to_do_at_each_alarm() -> None:
    told = {name for row in rows(section(RUNNING, "Alarms")) for name in names(row[0])}
    assert told == of_type("AWS::CloudWatch::Alarm")


def test_every_option_of_deploy_is_explained() -> None:
    options = {option for one in deploy.params for option in one.opts if option.startswith("--")}
    explained = {
        name for row in rows(section(RUNNING, "Options")) for name in re.findall(r"--[a-z-]+", row[0])
    }
    assert explained == options


def test_every_assumption_names_checks_that_there_are() -> None:
    known = {one.name for one in ALL}
    named = {
        name for row in rows(section(WORKING, "Not proved live")) for name in names(row[-1]) if name != "-"
    }
    assert named
    assert named <= known, named - known
    assert all(names(row[-1]) or row[-1] == "none" for row in rows(section(WORKING, "Not proved live")))
