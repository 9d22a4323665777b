"""An operator's session with AWS: where region and credentials come from, and what each error says."""

from pathlib import Path
from typing import Any

import pytest
from botocore import exceptions as said
from botocore.stub import Stubber

from keyborn.adapters.aws.session import DENIED, MAX_ARN, UNKNOWN_CALLER, AwsSession, trouble
from keyborn.domain import errors

CONFIG = """
[profile plant]
region = eu-west-1
aws_access_key_id = AKIAPLANT
aws_secret_access_key = secret

[profile half]
region = eu-west-1
aws_access_key_id = AKIAHALF
"""


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose AWS settings are this file alone, and which is no instance of EC2."""
    config = tmp_path / "config"
    config.write_text(CONFIG)
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def refusal(code: str, status: int = 400, message: str = "") -> said.ClientError:
    answer: Any = {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return said.ClientError(answer, "GetItem")


# ── where and who ──


def test_a_given_region_counts_before_the_profiles() -> None:
    assert AwsSession(region="us-east-1", profile="plant").region == "us-east-1"
    assert AwsSession(profile="plant").region == "eu-west-1"


def test_the_environment_names_a_region(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "ap-south-1")
    assert AwsSession().region == "ap-south-1"


def test_without_a_region_the_operator_is_asked_for_one() -> None:
    with pytest.raises(errors.AwsRegionMissing, match="--region"):
        _ = AwsSession().region


def test_a_profile_that_is_not_there_is_named() -> None:
    with pytest.raises(errors.AwsProfileMissing, match="nowhere"):
        _ = AwsSession(profile="nowhere").region


def test_without_credentials_nothing_is_sent() -> None:
    with pytest.raises(errors.AwsCredentialsMissing, match="--profile"):
        AwsSession(region="eu-central-1").client("dynamodb")


def test_half_of_a_pair_of_credentials_is_said() -> None:
    with pytest.raises(errors.AwsCredentialsRefused):
        AwsSession(profile="half").client("dynamodb")


def test_an_endpoint_that_is_no_address_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "not a url")
    with pytest.raises(errors.AwsCallFailed):
        AwsSession(profile="plant").client("dynamodb")


def test_a_client_is_made_once_and_repeats_nothing() -> None:
    session = AwsSession(profile="plant")
    client = session.client("dynamodb", read_timeout=3)
    assert session.client("dynamodb") is client
    config = client.meta.config
    assert (config.read_timeout, config.retries["total_max_attempts"]) == (3, 1)
    assert client.meta.region_name == "eu-west-1"


# ── what errors mean ──


@pytest.mark.parametrize("code", sorted(UNKNOWN_CALLER))
def test_a_caller_that_aws_does_not_know_is_told_to_sign_in(code: str) -> None:
    error = trouble(refusal(code, 403), "dynamodb:GetItem")
    assert isinstance(error, errors.AwsCredentialsRefused)
    assert code in str(error)


@pytest.mark.parametrize("code", sorted(DENIED))
def test_a_caller_without_the_permission_is_told_which(code: str) -> None:
    error = trouble(refusal(code, 403), "iot:UpdateCertificate")
    assert isinstance(error, errors.AwsDenied)
    assert "iot:UpdateCertificate" in str(error)


def test_the_permission_is_the_one_that_aws_names() -> None:
    message = "User: arn:aws:iam::1:user/op is not authorized to perform: dynamodb:PutItem on resource: x"
    told = trouble(refusal("AccessDeniedException", 400, message), "dynamodb:TransactWriteItems")
    assert "dynamodb:PutItem" in str(told)
    assert "Transact" not in str(told)


@pytest.mark.parametrize(
    "error",
    [
        refusal("ThrottlingException"),
        refusal("InternalFailureException", 500),
        said.EndpointConnectionError(endpoint_url="https://x.invalid"),
        said.ReadTimeoutError(endpoint_url="https://x.invalid"),
        said.ConnectTimeoutError(endpoint_url="https://x.invalid"),
    ],
    ids=lambda one: type(one).__name__,
)
def test_what_may_pass_says_that_the_command_can_be_repeated(error: Exception) -> None:
    told = trouble(error, "dynamodb:GetItem")
    assert isinstance(told, errors.AwsUnreachable)
    assert "repeated" in str(told)
    assert "dynamodb" in str(told)


@pytest.mark.parametrize(
    ("error", "leaf"),
    [
        (said.NoCredentialsError(), errors.AwsCredentialsMissing),
        (said.NoRegionError(), errors.AwsRegionMissing),
        (said.ProfileNotFound(profile="p"), errors.AwsProfileMissing),
        (said.TokenRetrievalError(provider="sso", error_msg="expired"), errors.AwsCredentialsRefused),
        (said.UnauthorizedSSOTokenError(), errors.AwsCredentialsRefused),
        (said.InvalidRegionError(region_name="!"), errors.AwsCredentialsRefused),
        (refusal("ResourceNotFoundException"), errors.AwsCallFailed),
    ],
    ids=lambda one: getattr(one, "__name__", type(one).__name__),
)
def test_each_trouble_has_a_leaf_of_its_own(error: Exception, leaf: type[errors.KeybornError]) -> None:
    assert type(trouble(error, "dynamodb:GetItem")) is leaf


def test_what_aws_says_cannot_draw_on_the_terminal() -> None:
    error = trouble(refusal("Odd", message="a\x1b[2J\nb" + "c" * 1000), "iot:CreateThing")
    assert "\x1b" not in str(error)
    assert "\n" not in str(error)
    assert len(str(error)) < 500


# ── who the caller is ──


def named(arn: str, times: int = 1) -> AwsSession:
    """A session whose caller AWS names ``arn``, so many times."""
    session = AwsSession(profile="plant")
    stub = Stubber(session.client("sts"))
    for _ in range(times):
        stub.add_response("get_caller_identity", {"Arn": arn})
    stub.activate()
    return session


def test_the_caller_is_asked_for_once() -> None:
    session = named("arn:aws:sts::123456789012:assumed-role/ops/alice")
    assert [session.caller, session.caller] == ["arn:aws:sts::123456789012:assumed-role/ops/alice"] * 2


def test_a_callers_name_is_bounded_and_cannot_draw_on_the_terminal() -> None:
    assert named("arn:\x1b[2J" + "a" * 2000).caller == ("arn:[2J" + "a" * 2000)[:MAX_ARN]


def test_a_caller_whom_aws_does_not_know_is_refused() -> None:
    session = AwsSession(profile="plant")
    stub = Stubber(session.client("sts"))
    stub.add_client_error("get_caller_identity", "InvalidClientTokenId")
    stub.activate()
    with pytest.raises(errors.AwsCredentialsRefused):
        _ = session.caller


# ── what adapters below met ──


def test_a_denied_call_is_remembered_with_its_action() -> None:
    session = AwsSession(profile="plant")
    client = session.client("iot-data")
    client.meta.events.emit(
        "after-call.iot-data-plane.DeleteConnection",
        parsed={"Error": {"Code": "ForbiddenException", "Message": "no"}},
        model=client.meta.service_model.operation_model("Publish"),
        http_response=None,
        context={},
    )
    assert isinstance(session.denied, errors.AwsDenied)
    assert "iot:Publish" in str(session.denied)


def test_other_errors_are_not_about_the_caller() -> None:
    session = AwsSession(profile="plant")
    client = session.client("dynamodb")
    client.meta.events.emit(
        "after-call.dynamodb.GetItem",
        parsed={"Error": {"Code": "ThrottlingException"}},
        model=client.meta.service_model.operation_model("GetItem"),
        http_response=None,
        context={},
    )
    assert session.denied is None
