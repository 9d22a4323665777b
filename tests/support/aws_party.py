"""A deployed stack to play on: a stand-in of its own, the door before its API, the operator, devices.

The stand-in checks AttachPolicy, DetachPolicy, ListAttachedPolicies and DeleteConnection against the
resource ``*`` alone, while AWS knows narrower ones for them (Service Authorization Reference), which the
template names. So after each deployment both roles are given those of the four that they have anyway, on
``*``, in an inline policy of their own; what the shipped role does not have is not given.
"""

import fcntl
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from keyborn.adapters.aws.package import Target, build_package
from support import ministack, packages
from support.aws_front import Front, open_front
from support.ministack import Ministack
from support.pki import pem
from support.stack import Stack, policies_of

PATIENCE = 120.0
STAND_IN = "stand-in"
ONLY_ON_STAR = frozenset(
    {"iot:AttachPolicy", "iot:DetachPolicy", "iot:ListAttachedPolicies", "iot:DeleteConnection"}
)
"""What the stand-in allows on ``*`` and on nothing narrower."""


@dataclass(slots=True)
class Party:
    """One stand-in, one stack on it, and who comes."""

    aws: Ministack
    front: Front
    folder: Path
    environment: Mapping[str, str]
    """Of the operator's commands, beside the machine's own."""
    stack: str = "kb"
    outputs: dict[str, str] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)
    """Everything that commands printed."""

    # ── commands ──────────────────────────────────────────────────────────────────────────────────────

    def keyborn(
        self, *words: str | Path, typed: str = "", expect: int | None = 0
    ) -> subprocess.CompletedProcess[str]:
        """Run the command as the operator; asserts its exit code unless ``expect`` is None."""
        done = subprocess.run(
            self.order(*words),
            input=typed,
            env=self.surroundings(),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        self.said += [done.stdout, done.stderr]
        if expect is not None:
            assert done.returncode == expect, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def order(self, *words: str | Path) -> list[str]:
        """A command line."""
        return [sys.executable, "-m", "keyborn", *map(str, words)]

    def surroundings(self) -> dict[str, str]:
        """The environment of a command: the machine's, without settings of AWS that are not ours."""
        plain = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        return {**plain, **self.environment}

    # ── the stack ─────────────────────────────────────────────────────────────────────────────────────

    def deploy(self) -> None:
        """Make the stack; the door leads to it then."""
        target = packages.own_target()
        code = build_package(target, roots=self.roots().encode(), run=self._pip)
        stack = Stack(self.aws, self.stack)
        stack.upload(code.key, code.data)
        self.deployed(
            stack.create(
                CodeKey=code.key,
                MqttEndpoint=f"localhost:{self.aws.mqtt_port}",
                Url=self.front.url,
                Runtime=target.runtime,
                Architecture=target.architecture,
            )
        )

    def _pip(self, order: Sequence[str]) -> "subprocess.CompletedProcess[str]":
        settings = {**os.environ, **wheels(self.folder, packages.own_target())}
        return subprocess.run(
            order, capture_output=True, text=True, check=False, env=settings, timeout=PATIENCE
        )

    def deployed(self, outputs: Mapping[str, str]) -> None:
        """What the harness does after a deployment, whoever deployed."""
        self.outputs = dict(outputs)
        self.front.lead_to(self.aws.port, self.outputs["ApiId"])
        for role in ("EnrollRole", "SweepRole"):
            stand_in_grants(self.aws, self.outputs[role])

    def roots(self) -> str:
        """What devices trust: the door's root, and that of the stand-in's broker."""
        with urllib.request.urlopen(f"{self.aws.url}/_ministack/iot/ca.pem", timeout=10) as answer:
            broker: str = answer.read().decode()
        return pem(self.front.root.certificate) + broker

    # ── what is there ─────────────────────────────────────────────────────────────────────────────────

    def active(self) -> set[str]:
        """The ids of every active certificate of the account."""
        return {one for one, status in self.certificates().items() if status == "ACTIVE"}

    def certificates(self) -> dict[str, str]:
        """Every certificate of the account, with its status."""
        found = self.aws.client("iot").list_certificates()["certificates"]
        return {one["certificateId"]: one["status"] for one in found}

    def items(self) -> list[dict[str, Any]]:
        """Everything in the table."""
        found: list[dict[str, Any]] = []
        pages = self.aws.client("dynamodb").get_paginator("scan")
        for page in pages.paginate(TableName=self.outputs["Table"], ConsistentRead=True):
            found += page["Items"]
        return found

    def logs(self) -> dict[str, list[str]]:
        """Every line of every log group."""
        logs = self.aws.client("logs")
        found: dict[str, list[str]] = {}
        for group in logs.describe_log_groups()["logGroups"]:
            name = group["logGroupName"]
            streams = logs.describe_log_streams(logGroupName=name)["logStreams"]
            events = [
                logs.get_log_events(logGroupName=name, logStreamName=one["logStreamName"], startFromHead=True)
                for one in streams
            ]
            found[name] = [line["message"] for one in events for line in one["events"]]
        return found

    def sweep(self) -> dict[str, Any]:
        """Run the sweeper now; what it answered."""
        swept = self.aws.client("lambda").invoke(FunctionName=self.outputs["SweepFunction"], Payload=b"{}")
        answer: dict[str, Any] = json.loads(swept["Payload"].read())
        return answer


def stand_in_grants(aws: Ministack, role: str, without: Iterable[str] = ()) -> None:
    """Give a role on ``*`` what the stand-in checks there and what it has on narrower resources."""
    held = {
        action for name, one in policies_of(aws, role).items() if name != STAND_IN for action in _actions(one)
    }
    given = sorted(held & ONLY_ON_STAR - set(without))
    statement = {"Effect": "Allow", "Action": given, "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    aws.client("iam").put_role_policy(RoleName=role, PolicyName=STAND_IN, PolicyDocument=document)


def _actions(document: Mapping[str, Any]) -> set[str]:
    return {
        action
        for one in document["Statement"]
        for action in ([one["Action"]] if isinstance(one["Action"], str) else one["Action"])
    }


@contextmanager
def open_party(folder: Path, **settings: str) -> Iterator[Party]:
    """A stand-in and a door, with an operator who may do everything; nothing is deployed yet.

    ``settings`` go into the stand-in's environment.
    """
    aws = ministack.start(**{"LAMBDA_ACCOUNT_CONCURRENCY": "3", **settings})
    try:
        with open_front() as front:
            yield Party(aws, front, folder, _operator(aws))
    finally:
        aws.stop()


def _operator(aws: Ministack) -> dict[str, str]:
    """A user of the account, as the standard settings name one."""
    iam = aws.client("iam")
    iam.create_user(UserName="operator")
    statement = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    iam.put_user_policy(
        UserName="operator",
        PolicyName="all",
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [statement]}),
    )
    key = iam.create_access_key(UserName="operator")["AccessKey"]
    return {
        "AWS_ENDPOINT_URL": aws.url,
        "AWS_REGION": ministack.REGION,
        "AWS_ACCESS_KEY_ID": key["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
    }


# ── wheels ────────────────────────────────────────────────────────────────────────────────────────────


def wheels(folder: Path, target: Target) -> dict[str, str]:
    """pip's own settings for the wheels of the functions' lock, fetched once for all processes of a run.

    ``folder``: one that they share.
    """
    place = folder / f"wheels-{target.version}-{target.architecture}"
    place.mkdir(exist_ok=True)
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (place / "whole").exists():
            _download(place, target)
            (place / "whole").touch()
    return {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(place)}


def _download(place: Path, target: Target) -> None:
    platforms = [word for platform in target.platforms for word in ("--platform", platform)]
    with as_file(files("keyborn.adapters.aws").joinpath("function.lock")) as lock:
        words = [
            "download",
            "--quiet",
            "--no-deps",
            "--only-binary=:all:",
            "--python-version",
            target.version,
        ]
        order = [sys.executable, "-m", "pip", *words, *platforms, "--dest", str(place), "-r", str(lock)]
        subprocess.run(order, check=True, capture_output=True, timeout=PATIENCE)
