"""What a deploy is made of, apart from AWS: options, the printed policy, what is said of events."""

import json
import re
from collections.abc import Mapping
from typing import Any

import pytest

from keyborn.adapters.aws.package import Target
from keyborn.adapters.aws.roots import amazon_roots
from keyborn.adapters.aws.session import AwsSession
from keyborn.adapters.aws.stack import stacks, wishes
from keyborn.adapters.aws.stack.deploy import beside_the_code
from keyborn.adapters.aws.stack.orders import Orders, Place
from keyborn.adapters.aws.stack.permissions import MOST, deployer_policy
from keyborn.adapters.aws.stack.stacks import Stack, Standing, ready
from keyborn.adapters.aws.stack.wishes import DEFAULT_TARGET, Wishes
from keyborn.device.answer import MAX_PEM
from keyborn.device.verify import MAX_CHAIN
from keyborn.domain.errors import InvalidSetting, StackNotReady, StackSlow
from support.pki import new_pki, pem

PLACE = Place("aws", "123456789012", "ap-southeast-2", "arn:aws:iam::123456789012:user/x")
LONGEST = "k" * 40
BEGIN = "-----BEGIN CERTIFICATE-----"
ON_STAR = {"Look", "AccessLog"}


def statements(stack: str = "kb") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(deployer_policy(stack, PLACE))["Statement"]
    return found


def actions() -> list[str]:
    return [action for one in statements() for action in one["Action"]]


# ── what devices are to trust ──────────────────────────────────────────────────────────────────────────


def test_the_limits_are_those_of_the_device() -> None:
    assert (wishes.MOST_ROOTS, wishes.LONGEST_ROOTS) == (MAX_CHAIN, MAX_PEM)


@pytest.mark.parametrize(
    ("roots", "sentence"),
    [
        (
            f"{BEGIN}\n" * 9,
            "The setting --mqtt-roots is not usable: it has 9 certificates, and a device takes",
        ),
        (f"{BEGIN}\n" + "A" * MAX_PEM, "characters, and a device takes at most 32,768"),
    ],
)
def test_what_a_device_would_refuse_is_refused(roots: str, sentence: str) -> None:
    with pytest.raises(InvalidSetting, match=sentence):
        wishes.require_takable(roots.encode(), "--mqtt-roots")


def test_roots_that_a_device_takes_are_taken() -> None:
    wishes.require_takable(f"{BEGIN}\n".encode() * 8, "--mqtt-roots")
    wishes.require_takable(b"A" * MAX_PEM, "--mqtt-roots")


def test_the_root_of_a_private_url_is_counted_with_those_for_mqtt() -> None:
    eight, one = (pem(*[new_pki().root.certificate] * count).encode() for count in (8, 1))
    assert beside_the_code(eight, b"") == eight
    with pytest.raises(InvalidSetting, match=r"--url-root.*it has 9 certificates"):
        beside_the_code(eight, one)
    together = beside_the_code(b"", one)
    assert together is not None
    assert together.count(BEGIN.encode()) == amazon_roots().count(BEGIN) + 1


# ── options ───────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_not_given_is_no_parameter() -> None:
    assert Wishes().parameters() == {}


def test_what_is_given_is_the_parameter_of_that_name() -> None:
    wishes = Wishes(
        architecture="x86_64",
        runtime="python3.12",
        mqtt_endpoint="mqtt.example:443",
        topic_prefix="plant/one",
        enrollments_per_second=4.5,
        alarm_email="",
        log_retention_days=7,
        memory=1024,
    )
    assert wishes.parameters() == {
        "Architecture": "x86_64",
        "Runtime": "python3.12",
        "MqttEndpoint": "mqtt.example:443",
        "TopicPrefix": "plant/one",
        "EnrollmentsPerSecond": "4.5",
        "AlarmEmail": "",
        "LogRetentionDays": "7",
        "MemorySize": "1024",
    }


def test_every_parameter_of_an_option_is_declared_in_the_template() -> None:
    wishes = Wishes(
        architecture="arm64",
        runtime="python3.13",
        url="https://one.example",
        root_fingerprint="0" * 64,
        mqtt_endpoint="mqtt.example",
        topic_prefix="one",
        enrollments_per_second=1,
        alarm_email="a@example.com",
        log_retention_days=1,
        memory=128,
    )
    named = {*wishes.parameters(), "CodeBucket", "CodeKey", "CodeSha256", "MqttRoots", "FirstTopicPrefix"}
    assert named <= stacks._declared()


def test_a_new_url_takes_the_root_of_the_old_one_away() -> None:
    assert Wishes(url="https://two.example").parameters()["RootFingerprint"] == ""
    assert (
        Wishes(url="https://two.example", root_fingerprint="a" * 64).parameters()["RootFingerprint"]
        == "a" * 64
    )
    assert "Url" not in Wishes(root_fingerprint="a" * 64).parameters()


def test_the_target_is_the_one_given_else_the_one_before_else_the_default() -> None:
    known = {"Architecture": "x86_64", "Runtime": "python3.12"}
    assert Wishes().target({}) == DEFAULT_TARGET == Target("arm64", "python3.13")
    assert Wishes().target(known) == Target("x86_64", "python3.12")
    assert Wishes(architecture="arm64").target(known) == Target("arm64", "python3.12")
    with pytest.raises(InvalidSetting):
        Wishes(runtime="python2.7").target(known)


# ── the printed policy ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("stack", ["keyborn", "kb"])
def test_the_policy_fits_into_one_managed_policy(stack: str) -> None:
    assert len(deployer_policy(stack, PLACE)) <= MOST


def test_nothing_is_left_to_fill_in() -> None:
    assert not re.search("PARTITION|REGION|ACCOUNT|STACK", deployer_policy("kb", PLACE))


def test_the_policy_names_every_action_in_full_and_once() -> None:
    assert [one for one in actions() if not re.fullmatch(r"[a-z0-9]+:[A-Z][A-Za-z]+", one)] == []
    for one in statements():
        assert one["Effect"] == "Allow"
        assert len(set(one["Action"])) == len(one["Action"])
    assert len(set(actions())) == len(actions())


def test_a_star_is_the_resource_of_lists_and_log_deliveries_alone() -> None:
    assert {one["Sid"] for one in statements() if one["Resource"] == "*"} == ON_STAR
    looked = next(one for one in statements() if one["Sid"] == "Look")
    words = {action.partition(":")[2] for action in looked["Action"]}
    assert {word for word in words if not re.match("Describe|List", word)} == {"DetachThingPrincipal"}


def test_roles_are_made_for_three_names_and_no_other() -> None:
    (roles,) = [one for one in statements() if any(each.startswith("iam:") for each in one["Action"])]
    assert roles["Resource"] == [
        "arn:aws:iam::123456789012:role/kb-EnrollRole-*",
        "arn:aws:iam::123456789012:role/kb-SweepRole-*",
        "arn:aws:iam::123456789012:role/kb-SeenRole-*",
    ]
    assert not {"iam:AttachRolePolicy", "iam:CreatePolicy", "iam:CreateUser"} & set(actions())


def test_the_rule_has_the_stack_s_name_as_far_as_a_rule_can() -> None:
    rules = [each for one in statements("kb-two") for each in one["Resource"] if ":rule/" in each]
    assert [each for each in rules if ":iot:" in each] == [
        "arn:aws:iot:ap-southeast-2:123456789012:rule/kb_two_seen"
    ]


def test_every_resource_names_the_stack_its_account_or_its_devices() -> None:
    for one in statements(LONGEST):
        for resource in [one["Resource"]] if isinstance(one["Resource"], str) else one["Resource"]:
            shared = resource.endswith((":cert/*", ":thing/*", ":client/*")) or ":apigateway:" in resource
            assert shared or LONGEST in resource or one["Sid"] in {*ON_STAR, "Code"}, resource


def kinds() -> list[str]:
    """The types of the template's resources."""
    return sorted(set(re.findall(r"^    Type: (AWS::\S+)$", stacks.template(), re.MULTILINE)))


@pytest.mark.parametrize("kind", kinds())
def test_what_the_template_makes_the_policy_can_make_and_remove(kind: str) -> None:
    wanted = {
        "AWS::DynamoDB::Table": ("dynamodb:CreateTable", "dynamodb:DeleteTable"),
        "AWS::IoT::ThingType": ("iot:CreateThingType", "iot:DeleteThingType"),
        "AWS::IoT::TopicRule": ("iot:CreateTopicRule", "iot:DeleteTopicRule"),
        "AWS::IoT::Policy": ("iot:CreatePolicy", "iot:DeletePolicy"),
        "AWS::Logs::LogGroup": ("logs:CreateLogGroup", "logs:DeleteLogGroup"),
        "AWS::Logs::MetricFilter": ("logs:PutMetricFilter", "logs:DeleteMetricFilter"),
        "AWS::IAM::Role": ("iam:CreateRole", "iam:DeleteRole"),
        "AWS::Lambda::Function": ("lambda:CreateFunction", "lambda:DeleteFunction"),
        "AWS::Lambda::Permission": ("lambda:AddPermission", "lambda:RemovePermission"),
        "AWS::Lambda::EventInvokeConfig": (
            "lambda:PutFunctionEventInvokeConfig",
            "lambda:DeleteFunctionEventInvokeConfig",
        ),
        "AWS::Events::Rule": ("events:PutRule", "events:DeleteRule"),
        "AWS::SNS::Topic": ("sns:CreateTopic", "sns:DeleteTopic"),
        "AWS::SNS::Subscription": ("sns:Subscribe", "sns:Unsubscribe"),
        "AWS::CloudWatch::Alarm": ("cloudwatch:PutMetricAlarm", "cloudwatch:DeleteAlarms"),
        "AWS::CloudWatch::Dashboard": ("cloudwatch:PutDashboard", "cloudwatch:DeleteDashboards"),
    }
    api = ("apigateway:POST", "apigateway:DELETE")
    assert set(wanted.get(kind, api if kind.startswith("AWS::ApiGatewayV2::") else ())) <= set(actions())
    assert kind in wanted or kind.startswith("AWS::ApiGatewayV2::")


# ── events ────────────────────────────────────────────────────────────────────────────────────────────


def told(
    state: str, reason: str = "", *, resource: str = "Table", kind: str = "AWS::DynamoDB::Table"
) -> Mapping[str, Any]:
    return {
        "LogicalResourceId": resource,
        "ResourceType": kind,
        "ResourceStatus": state,
        "ResourceStatusReason": reason,
    }


def stack(name: str = "kb") -> Stack:
    return Stack(Orders(AwsSession()), name, lambda _line: None)


def test_a_line_says_why_only_where_something_failed() -> None:
    assert stacks._line(told("CREATE_COMPLETE", "made")).split() == [
        "CREATE_COMPLETE",
        "AWS::DynamoDB::Table",
        "Table",
    ]
    assert stacks._line(told("CREATE_FAILED", "it is taken")).endswith("Table  it is taken")


def test_beginnings_are_told_of_the_stack_alone() -> None:
    assert not stacks._tells(told("CREATE_IN_PROGRESS"))
    assert stacks._tells(told("CREATE_COMPLETE"))
    assert stacks._tells(told("CREATE_IN_PROGRESS", resource="kb", kind="AWS::CloudFormation::Stack"))


def test_the_cause_is_a_failure_of_its_own_and_no_consequence_of_another() -> None:
    one = stack()
    assert one._cause(told("CREATE_FAILED", "it is taken")) == ("Table", "it is taken")
    assert one._cause(told("CREATE_FAILED", "Resource creation cancelled")) is None
    assert one._cause(told("CREATE_FAILED", "The following failed", resource="kb")) is None
    assert one._cause(told("CREATE_COMPLETE")) is None


# ── how a stack stands ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("state", "moves"),
    [("CREATE_IN_PROGRESS", True), ("UPDATE_ROLLBACK_IN_PROGRESS", True), ("REVIEW_IN_PROGRESS", False)],
)
def test_a_stack_moves_while_cloudformation_is_at_work_on_it(state: str, moves: bool) -> None:  # noqa: FBT001 - a row
    assert Standing("arn", state).moves is moves


def standing_in(monkeypatch: pytest.MonkeyPatch, state: str | None) -> tuple[Stack, list[str]]:
    """A stack in a state, and what was done to it."""
    done: list[str] = []
    found = None if state is None else Standing("arn", state)
    monkeypatch.setattr(Stack, "settled", lambda _stack: found)
    monkeypatch.setattr(Stack, "plans", lambda _stack: ["keyborn-1"])
    monkeypatch.setattr(Stack, "delete_leftover", lambda _stack: done.append("deleted"))
    return stack(), done


@pytest.mark.parametrize("state", ["CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE"])
def test_a_stack_in_order_is_planned_from(monkeypatch: pytest.MonkeyPatch, state: str) -> None:
    one, done = standing_in(monkeypatch, state)
    assert ready(one, print) == Standing("arn", state)
    assert done == []


@pytest.mark.parametrize("state", [None, "DELETE_COMPLETE"])
def test_where_there_is_none_one_is_made(monkeypatch: pytest.MonkeyPatch, state: str | None) -> None:
    one, done = standing_in(monkeypatch, state)
    assert ready(one, print) is None
    assert done == []


def test_a_name_without_a_plan_is_planned_for_and_not_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    one, done = standing_in(monkeypatch, "REVIEW_IN_PROGRESS")
    monkeypatch.setattr(Stack, "plans", lambda _stack: [])
    assert ready(one, print) is None
    assert done == []


@pytest.mark.parametrize("plans", [["theirs"], ["keyborn-1", "theirs"]])
def test_where_somebody_elses_plan_waits_nothing_is_deleted(
    monkeypatch: pytest.MonkeyPatch, plans: list[str]
) -> None:
    one, done = standing_in(monkeypatch, "REVIEW_IN_PROGRESS")
    monkeypatch.setattr(Stack, "plans", lambda _stack: plans)
    with pytest.raises(StackNotReady, match="another name with --stack"):
        ready(one, print)
    assert done == []


@pytest.mark.parametrize(
    "state", ["REVIEW_IN_PROGRESS", "ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED"]
)
def test_what_never_became_a_stack_is_cleared_and_said(monkeypatch: pytest.MonkeyPatch, state: str) -> None:
    one, done = standing_in(monkeypatch, state)
    said: list[str] = []
    assert ready(one, said.append) is None
    assert done == ["deleted"]
    assert state in said[0]


@pytest.mark.parametrize(
    ("state", "remedy"),
    [("DELETE_FAILED", "keyborn aws destroy"), ("UPDATE_ROLLBACK_FAILED", "continue the rollback")],
)
def test_a_stack_that_only_a_person_gets_out_of_its_state_is_left(
    monkeypatch: pytest.MonkeyPatch, state: str, remedy: str
) -> None:
    one, done = standing_in(monkeypatch, state)
    with pytest.raises(StackNotReady, match=remedy):
        ready(one, print)
    assert done == []


def test_no_wait_is_endless(monkeypatch: pytest.MonkeyPatch) -> None:
    at = iter(range(0, 10**6, 600))
    monkeypatch.setattr("keyborn.adapters.aws.stack.stacks.time.monotonic", lambda: next(at))
    monkeypatch.setattr("keyborn.adapters.aws.stack.stacks.time.sleep", lambda _seconds: None)
    looks: list[None] = []
    with pytest.raises(StackSlow, match="45 minutes"):
        looks.extend(stack()._beats())
    assert len(looks) == 4
