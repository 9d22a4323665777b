"""The template on the stand-in: made, looked at, changed, and gone without a trace.

The stand-in's CloudFormation leaves out a table's time to live and point-in-time recovery, and a stage's
throttling: tests/unit/aws looks for them in the template, and no test has seen them live.
"""

import io
import json
import zipfile
from collections.abc import Iterator

import pytest

from support import ministack, packages
from support.ministack import Ministack
from support.stack import NOTHING, Stack, everything, policies_of

ENDPOINT = "a1b2-ats.iot.eu-central-1.amazonaws.com"
CODE = """
def handler(event, context):
    return {"statusCode": 200, "headers": {"content-type": "text/plain"}, "body": event["rawPath"]}
"""


@pytest.fixture(scope="module")
def aws() -> Iterator[Ministack]:
    """A stand-in of this module's own: what is listed there is what this module made."""
    running = ministack.start(LAMBDA_ACCOUNT_CONCURRENCY="2")
    yield running
    running.stop()


@pytest.fixture
def stack(aws: Ministack) -> Stack:
    aws.reset()
    return Stack(aws)


def code() -> bytes:
    """Functions that say which path they were asked for: enough where the stack is what counts."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in ("keyborn/wiring/function_enroll.py", "keyborn/wiring/function_sweep.py"):
            archive.writestr(name, CODE)
    return buffer.getvalue()


def create(stack: Stack, **parameters: str) -> dict[str, str]:
    stack.upload("code.zip", code())
    runtime = packages.own_target().runtime
    return stack.create(CodeKey="code.zip", MqttEndpoint=ENDPOINT, Runtime=runtime, **parameters)


def test_the_stack_is_made_and_says_where_it_is(stack: Stack) -> None:
    outputs = create(stack, TopicPrefix="plant/one")
    assert outputs["MqttEndpoint"] == ENDPOINT
    assert outputs["TopicPrefix"] == "plant/one"
    assert outputs["DefaultPolicy"] == "kb_keyborn-default"
    assert outputs["ThingType"] == "kb_device"
    assert outputs["IotArn"] == "arn:aws:iot:eu-central-1:000000000000"
    assert outputs["Code"] == "kb-code/code.zip"
    assert outputs["ApiId"] in outputs["Url"]


def test_a_domain_of_ones_own_is_the_url(stack: Stack) -> None:
    assert create(stack, Url="https://enroll.example")["Url"] == "https://enroll.example"


def test_what_was_made_is_what_the_template_says(stack: Stack) -> None:
    outputs = create(stack)
    aws = stack.aws
    iot = aws.client("iot")
    document = json.loads(iot.get_policy(policyName=outputs["DefaultPolicy"])["policyDocument"])
    assert document["Statement"][1]["Resource"][0] == (
        "arn:aws:iot:*:*:topic/certtest/${iot:Connection.Thing.ThingName}"
    )
    groups = aws.client("logs").describe_log_groups()["logGroups"]
    assert {group["logGroupName"]: group["retentionInDays"] for group in groups} == {
        "/aws/lambda/kb-enroll": 30,
        "/aws/lambda/kb-sweep": 30,
        "/aws/vendedlogs/keyborn/kb-access": 30,
    }


@pytest.mark.parametrize(("role", "name"), [("EnrollRole", "enroll"), ("SweepRole", "sweep")])
def test_a_role_has_one_policy_of_its_own_and_no_managed_one(stack: Stack, role: str, name: str) -> None:
    role = create(stack)[role]
    assert set(policies_of(stack.aws, role)) == {name}
    assert stack.aws.client("iam").list_attached_role_policies(RoleName=role)["AttachedPolicies"] == []


def test_the_enrolment_role_may_not_delete_read_lists_or_leave_its_table(stack: Stack) -> None:
    outputs = create(stack)
    iam = stack.aws.client("iam")
    role = iam.get_role(RoleName=outputs["EnrollRole"])["Role"]["Arn"]
    arn = stack.aws.client("dynamodb").describe_table(TableName=outputs["Table"])["Table"]["TableArn"]

    def decision(action: str, resource: str) -> str:
        answer = iam.simulate_principal_policy(
            PolicySourceArn=role, ActionNames=[action], ResourceArns=[resource]
        )
        return str(answer["EvaluationResults"][0]["EvalDecision"])

    cert = f"{outputs['IotArn']}:cert/{'a' * 64}"
    assert decision("dynamodb:GetItem", arn) == "allowed"
    assert decision("iot:UpdateCertificate", cert) == "allowed"
    assert decision("dynamodb:GetItem", f"{arn}-of-another") == "implicitDeny"
    for action in ("dynamodb:DeleteItem", "dynamodb:Query", "dynamodb:Scan"):
        assert decision(action, arn) == "implicitDeny"
    for action in ("iot:DeleteCertificate", "iot:DescribeCertificate"):
        assert decision(action, cert) == "implicitDeny"
    assert decision("iot:DeleteThing", f"{outputs['IotArn']}:thing/dev-1") == "implicitDeny"


def test_the_rule_s_role_may_put_items_and_nothing_else(stack: Stack) -> None:
    outputs = create(stack)
    iam = stack.aws.client("iam")
    (role,) = [one for one in iam.list_roles()["Roles"] if "SeenRole" in one["RoleName"]]
    arn = stack.aws.client("dynamodb").describe_table(TableName=outputs["Table"])["Table"]["TableArn"]
    leading = {
        "ContextKeyName": "dynamodb:LeadingKeys",
        "ContextKeyValues": ["seen"],
        "ContextKeyType": "stringList",
    }

    def decision(action: str, resource: str) -> str:
        answer = iam.simulate_principal_policy(
            PolicySourceArn=role["Arn"],
            ActionNames=[action],
            ResourceArns=[resource],
            ContextEntries=[leading],
        )
        return str(answer["EvaluationResults"][0]["EvalDecision"])

    assert decision("dynamodb:PutItem", arn) == "allowed"
    assert decision("dynamodb:PutItem", f"{arn}-of-another") == "implicitDeny"
    for action in ("dynamodb:GetItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem", "dynamodb:Query"):
        assert decision(action, arn) == "implicitDeny"


def test_a_second_deploy_changes_nothing(stack: Stack) -> None:
    create(stack)
    runtime = packages.own_target().runtime
    plan = stack.plan("UPDATE", CodeKey="code.zip", MqttEndpoint=ENDPOINT, Runtime=runtime)
    assert plan["Status"] == "FAILED"
    assert any(words in plan["StatusReason"] for words in NOTHING)


def test_new_code_changes_the_functions_and_nothing_that_holds_anything(stack: Stack) -> None:
    create(stack)
    stack.upload("other.zip", code())
    runtime = packages.own_target().runtime
    plan = stack.plan("UPDATE", CodeKey="other.zip", MqttEndpoint=ENDPOINT, Runtime=runtime)
    changed = {one["ResourceChange"]["LogicalResourceId"] for one in plan["Changes"]}
    assert changed >= {"EnrollFunction", "SweepFunction"}
    assert not changed & {
        "Table",
        "ThingType",
        "DefaultPolicy",
        "EnrollRole",
        "SweepRole",
        "Api",
        "EnrollLogs",
    }
    replaced = [one for one in plan["Changes"] if one["ResourceChange"].get("Replacement") == "True"]
    assert replaced == []
    assert stack.apply()["StackStatus"] == "UPDATE_COMPLETE"


def test_every_route_reaches_the_function_and_no_other_path_does(stack: Stack) -> None:
    api = create(stack)["ApiId"]
    gets, posts = (
        ["/healthz", "/v1/nonce"],
        ["/v1/enroll", "/getCertificate", "/v1/renew", "/v1/renew/confirm"],
    )
    for method, path in [*(("GET", path) for path in gets), *(("POST", path) for path in posts)]:
        status, _, body = stack.ask(api, method, path, b"{}" if method == "POST" else None)
        assert (status, body.decode()) == (200, path)
    assert stack.ask(api, "GET", "/v1/enroll")[0] == 404
    assert stack.ask(api, "GET", "/admin")[0] == 404


def test_after_it_is_gone_nothing_is_left(stack: Stack) -> None:
    before = everything(stack.aws)
    outputs = create(stack)
    stack.ask(outputs["ApiId"], "GET", "/healthz")
    stack.aws.client("lambda").invoke(FunctionName=outputs["SweepFunction"], Payload=b"{}")
    made = everything(stack.aws)
    assert all(len(made[kind]) > len(before[kind]) for kind in made)
    stack.delete()
    assert everything(stack.aws) == before


def test_the_real_code_starts_there_and_its_role_reaches_the_table(
    stack: Stack, tmp_path_factory: pytest.TempPathFactory
) -> None:
    target = packages.own_target()
    built = packages.kept(packages.run_folder(tmp_path_factory), target)
    stack.upload(built.key, built.data)
    outputs = stack.create(
        CodeKey=built.key, MqttEndpoint=ENDPOINT, Runtime=target.runtime, Architecture=target.architecture
    )
    status, _, body = stack.ask(outputs["ApiId"], "GET", "/readyz")
    assert (status, body) == (200, b"ready\n")
    status, headers, body = stack.ask(outputs["ApiId"], "GET", "/v1/nonce")
    assert (status, len(json.loads(body)["nonce"])) == (200, 54)
    made = stack.aws.client("lambda").get_function_configuration(FunctionName=outputs["EnrollFunction"])
    assert made["Environment"]["Variables"]["KEYBORN_URL"] == outputs["Url"]
    status, headers, body = stack.ask(outputs["ApiId"], "POST", "/v1/enroll", b"{}")
    assert (status, json.loads(body)["code"]) == (401, "credential_missing")
    assert {name.lower(): value for name, value in headers.items()}[
        "content-type"
    ] == "application/problem+json"
    swept = stack.aws.client("lambda").invoke(FunctionName=outputs["SweepFunction"], Payload=b"{}")
    assert "FunctionError" not in swept
    assert json.loads(swept["Payload"].read())["troubles"] == []
