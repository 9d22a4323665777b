"""What the credentials need that deploy a stack, look after it and destroy it: an IAM policy."""

import json
from importlib.resources import files

from keyborn.adapters.aws.stack.orders import Place
from keyborn.domain.api_key import Role

OPERATORS = (Role.VIEWER, Role.ADMIN)
"""Roles that IAM can tell apart: who may write the table may write all that lies in it."""
MOST = 6144
"""Characters of a managed policy, white space not counted (IAM User Guide, "IAM and AWS STS quotas")."""


def deployer_policy(stack: str, place: Place) -> str:
    """The policy for one stack in one account and region, JSON, as small as it gets."""
    return _filled("deployer.json", stack, place)


def smoke_policy(stack: str, place: Place) -> str:
    """The policy for who tries with ``keyborn aws smoke`` what one stack takes for granted; the same."""
    return _filled("smoke.json", stack, place)


def operator_policy(role: Role, stack: str, place: Place) -> str:
    """The policy for who looks at one stack, or works at it, and deploys nothing; the same.

    Raises ValueError for a role of which IAM cannot tell the calls from an admin's.
    """
    if role not in OPERATORS:
        raise ValueError(role)
    return _filled(f"{role.value}.json", stack, place)


def _filled(name: str, stack: str, place: Place) -> str:
    text = files(__package__).joinpath(name).read_text("utf-8")
    facts = {"PARTITION": place.partition, "REGION": place.region, "ACCOUNT": place.account}
    facts |= {"RULE": stack.replace("-", "_"), "STACK": stack}  # the name of a topic rule has no hyphen
    for word, fact in facts.items():
        text = text.replace(word, fact)
    return json.dumps(json.loads(text), separators=(",", ":"))
