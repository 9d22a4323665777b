"""What the credentials need that deploy a stack, look after it and destroy it: an IAM policy."""

import json
from importlib.resources import files

from keyborn.adapters.aws.stack.orders import Place

MOST = 6144
"""Characters of a managed policy, white space not counted (IAM User Guide, "IAM and AWS STS quotas")."""


def deployer_policy(stack: str, place: Place) -> str:
    """The policy for one stack in one account and region, JSON, as small as it gets."""
    text = files(__package__).joinpath("deployer.json").read_text("utf-8")
    facts = {"PARTITION": place.partition, "REGION": place.region, "ACCOUNT": place.account, "STACK": stack}
    for word, fact in facts.items():
        text = text.replace(word, fact)
    return json.dumps(json.loads(text), separators=(",", ":"))
