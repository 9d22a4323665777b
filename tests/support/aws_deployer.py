"""Somebody who deploys and destroys stacks on a stand-in, with the command, in this process."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from botocore.loaders import Loader
from click.testing import CliRunner, Result

from keyborn.adapters.aws.authority import IotAuthority
from keyborn.adapters.aws.iot import Iot
from keyborn.adapters.aws.package import Package, Target, pack
from keyborn.adapters.aws.registry import AwsRegistry
from keyborn.adapters.aws.roots import ROOTS_NAME
from keyborn.adapters.aws.stack.outputs import StackOutputs, read_outputs
from keyborn.adapters.system import SystemClock, SystemEntropy
from keyborn.cli.main import cli
from keyborn.domain.errors import KeybornError
from keyborn.domain.names import NameScope, ThingName
from keyborn.domain.thing import ThingKind
from keyborn.domain.token import encode_secret
from keyborn.ports import Credential
from keyborn.service.enroll import EnrollmentRequest, RegistrationAuthority
from keyborn.service.sealing import SealedAuthenticator, SealedSecrets
from keyborn.service.tokens import TokenOffice, TokenWish
from keyborn.wiring.aws_stack import account_of
from support import packages
from support.aws_gate import Gate
from support.csr_make import make_csr
from support.ministack import Ministack

STACK = "kb"
BUCKET = "keyborn-000000000000-eu-central-1"
PARAMETERS = {"CodeBucket": BUCKET, "CodeKey": "none", "MqttEndpoint": "mqtt.example"}
"""Enough for a change set that is not carried out."""
EVERYTHING = {"Effect": "Allow", "Action": "*", "Resource": "*"}
CODE = b"""
def handler(event, context):
    return {"statusCode": 200, "headers": {"content-type": "text/plain"}, "body": event["rawPath"]}
"""


def tiny(target: Target, *, roots: bytes | None = None) -> Package:
    """Functions that say which path they were asked for: enough where the stack is what counts."""
    contents = {f"keyborn/wiring/function_{one}.py": CODE for one in ("enroll", "sweep")}
    contents["target"] = f"{target.architecture} {target.runtime}".encode()
    return pack(contents | ({} if roots is None else {ROOTS_NAME: roots}))


@dataclass(slots=True)
class Deployer:
    """A user of the account with the command at hand."""

    aws: Ministack
    gate: Gate
    monkeypatch: pytest.MonkeyPatch
    folder: Path
    last: Result | None = None
    built: list[Target] = field(default_factory=list)

    def sign_in(self, *statements: Mapping[str, object], name: str = "deployer") -> None:
        """Become a user who may do this and nothing else."""
        iam = self.aws.root("iam")
        iam.create_user(UserName=name)
        document = json.dumps({"Version": "2012-10-17", "Statement": statements})
        iam.put_user_policy(UserName=name, PolicyName="given", PolicyDocument=document)
        key = iam.create_access_key(UserName=name)["AccessKey"]
        self.use(**self.gate.settings(key["AccessKeyId"], key["SecretAccessKey"]))

    def use(self, **settings: str) -> None:
        """Set these and no other settings of AWS."""
        # Descriptions of services are read once for all sessions: each command, and each look, opens one.
        self.monkeypatch.setattr("botocore.session.create_loader", _loader)
        for name in (
            "AWS_PROFILE",
            "AWS_DEFAULT_PROFILE",
            "AWS_DEFAULT_REGION",
            "AWS_REGION",
            "AWS_SESSION_TOKEN",
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
        ):
            self.monkeypatch.delenv(name, raising=False)
        for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
            self.monkeypatch.setenv(name, str(self.folder / "none"))
        self.monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        for name, value in settings.items():
            self.monkeypatch.setenv(name, value)

    def build(self, make: Callable[..., Package] = tiny) -> None:
        """Build code with this from now on; what it is asked for is kept."""

        def building(target: Target, *, roots: bytes | None = None) -> Package:
            self.built.append(target)
            return make(target, roots=roots)

        self.monkeypatch.setattr("keyborn.adapters.aws.stack.deploy.build_package", building)
        self.monkeypatch.setattr("keyborn.adapters.aws.package.require_pip", lambda: None)

    def keyborn(self, *words: str, typed: str | None = None, expect: int = 0) -> Result:
        """``keyborn aws …``; ``typed``: what a person at a terminal answers."""
        for module in ("aws_deploy", "aws_destroy"):
            self.monkeypatch.setattr(f"keyborn.cli.{module}.has_terminal", lambda: typed is not None)
        done = CliRunner().invoke(cli, ["aws", *words], input=typed)
        self.last = done
        if isinstance(done.exception, KeybornError):
            assert expect == 1, done.exception
            return done
        assert done.exit_code == expect, (done.exit_code, done.exception, done.stdout, done.stderr)
        return done

    def deploy(self, *words: str, stack: str = STACK, **more: Any) -> Result:  # noqa: ANN401 - as keyborn
        """Deploy for the machine that the stand-in runs on."""
        return self.keyborn("deploy", "--stack", stack, *target_words(), "--yes", *words, **more)

    def destroy(self, *words: str, stack: str = STACK, **more: Any) -> Result:  # noqa: ANN401 - as above
        """Destroy without being asked."""
        return self.keyborn("destroy", "--stack", stack, "--yes", *words, **more)

    def refusal(self, *words: str, **more: Any) -> KeybornError:  # noqa: ANN401 - as above
        """What a command fails with."""
        error = self.keyborn(*words, expect=1, **more).exception
        assert isinstance(error, KeybornError), error
        return error

    # ── what is there ─────────────────────────────────────────────────────────────────────────────────

    def stack(self, name: str = STACK) -> dict[str, Any]:
        """What CloudFormation says of a stack."""
        found: dict[str, Any] = self.aws.root("cloudformation").describe_stacks(StackName=name)["Stacks"][0]
        return found

    def parameters(self, name: str = STACK) -> dict[str, str]:
        """The parameters of a stack."""
        return {one["ParameterKey"]: one["ParameterValue"] for one in self.stack(name)["Parameters"]}

    def outputs(self, name: str = STACK) -> StackOutputs:
        """The outputs of a stack."""
        return read_outputs(self.aws.root("cloudformation"), name)

    def trace(self, name: str = STACK) -> list[tuple[str, str]]:
        """Everything that ever happened to a stack and its resources, and to the code's bucket."""
        cloud = self.aws.root("cloudformation")
        events = cloud.describe_stack_events(StackName=name)["StackEvents"]
        resources = cloud.describe_stack_resources(StackName=name)["StackResources"]
        objects = self.aws.root("s3").list_objects_v2(Bucket=BUCKET).get("Contents", [])
        return [
            *((one["EventId"], one["ResourceStatus"]) for one in events),
            *((one["PhysicalResourceId"], one["ResourceStatus"]) for one in resources),
            *((one["Key"], str(one["LastModified"])) for one in objects),
            ("updated", str(self.stack(name).get("LastUpdatedTime"))),
        ]

    def buckets(self) -> list[str]:
        """Every bucket of the account."""
        return [one["Name"] for one in self.aws.root("s3").list_buckets()["Buckets"]]

    def certificates(self) -> dict[str, str]:
        """Every certificate of the account, with its status."""
        found = self.aws.root("iot").list_certificates()["certificates"]
        return {one["certificateId"]: one["status"] for one in found}

    # ── the registry ──────────────────────────────────────────────────────────────────────────────────

    def registry(self, name: str = STACK) -> AwsRegistry:
        """The registry of a stack, with root's rights."""
        found = self.outputs(name)
        iot = Iot(self.aws.root("iot"), account_of(found))
        return AwsRegistry(self.aws.root("dynamodb"), found.table, iot)

    async def enroll(self, name: str, *, stack: str = STACK, kind: ThingKind = ThingKind.DEVICE) -> str:
        """Enroll a device or service as its function would; the certificate's id."""
        async with self.registry(stack) as registry:
            secrets = SealedSecrets(registry, SystemEntropy())
            office = TokenOffice(
                tokens=registry,
                listing=registry,
                clock=SystemClock(),
                secrets=secrets,
                trust=lambda: ("https://localhost", b""),
            )
            fresh = await office.create(TokenWish(NameScope(name), kind=kind))
            iot = Iot(self.aws.root("iot"), account_of(self.outputs(stack)))
            authority = RegistrationAuthority(
                authenticator=SealedAuthenticator(registry, registry),
                enrollments=registry,
                authority=IotAuthority(iot, registry, roots_pem="roots"),
                audit=registry,
                clock=SystemClock(),
                entropy=SystemEntropy(),
            )
            proof = encode_secret(fresh.code.secret)
            applicant = await authority.authenticate(Credential(proof, "192.0.2.1"))
            wish = EnrollmentRequest(ThingName(name), make_csr(name)[1], "192.0.2.1", {})
            return str((await authority.enroll(applicant, wish)).certificate.id)


@cache
def _loader(search_path_string: str | None = None) -> Loader:
    return Loader(extra_search_paths=search_path_string.split(":") if search_path_string else None)


def target_words() -> list[str]:
    """Options for the machine that the stand-in runs on."""
    target = packages.own_target()
    return ["--architecture", target.architecture, "--runtime", target.runtime]
