"""What programs say to the agent, and what it answers: one JSON object a line, in UTF-8 (docs/agent.md).

Lines come from programs of the same user, which may be wrong or hostile: their size, depth and numbers are
bounded, and whatever is no order is an InvalidLine.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from keyborn.device.messages import Draft
from keyborn.device.session import Received
from keyborn.device.topics import check_filter, check_payload, check_topic
from keyborn.domain.errors import InvalidLine, KeybornError

MAX_LINE = 256 * 1024
"""Bytes: a payload of 128 KiB in base64, and room for the rest."""
MAX_REF = 64
"""Characters of a reference."""
LONGEST_WAIT = 86400.0
Ref = str | int | None
"""What a program writes into an order to know its answer by."""


@dataclass(frozen=True, slots=True)
class Publish:
    """Keep a message, and send it; ``wait`` seconds for what becomes of it."""

    draft: Draft
    wait: float = 0.0


@dataclass(frozen=True, slots=True)
class Ask:
    """What became of a message? ``wait`` seconds, while it still waits."""

    message: int
    wait: float = 0.0


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Tell this program every message that matches."""

    filter: str


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """No more of these."""

    filter: str


@dataclass(frozen=True, slots=True)
class Status:
    """Where the device stands."""


@dataclass(frozen=True, slots=True)
class Look:
    """Look at the files anew, as after SIGHUP."""


@dataclass(frozen=True, slots=True)
class Renew:
    """Renew the certificate now."""


@dataclass(frozen=True, slots=True)
class Wake:
    """Another program has changed the outbox: see what may go now."""


Order = Publish | Ask | Subscribe | Unsubscribe | Status | Look | Renew | Wake

_MEMBERS: Mapping[str, frozenset[str]] = {
    "publish": frozenset({"topic", "payload", "payloadBase64", "qos", "lifetime", "wait"}),
    "outcome": frozenset({"id", "wait"}),
    "subscribe": frozenset({"filter"}),
    "unsubscribe": frozenset({"filter"}),
    "status": frozenset(),
    "look": frozenset(),
    "renew": frozenset(),
    "wake": frozenset(),
}
_PLAIN: Mapping[str, Order] = {"status": Status(), "look": Look(), "renew": Renew(), "wake": Wake()}
_ALWAYS = frozenset({"op", "ref"})


# ── what comes ──


def decode(line: bytes) -> dict[str, Any]:
    """The members of a line; raises InvalidLine."""
    if len(line) > MAX_LINE:
        raise InvalidLine(detail=f"it has more than {MAX_LINE} bytes")
    try:
        members = json.loads(line.decode(), parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise InvalidLine(detail="it is not JSON in UTF-8") from None
    if not isinstance(members, dict):
        raise InvalidLine(detail="it is not a JSON object")
    return members


def ref_of(members: Mapping[str, Any]) -> Ref:
    """The reference, or None where there is none that can be given back."""
    ref = members.get("ref")
    short = isinstance(ref, str) and len(ref) <= MAX_REF
    number = isinstance(ref, int) and not isinstance(ref, bool) and abs(ref) < 2**63
    return ref if short or number else None


def order_of(members: Mapping[str, Any]) -> Order:
    """The order; raises InvalidLine, or what is wrong with topic, filter, payload, qos or lifetime."""
    name = members.get("op")
    known = _MEMBERS.get(name) if isinstance(name, str) else None
    if known is None:
        raise InvalidLine(detail=f"op is one of {', '.join(_MEMBERS)}")
    if members.keys() - known - _ALWAYS:
        raise InvalidLine(detail=f"{name} takes {', '.join(sorted(known)) or 'nothing more'}")
    match name:
        case "publish":
            return Publish(_draft(members), _wait(members))
        case "outcome":
            return Ask(_id(members), _wait(members))
        case "subscribe":
            return Subscribe(check_filter(_text(members, "filter")))
        case "unsubscribe":
            return Unsubscribe(check_filter(_text(members, "filter")))
        case _:
            return _PLAIN[str(name)]


def _no_number(_name: str) -> NoReturn:
    raise ValueError


def _draft(members: Mapping[str, Any]) -> Draft:
    lifetime = _number(members, "lifetime") if members.get("lifetime") is not None else None
    qos = members.get("qos", 1)
    if type(qos) is not int:
        raise InvalidLine(detail="qos is 0 or 1")
    return Draft(check_topic(_text(members, "topic")), check_payload(_payload(members)), qos, lifetime)


def _payload(members: Mapping[str, Any]) -> bytes:
    if ("payload" in members) == ("payloadBase64" in members):
        raise InvalidLine(detail="a message has either payload or payloadBase64")
    try:
        if "payload" in members:
            return _text(members, "payload").encode()
        return base64.b64decode(_text(members, "payloadBase64"), validate=True)
    except (UnicodeEncodeError, binascii.Error, ValueError):
        raise InvalidLine(detail="the payload cannot be decoded") from None


def _text(members: Mapping[str, Any], name: str) -> str:
    value = members.get(name)
    if not isinstance(value, str):
        raise InvalidLine(detail=f"{name} is a string")
    return value


def _id(members: Mapping[str, Any]) -> int:
    value = members.get("id")
    if type(value) is not int or not 1 <= value < 2**63:
        raise InvalidLine(detail="id is the number that publish gave")
    return value


def _wait(members: Mapping[str, Any]) -> float:
    seconds = _number(members, "wait") if "wait" in members else 0.0
    if not 0 <= seconds <= LONGEST_WAIT:
        raise InvalidLine(detail=f"wait takes seconds, up to {LONGEST_WAIT:.0f}")
    return seconds


def _number(members: Mapping[str, Any], name: str) -> float:
    value = members.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidLine(detail=f"{name} is a number")
    try:
        return float(value)
    except OverflowError:
        raise InvalidLine(detail=f"{name} is too large") from None


# ── what goes ──


def encode(members: Mapping[str, Any], ref: Ref = None) -> bytes:
    """A line."""
    known = members if ref is None else {"ref": ref, **members}
    return json.dumps(known, separators=(",", ":")).encode() + b"\n"


def problem(wrong: KeybornError) -> dict[str, Any]:
    """What went wrong, as an answer."""
    return {"error": {"code": wrong.code, "detail": str(wrong)}}


def message(received: Received) -> dict[str, Any]:
    """A message that arrived, as a line: ``payload`` where it is text, ``payloadBase64`` where it is not."""
    told: dict[str, Any] = {"topic": received.topic, "qos": received.qos, "retain": received.retain}
    try:
        told["payload"] = received.payload.decode()
    except UnicodeDecodeError:
        told["payloadBase64"] = base64.b64encode(received.payload).decode()
    return {"message": told}


def received_of(told: Mapping[str, Any]) -> Received:
    """The message of such a line; raises KeyError or ValueError for another one."""
    text = told.get("payload")
    payload = text.encode() if isinstance(text, str) else base64.b64decode(told["payloadBase64"])
    return Received(str(told["topic"]), payload, int(told["qos"]), bool(told["retain"]))
