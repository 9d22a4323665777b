"""Where devices and servers are killed: a server on this machine, and the function before the stand-in.

A ground says what its server went through (``passed``), lets it die at one of these points (``arm``), and
starts it again (``revive``). What it lists as active is what a broker would believe.
"""

import asyncio
import hashlib
import io
import json
import ssl
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

from botocore.awsrequest import AWSPreparedRequest, AWSResponse

from keyborn.adapters.aws.iot import Account, Iot
from keyborn.adapters.aws.registry import AwsRegistry
from keyborn.adapters.system import SystemClock, SystemEntropy
from keyborn.domain.names import NameScope
from keyborn.policies import device_policy
from keyborn.service.sealing import SealedSecrets
from keyborn.service.tokens import TokenOffice, TokenWish
from keyborn.testing import SkewedClock
from keyborn.wiring.aws import StackSettings, SweepHandler, read_stack
from support import ministack
from support.aws_device import broker_root
from support.aws_front import Front, open_front
from support.aws_saga import NoBody
from support.function_gateway import Gateway, open_gateway
from support.kill_points import Death
from support.lambda_events import Context
from support.pki import new_pki, pem
from support.server import Server

TESTS = Path(__file__).parents[1]
CRASHING = ("-m", "support.crashing")
DAY = timedelta(days=1)
MINUTE, LONGER_THAN_ANYBODY_WAITS = 60.0, 240.0
"""Seconds; the second more than the sweeper leaves to somebody who may still be at work."""
MOMENTS = ("before-send", "after-call")


class Devices:
    """Devices of ``support.device_child``."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def order(self, what: str, home: Path, **more: object) -> tuple[int, Any]:
        """Let one do something in a process of its own; how that ended, and what it said."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": what, "home": str(home), **more}) + "\n")
        self._process.stdin.flush()
        told = json.loads(self._process.stdout.readline())
        return told["status"], told["said"]


@contextmanager
def open_devices() -> Iterator[Devices]:
    """For as long as they are needed."""
    words = [sys.executable, "-m", "support.device_child"]
    with subprocess.Popen(
        words, cwd=TESTS, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Devices(process)


class Ground(Protocol):
    """One backend."""

    def begin(self) -> None:
        """Before each device: nothing of what others left is in its way."""
        ...

    def code(self, thing: str) -> str:
        """An enrolment code for a thing."""
        ...

    def active(self, thing: str) -> list[str]:
        """The ids of its active certificates."""
        ...

    def arm(self, death: Death | None = None) -> None:
        """Forget what the server passed; let it die at this point from now on."""
        ...

    def passed(self) -> list[Death]:
        """All points that the server went through since then."""
        ...

    def has_died(self) -> bool:
        """Whether SIGKILL ended it since then."""
        ...

    def revive(self) -> None:
        """The unaltered product on what that left."""
        ...

    def settle(self, certificate: str) -> None:
        """The sweeper runs; raises AssertionError for an active certificate that no device has.

        ``certificate`` is what a device has now.
        """
        ...


# ── one machine ───────────────────────────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class Machine:
    """``keyborn serve``, which looks into a folder for where to die."""

    server: Server
    folder: Path

    def begin(self) -> None:
        """See ``Ground``: nothing to do."""

    def code(self, thing: str) -> str:
        """See ``Ground``."""
        code: str = self.server.token(thing=thing)["code"]
        return code

    def active(self, thing: str) -> list[str]:
        """See ``Ground``."""
        return [row["certificateId"] for row in self.server.active(thing)]

    def arm(self, death: Death | None = None) -> None:
        """See ``Ground``."""
        (self.folder / "passed").write_text("")
        (self.folder / "death").write_text(json.dumps(death))

    def passed(self) -> list[Death]:
        """See ``Ground``."""
        steps = (self.folder / "passed").read_text().split()
        return [(step, steps[:number].count(step)) for number, step in enumerate(steps)]

    def has_died(self) -> bool:
        """See ``Ground``."""
        assert self.server.process is not None
        return self.server.process.wait(10) == -9

    def revive(self) -> None:
        """See ``Ground``."""
        self.arm()
        self.server.start()

    def settle(self, certificate: str) -> None:
        """Here a certificate is one row with its thing: ``active`` sees all there are."""


@contextmanager
def open_machine(folder: Path) -> Iterator[Machine]:
    """A server that dies where it is told to."""
    environment = {"KILLS": str(folder), "PYTHONPATH": str(TESTS)}
    server = Server(folder / "server", folder / "log", module=CRASHING, environment=environment)
    ground = Machine(server, folder)
    ground.arm()
    server.start()
    try:
        yield ground
    finally:
        if server.process is not None and server.process.poll() is None:
            server.stop()


# ── AWS ───────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class Aws:
    """The function in processes of its own, behind TLS; table, AWS IoT and broker are the stand-in's."""

    front: Front
    gateway: Gateway
    aws: ministack.Ministack
    clients: Mapping[str, Any]
    """The sweeper's."""
    foreign: frozenset[str]
    """Active certificates of others."""
    owned: set[str] = field(default_factory=set)
    """What devices had, whenever it was settled."""

    def begin(self) -> None:
        """See ``Ground``: a table of its own, in which it is now; AWS IoT's clock never goes ahead."""
        table = ministack.new_table()
        iot = self.clients["iot"]
        iot.create_thing_type(thingTypeName=f"{table}_device")
        iot.create_policy(policyName=f"{table}_keyborn-default", policyDocument=device_policy())
        self.gateway.environment = _environment(self.aws, table, self.front)
        self.gateway.ahead = 0.0
        self.gateway.arm()

    @property
    def stack(self) -> StackSettings:
        """As the function reads it."""
        return read_stack(self.gateway.environment)

    def code(self, thing: str) -> str:
        """See ``Ground``."""
        registry = self._registry()
        office = TokenOffice(
            tokens=registry,
            listing=registry,
            clock=SystemClock(),
            secrets=SealedSecrets(registry, SystemEntropy()),
            trust=lambda: (self.front.url, _fingerprint(self.front)),
        )
        fresh = asyncio.run(office.create(TokenWish(NameScope(thing), 1, DAY)))
        return fresh.code.encode()

    def active(self, thing: str) -> list[str]:
        """See ``Ground``; AWS IoT's own list, whatever the table says."""
        found = self.clients["iot"].list_thing_principals(thingName=thing)["principals"]
        alive = self._all_active()
        return [one for one in (arn.rpartition("/")[2] for arn in found) if one in alive]

    def arm(self, death: Death | None = None) -> None:
        """See ``Ground``."""
        self.gateway.arm(death)  # type: ignore[arg-type] # of ``passed``

    def passed(self) -> list[Death]:
        """See ``Ground``; each call counts twice: before it leaves, and when its answer is here."""
        return [(*call, moment) for call in self.gateway.calls for moment in MOMENTS]

    def has_died(self) -> bool:
        """See ``Ground``."""
        return self.gateway.deaths == [-9]

    def revive(self) -> None:
        """See ``Ground``: the next request finds another instance; and the sweeper comes every minute."""
        self._sweep_after(MINUTE)

    def settle(self, certificate: str) -> None:
        """See ``Ground``."""
        self._sweep_after(LONGER_THAN_ANYBODY_WAITS)
        self.owned.add(certificate)
        orphans = self._all_active() - self.foreign - self.owned
        assert orphans == set(), orphans

    def _sweep_after(self, seconds: float) -> None:
        """By the service's clock; the device's stays where it is."""
        self.gateway.ahead += seconds
        self.gateway.arm()
        clock = SkewedClock(SystemClock(), timedelta(seconds=self.gateway.ahead))
        sweeper = SweepHandler(self.stack, self.clients.__getitem__, clock=clock, out=io.StringIO())
        try:
            assert sweeper({}, Context(50_000))["troubles"] == []
        finally:
            sweeper.close()

    def _all_active(self) -> set[str]:
        return active_certificates(self.clients["iot"])

    def _registry(self) -> AwsRegistry:
        return AwsRegistry(
            ministack.dynamodb(), self.stack.table, Iot(self.clients["iot"], self.stack.account)
        )


def active_certificates(iot: Any) -> set[str]:  # noqa: ANN401 - botocore's clients have no types
    """Of the whole account."""
    pages = iot.get_paginator("list_certificates").paginate(pageSize=250)
    return {
        one["certificateId"] for page in pages for one in page["certificates"] if one["status"] == "ACTIVE"
    }


def sweeper_clients(aws: ministack.Ministack) -> Mapping[str, Any]:
    """By service; DeleteConnection, which the stand-in lacks, is answered here."""
    data = aws.client("iot-data")
    data.meta.events.register("before-send.iot-data.DeleteConnection", _done)
    return {"iot": aws.root("iot"), "dynamodb": ministack.dynamodb(), "iot-data": data}


def _done(request: AWSPreparedRequest, **_: object) -> AWSResponse:
    return AWSResponse(request.url, 200, {}, NoBody())


def _fingerprint(front: Front) -> bytes:
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(front.pki.root_pem)).digest()


@contextmanager
def open_aws() -> Iterator[Aws]:
    """The stand-in, and the function before it."""
    aws = ministack.shared()
    with open_front(new_pki()) as front, open_gateway() as (gateway, port):
        front.target = (port, None)
        foreign = frozenset(active_certificates(aws.root("iot")))
        yield Aws(front, gateway, aws, sweeper_clients(aws), foreign)


def _environment(aws: ministack.Ministack, table: str, front: Front) -> Mapping[str, str]:
    """What the template tells the function; admission lets everybody in at once."""
    account = Account(f"arn:aws:iot:{ministack.REGION}:000000000000", f"{table}_device", f"{table}_")
    return {
        "KEYBORN_STACK": "kb",
        "KEYBORN_TABLE": table,
        "KEYBORN_IOT_ARN": account.prefix,
        "KEYBORN_THING_TYPE": f"{table}_device",
        "KEYBORN_POLICY_PREFIX": account.policy_prefix,
        "KEYBORN_MQTT_ENDPOINT": f"localhost:{aws.mqtt_port}",
        "KEYBORN_URL": front.url,
        "KEYBORN_ENROLLMENTS_PER_SECOND": "10000",
        "AWS_ENDPOINT_URL": aws.url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "ROOTS": broker_root() + pem(front.root.certificate),
    }
