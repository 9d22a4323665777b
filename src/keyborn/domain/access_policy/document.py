"""Access policies as values: a document of statements, and the named record that a registry keeps."""

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NewType

from keyborn.domain.errors import InvalidPolicyName

PolicyName = NewType("PolicyName", str)
"""1-128 of ``A-Z a-z 0-9 _ + = , . @ -`` (AWS IoT API Reference, CreatePolicy)."""

DEFAULT_POLICY = PolicyName("keyborn-default")
"""What every device has that no operator gave policies of its own."""

MAX_DOCUMENT = 2048
"""Characters of a document, white space not counted (AWS IoT API Reference, CreatePolicy)."""
MAX_ATTACHED = 10
"""Policies of one certificate (AWS IoT Core quotas, "Thing registry and policies")."""

ALL_ACTIONS = frozenset({"*", "iot:*"})
"""Two ways to write every action."""

_POLICY_NAME = re.compile(r"[A-Za-z0-9_+=,.@-]{1,128}")


def parse_policy_name(text: str) -> PolicyName:
    """Return ``text`` as a policy name; raises InvalidPolicyName."""
    if not _POLICY_NAME.fullmatch(text):
        raise InvalidPolicyName
    return PolicyName(text)


class Effect(StrEnum):
    """What a statement does with what it matches."""

    ALLOW = "Allow"
    DENY = "Deny"


@dataclass(frozen=True, slots=True)
class Condition:
    """One key of one operator, as written: ``{"StringEquals": {"iot:ClientId": ["a", "b"]}}``."""

    operator: str
    key: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement, as written; lists of one may have been written as a plain string."""

    effect: Effect
    actions: tuple[str, ...]
    """``iot:Connect`` and its four sisters, ``iot:*`` or ``*``."""
    resources: tuple[str, ...]
    """ARNs with ``*``, ``?`` and ``${variables}``, or ``*``."""
    conditions: tuple[Condition, ...] = ()
    """All must hold."""
    sid: str | None = None


@dataclass(frozen=True, slots=True)
class PolicyDocument:
    """A parsed document. ``text`` is what the operator wrote, kept for showing it again."""

    statements: tuple[Statement, ...]
    text: str


@dataclass(frozen=True, slots=True)
class AccessPolicy:
    """A document under its name in the registry."""

    name: PolicyName
    document: PolicyDocument
    updated_at: datetime
    version: int = 1
    """Counts the changes, from 1."""
    shipped: bool = False
    """Whether Keyborn wrote it and no operator has changed it since."""
