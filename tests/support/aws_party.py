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
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import pytest

from keyborn.adapters.aws.package import Target
from support import ministack, packages
from support.aws_front import Front, open_front
from support.aws_gate import open_gate
from support.ministack import Ministack
from support.pki import new_pki, pem
from support.stack import policies_of

PATIENCE = 120.0
KEPT = Path(__file__).with_name("kept_keyborn.py")
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
    built: Path | None = None
    """Where the functions' code is kept, built once for a run; None: each deployment builds it."""

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
        ready = words[:2] == ("aws", "deploy") and self.built is not None
        program = [KEPT, self.built] if ready else ["-m", "keyborn"]
        return [sys.executable, *map(str, [*program, *words])]

    def surroundings(self) -> dict[str, str]:
        """The environment of a command: the machine's, without settings that are not the party's."""
        foreign = ("AWS_", "KEYBORN_")
        plain = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        return {**plain, **self.environment}

    # ── the stack ─────────────────────────────────────────────────────────────────────────────────────

    def deploy(self) -> dict[str, Any]:
        """Make the stack, or bring it up to date, with the command; what that says. The door leads to it."""
        self.folder.mkdir(exist_ok=True)
        root, roots = self.folder / "url-root.pem", self.folder / "mqtt-roots.pem"
        root.write_text(pem(self.front.root.certificate))
        roots.write_text(self.broker_root())
        target = packages.own_target()
        done = self.keyborn(
            *("aws", "deploy", "--stack", self.stack, "--yes", "--json"),
            *("--runtime", target.runtime, "--architecture", target.architecture),
            *("--url", self.front.url, "--url-root", root),
            *("--mqtt-endpoint", f"localhost:{self.aws.mqtt_port}", "--mqtt-roots", roots),
        )
        self._deployed()
        said: dict[str, Any] = json.loads(done.stdout)
        return said

    def _deployed(self) -> None:
        """What the harness does after a deployment."""
        (found,) = self.aws.root("cloudformation").describe_stacks(StackName=self.stack)["Stacks"]
        self.outputs = {one["OutputKey"]: one["OutputValue"] for one in found["Outputs"]}
        self.front.lead_to(self.aws.port, self.outputs["ApiId"])
        for role in ("EnrollRole", "SweepRole"):
            stand_in_grants(self.aws, self.outputs[role])

    def broker_root(self) -> str:
        """What signs the certificate of the stand-in's broker."""
        with urllib.request.urlopen(f"{self.aws.url}/_ministack/iot/ca.pem", timeout=10) as answer:
            root: str = answer.read().decode()
        return root

    # ── what is there ─────────────────────────────────────────────────────────────────────────────────

    def active(self) -> set[str]:
        """The ids of every active certificate of the account."""
        return {one for one, status in self.certificates().items() if status == "ACTIVE"}

    def certificates(self) -> dict[str, str]:
        """Every certificate of the account, with its status."""
        found = self.aws.root("iot").list_certificates()["certificates"]
        return {one["certificateId"]: one["status"] for one in found}

    def stacks(self) -> list[str]:
        """Stacks that are there, whatever their state."""
        found = self.aws.root("cloudformation").list_stacks()["StackSummaries"]
        return sorted(one["StackName"] for one in found if one["StackStatus"] != "DELETE_COMPLETE")

    def items(self) -> list[dict[str, Any]]:
        """Everything in the table."""
        found: list[dict[str, Any]] = []
        pages = self.aws.root("dynamodb").get_paginator("scan")
        for page in pages.paginate(TableName=self.outputs["Table"], ConsistentRead=True):
            found += page["Items"]
        return found

    def logs(self) -> dict[str, list[str]]:
        """Every line of every log group."""
        logs = self.aws.root("logs")
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
        swept = self.aws.root("lambda").invoke(FunctionName=self.outputs["SweepFunction"], Payload=b"{}")
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
    aws.root("iam").put_role_policy(RoleName=role, PolicyName=STAND_IN, PolicyDocument=document)


def _actions(document: Mapping[str, Any]) -> set[str]:
    return {
        action
        for one in document["Statement"]
        for action in ([one["Action"]] if isinstance(one["Action"], str) else one["Action"])
    }


@contextmanager
def open_party(folders: pytest.TempPathFactory, **settings: str) -> Iterator[Party]:
    """A stand-in and a door, with an operator who may do everything; nothing is deployed yet.

    ``settings`` go into the stand-in's environment.
    """
    whole_run = packages.run_folder(folders)
    folder = folders.mktemp("party")
    aws = ministack.start(**{"LAMBDA_ACCOUNT_CONCURRENCY": "3", **settings})
    try:
        with open_front(new_pki()) as front, open_gate(aws, folder) as gate:
            given = gate.settings(*_operator(aws))
            own = {**wheels(whole_run, packages.own_target()), "XDG_STATE_HOME": str(folder)}
            yield Party(aws, front, folder, {**own, **given}, built=whole_run)
    finally:
        aws.stop()


def _operator(aws: Ministack) -> tuple[str, str]:
    """Key and secret of a user of the account who may do everything."""
    iam = aws.root("iam")
    iam.create_user(UserName="operator")
    statement = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_user_policy(UserName="operator", PolicyName="all", PolicyDocument=document)
    key = iam.create_access_key(UserName="operator")["AccessKey"]
    return key["AccessKeyId"], key["SecretAccessKey"]


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
