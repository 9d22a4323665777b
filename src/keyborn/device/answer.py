"""The service's answers, parsed into frozen values: hostile bytes until each has its type and limit."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass

from keyborn.domain.errors import InvalidThingName, KeybornError
from keyborn.domain.names import is_certificate_id, is_host, parse_thing_name

MAX_PEM = 32768
MAX_SENTENCE = 600
_JWT = re.compile(r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{5,}+(?:\.[A-Za-z0-9_-]*+){0,2}")
"""``{"`` in base64url, with which every header of a JWT begins."""
_CODE = re.compile(r"[a-z][a-z0-9_]{0,63}")
_WORD = re.compile(r"[\x21-\x7e]{1,255}")
_TOPIC = re.compile(r"(?:(?![#+])[\x21-\x7e]){1,256}")
_PEM = re.compile(r"[A-Za-z0-9+/=\s-]*")
_PORTS = range(1, 65536)


class Malformed(Exception):
    """An answer that is not the contract; the text says where."""


@dataclass(frozen=True, slots=True)
class Fallback:
    """A second port of the same endpoint, and the ALPN name to ask for there."""

    port: int
    alpn: str


@dataclass(frozen=True, slots=True)
class Broker:
    """Where and how the device connects."""

    endpoint: str
    port: int
    alpn: str | None
    protocol: str
    client_id: str
    topic: str
    fallback: Fallback | None = None
    """Tried where ``port`` cannot be reached; older services and files name none."""


@dataclass(frozen=True, slots=True)
class Enrolled:
    """A certificate and everything needed to use it; not verified yet."""

    thing: str
    certificate_id: str
    certificate_pem: str
    chain_pem: str
    roots_pem: str
    broker: Broker


def parse_enrolled(body: bytes) -> Enrolled:
    """Read the answer to ``POST /v1/enroll``; raises Malformed for anything that is not of its shape."""
    outer = _Members(_object(body), "")
    inner = _Members(outer.take("mqtt", _is_object), "mqtt.")
    return Enrolled(
        thing=outer.text("thingName", _is_thing),
        certificate_id=outer.text("certificateId", is_certificate_id),
        certificate_pem=outer.text("certificatePem", _is_pem),
        chain_pem=outer.text("chainPem", _is_pem),
        roots_pem=inner.text("rootsPem", _is_pem),
        broker=_broker(inner),
    )


def is_reachable(broker: Broker) -> bool:
    """Whether nothing of it would make a connection impossible to try; for what was read from a file."""
    places = [(broker.port, broker.alpn)]
    if broker.fallback is not None:
        places.append((broker.fallback.port, broker.fallback.alpn))
    return is_host(broker.endpoint) and all(
        port in _PORTS and (name is None or _WORD.fullmatch(name) is not None) for port, name in places
    )


def parse_problem(body: bytes, secret: str) -> tuple[str | None, str]:
    """The code and the sentence of a problem document (RFC 9457), fit for a terminal.

    Whatever else it is gives no code and an empty sentence. ``secret`` is struck out, should it be echoed.
    """
    try:
        problem = _object(body)
    except Malformed:
        return None, ""
    code, detail = problem.get("code"), problem.get("detail")
    known = code if isinstance(code, str) and _CODE.fullmatch(code) else None
    return known, clean(detail if isinstance(detail, str) else "", secret)


def clean(text: str, secret: str) -> str:
    """``text`` on one line, printable, cut, without ``secret`` and without whatever begins like a JWT."""
    text = _JWT.sub("***", text.replace(secret, "***") if secret else text)
    return " ".join("".join(c if c.isprintable() else " " for c in text[:MAX_SENTENCE]).split())


class _Members:
    """The members of one JSON object, each taken with a test."""

    def __init__(self, members: dict[str, object], path: str) -> None:
        self._members = members
        self._path = path

    def take(self, name: str, fits: Callable[[object], bool]) -> dict[str, object]:
        """The object that lies inside."""
        value = self._members.get(name)
        if not fits(value):
            raise Malformed(f"its {self._path}{name} is missing or unusable")
        assert isinstance(value, dict)
        return value

    def text(self, name: str, fits: Callable[[str], bool]) -> str:
        """A text that must be there."""
        value = self._members.get(name)
        if not isinstance(value, str) or not fits(value):
            raise Malformed(f"its {self._path}{name} is missing or unusable")
        return value

    def inner(self, name: str) -> "_Members | None":
        """An object that may be missing or null."""
        if self._members.get(name) is None:
            return None
        return _Members(self.take(name, _is_object), f"{self._path}{name}.")

    def optional(self, name: str, fits: Callable[[str], bool]) -> str | None:
        """A text that may be missing or null."""
        return None if self._members.get(name) is None else self.text(name, fits)

    def port(self, name: str) -> int:
        """A TCP port."""
        value = self._members.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or value not in _PORTS:
            raise Malformed(f"its {self._path}{name} is not a port")
        return value


def _broker(members: _Members) -> Broker:
    return Broker(
        endpoint=members.text("endpoint", is_host),
        port=members.port("port"),
        alpn=members.optional("alpn", _matches(_WORD)),
        protocol=members.text("protocol", _matches(_WORD)),
        client_id=members.text("clientId", _matches(_WORD)),
        topic=members.text("topic", _matches(_TOPIC)),
        fallback=_fallback(members.inner("fallback")),
    )


def _fallback(members: _Members | None) -> Fallback | None:
    if members is None:
        return None
    return Fallback(members.port("port"), members.text("alpn", _matches(_WORD)))


def _object(body: bytes) -> dict[str, object]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise Malformed("it is not JSON") from None
    if not isinstance(value, dict):
        raise Malformed("it is not a JSON object")
    return value


def _matches(pattern: re.Pattern[str]) -> Callable[[str], bool]:
    return lambda text: pattern.fullmatch(text) is not None


def _is_object(value: object) -> bool:
    return isinstance(value, dict)


def _is_thing(text: str) -> bool:
    try:
        parse_thing_name(text)
    except InvalidThingName:
        return False
    except KeybornError:  # a reserved name is still a name; whether it is ours is checked elsewhere
        return True
    return True


def _is_pem(text: str) -> bool:
    return len(text) <= MAX_PEM and _PEM.fullmatch(text) is not None
