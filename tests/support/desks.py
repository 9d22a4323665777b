"""Two offices for one operator: a server's data folder, and a stack on the stand-in; the same words to both.

Commands run in this process, as the console script runs them. What must differ from one run to the next (ids,
hashes, times, addresses) is written alike by ``alike``, so that the rest can be compared letter by letter.
"""

import io
import json
import re
import sys
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pytest
from botocore.loaders import Loader

from keyborn.adapters.aws.session import AwsSession
from keyborn.adapters.aws.stack.outputs import read_outputs
from keyborn.cli.failures import run
from keyborn.cli.main import cli
from keyborn.http.lambda_handler import Answer
from keyborn.wiring.aws import build_enrollment, read_stack
from keyborn.wiring.aws_stack import ship
from support import packages
from support.aws_sessions import SessionPlane
from support.lambda_events import Context, enroll_event
from support.ministack import REGION, Ministack
from support.server import Server
from support.stack import Stack

_ALIKE = (
    (re.compile(r"kb1\.[\w-]+"), "CODE"),
    (re.compile(r"\bt[0-9a-f]{16}\b"), "t" * 17),
    (re.compile(r"\b(?:keyborn:[0-9a-f]{64}|arn:aws:dynamodb:\S+:table/[\w.-]+)"), "SERVICE"),
    (re.compile(r"\b[0-9a-f]{64}\b"), "h" * 64),
    (re.compile(r"^checkpoints  \d+$", re.MULTILINE), "checkpoints  0"),
    (re.compile(r'"checkpoints": \d+'), '"checkpoints": 0'),
    (re.compile(r"\.\d{3}\+00:00"), ".000+00:00"),
    (re.compile(r"\b[0-9a-f]{12}…"), "h" * 12 + "…"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?=[.Z])"), "2000-01-01T00:00:00"),
    (re.compile(r"\.\d{3}Z"), ".000Z"),
    (re.compile(r'"secret": "[\w-]{43,}"'), '"secret": "…"'),
    (re.compile(r"https://[^\s\"]+"), "URL"),
    (re.compile(r"\barn:aws:iam::\d{12}:root\b"), "operator"),
    (re.compile(r" --(?:data|aws|region) \S+"), ""),
    (re.compile(r"in force within minutes for"), "in force for"),
    (re.compile(r"In force within minutes"), "In force now"),
)


def alike(text: str) -> str:
    """``text`` without what no two runs have in common; columns stay as wide as they were."""
    for pattern, instead in _ALIKE:
        text = pattern.sub(instead, text)
    return text


_descriptions = Loader()


def read_descriptions_once(patch: pytest.MonkeyPatch) -> None:
    """Let every session of this process share what botocore reads from its files: 80 ms of each client."""
    patch.setattr("botocore.session.create_loader", lambda *_: _descriptions)


@dataclass(frozen=True, slots=True)
class Said:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str


class Backend(Protocol):
    """One of the two offices."""

    @property
    def options(self) -> tuple[str, ...]:
        """What every command is told."""
        ...

    @property
    def environment(self) -> Mapping[str, str]:
        """Where every command runs."""
        ...

    def enroll(self, name: str, csr: str, secret: str) -> int:
        """A device's request; the status."""
        ...


def typed(backend: Backend, *words: str | Path) -> Said:
    """Run one command at that desk."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        read_descriptions_once(patch)
        patch.setattr(sys, "argv", ["keyborn", *map(str, words), *backend.options])
        for name, value in backend.environment.items():
            patch.setenv(name, value)
        code = run(cli)
    return Said(code, out.getvalue(), err.getvalue())


def told(backend: Backend, *words: str | Path) -> Any:  # noqa: ANN401 - JSON
    """What one command says to programs; asserts that it ends well."""
    said = typed(backend, *words, "--json")
    assert said.code == 0, said
    return json.loads(said.out)


@dataclass(slots=True)
class Folder:
    """A server that runs on its data folder."""

    server: Server
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def options(self) -> tuple[str, ...]:
        """What every command is told."""
        return ("--data", str(self.server.data))

    def enroll(self, name: str, csr: str, secret: str) -> int:
        """See ``Backend.enroll``."""
        return self.server.enroll(name, csr, secret).status


@dataclass(slots=True)
class OnStack:
    """The template on a stand-in. Its functions are for show: devices are answered in this process."""

    aws: Ministack
    stack: Stack
    outputs: Mapping[str, str]
    environment: Mapping[str, str]

    @property
    def options(self) -> tuple[str, ...]:
        """What every command is told."""
        return ("--aws", self.stack.name, "--region", REGION)

    def enroll(self, name: str, csr: str, secret: str) -> int:
        """See ``Backend.enroll``."""
        request = enroll_event(name, csr, secret)
        request["requestContext"]["http"]["sourceIp"] = "127.0.0.1"
        return self.answer(request)["statusCode"]

    def answer(self, request: Mapping[str, Any]) -> Answer:
        """What the enrolment function answers, as it would be started now."""
        functions = self.aws.client("lambda")
        function = functions.get_function_configuration(FunctionName=self.outputs["EnrollFunction"])
        settings = read_stack(function["Environment"]["Variables"])
        handler = build_enrollment(settings, self.aws.client, roots="roots")
        try:
            return handler(request, Context())
        finally:
            handler.close()


@contextmanager
def on_stack(aws: Ministack, plane: SessionPlane | None, folder: Path, name: str = "kb") -> Iterator[OnStack]:
    """A stack, as new, whose operator signs in as root; ``plane``: where sessions are closed."""
    stack = Stack(aws, name)
    stack.upload("code.zip", _code())
    runtime = packages.own_target().runtime
    outputs = stack.create(
        CodeKey="code.zip",
        MqttEndpoint="a1-ats.iot.eu-central-1.amazonaws.com",
        Url="https://enroll.example.com",
        RootFingerprint="ab" * 32,
        Runtime=runtime,
    )
    environment = {
        "AWS_ENDPOINT_URL": aws.url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_CONFIG_FILE": str(folder / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(folder / "none"),
        "XDG_STATE_HOME": str(folder / "state"),
    }
    if plane is not None:
        environment["AWS_ENDPOINT_URL_IOT_DATA_PLANE"] = plane.url
    with pytest.MonkeyPatch.context() as patch:
        for key, value in environment.items():
            patch.setenv(key, value)
        session = AwsSession(region=REGION)
        ship(session, read_outputs(session.client("cloudformation"), stack.name))
    yield OnStack(aws, stack, outputs, environment)


def _code() -> bytes:
    """Code that is never run."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in ("keyborn/wiring/function_enroll.py", "keyborn/wiring/function_sweep.py"):
            archive.writestr(name, "handler = None\n")
    return buffer.getvalue()
