"""The functions on AWS: everything meets here. Lambda calls ``function_enroll`` and ``function_sweep``.

One instance holds one set of clients, one event loop and one application for as long as it lives.
"""

import asyncio
import json
import logging
import math
import re
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TextIO

import botocore.session
from botocore.config import Config

from keyborn.adapters.aws.admission import DynamoLine
from keyborn.adapters.aws.authority import IotAuthority
from keyborn.adapters.aws.calls import within
from keyborn.adapters.aws.errors import in_short
from keyborn.adapters.aws.iot import Account, Iot
from keyborn.adapters.aws.nonces import TableNonces
from keyborn.adapters.aws.notary import TableNotary, service_of
from keyborn.adapters.aws.registry import AwsRegistry
from keyborn.adapters.aws.revoker import Revoker
from keyborn.adapters.aws.roots import roots_for
from keyborn.adapters.aws.settle import Settled, Settlement
from keyborn.adapters.outbound import HttpsOutbound
from keyborn.adapters.system import SystemClock, SystemEntropy
from keyborn.domain.errors import InvalidSetting, Unavailable
from keyborn.domain.quota import IOT_QUOTAS, Pacing, pacing_under
from keyborn.domain.token import TokenId
from keyborn.http.app import Service, build_app
from keyborn.http.bodies import AWS_FALLBACK, BrokerAddress, MqttFallback
from keyborn.http.lambda_handler import LambdaContext, LambdaHandler
from keyborn.ports import MAX_PAGE, Clock, Nonces
from keyborn.service.audit import AuditOffice, AuditPorts
from keyborn.service.enroll import RegistrationAuthority
from keyborn.service.quota import QuotaGate
from keyborn.service.readiness import Readiness
from keyborn.service.renew import RenewalAuthority, RenewalPorts
from keyborn.service.sealing import SealedAuthenticator
from keyborn.service.sweep import OverlapSweeper, Sweeper
from keyborn.wiring.methods import Around, every_method

ClientOf = Callable[[str], object]
"""Makes a botocore client for a service: ``dynamodb``, ``iot``, ``iot-data``."""

MQTT_PORT = 8883
_ENDPOINT = re.compile(r"([A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?)(?::([0-9]{1,5}))?")
_AWS_ENDPOINT = re.compile(r"[a-z0-9-]+\.iot\.[a-z0-9-]+\.amazonaws\.com(\.cn)?")
"""AWS IoT's own data endpoints (AWS General Reference, "AWS IoT Core endpoints and quotas")."""
_ARN = re.compile(r"arn:[a-z-]+:iot:([a-z0-9-]+):[0-9]{12}")
_SWEEP_RESERVE = 5.0
_FAR = timedelta(days=1)
_log = logging.getLogger("keyborn.aws")


@dataclass(frozen=True, slots=True)
class StackSettings:
    """What the template tells its functions."""

    stack: str
    table: str
    account: Account
    region: str
    endpoint: str = ""
    """The broker's host."""
    port: int = MQTT_PORT
    topic_prefix: str = "certtest"
    url: str = ""
    """Of the service, as enrolment codes tell it."""
    pacing: Pacing = field(default_factory=lambda: pacing_under(IOT_QUOTAS))
    """How many enrolments a second all instances together admit."""

    @property
    def fallback(self) -> MqttFallback | None:
        """Port 443, if the name is AWS IoT's own: what answers behind another, only its owner knows."""
        own = self.port == MQTT_PORT and _AWS_ENDPOINT.fullmatch(self.endpoint.lower())
        return AWS_FALLBACK if own else None


def read_stack(environment: Mapping[str, str]) -> StackSettings:
    """The settings from ``KEYBORN_…`` variables; raises InvalidSetting."""

    def _need(name: str) -> str:
        if not environment.get(name):
            raise InvalidSetting(setting=name, detail="the template sets it")
        return environment[name]

    arn = _ARN.fullmatch(_need("KEYBORN_IOT_ARN"))
    if arn is None:
        raise InvalidSetting(setting="KEYBORN_IOT_ARN", detail="it takes arn:aws:iot:REGION:ACCOUNT")
    host, port = _endpoint(environment.get("KEYBORN_MQTT_ENDPOINT", ""))
    return StackSettings(
        stack=_need("KEYBORN_STACK"),
        table=_need("KEYBORN_TABLE"),
        account=Account(
            arn[0],
            thing_type=_need("KEYBORN_THING_TYPE"),
            policy_prefix=_need("KEYBORN_POLICY_PREFIX"),  # without one every policy would be ours
        ),
        region=arn[1],
        endpoint=host,
        port=port,
        topic_prefix=environment.get("KEYBORN_TOPIC_PREFIX") or "certtest",
        url=environment.get("KEYBORN_URL", ""),
        pacing=_pacing(environment.get("KEYBORN_ENROLLMENTS_PER_SECOND", "")),
    )


def _endpoint(text: str) -> tuple[str, int]:
    """Host and port; nothing for the functions that tell nobody."""
    if not text:
        return "", MQTT_PORT
    found = _ENDPOINT.fullmatch(text)
    if found is None:
        raise InvalidSetting(setting="KEYBORN_MQTT_ENDPOINT", detail="it takes HOST or HOST:PORT")
    return found[1], int(found[2] or MQTT_PORT)


def _pacing(text: str) -> Pacing:
    """The template's rate; what a fresh account allows for the functions that admit nobody."""
    if not text:
        return pacing_under(IOT_QUOTAS)
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate < math.inf:
        raise InvalidSetting(setting="KEYBORN_ENROLLMENTS_PER_SECOND", detail="it takes a number above 0")
    return Pacing(rate)


def clients(region: str) -> ClientOf:
    """Clients of one session. They repeat nothing by themselves (adapters/aws/calls.py says why)."""
    session = botocore.session.Session()
    config = Config(
        connect_timeout=1,
        read_timeout=3,
        max_pool_connections=16,
        retries={"mode": "standard", "total_max_attempts": 1},
    )
    return lambda service: session.create_client(service, region_name=region, config=config)


def build_enrollment(
    stack: StackSettings, client: ClientOf, *, roots: str, clock: Clock | None = None
) -> LambdaHandler:
    """What answers devices: the same routes and rules as on a server of one's own."""
    clock = clock or SystemClock()
    iot, dynamodb = Iot(client("iot"), stack.account), client("dynamodb")
    registry = AwsRegistry(dynamodb, stack.table, iot)
    authority = IotAuthority(iot, registry, roots_pem=roots)
    authenticator = SealedAuthenticator(registry, registry)
    line = QuotaGate(DynamoLine(dynamodb, stack.table, stack.pacing), stack.pacing)
    nonces = TableNonces(registry, clock, SystemEntropy())
    renewal = _renewal(registry, authority, line, nonces, clock)
    gate, conditions = every_method(registry, authenticator, Around(clock, nonces, HttpsOutbound()))
    registration = RegistrationAuthority(
        authenticator=gate,
        enrollments=registry,
        authority=authority,
        audit=registry,
        clock=clock,
        entropy=SystemEntropy(),
        reserved_names=frozenset({stack.endpoint.lower(), "localhost"}),
        quota=line,
        leases=registry,
        late=authenticator,
        conditions=conditions,
    )
    broker = BrokerAddress(
        endpoint=stack.endpoint,
        port=stack.port,
        topic_prefix=stack.topic_prefix,
        roots_pem=authority.roots_pem,
        chain_pem=authority.chain_pem,
        fallback=stack.fallback,
    )

    async def _reachable(_at: datetime) -> None:
        await registry.find(_NOBODY)

    ready = Readiness(_reachable, clock).check
    app = build_app(Service(registration, broker, ready, renewal, lambda: stack.url, nonces))
    return LambdaHandler(app, within=within, prepare=authenticator.prepare)


def _renewal(
    registry: AwsRegistry, authority: IotAuthority, line: QuotaGate, nonces: Nonces, clock: Clock
) -> RenewalAuthority:
    """Renewals are signed under the quota of enrolments, and stand in the same line."""
    return RenewalAuthority(
        RenewalPorts(registry, registry, registry, registry),
        authority=authority,
        nonces=nonces,
        clock=clock,
        entropy=SystemEntropy(),
        quota=line,
        leases=registry,
    )


_NOBODY = TokenId("0" * 16)
"""A token that is asked for to see whether the table answers."""


def hush() -> None:
    """Whatever level is switched on for all, what logs the bodies of calls to AWS tells no more than INFO.

    Those bodies hold certificate requests and digests of tokens.
    """
    for name in ("botocore", "urllib3"):
        logger = logging.getLogger(name)
        logger.setLevel(max(logging.INFO, logger.getEffectiveLevel()))


def enroll_handler(environment: Mapping[str, str]) -> LambdaHandler:
    """What Lambda calls; its clients are made now, while Lambda gives a whole processor."""
    hush()
    stack = read_stack(environment)
    roots = roots_for(Path(environment.get("LAMBDA_TASK_ROOT", ".")))
    handler = build_enrollment(stack, clients(stack.region), roots=roots)
    handler.prepare()
    return handler


class SweepHandler:
    """The entry point of the sweeper: settles what is due, and tells what is left."""

    def __init__(
        self,
        stack: StackSettings,
        client: ClientOf,
        *,
        clock: Clock | None = None,
        out: TextIO | None = None,
        deadline: Callable[[float], AbstractContextManager[None]] = within,
    ) -> None:
        """``out``: where metrics go, standard output unless given."""
        self._stack = stack
        self._clock = clock or SystemClock()
        self._out = out or sys.stdout
        self._deadline = deadline
        iot = Iot(client("iot"), stack.account)
        self._registry = AwsRegistry(client("dynamodb"), stack.table, iot)
        notary = TableNotary(self._registry, service_of(stack.account.prefix, stack.table), SystemEntropy())
        audit = AuditOffice(AuditPorts(self._registry, self._registry, notary, self._clock))
        self._settlement = Settlement(
            registry=self._registry,
            iot=iot,
            clock=self._clock,
            sweep=Sweeper(leftovers=self._registry, clock=self._clock).sweep,
            overlap=OverlapSweeper(successors=self._registry, clock=self._clock).sweep,
            vouch=audit.vouch,
            sessions=Revoker(client("iot-data")),
        )
        self._runner = asyncio.Runner()

    def __call__(self, _event: object, context: LambdaContext) -> dict[str, Any]:
        """Settle once. Raises RuntimeError, without a word of what was handled, so that Lambda counts it."""
        seconds = context.get_remaining_time_in_millis() / 1000 - _SWEEP_RESERVE
        try:
            return self._runner.run(self._sweep(seconds))
        except Unavailable as trouble:
            _log.error("the sweep ended with %s", in_short(trouble))
        except Exception as fault:  # noqa: BLE001 - what it says may hold what a caller sent
            _log.error("the sweep ended with %s", type(fault).__name__)
        raise RuntimeError("the sweep failed; the line before says with what")

    def close(self) -> None:
        """End the event loop; only tests have a need for it."""
        self._runner.close()

    async def _sweep(self, seconds: float) -> dict[str, Any]:
        with self._deadline(seconds):
            done = await self._settlement.settle()
            left = await self._left()
        if done.troubles:
            _log.warning("the sweeper will try again: %s", ", ".join(done.troubles))
        self._out.write(json.dumps(metrics(self._stack.stack, time.time(), done, left)) + "\n")
        self._out.flush()
        return {
            "dropped": done.dropped,
            "told": done.told,
            "strays": done.strays,
            "withdrawn": done.withdrawn,
            "troubles": done.troubles,
        }

    async def _left(self) -> dict[str, float]:
        """What there is to settle, and for how long the oldest of it has waited."""
        now = self._clock.now()
        intents = await self._registry.leftovers(before=now + _FAR, limit=MAX_PAGE)
        owed = await self._registry.owed(before=now + _FAR, limit=MAX_PAGE)
        dirt = await self._registry.dirt(limit=MAX_PAGE)
        since = [one.created_at for one in intents[:1]] + [one.due for one in owed[:1]]
        since += [one.until for one in dirt[:1]]
        return {
            "OpenEnrollments": len(intents),
            "Owed": len(owed),
            "PossibleStrays": len(dirt),
            "OldestUnsettledSeconds": max(((now - one).total_seconds() for one in since), default=0.0),
        }


def metrics(stack: str, at: float, done: Settled, left: Mapping[str, float]) -> dict[str, Any]:
    """A log line that CloudWatch turns into metrics (its User Guide, "embedded metric format").

    ``at``: Unix time, seconds.
    """
    values = {**left, "Swept": done.dropped, "Withdrawn": done.withdrawn}
    values |= {"Told": done.told, "Strays": done.strays}
    directive = {
        "Namespace": "Keyborn",
        "Dimensions": [["Stack"]],
        "Metrics": [{"Name": name} for name in values],
    }
    told = {"auditRecords": done.records, "troubles": done.troubles}
    return {
        "_aws": {"Timestamp": int(at * 1000), "CloudWatchMetrics": [directive]},
        "Stack": stack,
        **values,
        **told,
    }


def sweep_handler(environment: Mapping[str, str]) -> SweepHandler:
    """What Lambda calls every minute."""
    hush()
    stack = read_stack(environment)
    return SweepHandler(stack, clients(stack.region))
