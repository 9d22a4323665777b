"""Who deploys: the printed policy is enough; what bad credentials are told."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from keyborn.adapters.aws.calls import Patience
from keyborn.adapters.aws.stack.orders import Place
from keyborn.adapters.aws.stack.permissions import deployer_policy
from keyborn.domain.errors import (
    AwsAccountDiffers,
    AwsCredentialsMissing,
    AwsCredentialsRefused,
    AwsDenied,
    AwsProfileMissing,
    AwsRegionMissing,
    AwsUnreachable,
    CodeBucketTaken,
    KeybornError,
)
from support.aws_deployer import BUCKET, STACK, Deployer, target_words
from support.ministack import REGION
from support.stack import everything

PLACE = Place("aws", "000000000000", REGION, "")
GAPS = {
    "Effect": "Allow",
    "Action": ["iot:DetachPolicy", "iot:ListAttachedPolicies", "iot:DeleteConnection"],
    "Resource": "*",
}
"""What the stand-in allows on ``*`` alone, while AWS knows certificates and clients for it."""
ORDER = ("deploy", "--stack", STACK, *target_words(), "--yes")


def statements() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(deployer_policy(STACK, PLACE))["Statement"]
    return found


def without(action: str) -> list[dict[str, Any]]:
    """The policy with one action taken away."""
    return [one | {"Action": [each for each in one["Action"] if each != action]} for one in statements()]


def test_the_printed_policy_is_all_it_takes_to_deploy_operate_and_destroy(deployer: Deployer) -> None:
    before = everything(deployer.aws)
    deployer.sign_in(*statements(), GAPS, name="limited")
    deployer.deploy("--alarm-email", "ops@example.com", "--tag", "team=edge")
    assert "Nothing changes" in deployer.deploy().stderr
    deployer.deploy("--memory", "256", "--topic-prefix", "plant/one")
    assert STACK in deployer.keyborn("outputs", "--stack", STACK).stdout
    asyncio.run(deployer.enroll("lamp-1"))
    deployer.destroy()
    assert everything(deployer.aws) == before
    assert deployer.buckets() == []
    assert deployer.certificates() == {}


@pytest.mark.parametrize(
    "action",
    [
        "cloudformation:CreateChangeSet",
        "cloudformation:DescribeStacks",
        "cloudformation:ExecuteChangeSet",
        "iot:DescribeEndpoint",
        "s3:CreateBucket",
        "s3:PutBucketPolicy",
        "s3:PutObject",
    ],
)
@pytest.mark.whole
def test_a_deploy_without_a_permission_names_it_and_leaves_no_stack(deployer: Deployer, action: str) -> None:
    deployer.sign_in(*without(action), GAPS, name="limited")
    error = deployer.refusal(*ORDER)
    assert isinstance(error, AwsDenied), error
    assert error.facts["action"] == action
    assert everything(deployer.aws)["tables"] == []


@pytest.mark.parametrize(
    "action",
    [
        "cloudformation:DeleteStack",
        "iot:UpdateCertificate",
        "iot:DeleteThing",
        "iot:DeprecateThingType",
        "lambda:PutFunctionConcurrency",
        "dynamodb:Query",
    ],
)
@pytest.mark.whole
def test_a_destroy_without_a_permission_leaves_the_registry(deployer: Deployer, action: str) -> None:
    deployer.monkeypatch.setattr("keyborn.adapters.aws.stack.clearing.ROUNDS", 1)
    deployer.deploy()
    asyncio.run(deployer.enroll("lamp-1"))
    deployer.sign_in(*without(action), GAPS, name="limited")
    error = deployer.refusal("destroy", "--stack", STACK, "--yes")
    assert action in str(error), error
    assert deployer.stack()["StackStatus"] == "CREATE_COMPLETE"
    assert len(everything(deployer.aws)["tables"]) == 1


def test_a_bucket_that_may_not_be_looked_at_is_not_used(deployer: Deployer) -> None:
    deployer.aws.root("s3").create_bucket(
        Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION}
    )
    deployer.sign_in(*without("s3:ListBucket"), GAPS, name="limited")
    assert isinstance(deployer.refusal(*ORDER), CodeBucketTaken)


# ── credentials ───────────────────────────────────────────────────────────────────────────────────────


def refusal(deployer: Deployer, *words: str, **settings: str) -> KeybornError:
    """What a deploy with other settings fails with; nothing may have changed."""
    deployer.use(**settings)
    error = deployer.refusal(*ORDER, *words)
    assert everything(deployer.aws)["tables"] == []
    assert deployer.buckets() == []
    return error


def test_no_credentials_no_region_no_profile(deployer: Deployer, tmp_path: Path) -> None:
    given = dict(deployer.gate.settings("test", "test"))
    bare = {"AWS_REGION": REGION, "AWS_ENDPOINT_URL": deployer.gate.url}
    assert isinstance(refusal(deployer, **bare), AwsCredentialsMissing)
    del given["AWS_REGION"]
    assert isinstance(refusal(deployer, **given), AwsRegionMissing)
    assert isinstance(refusal(deployer, "--profile", "nobody", **given), AwsProfileMissing)


def test_keys_that_aws_does_not_know_are_refused(deployer: Deployer) -> None:
    given = deployer.gate.settings("AKIAIOSFODNN7EXAMPLE", "x" * 40)
    assert isinstance(refusal(deployer, **given), AwsCredentialsRefused)


def test_credentials_of_another_account_than_the_one_named_change_nothing(deployer: Deployer) -> None:
    given = deployer.gate.settings("test", "test")
    error = refusal(deployer, "--account", "123456789012", **given)
    assert isinstance(error, AwsAccountDiffers)
    assert "of account 000000000000, and --account says 123456789012" in str(error)
    deployer.deploy("--account", "000000000000")


@pytest.mark.whole
def test_no_answer_is_said_to_be_none(deployer: Deployer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keyborn.adapters.aws.stack.orders._PATIENCE", Patience(whole=0.2, first=0.01))
    given = {**deployer.gate.settings("test", "test"), "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    assert isinstance(refusal(deployer, **given), AwsUnreachable)
