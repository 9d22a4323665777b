"""Groups, announced keys and approvals become items, and items become those: see ``items``."""

from datetime import timedelta

from keyborn.adapters.aws.table.keys import from_ms, to_ms
from keyborn.adapters.aws.table.values import Item
from keyborn.domain.access_policy.document import PolicyName
from keyborn.domain.approval import Approval, ApprovalId, ApprovalState
from keyborn.domain.group import GroupDocument
from keyborn.domain.names import GroupName, KeyHash, ThingName
from keyborn.domain.registered import RegisteredKey

KEPT = timedelta(days=7)
"""For how long what has expired can still be looked at; then DynamoDB removes it, within days."""


def group_item(value: GroupDocument) -> Item:
    """Write a group's document."""
    return {
        "text": value.text,
        "updatedAt": to_ms(value.updated_at),
        "version": value.version,
        "policies": list(value.policies),
        "webhookSecret": value.webhook_secret,
    }


def group(item: Item) -> GroupDocument:
    """Read a group's document."""
    return GroupDocument(
        GroupName(item["sk"]),
        item["text"],
        from_ms(item["updatedAt"]),
        item["version"],
        tuple(map(PolicyName, item["policies"])),
        item.get("webhookSecret"),
    )


def registered_item(value: RegisteredKey) -> Item:
    """Write an announced key, for itself and in its group's list."""
    return {"key": value.key_hash, "thing": value.thing, "group": value.group}


def registered(item: Item) -> RegisteredKey:
    """Read either."""
    return RegisteredKey(KeyHash(item["key"]), ThingName(item["thing"]), GroupName(item["group"]))


def approval_item(value: Approval) -> Item:
    """Write a request; its state is where it lies."""
    return {
        "group": value.group,
        "thing": value.thing,
        "key": value.key_hash,
        "source": value.source,
        "askedAt": to_ms(value.asked_at),
        "expiresAt": to_ms(value.expires_at),
        "replaces": value.replaces,
        "decidedBy": value.decided_by,
        "decidedAt": None if value.decided_at is None else to_ms(value.decided_at),
        "ttl": int((value.expires_at + KEPT).timestamp()),
    }


def approval(item: Item, state: ApprovalState) -> Approval:
    """Read a request that lies among those of a state."""
    decided_at = item.get("decidedAt")
    return Approval(
        ApprovalId(item["sk"]),
        GroupName(item["group"]),
        ThingName(item["thing"]),
        KeyHash(item["key"]),
        item["source"],
        from_ms(item["askedAt"]),
        from_ms(item["expiresAt"]),
        item["replaces"],
        state,
        item["decidedBy"],
        None if decided_at is None else from_ms(decided_at),
    )
