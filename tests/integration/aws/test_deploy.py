"""``keyborn aws deploy`` on the stand-in: what it makes, what it leaves alone, what it says."""

import asyncio
import hashlib
import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.hashes import SHA256

from keyborn.adapters.aws.roots import ROOTS_NAME
from keyborn.adapters.aws.session import AwsSession
from keyborn.adapters.aws.stack.orders import Orders
from keyborn.adapters.aws.stack.stacks import Stack, Standing
from keyborn.cli.failures import run
from keyborn.cli.main import cli
from keyborn.domain.access_policy.document import DEFAULT_POLICY, AccessPolicy
from keyborn.domain.errors import AwsDenied, StackFailed, StackForeign, StackMissing, StackNotReady
from keyborn.policies import device_policy
from support import packages
from support.aws_deployer import BUCKET, EVERYTHING, PARAMETERS, STACK, Deployer, target_words, tiny
from support.pki import new_pki, pem
from support.registry_cases import document, event
from support.stack import everything


def policy_text(deployer: Deployer) -> str:
    """The default policy as AWS IoT has it."""
    found = deployer.aws.root("iot").get_policy(policyName=f"{STACK}_keyborn-default")
    return str(found["policyDocument"])


# ── making ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_stack_is_made_and_says_where_devices_enroll(deployer: Deployer) -> None:
    said = deployer.deploy()
    assert said.stdout.startswith(f"stack         {STACK}\nstatus        CREATE_COMPLETE\n")
    assert f"url           {deployer.outputs().url}" in said.stdout
    assert f"keyborn token create --aws {STACK} --region eu-central-1 --thing gateway-1" in said.stdout
    assert (
        "account 000000000000, region eu-central-1, as arn:aws:iam::000000000000:user/deployer" in said.stderr
    )


def test_the_change_set_is_shown_before_and_every_resource_while_it_is_made(deployer: Deployer) -> None:
    shown = deployer.deploy().stderr
    assert "ACTION  RESOURCE" in shown
    before, _, after = shown.partition("CREATE_IN_PROGRESS")
    assert "Add     Table                AWS::DynamoDB::Table            -" in before
    assert "CREATE_COMPLETE       AWS::DynamoDB::Table              Table" in after
    assert after.rstrip().endswith(f"AWS::CloudFormation::Stack        {STACK}")


@pytest.mark.whole
def test_before_each_long_piece_of_work_a_line_says_what_is_done(deployer: Deployer) -> None:
    size = len(tiny(packages.own_target()).data)
    lines = deployer.deploy().stderr.splitlines()
    build = next(n for n, line in enumerate(lines) if line.startswith("Building the functions' code"))
    shown = next(n for n, line in enumerate(lines) if line.startswith("ACTION"))
    sent = lines.index(f"Sending {size:,} bytes of code to {BUCKET}.")
    made = next(n for n, line in enumerate(lines) if line.startswith("CREATE_IN_PROGRESS"))
    assert build < shown < sent < made
    assert "Sending" not in deployer.deploy().stderr


@pytest.mark.whole
def test_code_that_lies_in_the_bucket_is_not_sent_again(deployer: Deployer) -> None:
    deployer.deploy()
    deployer.aws.root("cloudformation").delete_stack(StackName=STACK)
    said = deployer.deploy().stderr
    assert f"bytes of code to {BUCKET}.\nIt is there already.\n" in said


def test_the_endpoint_is_the_accounts_own_unless_one_is_named(deployer: Deployer) -> None:
    deployer.deploy()
    own = deployer.aws.root("iot").describe_endpoint(endpointType="iot:Data-ATS")["endpointAddress"]
    assert deployer.parameters()["MqttEndpoint"] == own
    deployer.deploy("--mqtt-endpoint", "mqtt.example:443")
    assert deployer.outputs().mqtt_host == "mqtt.example"
    assert deployer.outputs().mqtt_port == 443
    deployer.deploy("--mqtt-endpoint", "")
    assert deployer.parameters()["MqttEndpoint"] == own


def test_the_bucket_of_the_code_is_private_encrypted_and_takes_only_tls(deployer: Deployer) -> None:
    deployer.deploy()
    s3 = deployer.aws.root("s3")
    closed = s3.get_public_access_block(Bucket=BUCKET)["PublicAccessBlockConfiguration"]
    assert all(closed.values())
    (rule,) = s3.get_bucket_encryption(Bucket=BUCKET)["ServerSideEncryptionConfiguration"]["Rules"]
    assert rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    (statement,) = json.loads(s3.get_bucket_policy(Bucket=BUCKET)["Policy"])["Statement"]
    assert (statement["Effect"], statement["Condition"]) == (
        "Deny",
        {"Bool": {"aws:SecureTransport": "false"}},
    )
    assert s3.get_bucket_tagging(Bucket=BUCKET)["TagSet"] == [{"Key": "keyborn:bucket", "Value": "code"}]
    assert s3.get_bucket_versioning(Bucket=BUCKET).get("Status") is None


@pytest.mark.whole
def test_a_bucket_that_an_interrupted_deploy_left_bare_is_completed(deployer: Deployer) -> None:
    deployer.aws.root("s3").create_bucket(
        Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"}
    )
    deployer.deploy()
    assert deployer.aws.root("s3").get_bucket_policy(Bucket=BUCKET)["Policy"]


@pytest.mark.whole
def test_tags_are_on_the_stack_beside_its_own(deployer: Deployer) -> None:
    deployer.deploy("--tag", "team=edge", "--tag", "cost=42")
    tags = {one["Key"]: one["Value"] for one in deployer.stack()["Tags"]}
    assert tags == {"team": "edge", "cost": "42", "keyborn:stack": STACK}
    deployer.deploy("--tag", "cost=43")
    tags = {one["Key"]: one["Value"] for one in deployer.stack()["Tags"]}
    assert tags == {"team": "edge", "cost": "43", "keyborn:stack": STACK}


# ── repeating ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_second_deploy_changes_nothing(deployer: Deployer) -> None:
    deployer.deploy()
    before, text = deployer.trace(), policy_text(deployer)
    said = deployer.deploy()
    assert "Nothing changes: the stack is as it should be." in said.stderr
    assert deployer.trace() == before
    assert policy_text(deployer) == text


@pytest.mark.whole
def test_a_deploy_without_options_keeps_every_value(deployer: Deployer, tmp_path: Path) -> None:
    root = tmp_path / "root.pem"
    root.write_text(pem(new_pki().root.certificate))
    given = {
        "--url": "https://enroll.example",
        "--url-root": str(root),
        "--mqtt-endpoint": "mqtt.example",
        "--mqtt-roots": str(root),
        "--topic-prefix": "plant/one",
        "--enrollments-per-second": "5",
        "--alarm-email": "ops@example.com",
        "--log-retention-days": "7",
        "--memory": "1024",
    }
    deployer.deploy(*(word for pair in given.items() for word in pair))
    before = deployer.parameters()
    code = deployer.aws.root("s3").list_objects_v2(Bucket=BUCKET)["Contents"]
    said = deployer.keyborn("deploy", "--stack", STACK, "--yes")
    assert "Nothing changes" in said.stderr
    assert deployer.parameters() == before
    assert before["Url"] == "https://enroll.example"
    assert before["TopicPrefix"] == before["FirstTopicPrefix"] == "plant/one"
    assert deployer.built[0] == deployer.built[1]
    assert deployer.aws.root("s3").list_objects_v2(Bucket=BUCKET)["Contents"] == code


@pytest.mark.whole
def test_the_roots_of_a_custom_broker_go_with_the_code_and_stay(deployer: Deployer, tmp_path: Path) -> None:
    root = tmp_path / "root.pem"
    root.write_text(pem(new_pki().root.certificate))
    deployer.deploy("--mqtt-roots", str(root))
    deployer.deploy("--memory", "256")
    parameters = deployer.parameters()
    assert parameters["MqttRoots"] == hashlib.sha256(root.read_bytes()).hexdigest()
    code = deployer.aws.root("s3").get_object(Bucket=BUCKET, Key=parameters["CodeKey"])["Body"].read()
    with zipfile.ZipFile(io.BytesIO(code)) as archive:
        assert archive.read(ROOTS_NAME) == root.read_bytes()
    deployer.deploy("--mqtt-roots", "")
    assert deployer.parameters()["MqttRoots"] == ""
    assert deployer.parameters()["CodeKey"] == tiny(deployer.built[-1]).key


@pytest.mark.whole
def test_a_new_url_has_the_root_that_is_said_to_be_its_own_or_a_public_one(
    deployer: Deployer, tmp_path: Path
) -> None:
    root = tmp_path / "root.pem"
    certificate = new_pki().root.certificate
    root.write_text(pem(certificate))
    deployer.deploy("--url", "https://one.example", "--url-root", str(root))
    assert deployer.outputs().root_fingerprint == certificate.fingerprint(SHA256())
    deployer.deploy("--url", "https://two.example")
    assert deployer.outputs().root_fingerprint == b""
    deployer.deploy("--url", "")
    assert deployer.outputs().api_id in deployer.outputs().url


@pytest.mark.whole
def test_a_change_of_an_option_changes_what_hangs_on_it_and_replaces_nothing(deployer: Deployer) -> None:
    deployer.deploy()
    said = deployer.deploy("--memory", "256", "--json")
    told = json.loads(said.stdout)
    assert told["changed"] is True
    changed = {one["resource"] for one in told["changes"]}
    assert "EnrollFunction" in changed
    assert not changed & {"Table", "ThingType", "DefaultPolicy", "EnrollRole", "Api"}
    assert not [one for one in told["changes"] if one["replacement"] == "True"]
    assert told["outputs"]["table"] == deployer.outputs().table
    function = deployer.aws.root("lambda").get_function_configuration(FunctionName=f"{STACK}-enroll")
    assert function["MemorySize"] == 256


def test_json_is_one_object_and_progress_is_elsewhere(deployer: Deployer) -> None:
    told = json.loads(deployer.deploy("--json").stdout)
    assert (told["stack"], told["changed"], told["outputs"]["status"]) == (STACK, True, "CREATE_COMPLETE")
    assert {one["action"] for one in told["changes"]} == {"Add"}
    told = json.loads(deployer.deploy("--json").stdout)
    assert (told["changed"], told["changes"]) == (False, [])


def test_outputs_are_told_to_people_and_programs_alike(deployer: Deployer, tmp_path: Path) -> None:
    root = tmp_path / "root.pem"
    certificate = new_pki().root.certificate
    root.write_text(pem(certificate))
    deployer.deploy("--url", "https://enroll.example", "--url-root", str(root), "--mqtt-endpoint", "m.io")
    told = json.loads(deployer.keyborn("outputs", "--stack", STACK, "--json").stdout)
    assert told["rootFingerprint"].replace(":", "").lower() == certificate.fingerprint(SHA256()).hex()
    assert (told["url"], told["mqttEndpoint"]) == ("https://enroll.example", "m.io:8883")
    assert (told["region"], told["account"]) == ("eu-central-1", "000000000000")
    lines = deployer.keyborn("outputs", "--stack", STACK).stdout.splitlines()
    assert [line.split()[0] for line in lines] == list(told)
    assert isinstance(deployer.refusal("outputs", "--stack", "other"), StackMissing)


# ── looking and asking ────────────────────────────────────────────────────────────────────────────────


def test_a_dry_run_shows_the_changes_and_makes_none(deployer: Deployer) -> None:
    before = everything(deployer.aws)
    said = deployer.keyborn("deploy", "--stack", STACK, *target_words(), "--dry-run")
    assert "Add     Table" in said.stderr
    assert "Nothing was changed." in said.stderr
    assert everything(deployer.aws) == before
    assert deployer.buckets() == []
    deployer.deploy()
    trace = deployer.trace()
    told = json.loads(deployer.deploy("--dry-run", "--memory", "256", "--json").stdout)
    assert told["changed"] is False
    assert "EnrollFunction" in {one["resource"] for one in told["changes"]}
    assert deployer.trace() == trace
    plans = deployer.aws.root("cloudformation").list_change_sets(StackName=STACK)["Summaries"]
    assert [one for one in plans if one["ExecutionStatus"] == "AVAILABLE"] == []


@pytest.mark.parametrize("answer", ["n\n", "\n", ""])
def test_whoever_does_not_say_yes_changes_nothing(deployer: Deployer, answer: str) -> None:
    before = everything(deployer.aws)
    said = deployer.keyborn("deploy", "--stack", STACK, *target_words(), typed=answer)
    assert "Apply this?" in said.stderr
    assert "Nothing was changed." in said.stderr
    assert everything(deployer.aws) == before
    assert deployer.buckets() == []


def test_yes_at_the_terminal_applies(deployer: Deployer) -> None:
    deployer.keyborn("deploy", "--stack", STACK, *target_words(), typed="y\n")
    assert deployer.stack()["StackStatus"] == "CREATE_COMPLETE"


def test_where_nobody_can_be_asked_yes_has_to_be_said(deployer: Deployer) -> None:
    said = deployer.keyborn("deploy", "--stack", STACK, expect=2)
    assert "say --yes to apply, or --dry-run to look" in said.stderr


# ── the default policy ────────────────────────────────────────────────────────────────────────────────


def kept(deployer: Deployer) -> AccessPolicy:
    """The default policy as the registry has it."""

    async def read() -> AccessPolicy:
        async with deployer.registry() as registry:
            policy = await registry.policy(DEFAULT_POLICY)
            assert policy is not None
            return policy

    return asyncio.run(read())


def put_own(deployer: Deployer) -> str:
    """An operator's own default policy."""

    async def put() -> str:
        async with deployer.registry() as registry:
            now = kept_at
            policy = AccessPolicy(DEFAULT_POLICY, document("Connect"), now, shipped=False)
            await registry.put_policy(policy, event("policy.put", "keyborn-default", now))
            return policy.document.text

    kept_at = kept(deployer).updated_at
    return asyncio.run(put())


def test_the_default_policy_is_in_the_registry_as_the_shipped_one(deployer: Deployer) -> None:
    deployer.deploy("--topic-prefix", "plant/one")
    policy = kept(deployer)
    assert (policy.version, policy.shipped, policy.document.text) == (1, True, device_policy("plant/one"))
    assert json.loads(policy_text(deployer)) == json.loads(device_policy("plant/one"))


@pytest.mark.whole
def test_another_topic_prefix_is_a_new_version_of_the_shipped_policy(deployer: Deployer) -> None:
    deployer.deploy()
    deployer.deploy("--topic-prefix", "plant/two")
    assert (kept(deployer).version, kept(deployer).shipped) == (2, True)
    assert json.loads(policy_text(deployer)) == json.loads(device_policy("plant/two"))
    assert deployer.parameters()["FirstTopicPrefix"] == "certtest"


@pytest.mark.whole
def test_an_operators_own_default_policy_outlives_every_deploy(deployer: Deployer) -> None:
    deployer.deploy()
    own = put_own(deployer)
    deployer.deploy()
    assert policy_text(deployer) == own
    deployer.deploy("--topic-prefix", "plant/two", "--memory", "256")
    assert policy_text(deployer) == own
    assert (kept(deployer).document.text, kept(deployer).shipped) == (own, False)


@pytest.mark.whole
def test_what_somebody_changed_in_aws_iot_alone_is_brought_back_to_the_registry(deployer: Deployer) -> None:
    deployer.deploy()
    own = put_own(deployer)
    deployer.aws.root("iot").create_policy_version(
        policyName=f"{STACK}_keyborn-default", policyDocument=device_policy(), setAsDefault=True
    )
    deployer.deploy()
    assert policy_text(deployer) == own


# ── what went wrong before ────────────────────────────────────────────────────────────────────────────


def test_a_stack_that_fails_is_rolled_back_and_says_where_and_why(deployer: Deployer) -> None:
    iot = deployer.aws.root("iot")
    iot.create_policy(policyName=f"{STACK}_keyborn-default", policyDocument=device_policy())
    error = deployer.refusal("deploy", "--stack", STACK, *target_words(), "--yes")
    assert isinstance(error, StackFailed)
    assert error.facts["resource"] == "DefaultPolicy"
    assert error.facts["state"] == "ROLLBACK_COMPLETE"
    assert everything(deployer.aws)["tables"] == []
    iot.delete_policy(policyName=f"{STACK}_keyborn-default")
    said = deployer.deploy()
    assert f"{STACK} was begun before and did not become a stack (ROLLBACK_COMPLETE)" in said.stderr
    assert deployer.stack()["StackStatus"] == "CREATE_COMPLETE"


def test_a_plan_that_nobody_carried_out_is_in_nobodys_way(deployer: Deployer) -> None:
    plan = Stack(Orders(AwsSession()), STACK, print).plan(None, PARAMETERS, {})
    assert plan is not None
    assert deployer.stack()["StackStatus"] == "REVIEW_IN_PROGRESS"
    assert "REVIEW_IN_PROGRESS" in deployer.deploy().stderr
    assert deployer.stack()["StackStatus"] == "CREATE_COMPLETE"


@pytest.mark.whole
def test_a_deploy_without_bytecode_says_so_and_what_would_help(deployer: Deployer) -> None:
    said = deployer.deploy().stderr
    assert "The code goes without bytecode, for there is no Python 3." in said
    assert "functions start about twice as slowly. Install Python 3." in said
    assert "without bytecode" not in deployer.deploy().stderr
    deployer.build(lambda target, *, roots=None: replace(tiny(target, roots=roots), compiled=True))
    assert "without bytecode" not in deployer.deploy("--memory", "256").stderr


def test_a_broken_off_deploy_is_completed(deployer: Deployer, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("keyborn.wiring.aws_stack.device_policy", lambda _prefix: "no policy")
        deployer.refusal("deploy", "--stack", STACK, *target_words(), "--yes")
    assert deployer.stack()["StackStatus"] == "CREATE_COMPLETE"
    deployer.deploy()
    assert kept(deployer).shipped


def test_code_that_cannot_be_sent_leaves_no_plan_behind(deployer: Deployer) -> None:
    deny = {"Effect": "Deny", "Action": "s3:PutObject", "Resource": "*"}
    deployer.sign_in(EVERYTHING, deny, name="barred")
    error = deployer.refusal("deploy", "--stack", STACK, *target_words(), "--yes")
    assert isinstance(error, AwsDenied)
    assert error.facts["action"] == "s3:PutObject"
    assert (
        deployer.aws.root("cloudformation").list_stacks(
            StackStatusFilter=["REVIEW_IN_PROGRESS", "CREATE_COMPLETE"]
        )["StackSummaries"]
        == []
    )


def test_somebody_elses_stack_is_left_alone(deployer: Deployer) -> None:
    cloud = deployer.aws.root("cloudformation")
    template = json.dumps({"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}})
    cloud.create_stack(StackName=STACK, TemplateBody=template)
    for command in ("deploy", "destroy"):
        assert isinstance(deployer.refusal(command, "--stack", STACK, "--yes"), StackForeign)
    assert deployer.stack()["StackStatus"] == "CREATE_COMPLETE"


def test_after_a_removal_that_failed_half_way_destroy_comes_before_deploy(
    deployer: Deployer, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployer.deploy()
    standing = Stack.standing

    def failed(self: Stack, identity: str | None = None) -> Standing | None:
        found = standing(self, identity)
        assert found is not None
        return Standing(found.identity, "DELETE_FAILED", "", found.parameters, found.outputs)

    monkeypatch.setattr(Stack, "standing", failed)
    error = deployer.refusal("deploy", "--stack", STACK, "--yes")
    assert isinstance(error, StackNotReady)
    assert "complete it with keyborn aws destroy" in str(error)


def test_an_interrupted_wait_says_how_to_go_on(
    deployer: Deployer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(_stack: Stack, _identity: str) -> None:
        raise KeyboardInterrupt

    words = ["aws", "deploy", "--stack", STACK, *target_words(), "--yes"]
    monkeypatch.setattr("sys.argv", ["keyborn", *words])
    with monkeypatch.context() as patched:
        patched.setattr(Stack, "_news", interrupt)
        assert run(cli) == 130
    assert "Interrupted. What CloudFormation has begun it goes on with by itself." in capsys.readouterr().err
    assert "Nothing changes" in deployer.deploy().stderr
    assert kept(deployer).shipped
