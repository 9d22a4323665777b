"""What the functions need of a stack, on the stand-in, and the tokens that an operator makes there."""

import asyncio
import json
from datetime import timedelta

from keyborn.adapters.aws.iot import Account, Iot
from keyborn.adapters.aws.registry import AwsRegistry
from keyborn.adapters.system import SystemClock, SystemEntropy
from keyborn.domain.names import NameScope
from keyborn.domain.token import encode_secret
from keyborn.service.sealing import SealedSecrets
from keyborn.service.tokens import TokenOffice, TokenWish
from keyborn.wiring.aws import StackSettings
from support import ministack

ARN = "arn:aws:iot:eu-central-1:000000000000"


def stack_of_parts(url: str = "") -> StackSettings:
    """A table, a thing type and the default policy: of what the template makes, all they need."""
    ministack.forget_things()
    aws, table = ministack.shared(), ministack.new_table()
    iot = aws.client("iot")
    iot.create_thing_type(thingTypeName=f"{table}_device")
    document = {"Version": "2012-10-17", "Statement": []}
    iot.create_policy(policyName=f"{table}_keyborn-default", policyDocument=json.dumps(document))
    account = Account(ARN, thing_type=f"{table}_device", policy_prefix=f"{table}_")
    return StackSettings(
        "kb", table, account, "eu-central-1", "broker.example", topic_prefix="plant", url=url
    )


def secret_for(stack: StackSettings, name: str) -> str:
    """A token, as the operator makes one."""
    registry = AwsRegistry(
        ministack.dynamodb(), stack.table, Iot(ministack.shared().client("iot"), stack.account)
    )
    office = TokenOffice(
        tokens=registry,
        listing=registry,
        clock=SystemClock(),
        secrets=SealedSecrets(registry, SystemEntropy()),
        trust=lambda: ("https://localhost:8443", bytes(32)),
    )
    fresh = asyncio.run(office.create(TokenWish(NameScope(name), 1, timedelta(hours=1))))
    return encode_secret(fresh.code.secret)
