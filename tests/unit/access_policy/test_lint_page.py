"""docs/access-policies.md says what the code does: its tables are put to the evaluator and to lint."""

import json
import re
from pathlib import Path

import pytest

from keyborn.domain.access import Action, ConnectAttribute
from keyborn.domain.access_policy.document import AccessPolicy, PolicyName
from keyborn.domain.access_policy.evaluate import PolicyRights, rights_of
from keyborn.domain.access_policy.lint import lint
from keyborn.policies import device_policy
from support.lint_stage import allow, document
from support.policy_stage import NOW, badge, connected

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "access-policies.md").read_text()
SOURCE = ROOT / "src" / "keyborn" / "domain" / "access_policy"
VERDICT = {"yes": True, "no": False}


def rows(heading: str) -> list[list[str]]:
    """The rows of the table whose heading row begins so, without the heading; cells without code marks."""
    lines = PAGE[PAGE.index(f"| {heading} ") :].split("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def heads(heading: str) -> list[str]:
    line = PAGE[PAGE.index(f"| {heading} ") :].splitlines()[0]
    return [cell.strip() for cell in line.strip("|").split("|")]


def rights(statement: dict[str, object], *asks: ConnectAttribute) -> PolicyRights:
    policy = AccessPolicy(PolicyName("page"), document(statement), NOW)
    return rights_of(badge(policy), connected("lamp", *asks))


def test_the_default_policy_is_shown_as_it_ships() -> None:
    shown = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)]
    assert shown == json.loads(device_policy())["Statement"]


def test_every_code_of_lint_is_in_the_table_and_no_other() -> None:
    told = {code for row in rows("code") for code in re.findall(r"`(\w+)`", row[0])}
    source = "\n".join(file.read_text() for file in SOURCE.glob("lint*.py"))
    found = set(re.findall(r'(?:finding|about_document)\(\s*f?"([\w{}]+)"', source))
    written = {code for code in found if "{" not in code}
    assert written | {"connect_on_topic", "topic_for_topicfilter", "topicfilter_for_topic"} == told - {
        "mqtt_wildcard_in_topic",
        "mqtt_wildcard_in_client",
        "mixed_regions",
        "mixed_accounts",
    }
    assert found - written == {"mqtt_wildcard_in_{kind}", "mixed_{what}s"}


@pytest.mark.parametrize("row", rows("resource"), ids=lambda row: row[0])
def test_the_table_of_wildcards_is_true(row: list[str]) -> None:
    resource = row[0].strip("`")
    for head, verdict in zip(heads("resource")[1:], row[1:], strict=True):
        if not verdict:
            continue
        kind, text = re.fullmatch(r"the (topic|filter) `(.+)`", head).groups()  # type: ignore[union-attr]
        action = Action.PUBLISH if kind == "topic" else Action.SUBSCRIBE
        decided = rights(allow(action.value, resource)).decide(action, text)
        assert decided.allowed is VERDICT[verdict], head


@pytest.mark.parametrize("row", rows("the Allow's condition"), ids=lambda row: row[0])
def test_the_table_of_connect_attributes_is_true(row: list[str]) -> None:
    asked = [(), (ConnectAttribute.WILL,), (ConnectAttribute.PERSISTENT,)]
    condition = None
    if row[0] != "none":
        operator, values = re.findall(r"`(.+?)`", row[0])
        condition = {operator: {"iot:ConnectAttributes": json.loads(values)}}
    for asks, verdict in zip(asked, row[1:], strict=True):
        decided = rights(allow("Connect", "client/lamp", condition), *asks).decide(Action.CONNECT, "lamp")
        assert decided.allowed is VERDICT[verdict], asks


SHOWN = {
    "wide_action": allow("*", "topic/a"),
    "wide_resource": allow("Publish", "topic/*/state"),
    "client_id_untied": allow("Connect", "client/${iot:ClientId}"),
    "mqtt_wildcard_in_topic": allow("Publish", "topic/a/#"),
    "mqtt_wildcard_in_client": allow("Connect", "client/a+"),
    "client_id_never": allow("Connect", "client/x-${iot:ClientId}"),
    "impossible_filter": allow("Subscribe", ["topicfilter/a/#/b", "topicfilter/a/b+"]),
}


@pytest.mark.parametrize("code", SHOWN)
def test_the_examples_in_the_table_of_traps_are_found(code: str) -> None:
    (finding,) = [each for each in lint(document(SHOWN[code])) if each.code == code]
    severity = next(row[1] for row in rows("code") if f"`{code}`" in row[0])
    assert finding.severity.value == severity
