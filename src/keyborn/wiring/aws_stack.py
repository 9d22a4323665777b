"""What `keyborn aws` does with a stack's registry: its first policy, and its devices' end."""

import asyncio
from datetime import UTC, datetime

from keyborn.adapters.aws.iot import Account, Iot
from keyborn.adapters.aws.registry import AwsRegistry
from keyborn.adapters.aws.session import AwsSession
from keyborn.adapters.aws.stack.outputs import StackOutputs
from keyborn.adapters.system import SystemClock
from keyborn.domain.access_policy.document import DEFAULT_POLICY
from keyborn.domain.audit import AuditEvent
from keyborn.policies import device_policy
from keyborn.service.policies import PolicyOffice


def account_of(outputs: StackOutputs) -> Account:
    """What is Keyborn's in AWS IoT, by the stack's own word."""
    return Account(outputs.iot_arn, thing_type=outputs.thing_type, policy_prefix=outputs.policy_prefix)


def ship_default_policy(session: AwsSession, outputs: StackOutputs) -> None:
    """Put keyborn-default into the registry, unless an operator's stands there; bring AWS IoT to that.

    CloudFormation makes the policy with its first text and never knows of a later one: the registry decides,
    and what it holds is put into AWS IoT once more. Raises leaves of Unavailable.
    """
    asyncio.run(_ship(session, outputs))


async def _ship(session: AwsSession, outputs: StackOutputs) -> None:
    clock = SystemClock()
    iot = Iot(session.client("iot"), account_of(outputs))
    async with AwsRegistry(session.client("dynamodb"), outputs.table, iot) as registry:
        office = PolicyOffice(
            policies=registry,
            listing=registry,
            use=registry,
            fleet=registry,
            directory=registry,
            sessions=None,
            clock=clock,
        )
        before = await registry.policy(DEFAULT_POLICY)
        await office.ship(DEFAULT_POLICY, device_policy(outputs.topic_prefix))
        if before is not None and before == await registry.policy(DEFAULT_POLICY):
            event = AuditEvent(datetime.now(UTC), "policy.put", "done", DEFAULT_POLICY, "keyborn")
            await registry.put_policy(before, event)  # the same text: nothing but AWS IoT is looked at
