"""What others do at the same stack, in its bucket, to its functions: nothing of that is taken for ours."""

import io
import zipfile

import pytest
from botocore.exceptions import ClientError
from cryptography.hazmat.primitives.hashes import SHA256

from keyborn.adapters.aws.package import sha256_of
from keyborn.adapters.aws.session import AwsSession
from keyborn.adapters.aws.stack.orders import Orders
from keyborn.adapters.aws.stack.stacks import Plan, Stack, Standing
from keyborn.domain.errors import CodeBucketTaken, CodeDiffers, InvalidSetting, StackNotReady
from support.aws_deployer import BUCKET, PARAMETERS, STACK, Deployer, target_words
from support.ministack import REGION
from support.pki import new_pki, pem

FUNCTIONS = (f"{STACK}-enroll", f"{STACK}-sweep")

pytestmark = pytest.mark.whole


def test_who_calls_off_a_first_deploy_leaves_the_stack_that_another_one_made_meanwhile(
    deployer: Deployer,
) -> None:
    stack = Stack(Orders(AwsSession(region=REGION)), STACK, print)
    plan = stack.plan(None, PARAMETERS, {})
    assert plan is not None
    deployer.deploy()
    stack.discard(plan)
    assert deployer.stack()["StackStatus"] == "CREATE_COMPLETE"


def test_of_a_first_deploy_that_is_called_off_nothing_is_left(deployer: Deployer) -> None:
    stack = Stack(Orders(AwsSession(region=REGION)), STACK, print)
    plan = stack.plan(None, PARAMETERS, {})
    assert plan is not None
    stack.discard(plan)
    standing = stack.standing()
    assert standing is None or standing.state == "DELETE_COMPLETE"


def somebodys(deployer: Deployer) -> None:
    """A change set for another stack of our name, which somebody is looking at."""
    deployer.aws.root("cloudformation").create_change_set(
        StackName=STACK,
        ChangeSetName="theirs",
        ChangeSetType="CREATE",
        TemplateBody='{"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}}',
    )


def test_a_change_set_of_somebody_elses_stack_is_left_alone(deployer: Deployer) -> None:
    somebodys(deployer)
    error = deployer.refusal("deploy", "--stack", STACK, *target_words(), "--yes")
    assert isinstance(error, StackNotReady)
    assert "a change set that is not Keyborn's" in str(error)
    cloud = deployer.aws.root("cloudformation")
    (left,) = cloud.list_change_sets(StackName=STACK)["Summaries"]
    assert left["ChangeSetName"] == "theirs"


def test_calling_off_a_plan_takes_no_other_change_set_along(deployer: Deployer) -> None:
    stack = Stack(Orders(AwsSession(region=REGION)), STACK, print)
    plan = stack.plan(None, PARAMETERS, {})
    assert plan is not None
    somebodys(deployer)
    stack.discard(plan)
    assert stack.plans() == ["theirs"]


# ── the code ──────────────────────────────────────────────────────────────────────────────────────────


def other_code() -> bytes:
    """A zip that nobody built here."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        entry = zipfile.ZipInfo("keyborn/wiring/function_enroll.py")  # with a fixed date: the same each time
        archive.writestr(entry, "def handler(event, context): return 1")
    return buffer.getvalue()


def running(deployer: Deployer) -> dict[str, str]:
    """The SHA-256 of what each function runs."""
    functions = deployer.aws.root("lambda")
    return {name: functions.get_function_configuration(FunctionName=name)["CodeSha256"] for name in FUNCTIONS}


def limits(deployer: Deployer) -> list[int | None]:
    """How many of each function may run at once; None: no limit of its own."""
    functions = deployer.aws.root("lambda")
    found = [functions.get_function_concurrency(FunctionName=name) for name in FUNCTIONS]
    return [one.get("ReservedConcurrentExecutions") for one in found]


def test_the_functions_run_what_was_built_and_the_stack_says_its_digest(deployer: Deployer) -> None:
    deployer.deploy()
    (code,) = set(running(deployer).values())
    assert deployer.parameters()["CodeSha256"] == code
    found = deployer.aws.root("s3").get_object(Bucket=BUCKET, Key=deployer.parameters()["CodeKey"])
    assert sha256_of(found["Body"].read()) == code


def test_code_that_was_exchanged_on_its_way_runs_for_nobody_until_a_deploy_sends_it_anew(
    deployer: Deployer, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply = Stack.apply

    def exchanged(self: Stack, plan: Plan) -> Standing:
        s3 = deployer.aws.root("s3")
        (one,) = s3.list_objects_v2(Bucket=BUCKET)["Contents"]
        s3.put_object(Bucket=BUCKET, Key=one["Key"], Body=other_code())
        return apply(self, plan)

    with monkeypatch.context() as patched:
        patched.setattr(Stack, "apply", exchanged)
        error = deployer.refusal("deploy", "--stack", STACK, *target_words(), "--yes")
    assert isinstance(error, CodeDiffers)
    assert error.facts["found"] == sha256_of(other_code())
    assert limits(deployer) == [0, 0]
    said = deployer.deploy()
    assert "it is sent anew" in said.stderr
    assert (
        set(running(deployer).values()) == {deployer.parameters()["CodeSha256"]} != {sha256_of(other_code())}
    )
    assert limits(deployer) == [None, None]
    assert "Nothing changes" in deployer.deploy().stderr


def test_a_function_whose_code_somebody_changed_gets_its_own_again(deployer: Deployer) -> None:
    deployer.deploy()
    before = running(deployer)
    deployer.aws.root("lambda").update_function_code(FunctionName=FUNCTIONS[0], ZipFile=other_code())
    deployer.deploy()
    assert running(deployer) == before


def test_what_lies_under_the_codes_key_and_is_not_the_code_is_written_over(deployer: Deployer) -> None:
    deployer.deploy(stack="kb2")
    key, s3 = deployer.parameters("kb2")["CodeKey"], deployer.aws.root("s3")
    s3.put_object(Bucket=BUCKET, Key=key, Body=other_code())
    deployer.deploy()
    assert deployer.parameters()["CodeKey"] == key
    found = sha256_of(s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())
    assert set(running(deployer).values()) == {found} != {sha256_of(other_code())}


# ── the bucket ────────────────────────────────────────────────────────────────────────────────────────


def foreign_bucket(deployer: Deployer) -> None:
    """A bucket of our account and of the code's name that holds something of somebody's."""
    s3 = deployer.aws.root("s3")
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    s3.put_object(Bucket=BUCKET, Key="theirs", Body=b"theirs")


def test_a_bucket_of_that_name_that_holds_something_else_is_not_used(deployer: Deployer) -> None:
    foreign_bucket(deployer)
    error = deployer.refusal("deploy", "--stack", STACK, *target_words(), "--yes")
    assert isinstance(error, CodeBucketTaken)
    assert "There is nothing to remove" in deployer.destroy().stdout
    assert deployer.buckets() == [BUCKET]
    with pytest.raises(ClientError, match="NoSuchTagSet"):
        deployer.aws.root("s3").get_bucket_tagging(Bucket=BUCKET)


def test_a_bucket_without_our_tag_is_not_emptied(deployer: Deployer) -> None:
    deployer.deploy()
    s3 = deployer.aws.root("s3")
    s3.put_bucket_tagging(Bucket=BUCKET, Tagging={"TagSet": []})
    before = s3.list_objects_v2(Bucket=BUCKET)["Contents"]
    said = deployer.destroy()
    assert f"The bucket {BUCKET} stays: it has no tag" in said.stderr
    assert s3.list_objects_v2(Bucket=BUCKET)["Contents"] == before


@pytest.mark.parametrize("option", ["--mqtt-roots", "--url-root"])
def test_roots_that_somebody_exchanged_in_the_bucket_are_not_given_to_devices(
    deployer: Deployer, option: str
) -> None:
    root = deployer.folder / "root.pem"
    certificate = new_pki().root.certificate
    root.write_text(pem(certificate))
    deployer.deploy("--url", "https://x.example", "--url-root", str(root), "--mqtt-roots", str(root))
    fingerprint = certificate.fingerprint(SHA256()).hex()
    digest = deployer.parameters()["MqttRoots"] if option == "--mqtt-roots" else fingerprint
    theirs = pem(new_pki().root.certificate).encode()
    deployer.aws.root("s3").put_object(Bucket=BUCKET, Key=f"keyborn/roots/{digest}.pem", Body=theirs)
    error = deployer.refusal("deploy", "--stack", STACK, "--yes")
    assert isinstance(error, InvalidSetting)
    assert f"{option} is not usable: what lies in the bucket is not what was deployed" in str(error)
    deployer.deploy("--url-root", str(root), "--mqtt-roots", str(root))
