"""MQTT with a certificate of the run's own, and what the broker did."""

import contextlib
import socket
import ssl
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from keyborn.adapters.aws.smoke.lab import Lab, Specimen, Undecided

MQTT_5, MQTT_3_1_1 = MQTTProtocolVersion.MQTTv5, MQTTProtocolVersion.MQTTv311
_KEEP_ALIVE = 30
_HANDSHAKE = 5.0
_KEEP_STATE = 300
"""Seconds for which a persistent session of MQTT 5 is kept."""


@dataclass(frozen=True, slots=True)
class Will:
    """What the broker publishes when the connection breaks."""

    topic: str
    payload: bytes = b"will"


@dataclass(frozen=True, slots=True)
class How:
    """How to connect."""

    version: MQTTProtocolVersion = MQTT_5
    will: Will | None = None
    clean: bool = True
    port: int = 0
    """0: the stack's."""
    alpn: str = ""


@dataclass(slots=True)
class Talk:
    """One connection, open or not, and all that the broker said."""

    client: Client
    accepted: str | None = None
    """The CONNACK's reason, once there is one; ``Success``."""
    code: int = -1
    present: bool = False
    """Whether the broker had a session."""
    told: dict[str, object] = field(default_factory=dict)
    """The CONNACK's properties."""
    closed: str | None = None
    """How it ended, if the broker ended it."""
    published: dict[int, tuple[int, str]] = field(default_factory=dict)
    subscribed: dict[int, tuple[int, str]] = field(default_factory=dict)
    messages: list[tuple[str, bytes]] = field(default_factory=list)

    @property
    def is_open(self) -> bool:
        """Whether the broker accepted, and has not closed since."""
        return self.code == 0 and self.closed is None

    @property
    def how_refused(self) -> str:
        """What the broker said, if anything."""
        if self.code > 0:
            return f"refused with {self.accepted} ({self.code:#04x})"
        return self.closed or "no answer"

    def hang_up(self) -> None:
        """Break the connection without a word: the broker is to think that we died."""
        raw = self.client.socket()
        if isinstance(raw, socket.socket):
            with contextlib.suppress(OSError):
                raw.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Say goodbye."""
        self.client.disconnect()
        self.client.loop_stop()


def connect(lab: Lab, who: Specimen, client_id: str, how: How | None = None) -> Talk:
    """Connect, and wait until the broker has answered or closed.

    Connections of one client id are kept apart as the quota wants it. Raises Undecided where the network or
    the broker's own certificate is at fault.
    """
    how = how or How()
    _space_out(lab, client_id)
    talk = _prepare(lab, who, client_id, how)
    port = how.port or lab.outputs.mqtt_port
    try:
        talk.client.connect(lab.outputs.mqtt_host, port, _KEEP_ALIVE, **_starting(how))
    except ssl.SSLCertVerificationError as error:
        wrong = error.verify_message
        reason = f"the broker's certificate is not trusted ({wrong}); --mqtt-roots says whom to trust"
        raise Undecided(reason) from error
    except (ssl.SSLError, ConnectionResetError, BrokenPipeError) as error:
        talk.closed = f"closed in the handshake ({getattr(error, 'reason', None) or type(error).__name__})"
        return talk
    except OSError as error:
        raise Undecided(f"port {port} of the broker cannot be reached ({error.strerror or error})") from error
    talk.client.loop_start()
    lab.at_end(talk.close)
    lab.wait(lambda: talk.accepted is not None or talk.closed is not None, lab.pace.answer)
    return talk


def need(talk: Talk) -> Talk:
    """The same talk, if it is open; raises Undecided."""
    if not talk.is_open:
        raise Undecided(f"the connection for it was not accepted: {talk.how_refused}")
    return talk


def publish(lab: Lab, talk: Talk, topic: str, payload: bytes = b"smoke") -> str | None:
    """Publish with QoS 1: the reason of a refusal, or how the connection ended; None if it was taken."""
    sent = talk.client.publish(topic, payload, qos=1)
    answered = lab.wait(lambda: sent.mid in talk.published or talk.closed is not None, lab.pace.answer)
    return _outcome(talk, talk.published.get(sent.mid), answered=answered)


def subscribe(lab: Lab, talk: Talk, topic_filter: str) -> str | None:
    """Subscribe with QoS 1: the same."""
    error, mid = talk.client.subscribe(topic_filter, qos=1)
    if error is not MQTTErrorCode.MQTT_ERR_SUCCESS or mid is None:
        return talk.closed or "not sent"
    answered = lab.wait(lambda: mid in talk.subscribed or talk.closed is not None, lab.pace.answer)
    return _outcome(talk, talk.subscribed.get(mid), answered=answered)


def hears(lab: Lab, talk: Talk, topic: str, seconds: float) -> bytes | None:
    """The first message on a topic, within so many seconds."""
    lab.wait(lambda: any(one == topic for one, _ in talk.messages), seconds)
    return next((payload for one, payload in talk.messages if one == topic), None)


def _outcome(talk: Talk, answer: tuple[int, str] | None, *, answered: bool) -> str | None:
    if answer is not None:
        code, name = answer
        return f"{name} ({code:#04x})" if code >= 0x80 else None  # noqa: PLR2004 - MQTT 5, 2.4: failures begin there
    return talk.closed if answered and talk.closed else "no answer"


def _space_out(lab: Lab, client_id: str) -> None:
    """Let the time pass that two connections of one client id must be apart."""
    last = lab.shared("connected", dict[str, float])
    until = last.get(client_id, 0.0) + lab.pace.between
    lab.wait(lambda: time.monotonic() >= until, lab.pace.between)
    last[client_id] = time.monotonic()


def _starting(how: How) -> dict[str, Any]:
    if how.version is not MQTT_5:
        return {}
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call] # paho's
    if not how.clean:
        properties.SessionExpiryInterval = _KEEP_STATE
    return {"clean_start": how.clean, "properties": properties}


def _prepare(lab: Lab, who: Specimen, client_id: str, how: How) -> Talk:
    client = Client(
        CallbackAPIVersion.VERSION2,
        client_id,
        clean_session=None if how.version is MQTT_5 else how.clean,
        protocol=how.version,
        reconnect_on_failure=False,
    )
    client.connect_timeout = _HANDSHAKE
    client.tls_set_context(_context(lab, who, how.alpn))
    if how.will:
        client.will_set(how.will.topic, how.will.payload, qos=1)
    talk = Talk(client)
    _listen(talk)
    return talk


def _context(lab: Lab, who: Specimen, alpn: str) -> ssl.SSLContext:
    """Trust the given roots alone, and prove to be ``who``. Python takes keys from files only."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cadata=lab.roots)
    if alpn:
        context.set_alpn_protocols([alpn])
    with tempfile.TemporaryDirectory(prefix="keyborn-smoke-") as folder:
        place = Path(folder) / "both.pem"
        place.touch(mode=0o600)
        place.write_bytes(who.key_pem + who.certificate_pem)
        context.load_cert_chain(place)
    return context


def _listen(talk: Talk) -> None:
    """Callbacks, in paho's thread, only note what happened."""
    client = talk.client

    def _on_connect(_client: object, _data: object, flags: Any, reason: Any, told: Any) -> None:  # noqa: ANN401 - paho's
        talk.present, talk.code = flags.session_present, reason.value
        talk.told.update(told.json() if told is not None else {})
        talk.accepted = str(reason)

    def _on_disconnect(_client: object, _data: object, flags: Any, reason: Any, _told: object) -> None:  # noqa: ANN401 - paho's
        said = flags.is_disconnect_packet_from_server
        talk.closed = f"closed with {reason} ({reason.value:#04x})" if said else "closed without a word"

    client.on_connect = _on_connect
    client.on_disconnect = _on_disconnect
    client.on_publish = _noting(talk.published)
    client.on_subscribe = _noting(talk.subscribed)
    client.on_message = lambda _client, _data, one: talk.messages.append((one.topic, bytes(one.payload)))


def _noting(answers: dict[int, tuple[int, str]]) -> Callable[..., None]:
    def _note(_client: object, _data: object, mid: int, reasons: Any, _told: object) -> None:  # noqa: ANN401 - paho's
        reason = reasons[0] if isinstance(reasons, list) else reasons
        answers[mid] = (reason.value, str(reason))

    return _note
