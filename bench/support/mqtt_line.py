"""A bare MQTT 3.1.1 client on a blocking TLS socket: as thin as it goes, so that the broker is measured."""

import json
import socket
import ssl
from pathlib import Path

from keyborn.adapters.broker.encode import encode
from keyborn.adapters.broker.packets import Connect, Publish, Subscribe, Subscription

CONTROL = "$CONTROL/dynamic-security/v1"
PUBACK = 0x40
_ACCEPTED = b"\x20\x02\x00\x00"


def plugin() -> Path | None:
    """Where Debian's mosquitto has its dynamic security plugin."""
    return next(Path("/usr/lib").glob("*/mosquitto_dynamic_security.so"), None)


def dial(address: tuple[str, int], context: ssl.SSLContext, name: str) -> ssl.SSLSocket:
    """Connected and admitted under a client id; raises OSError or SystemExit."""
    plain = socket.create_connection(address, 10)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    tls = context.wrap_socket(plain, server_hostname=address[0])
    tls.sendall(encode(Connect(4, name, keep_alive=300), 4))
    if tls.recv(4) != _ACCEPTED:
        raise SystemExit(f"{name} was refused")
    return tls


def subscribe(line: ssl.SSLSocket, topic: str, qos: int) -> None:
    """Subscribe and wait for the answer."""
    line.sendall(encode(Subscribe(7, (Subscription(topic, qos),)), 4))
    line.recv(5)


def publish(topic: str, payload: bytes, qos: int) -> bytes:
    """The packet; its number is ``qos``."""
    return encode(Publish(topic, payload, qos, packet_id=qos), 4)


def order(line: ssl.SSLSocket, command: str, name: str) -> None:
    """Tell mosquitto's dynamic security plugin what to do with a client; waits for the acknowledgement."""
    payload = json.dumps({"commands": [{"command": command, "username": name}]}).encode()
    line.sendall(publish(CONTROL, payload, 1))
    if line.recv(4)[:1] != b"\x40":
        raise SystemExit(f"{command} was not acknowledged")


def write_dynamic_security(path: Path, names: list[str]) -> None:
    """Its file: everybody is known, everything is allowed, one of them gives orders."""
    allowed = ("publishClientSend", "publishClientReceive", "subscribe", "unsubscribe")
    role = {"acltype": "publishClientSend", "topic": "$CONTROL/dynamic-security/#", "allow": True}
    document = {
        "defaultACLAccess": dict.fromkeys(allowed, True),
        "roles": [{"rolename": "admin", "acls": [{**role, "priority": 0}]}],
        "clients": [
            {"username": "admin", "roles": [{"rolename": "admin"}]},
            *({"username": name} for name in names),
        ],
    }
    path.write_text(json.dumps(document))
