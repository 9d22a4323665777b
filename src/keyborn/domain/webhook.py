"""What a group's webhook is asked, and what it may answer.

The question is signed as the Standard Webhooks specification says (``webhook-id``, ``webhook-timestamp``,
``webhook-signature: v1,…``; HMAC-SHA-256), so that receivers verify it with a library that they have. The
answer is one JSON object; whatever is not exactly that, or gives more than the group permits, is no answer.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from keyborn.domain.access_policy.document import PolicyName
from keyborn.domain.attributes import parse_attributes
from keyborn.domain.errors import MalformedRequest
from keyborn.domain.group import WebhookRule
from keyborn.domain.names import GroupName, KeyHash, ThingName

SECRET_BYTES = 32
"""The specification asks for 24 to 64."""
MAX_ANSWER = 16 * 1024
"""Bytes."""
MAX_REASON = 200
_PREFIX = "whsec_"
_NO_REASON = "it gave no reason"
_MEMBERS = frozenset({"allow", "attributes", "policies", "reason"})


class NoAnswer(Exception):
    """What came back does not count; ``str()`` says why, for the operator's eyes alone."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """A yes, and what it adds."""

    attributes: Mapping[str, str]
    policies: tuple[PolicyName, ...] | None
    """The thing's access policies; None leaves the choice to the group."""


@dataclass(frozen=True, slots=True)
class Denied:
    """A no; ``reason`` is fit to be shown."""

    reason: str


def message_id(group: GroupName, thing: ThingName, key: KeyHash) -> str:
    """The same for the same wish, however often it is repeated: a receiver counts it once."""
    return "msg_" + hashlib.sha256(f"{group}\n{thing}\n{key}".encode()).hexdigest()[:32]


def sign(secret: bytes, message: str, seconds: int, body: bytes) -> str:
    """``webhook-signature`` of a body sent at ``seconds`` of Unix time."""
    signed = f"{message}.{seconds}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(secret, signed, "sha256")).decode()


def shown_secret(secret: bytes) -> str:
    """The secret as the receiver's library takes it: ``whsec_`` and base64."""
    return _PREFIX + base64.b64encode(secret).decode()


def read_answer(body: bytes, rule: WebhookRule) -> Allowed | Denied:
    """Read the answer to a question; raises NoAnswer."""
    members = _read_object(body)
    for name in members.keys() - _MEMBERS:
        raise NoAnswer(f"its answer holds {ascii(name)[:40]}, which means nothing")
    allow = members.get("allow")
    if allow is False:
        return Denied(_reason(members.get("reason")))
    if allow is not True:
        raise NoAnswer("its answer has no allow that is true or false")
    return Allowed(_attributes(members.get("attributes"), rule), _policies(members.get("policies"), rule))


def _read_object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body.decode(), object_pairs_hook=_once)
    except (ValueError, RecursionError):
        raise NoAnswer("its answer is not JSON, or holds a name twice") from None
    if not isinstance(value, dict):
        raise NoAnswer("its answer is not a JSON object")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError
    return members


def _attributes(given: object, rule: WebhookRule) -> dict[str, str]:
    if given is None:
        return {}
    if not isinstance(given, dict) or not all(isinstance(each, str) for each in given.values()):
        raise NoAnswer("its attributes are not an object of strings")
    for name in given.keys() - set(rule.attributes):
        raise NoAnswer(f"it sets the attribute {ascii(name)[:40]}, which its group does not leave to it")
    try:
        return parse_attributes(given)
    except MalformedRequest:
        raise NoAnswer("its attributes are too many, too long or hold a character that none may") from None


def _policies(given: object, rule: WebhookRule) -> tuple[PolicyName, ...] | None:
    if given is None:
        return None
    if not isinstance(given, list) or not all(isinstance(each, str) for each in given):
        raise NoAnswer("its policies are not a list of names")
    for name in given:
        if name not in rule.policies:
            raise NoAnswer(f"it chooses the policy {ascii(name)[:40]}, which its group does not leave to it")
    return tuple(dict.fromkeys(PolicyName(name) for name in given))


def _reason(given: object) -> str:
    """Printable ASCII in one line: it goes into a problem document, a log and somebody's terminal."""
    if not isinstance(given, str):
        return _NO_REASON
    plain = "".join(each if " " <= each <= "~" else "?" for each in given[:MAX_REASON]).strip(" .")
    return plain or _NO_REASON
