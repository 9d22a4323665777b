"""The operator's use cases on a stack on AWS, in the operator's own process with the operator's credentials.

There is no administrator's route on the network: what an operator may do, IAM says.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import cached_property
from typing import Any

from keyborn.adapters.aws.iot import Iot
from keyborn.adapters.aws.notary import TableNotary, service_of
from keyborn.adapters.aws.registry import AwsRegistry
from keyborn.adapters.aws.revoker import OrderedRevoker
from keyborn.adapters.aws.session import AwsSession
from keyborn.adapters.aws.stack.outputs import StackOutputs, read_outputs
from keyborn.adapters.system import SystemClock, SystemEntropy
from keyborn.domain.errors import OperatorError
from keyborn.http.admin import Office
from keyborn.http.bodies import fingerprint_text
from keyborn.service.audit import AuditOffice, AuditPorts
from keyborn.service.sealing import SealedSecrets
from keyborn.wiring.aws_stack import account_of
from keyborn.wiring.use_cases import Grouping, Offices


class StackDoor:
    """One stack, for as long as one command runs. Clients are made when they are first needed, and once."""

    def __init__(self, stack: str, *, region: str | None, profile: str | None) -> None:
        """Region and profile the standard way of AWS where they are None. Nothing is asked yet."""
        self._stack = stack
        self._session = AwsSession(region=region, profile=profile)

    @property
    def denied(self) -> OperatorError | None:
        """The last refusal that is about the caller, in words for the operator; None if there was none."""
        return self._session.denied

    @cached_property
    def outputs(self) -> StackOutputs:
        """What the stack says of itself; see ``read_outputs`` for errors."""
        return read_outputs(self._session.client("cloudformation"), self._stack)

    @asynccontextmanager
    async def office(self) -> AsyncIterator[Office]:
        """The office over the stack's registry; raises what ``outputs`` raises."""
        outputs, session = self.outputs, self._session
        iot = Iot(lambda: session.client("iot"), account_of(outputs))
        async with AwsRegistry(lambda: session.client("dynamodb"), outputs.table, iot) as registry:
            reserved = frozenset({outputs.mqtt_host.lower(), "localhost"})
            clock = SystemClock()
            entropy = SystemEntropy()
            secrets = SealedSecrets(registry, entropy)
            # nonces come from the key of the seals, which a stack without tokens does not have yet
            grouping = Grouping(registry, entropy, own_dates=False, prepare=secrets.key)
            notary = TableNotary(registry, service_of(outputs.iot_arn, outputs.table), entropy)
            yield Offices(registry, clock, secrets, reserved, grace=registry, grouping=grouping).office(
                OrderedRevoker(lambda: session.client("iot-data"), registry, clock),
                trust=lambda: (outputs.url, outputs.root_fingerprint),
                authorities=tuple,
                about=lambda: about_stack(outputs),
                actor=lambda: session.caller,
                audit=AuditOffice(AuditPorts(registry, registry, notary, clock), lambda: outputs.url),
            )


def about_stack(outputs: StackOutputs) -> Mapping[str, Any]:
    """What a stack says of itself, as a running service does."""
    fingerprint = outputs.root_fingerprint
    return {
        "url": outputs.url,
        "fingerprint": fingerprint_text(fingerprint) if fingerprint else None,
        "mqtt": f"{outputs.mqtt_host}:{outputs.mqtt_port}",
        "topicPrefix": outputs.topic_prefix,
        "stack": outputs.stack,
        "region": outputs.region,
        "account": outputs.account,
    }
