"""The device's identity on disk: what ``device.toml`` says, and whether all files still belong together.

``device.toml`` is written last and names the hashes of the others: an identity is either whole or not there.
Everything here is standard library: a device that only publishes never loads a certificate parser.
"""

import base64
import hashlib
import json
import ssl
import tomllib
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from keyborn.device import files
from keyborn.device.answer import Broker, Fallback, is_reachable
from keyborn.device.home import Home
from keyborn.device.keystore import FileKeyStore
from keyborn.domain.errors import FileNotPrivate, KeybornError, KeyUnusable, NoIdentity
from keyborn.domain.moment import shown
from keyborn.domain.names import ThingName, certificate_id, is_certificate_id, parse_thing_name
from keyborn.domain.slots import Slot

MAX_FILE = 262144
_VERSION = 1
_NO_END = datetime.max.replace(tzinfo=UTC)
_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"


class State(StrEnum):
    """Where an identity stands."""

    NONE = "none"
    KEY_ONLY = "key-only"
    INCOMPLETE = "incomplete"
    EXPIRED = "expired"
    READY = "ready"


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this device is and where it talks."""

    thing: ThingName
    certificate_id: str
    key_type: str
    not_before: datetime
    not_after: datetime
    certificate_hash: str
    """SHA-256 of ``device.crt``, chain included."""
    roots_hash: str
    """SHA-256 of ``roots.pem``."""
    service_url: str
    root_fingerprint: str
    """Hex SHA-256 of the pinned root; empty where public authorities vouch for the service."""
    proved_time: datetime
    """A time that has certainly come: from the enrolment, never from the clock alone."""
    broker: Broker
    subject: str = ""
    """What ``--subject`` said of the request, which the next ones repeat; empty is the name alone."""

    @property
    def pinned(self) -> bool:
        """Whether the device trusts one root by fingerprint."""
        return bool(self.root_fingerprint)

    def time(self, wall: datetime) -> datetime:
        """The wall clock, unless a later time has been proved."""
        return max(wall, self.proved_time)

    @property
    def renews_at(self) -> datetime:
        """When this certificate is to be renewed; a publisher does not load what says so."""
        from keyborn.domain.renewal_date import renew_at

        return renew_at(self.thing, self.not_before, self.not_after)

    def doubts(self, wall: datetime) -> bool:
        """Whether the clock is not to be believed, and there is a root of one's own that allows that.

        Design PROTOCOL "The clock": what was proved takes its place.
        """
        return self.pinned and not self.in_dates(wall)

    def peer_dates(self, wall: datetime, *, behind: bool = False) -> tuple[datetime, datetime] | None:
        """When it may be now, for who cannot believe the clock about a peer's certificate; None believes it.

        ``behind``: the peer's certificate is of the future by this clock. Where a root is pinned, that says
        that the clock is behind (design PROTOCOL "The clock"): what has expired by it stays expired.
        """
        if self.doubts(wall):
            return self.proved_time, _NO_END
        return (self.time(wall), _NO_END) if behind and self.pinned else None

    def on_fallback(self) -> "Identity | None":
        """The same identity with the broker's second port in the place of the first, where there is one."""
        second = self.broker.fallback
        if second is None:
            return None
        return replace(self, broker=replace(self.broker, port=second.port, alpn=second.alpn, fallback=None))

    def in_dates(self, moment: datetime) -> bool:
        """Whether the certificate is valid at ``moment`` (RFC 5280 4.1.2.5: both ends count)."""
        return self.not_before <= moment <= self.not_after


@dataclass(frozen=True, slots=True)
class Standing:
    """What a home holds: its state, the identity where one can be read, and every trouble found."""

    state: State
    identity: Identity | None = None
    problems: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether the files are an identity, whatever its dates say of the clock."""
        return self.state in (State.READY, State.EXPIRED)


def assess(home: Home, wall: datetime) -> Standing:
    """Look at one identity of a home without changing it.

    A file that is not private is a problem, and never used.
    ``roots.pem`` belongs to the current identity: another is bound to it when it becomes the current one.
    """
    store = FileKeyStore(home.key)
    if not store.exists():
        return Standing(State.NONE, None, ())
    if not home.settings.exists():
        return Standing(State.KEY_ONLY, None, _key_problems(home))
    try:
        identity = read_settings(home)
    except _UNREADABLE as wrong:
        return Standing(State.INCOMPLETE, None, (f"{home.settings.name}: {_told(wrong)}",))
    problems = (*_key_problems(home), *_file_problems(home, identity))
    if problems:
        return Standing(State.INCOMPLETE, identity, problems)
    ready = identity.in_dates(identity.time(wall))
    dates = () if ready else (_dates(home, identity),)
    return Standing(State.READY if ready else State.EXPIRED, identity, dates)


def require_identity(home: Home, wall: datetime) -> Identity:
    """The identity to work with, an expired one too: the broker decides. Raises NoIdentity, HomeUnusable.

    One that is just being replaced is waited for; raises HomeBusy if that takes longer than it can.
    """
    from keyborn.device import slots

    if home.missing():
        raise NoIdentity(path=home.path, detail="there is no such folder")
    home.check()
    slots.ensure_settled(home)
    standing = assess(home, wall)
    if standing.whole and standing.identity is not None:
        return standing.identity
    detail = "; ".join(standing.problems) or "it was never enrolled"
    raise NoIdentity(path=home.path, detail=detail)


def read_settings(home: Home) -> Identity:
    """What the settings say, whatever the other files are; raises FileNotPrivate, OSError, ValueError."""
    return from_toml(_read(home.settings).decode())


def storage_steps(home: Home, certificate_pem: str, roots_pem: str, identity: Identity) -> list[files.Step]:
    """The effects that make an identity: certificate, roots, and last what binds them."""
    return [
        *files.replacement_steps(home.certificate, certificate_pem.encode()),
        *files.replacement_steps(home.roots, roots_pem.encode()),
        *files.replacement_steps(home.settings, to_toml(identity).encode()),
    ]


def file_hash(data: bytes) -> str:
    """Lower-case hex SHA-256."""
    return hashlib.sha256(data).hexdigest()


def to_toml(identity: Identity) -> str:
    """``device.toml``; every text in it is printable, for which JSON and TOML strings are the same."""
    broker = identity.broker
    sections: dict[str, dict[str, object]] = {
        "certificate": {
            "id": identity.certificate_id,
            "key_type": identity.key_type,
            "not_before": identity.not_before,
            "not_after": identity.not_after,
            "file_sha256": identity.certificate_hash,
            **({"subject": identity.subject} if identity.subject else {}),
        },
        "roots": {"file_sha256": identity.roots_hash},
        "service": {
            "url": identity.service_url,
            "root_fingerprint": identity.root_fingerprint,
            "proved_time": identity.proved_time,
        },
        "broker": {
            "endpoint": broker.endpoint,
            "port": broker.port,
            "alpn": broker.alpn or "",
            "protocol": broker.protocol,
            "client_id": broker.client_id,
            "topic": broker.topic,
            **_second(broker.fallback),
        },
    }
    lines = ["# Written by `keyborn enroll`, which also repairs it. Do not edit.", f"version = {_VERSION}"]
    lines.append(f"thing = {json.dumps(identity.thing)}")
    for name, members in sections.items():
        lines += ["", f"[{name}]", *(f"{key} = {_toml(value)}" for key, value in members.items())]
    return "\n".join(lines) + "\n"


def _second(fallback: Fallback | None) -> dict[str, object]:
    return {} if fallback is None else {"fallback_port": fallback.port, "fallback_alpn": fallback.alpn}


def from_toml(text: str) -> Identity:
    """Read ``device.toml``; raises ValueError or KeyError for anything else, and says which."""
    table = _Table(tomllib.loads(text))
    if table.number("version") != _VERSION:
        raise ValueError("it was written by another version")
    certificate, service, broker = table.table("certificate"), table.table("service"), table.table("broker")
    if not is_certificate_id(certificate.text("id")):
        raise ValueError("its certificate id is not one")
    talks = _broker(broker)
    if not is_reachable(talks):
        raise ValueError("its [broker] is no place to connect to")
    return Identity(
        thing=_name(table.text("thing")),
        certificate_id=certificate.text("id"),
        key_type=certificate.text("key_type"),
        not_before=certificate.moment("not_before"),
        not_after=certificate.moment("not_after"),
        certificate_hash=certificate.text("file_sha256"),
        roots_hash=table.table("roots").text("file_sha256"),
        service_url=service.text("url"),
        root_fingerprint=service.text("root_fingerprint"),
        proved_time=service.moment("proved_time"),
        broker=talks,
        subject=certificate.text("subject") if certificate.has("subject") else "",
    )


def _name(text: str) -> ThingName:
    """A name the authority granted; a reserved one is a service's of Keyborn's own."""
    return parse_thing_name(text, granted=ThingName(text))


def _broker(broker: "_Table") -> Broker:
    return Broker(
        endpoint=broker.text("endpoint"),
        port=broker.number("port"),
        alpn=broker.text("alpn") or None,
        protocol=broker.text("protocol"),
        client_id=broker.text("client_id"),
        topic=broker.text("topic"),
        fallback=_fallback(broker),
    )


def _fallback(broker: "_Table") -> Fallback | None:
    """The second port; files from before there was one name none."""
    if not broker.has("fallback_port"):
        return None
    return Fallback(broker.number("fallback_port"), broker.text("fallback_alpn"))


class _Table:
    """A TOML table whose members are taken with their types."""

    def __init__(self, members: dict[str, object]) -> None:
        self._members = members

    def has(self, name: str) -> bool:
        """Whether there is a member of that name."""
        return name in self._members

    def text(self, name: str) -> str:
        """A string."""
        value = self._members.get(name)
        if not isinstance(value, str):
            raise ValueError(f"its {name} is missing")  # noqa: TRY004 - one kind of error for one file
        return value

    def number(self, name: str) -> int:
        """An integer."""
        value = self._members.get(name)
        if not isinstance(value, int):
            raise ValueError(f"its {name} is missing")  # noqa: TRY004 - as above
        return value

    def moment(self, name: str) -> datetime:
        """A time with its offset, in UTC."""
        value = self._members.get(name)
        if not isinstance(value, datetime) or value.tzinfo is None:
            raise ValueError(f"its {name} is missing")
        return value.astimezone(UTC)

    def table(self, name: str) -> "_Table":
        """A table below this one."""
        value = self._members.get(name)
        if not isinstance(value, dict):
            raise ValueError(f"its [{name}] is missing")  # noqa: TRY004 - as above
        return _Table(value)


_UNREADABLE = (KeybornError, ValueError, OSError)


def _key_problems(home: Home) -> tuple[str, ...]:
    try:
        files.read_private(home.key, MAX_FILE)
    except (FileNotPrivate, OSError) as wrong:
        return (f"{home.key.name}: {_told(wrong)}",)
    return ()


def _file_problems(home: Home, identity: Identity) -> tuple[str, ...]:
    found = []
    bound = [(home.certificate, identity.certificate_hash)]
    if home.slot is Slot.CURRENT:
        bound.append((home.roots, identity.roots_hash))
    for path, expected in bound:
        try:
            if file_hash(_read(path)) != expected:
                found.append(f"{path.name}: it is not the file that was stored with {home.settings.name}")
        except _UNREADABLE as wrong:
            found.append(f"{path.name}: {_told(wrong)}")
    return tuple(found) or _fit_problems(home, identity)


def _fit_problems(home: Home, identity: Identity) -> tuple[str, ...]:
    """Key and certificate must fit; TLS itself is asked, so that no certificate parser is loaded."""
    name = home.certificate.name
    if certificate_id(_leaf_der(_read(home.certificate).decode())) != identity.certificate_id:
        return (f"{name}: it is not the certificate that {home.settings.name} names",)
    try:
        FileKeyStore(home.key).authenticate(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), home.certificate)
    except (KeyUnusable, FileNotPrivate) as wrong:
        return (f"{home.key.name}: {_told(wrong)}",)
    return ()


def _leaf_der(pem: str) -> bytes:
    body = pem.partition(_BEGIN)[2].partition(_END)[0]
    return base64.b64decode("".join(body.split()))


def _read(path: Path) -> bytes:
    return files.read_private(path, MAX_FILE)


def _dates(home: Home, identity: Identity) -> str:
    span = f"{shown(identity.not_before)} to {shown(identity.not_after)}"
    return f"{home.certificate.name}: it is valid from {span}"


def _told(wrong: Exception) -> str:
    if isinstance(wrong, KeybornError):
        return str(wrong.facts.get("detail", wrong))
    if isinstance(wrong, OSError):
        return wrong.strerror or "it cannot be read"
    return str(wrong)


def _toml(value: object) -> str:
    return (
        value.isoformat(timespec="seconds")
        if isinstance(value, datetime)
        else json.dumps(value, ensure_ascii=False)
    )
