"""The enrolment function out of its zip, in fresh processes: how long it takes, and how much memory."""

import asyncio
import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from keyborn.adapters.aws.iot import Account, Iot
from keyborn.adapters.aws.package import Package
from keyborn.adapters.aws.registry import AwsRegistry
from keyborn.adapters.system import SystemClock, SystemEntropy
from keyborn.domain.names import NameScope
from keyborn.domain.token import encode_secret
from keyborn.service.sealing import SealedSecrets
from keyborn.service.tokens import TokenOffice, TokenWish
from support.csr_make import make_csr
from support.lambda_events import enroll_event
from support.ministack import REGION, Ministack, create_table

CHILD = Path(__file__).with_name("function_child.py")
ARN = f"arn:aws:iot:{REGION}:000000000000"
PATIENCE = 120.0


@dataclass(frozen=True, slots=True)
class Invocation:
    """One event answered: milliseconds by the clock, and of the processor."""

    status: int
    wall: float
    cpu: float


@dataclass(frozen=True, slots=True)
class Start:
    """What a fresh process told: milliseconds, and the peak of its resident memory in MiB."""

    wall: float
    cpu: float
    peak: float
    modules: frozenset[str]
    answers: tuple[Invocation, ...]


def unpack(built: Package, folder: Path, *, bytecode: bool = True) -> Path:
    """The zip's contents in a folder, as Lambda lays them out."""
    with zipfile.ZipFile(io.BytesIO(built.data)) as archive:
        names = [name for name in archive.namelist() if bytecode or not name.endswith(".pyc")]
        archive.extractall(folder, names)
    return folder


def start(
    what: str, *folders: Path, environment: Mapping[str, str], events: Sequence[Mapping[str, Any]] = ()
) -> Start:
    """Do ``what`` (function_child.py) in a process that writes no bytecode and sees only these folders."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-B", str(CHILD), what, *map(str, folders)],
        input="".join(json.dumps(event) + "\n" for event in events),
        env=dict(environment),
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    told = json.loads(done.stdout)
    answers = tuple(Invocation(**one) for one in told["answers"])
    return Start(told["wall"], told["cpu"], told["peak"], frozenset(told["modules"]), answers)


@dataclass(frozen=True, slots=True)
class Place:
    """A table, a thing type and the default policy: of what the template makes, all that enrolling needs."""

    aws: Ministack
    table: str

    @property
    def account(self) -> Account:
        """Where things and certificates go."""
        return Account(ARN, thing_type=f"{self.table}_device", policy_prefix=f"{self.table}_")

    @property
    def environment(self) -> dict[str, str]:
        """What the template tells the function. Admission lets everybody in at once: it is not measured."""
        return {
            "KEYBORN_STACK": "kb",
            "KEYBORN_TABLE": self.table,
            "KEYBORN_IOT_ARN": ARN,
            "KEYBORN_THING_TYPE": f"{self.table}_device",
            "KEYBORN_POLICY_PREFIX": f"{self.table}_",
            "KEYBORN_MQTT_ENDPOINT": "broker.example",
            "KEYBORN_ENROLLMENTS_PER_SECOND": "10000",
            "AWS_ENDPOINT_URL": self.aws.url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
        }

    def enrollments(self, names: Sequence[str]) -> list[dict[str, Any]]:
        """Requests of new devices, all with one token, as of a batch."""
        secret = asyncio.run(self._token())
        return [enroll_event(name, make_csr(name)[1], secret) for name in names]

    async def _token(self) -> str:
        client = self.aws.client
        registry = AwsRegistry(client("dynamodb"), self.table, Iot(client("iot"), self.account))
        office = TokenOffice(
            tokens=registry,
            listing=registry,
            clock=SystemClock(),
            secrets=SealedSecrets(registry, SystemEntropy()),
            trust=lambda: ("https://localhost:8443", bytes(32)),
        )
        fresh = await office.create(TokenWish(NameScope("*"), None, timedelta(hours=1)))
        return encode_secret(fresh.code.secret)


def place(aws: Ministack, table: str) -> Place:
    """Make one, under a name of its own."""
    create_table(aws.client("dynamodb"), table)
    iot = aws.client("iot")
    iot.create_thing_type(thingTypeName=f"{table}_device")
    document = json.dumps({"Version": "2012-10-17", "Statement": []})
    iot.create_policy(policyName=f"{table}_keyborn-default", policyDocument=document)
    return Place(aws, table)
