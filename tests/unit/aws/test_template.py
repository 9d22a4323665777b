"""The template: what it makes, and what its two roles may do. tests/integration/aws applies it."""

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cfnlint.api import lint
from cfnlint.decode import cfn_yaml

from keyborn.adapters.aws.table import keys
from keyborn.http import signed
from keyborn.policies import device_policy

ROOT = Path(__file__).resolve().parents[3]
TEMPLATE = ROOT / "src/keyborn/adapters/aws/stack/template.yaml"
TEXT = TEMPLATE.read_text()
NO_RESOURCE = {
    "iot:CreateCertificateFromCsr",
    "iot:AttachThingPrincipal",
    "iot:DetachThingPrincipal",
    "iot:ListCertificates",
    "iot:ListPrincipalThings",
}
"""Actions that AWS permits on ``*`` alone (Service Authorization Reference, "Actions for AWS IoT")."""
UNTAGGED = {
    "AWS::ApiGatewayV2::Integration",
    "AWS::ApiGatewayV2::Route",
    "AWS::CloudWatch::Alarm",
    "AWS::CloudWatch::Dashboard",
    "AWS::Events::Rule",
    "AWS::Lambda::EventInvokeConfig",
    "AWS::Lambda::Permission",
    "AWS::Logs::MetricFilter",
    "AWS::SNS::Subscription",
}
"""Types that have no tags, or are found through what they belong to."""


@cache
def template() -> dict[str, Any]:
    whole: dict[str, Any] = json.loads(json.dumps(cfn_yaml.loads(TEXT)))
    return whole


def resources(kind: str) -> dict[str, dict[str, Any]]:
    """Properties of all resources of a type, by name."""
    return {name: one["Properties"] for name, one in template()["Resources"].items() if one["Type"] == kind}


def listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else [value]


def statements(role: str) -> Iterator[Mapping[str, Any]]:
    for policy in resources("AWS::IAM::Role")[role]["Policies"]:
        yield from policy["PolicyDocument"]["Statement"]


def actions(role: str) -> set[str]:
    return {action for one in statements(role) for action in listed(one["Action"])}


def filled(value: object, facts: Mapping[str, str]) -> Any:  # noqa: ANN401 - JSON
    """``Fn::Sub`` done with ``facts``."""
    if isinstance(value, dict) and set(value) == {"Fn::Sub"}:
        text: str = value["Fn::Sub"]
        for name, fact in facts.items():
            text = text.replace("${" + name + "}", fact)
        return text.replace("${!", "${")
    if isinstance(value, dict):
        return {key: filled(one, facts) for key, one in value.items()}
    return [filled(one, facts) for one in value] if isinstance(value, list) else value


def test_cfn_lint_finds_nothing() -> None:
    found = lint(TEXT, regions=["eu-central-1"])
    assert [f"{one.linenumber}: {one.rule.id} {one.message}" for one in found] == []


def test_the_template_is_small_enough_to_be_sent_with_the_order() -> None:
    assert len(TEXT.encode()) <= 51_200  # CloudFormation API Reference, CreateChangeSet, TemplateBody


def test_what_is_the_stacks_in_aws_iot_is_called_as_no_other_stacks_can_be() -> None:
    """A stack's name has letters, digits and hyphens: ``prod-…`` may be of the stack ``prod-eu``, too."""
    (kind,) = resources("AWS::IoT::ThingType").values()
    (policy,) = resources("AWS::IoT::Policy").values()
    names = [kind["ThingTypeName"], policy["PolicyName"], template()["Outputs"]["PolicyPrefix"]["Value"]]
    for name in names:
        assert filled(name, {"AWS::StackName": "prod"}).startswith("prod_"), name


@pytest.mark.parametrize("prefix", ["certtest", "plant/one"])
def test_the_default_policy_is_the_one_that_keyborn_ships(prefix: str) -> None:
    (policy,) = resources("AWS::IoT::Policy").values()
    document = filled(policy["PolicyDocument"], {"AWS::Partition": "aws", "FirstTopicPrefix": prefix})
    assert document == json.loads(device_policy(prefix))


def test_the_default_policy_has_the_name_under_which_the_registry_attaches_it() -> None:
    (policy,) = resources("AWS::IoT::Policy").values()
    for function in resources("AWS::Lambda::Function").values():
        prefix = filled(
            function["Environment"]["Variables"]["KEYBORN_POLICY_PREFIX"], {"AWS::StackName": "s"}
        )
        assert filled(policy["PolicyName"], {"AWS::StackName": "s"}) == f"{prefix}keyborn-default"


def test_the_registry_goes_last_of_what_devices_have() -> None:
    for name in ("ThingType", "DefaultPolicy"):
        assert template()["Resources"][name]["DependsOn"] == "Table"


def test_the_default_policy_hangs_on_nothing_that_a_later_deploy_changes() -> None:
    (policy,) = resources("AWS::IoT::Policy").values()
    used = set(re.findall(r"\$\{([A-Za-z:]+)\}", json.dumps(policy["PolicyDocument"])))
    assert used == {"AWS::Partition", "FirstTopicPrefix"}


def test_every_output_that_an_option_sets_hangs_on_a_resource_too() -> None:
    made = json.dumps(template()["Resources"])
    for name in ("Url", "RootFingerprint", "MqttEndpoint", "TopicPrefix", "EnrollmentsPerSecond"):
        assert f'{{"Ref": "{name}"}}' in made, name


def test_enrolment_may_delete_list_and_query_nothing() -> None:
    words = {action.partition(":")[2] for action in actions("EnrollRole")}
    assert not {word for word in words if re.match("Delete|List|Query|Scan|BatchGet|Describe", word)}


def test_each_role_has_exactly_the_actions_of_its_work() -> None:
    logs = {"logs:CreateLogStream", "logs:PutLogEvents"}
    table = {f"dynamodb:{one}" for one in ("GetItem", "PutItem", "UpdateItem", "ConditionCheckItem")}
    saga = ("CreateCertificateFromCsr", "CreateThing", "AttachPolicy", "AttachThingPrincipal", "DetachPolicy")
    checks = {"dynamodb:ConditionCheckItem"}  # of a claim: nothing that the sweeper writes needs one
    assert actions("EnrollRole") == logs | table | checks | {
        f"iot:{one}" for one in (*saga, "UpdateCertificate")
    }
    swept = table - {"dynamodb:ConditionCheckItem"} | {"dynamodb:DeleteItem", "dynamodb:Query"}
    assert actions("SweepRole") >= logs | swept
    assert {"iot:DescribeThing", "iot:UpdateThing"} <= actions("SweepRole")  # what an operator says of things
    others = {"iot:CreateCertificateFromCsr", "iot:CreateThing", "dynamodb:Scan", *checks}
    assert not actions("SweepRole") & others


def test_the_rule_s_role_writes_one_partition_of_the_table_and_is_for_that_rule_alone() -> None:
    (only,) = statements("SeenRole")
    assert only == {
        "Sid": "Seen",
        "Effect": "Allow",
        "Action": "dynamodb:PutItem",
        "Resource": {"Fn::GetAtt": ["Table", "Arn"]},
        "Condition": {"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": [keys.SEEN]}},
    }
    (trust,) = resources("AWS::IAM::Role")["SeenRole"]["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Principal"] == {"Service": "iot.amazonaws.com"}
    (rule,) = resources("AWS::IoT::TopicRule").values()
    text, words = trust["Condition"]["ArnLike"]["aws:SourceArn"]["Fn::Sub"]
    name, same = rule["RuleName"]["Fn::Sub"]
    assert text.endswith(f":rule/{name}")
    assert words == same


def test_the_rule_takes_nothing_that_a_device_chose_and_calls_no_function() -> None:
    (rule,) = resources("AWS::IoT::TopicRule").values()
    payload = rule["TopicRulePayload"]
    assert not re.search(r"clientId|topic\(|\*", payload["Sql"], re.IGNORECASE)
    assert payload["Sql"].startswith(f"SELECT '{keys.SEEN}' AS pk, principalIdentifier AS sk,")
    (action,) = payload["Actions"]
    assert set(action) == {"DynamoDBv2"}


@pytest.mark.parametrize("role", ["EnrollRole", "SweepRole", "SeenRole"])
def test_a_star_stands_only_where_aws_permits_nothing_else(role: str) -> None:
    for one in statements(role):
        if one["Effect"] == "Deny":  # tests/integration/aws/test_enroll_writes.py says which of these
            assert one["Condition"]
            continue
        assert not [action for action in listed(one["Action"]) if "*" in action]
        if "*" in listed(one["Resource"]):
            assert set(listed(one["Action"])) <= NO_RESOURCE
        else:
            assert not NO_RESOURCE & set(listed(one["Action"]))


def test_every_lone_star_has_a_comment() -> None:
    lines = TEXT.splitlines()
    stars = [number for number, line in enumerate(lines) if line.strip() == 'Resource: "*"']
    assert len(stars) == 2
    for number in stars:
        assert any("#" in line for line in lines[number - 4 : number])


def test_each_function_s_role_is_for_lambda_and_writes_to_the_log_of_its_own_function_alone() -> None:
    for function, logs in (("Enroll", "EnrollLogs"), ("Sweep", "SweepLogs")):
        role = resources("AWS::IAM::Role")[f"{function}Role"]
        (trust,) = role["AssumeRolePolicyDocument"]["Statement"]
        assert trust["Principal"] == {"Service": "lambda.amazonaws.com"}
        (log,) = [one for one in statements(f"{function}Role") if one["Sid"] == "Log"]
        assert log["Resource"] == {"Fn::GetAtt": [logs, "Arn"]}


def test_every_function_has_a_log_group_that_forgets() -> None:
    groups = resources("AWS::Logs::LogGroup")
    assert all(group["RetentionInDays"] == {"Ref": "LogRetentionDays"} for group in groups.values())
    for name, function in resources("AWS::Lambda::Function").items():
        group = groups[function["LoggingConfig"]["LogGroup"]["Ref"]]
        assert (
            group["LogGroupName"]["Fn::Sub"].removeprefix("/aws/lambda/")
            == function["FunctionName"]["Fn::Sub"]
        )
        assert name in {"EnrollFunction", "SweepFunction"}


def test_the_functions_are_those_of_the_package_and_end_before_their_callers_give_up() -> None:
    functions = resources("AWS::Lambda::Function")
    for function in functions.values():
        module, _, name = function["Handler"].rpartition(".")
        assert name == "handler"
        assert (ROOT / "src" / Path(*module.split("."))).with_suffix(".py").is_file()
        assert function["Architectures"] == [{"Ref": "Architecture"}]
        assert function["Runtime"] == {"Ref": "Runtime"}
    (integration,) = resources("AWS::ApiGatewayV2::Integration").values()
    assert integration["PayloadFormatVersion"] == "2.0"
    assert functions["EnrollFunction"]["Timeout"] * 1000 < integration["TimeoutInMillis"] <= 30_000
    assert functions["SweepFunction"]["Timeout"] < 60


def test_every_route_of_the_application_is_a_route_of_the_api() -> None:
    sources = [(ROOT / "src/keyborn/http" / name).read_text() for name in ("app.py", "signed.py")]
    found = [one for text in sources for one in re.findall(r'\("([A-Z]+)", ([\w/."-]+), ', text)]
    served = {method + " " + vars(signed).get(path, path).strip('"') for method, path in found}
    assert {"POST /v1/enroll", "POST /v1/renew/confirm"} <= served
    served -= {"POST /v1/roots"}  # nobody keeps there what devices believe
    assert {route["RouteKey"] for route in resources("AWS::ApiGatewayV2::Route").values()} == served


def test_the_door_is_throttled_and_its_log_holds_nothing_that_was_sent() -> None:
    (stage,) = resources("AWS::ApiGatewayV2::Stage").values()
    assert set(stage["DefaultRouteSettings"]) >= {"ThrottlingRateLimit", "ThrottlingBurstLimit"}
    variables = set(re.findall(r"\$context\.([A-Za-z.]+)", stage["AccessLogSettings"]["Format"]))
    assert variables == {
        "requestId",
        "requestTime",
        "identity.sourceIp",
        "routeKey",
        "status",
        "responseLength",
        "responseLatency",
        "integration.latency",
        "error.responseType",
    }
    assert json.loads(stage["AccessLogSettings"]["Format"])


def test_the_table_can_be_restored_and_forgets_what_is_over() -> None:
    (table,) = resources("AWS::DynamoDB::Table").values()
    assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert table["TimeToLiveSpecification"] == {"AttributeName": "ttl", "Enabled": True}
    assert table["BillingMode"] == "PAY_PER_REQUEST"


def test_every_alarm_tells_somebody_and_says_what_it_is() -> None:
    alarms = resources("AWS::CloudWatch::Alarm")
    assert len(alarms) >= 6
    for alarm in alarms.values():
        assert alarm["AlarmActions"] == [{"Ref": "AlarmTopic"}]
        assert alarm["AlarmDescription"].endswith(".")


def test_the_dashboard_is_json() -> None:
    (dashboard,) = resources("AWS::CloudWatch::Dashboard").values()
    widgets = json.loads(dashboard["DashboardBody"]["Fn::Sub"])["widgets"]
    assert len(widgets) == 5


def test_what_can_be_tagged_says_whose_it_is() -> None:
    for name, one in template()["Resources"].items():
        assert ("Tags" in one["Properties"]) == (one["Type"] not in UNTAGGED), name


def test_every_parameter_and_output_says_what_it_is() -> None:
    for one in (*template()["Parameters"].values(), *template()["Outputs"].values()):
        assert one["Description"]


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        (
            "TopicPrefix",
            ["certtest", "plant/one"],
            ["", "a/", "/a", "a#", "a/+/b", "$aws", 'a"b', "a*", "a?"],
        ),
        (
            "MqttEndpoint",
            ["a1-ats.iot.eu-west-1.amazonaws.com", "mq.example:443"],
            ["", "https://a", "a b", "-a"],
        ),
        ("Url", ["", "https://enroll.example"], ["http://enroll.example", "https://a/b"]),
        ("Runtime", ["python3.11", "python3.13"], ["python3.9", "nodejs22.x", "python3.130"]),
    ],
)
def test_parameters_are_checked_before_anything_is_made(name: str, good: list[str], bad: list[str]) -> None:
    pattern = re.compile(template()["Parameters"][name]["AllowedPattern"])
    assert all(pattern.fullmatch(one) for one in good)
    assert not [one for one in bad if pattern.fullmatch(one)]
