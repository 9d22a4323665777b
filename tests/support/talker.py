"""Devices and services that talk: identities enrolled over HTTPS, paho clients that note what they hear."""

import ssl
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from keyborn.cli.console import ask
from support.csr_make import make_csr
from support.server import Server

PATIENCE = 20.0
V311, V5 = MQTTProtocolVersion.MQTTv311, MQTTProtocolVersion.MQTTv5


@dataclass(frozen=True)
class Identity:
    """A name with key, certificate and roots on disk."""

    name: str
    certificate_id: str
    key: Path
    certificate: Path
    roots: Path

    @property
    def context(self) -> ssl.SSLContext:
        """A client context of its own."""
        context = ssl.create_default_context(cafile=str(self.roots))
        context.load_cert_chain(self.certificate, self.key)
        return context


def enroll_device(server: Server, folder: Path, name: str) -> Identity:
    """A device as any program would enrol it."""
    return _enroll(server, folder, name, server.token(thing=name)["secret"])


def enroll_service(server: Server, folder: Path, name: str, document: str) -> Identity:
    """A service with a policy of its own."""
    invited = ask(server.data, "POST", "/v1/services", {"name": name, "document": document})
    return _enroll(server, folder, name, invited["secret"])


def _enroll(server: Server, folder: Path, name: str, secret: str) -> Identity:
    key, csr = make_csr(name)
    answer = server.enroll(name, csr, secret)
    assert answer.status == 201, answer.body
    body = answer.json
    paths = [folder / f"{name}.{kind}" for kind in ("key", "crt", "roots")]
    paths[0].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    paths[1].write_text(body["certificatePem"] + body["chainPem"])
    paths[2].write_text(body["mqtt"]["rootsPem"])
    return Identity(name, body["certificateId"], *paths)


class Broker(Protocol):
    """Where to connect."""

    @property
    def mqtt(self) -> tuple[str, int]:
        """Host and port."""


@dataclass
class Talker:
    """A paho client with a thread of its own; everything that happens to it is noted with its time."""

    server: Broker
    identity: Identity
    client_id: str
    protocol: MQTTProtocolVersion
    session: int = 0
    """Seconds that the session may wait for the client; 0 is a clean one."""
    heard: list[MQTTMessage] = field(default_factory=list)
    connected: threading.Event = field(default_factory=threading.Event)
    closed: threading.Event = field(default_factory=threading.Event)
    closed_at: float = 0.0
    answer: Any = None
    resumed: bool = False
    ended_with: Any = None
    acknowledged: dict[int, int] = field(default_factory=dict)
    granted: dict[int, list[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        fresh = {} if self.protocol is V5 else {"clean_session": self.session == 0}
        self.client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=self.client_id,
            protocol=self.protocol,
            reconnect_on_failure=False,
            **fresh,  # type: ignore[arg-type]  # one optional boolean
        )
        self.client.tls_set_context(self.identity.context)
        self.client.on_connect = self._on_connect
        self.client.on_disconnect = self._on_disconnect
        self.client.on_message = lambda _client, _data, message: self.heard.append(message)
        self.client.on_publish = self._on_publish
        self.client.on_subscribe = self._on_subscribe

    def _on_connect(self, _client: object, _data: object, flags: Any, reason: Any, _more: object) -> None:  # noqa: ANN401 - paho's
        self.answer, self.resumed = reason, flags.session_present
        self.connected.set()

    def _on_disconnect(self, _client: object, _data: object, _flags: Any, reason: Any, _more: object) -> None:  # noqa: ANN401 - paho's
        self.closed_at, self.ended_with = time.monotonic(), reason
        self.closed.set()

    def _on_publish(self, _client: object, _data: object, mid: int, reason: Any, _more: object) -> None:  # noqa: ANN401 - paho's
        self.acknowledged[mid] = reason.value

    def _on_subscribe(self, _client: object, _data: object, mid: int, reasons: Any, _more: object) -> None:  # noqa: ANN401 - paho's
        self.granted[mid] = [reason.value for reason in reasons]

    def will(self, topic: str, payload: str, *, retain: bool = False) -> "Talker":
        """Leave a will at the next connection."""
        self.client.will_set(topic, payload, qos=1, retain=retain)
        return self

    def connect(self, *, keep_alive: int = 60, wait: bool = True) -> "Talker":
        """Connect, and wait for the broker's answer or its hanging up."""
        self.connected.clear()
        self.closed.clear()
        more: dict[str, Any] = {}
        if self.protocol is V5:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.SessionExpiryInterval = self.session
            more = {"clean_start": self.session == 0, "properties": properties}
        self.client.connect(*self.server.mqtt, keepalive=keep_alive, **more)
        self.client.loop_start()
        if wait:
            until(lambda: self.connected.is_set() or self.closed.is_set(), f"{self.client_id} is answered")
        return self

    @property
    def is_in(self) -> bool:
        """Whether the broker has let it in, and not closed since."""
        return self.connected.is_set() and not self.answer.is_failure and not self.closed.is_set()

    def subscribe(self, topic_filter: str) -> list[int]:
        """Subscribe with QoS 1; the reason codes, or none if the connection was closed."""
        _, mid = self.client.subscribe(topic_filter, qos=1)
        assert mid is not None
        until(lambda: mid in self.granted or self.closed.is_set(), "the subscription is answered")
        return self.granted.get(mid, [])

    def publish(self, topic: str, payload: str = "x", *, retain: bool = False) -> int | None:
        """Publish with QoS 1; the reason code, or None if the connection was closed instead."""
        mid = self.client.publish(topic, payload, qos=1, retain=retain).mid
        until(lambda: mid in self.acknowledged or self.closed.is_set(), "the message is answered")
        return self.acknowledged.get(mid)

    def payloads(self) -> list[str]:
        """What it has heard."""
        return [message.payload.decode() for message in self.heard]

    def hears(self, payload: str) -> None:
        """Wait until a message has come."""
        until(lambda: payload in self.payloads(), f"{self.client_id} hears {payload}")

    def vanish(self) -> None:
        """Cut the connection without a goodbye."""
        sock: Any = self.client.socket()
        self.client.loop_stop()
        if sock is not None:
            sock.close()

    def leave(self) -> None:
        """Say goodbye and stop the thread."""
        self.client.disconnect()
        self.client.loop_stop()
        self.client._reset_sockets()  # paho leaves the pair that wakes its thread to the garbage collector


class Party:
    """Makes talkers on one server, and ends them all."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self._talkers: list[Talker] = []

    def device(self, name: str) -> Identity:
        """Enrol a device."""
        return enroll_device(self.server, self.folder, name)

    def service(self, name: str, *statements: str) -> Identity:
        """Enrol a service whose policy lets it connect under its own name and do what ``statements`` say."""
        return enroll_service(self.server, self.folder, name, service_policy(name, statements))

    def talker(
        self,
        identity: Identity,
        *,
        protocol: MQTTProtocolVersion = V311,
        session: int = 0,
        client_id: str | None = None,
    ) -> Talker:
        """A client of an identity; not connected yet."""
        talker = Talker(self.server, identity, client_id or identity.name, protocol, session)
        self._talkers.append(talker)
        return talker

    def end(self) -> None:
        """Stop every thread."""
        for talker in self._talkers:
            talker.leave()


def service_policy(name: str, statements: Sequence[str] = ()) -> str:
    """A policy document: own client ids, wills and sessions, and ``action resource`` for each statement."""
    from json import dumps

    connect = {
        "Effect": "Allow",
        "Action": "iot:Connect",
        "Resource": f"arn:aws:iot:*:*:client/{name}*",
        "Condition": {
            "ForAllValues:StringEquals": {"iot:ConnectAttributes": ["PersistentConnect", "LastWill"]}
        },
    }
    allowed = [
        {"Effect": "Allow", "Action": f"iot:{action}", "Resource": f"arn:aws:iot:*:*:{resource}"}
        for action, resource in (statement.split(" ", 1) for statement in statements)
    ]
    return dumps({"Version": "2012-10-17", "Statement": [connect, *allowed]})


LISTENS = ("Subscribe topicfilter/*", "Receive topic/*")
"""Statements of a service that hears everything."""


def until(condition: Callable[[], bool], what: str) -> None:
    """Poll until ``condition`` holds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"{what}: did not happen"
        time.sleep(0.002)
