"""What `keyborn aws` does with a stack's registry: its first policy, and its devices' end."""

import asyncio
from datetime import UTC, datetime, timedelta

from keyborn.adapters.aws.iot import Account, Iot
from keyborn.adapters.aws.registry import AwsRegistry
from keyborn.adapters.aws.revoker import Revoker
from keyborn.adapters.aws.session import AwsSession
from keyborn.adapters.aws.settle import Settlement
from keyborn.adapters.aws.stack.clearing import Cleared, Clearing
from keyborn.adapters.aws.stack.outputs import StackOutputs
from keyborn.adapters.aws.stack.removal import Removal
from keyborn.adapters.aws.stack.stacks import Tell
from keyborn.adapters.aws.stack.unlisted import UnlistedClearing
from keyborn.adapters.aws.table import DynamoRegistry
from keyborn.adapters.system import SystemClock, SystemEntropy
from keyborn.domain.access_policy.document import DEFAULT_POLICY
from keyborn.domain.audit import AuditEvent
from keyborn.domain.names import ThingName
from keyborn.domain.thing import ThingKind
from keyborn.policies import device_policy
from keyborn.ports import MAX_PAGE
from keyborn.service.policies import PolicyOffice
from keyborn.service.sealing import SealedSecrets
from keyborn.service.sweep import Sweeper


def account_of(outputs: StackOutputs) -> Account:
    """What is Keyborn's in AWS IoT, by the stack's own word."""
    return Account(outputs.iot_arn, thing_type=outputs.thing_type, policy_prefix=outputs.policy_prefix)


def ship(session: AwsSession, outputs: StackOutputs) -> None:
    """Put into the registry what it begins with: the seal of tokens' secrets, and keyborn-default.

    Either unless it is there already, an operator's own policy above all; AWS IoT is brought to that.

    CloudFormation makes the policy with its first text and never knows of a later one: the registry decides,
    and what it holds is put into AWS IoT once more. Raises leaves of Unavailable.
    """
    asyncio.run(_ship(session, outputs))


async def _ship(session: AwsSession, outputs: StackOutputs) -> None:
    clock = SystemClock()
    iot = Iot(session.client("iot"), account_of(outputs))
    async with AwsRegistry(session.client("dynamodb"), outputs.table, iot) as registry:
        await SealedSecrets(registry, SystemEntropy()).key()
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


class _Later:
    """A clock that is an hour ahead: for who settles with it, everything that waits has waited enough."""

    def now(self) -> datetime:
        """An hour from now."""
        return datetime.now(UTC) + timedelta(hours=1)


def clear_devices(removal: Removal, table: str, tell: Tell) -> Cleared:
    """Take every device and service of a stack out of AWS IoT.

    Raises ThingNotCleared, RegistryUnavailable.
    """
    return asyncio.run(_clear(removal, table, tell))


async def _clear(removal: Removal, table: str, tell: Tell) -> Cleared:
    session, later = removal.session, _Later()
    iot, sessions = Iot(session.client("iot"), removal.account), Revoker(session.client("iot-data"))
    async with DynamoRegistry(session.client("dynamodb"), table, own_dates=True) as registry:
        sweeper = Sweeper(leftovers=registry, clock=later)
        settlement = Settlement(registry=registry, iot=iot, clock=later, sweep=sweeper.sweep)

        async def _settle() -> list[str]:
            return list((await settlement.settle()).troubles)

        clearing = Clearing(
            registry=registry,
            iot=iot,
            orders=removal.orders,
            sessions=sessions,
            settle=_settle,
            tell=tell,
            listed=removal.things,
        )
        return await clearing.clear()


def clear_unlisted(removal: Removal, tell: Tell) -> Cleared:
    """Take the things of a stack out of AWS IoT whose registry is gone already. Raises ThingNotCleared."""
    iot = Iot(removal.session.client("iot"), removal.account)
    return UnlistedClearing(stack=removal.name, iot=iot, things=removal.things, tell=tell).clear()


def count_devices(removal: Removal, table: str) -> int:
    """How many devices and services the registry holds."""
    return asyncio.run(_count(removal, table))


async def _count(removal: Removal, table: str) -> int:
    total = 0
    async with DynamoRegistry(removal.session.client("dynamodb"), table) as registry:
        for kind in ThingKind:
            after: ThingName | None = None
            while page := await registry.things(kind=kind, after=after, limit=MAX_PAGE):
                total += len(page)
                after = page[-1].name
    return total
