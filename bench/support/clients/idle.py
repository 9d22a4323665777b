"""A device that is connected with mutual TLS, listens to its topic, and does nothing: other clients.

Usage: idle.py CLIENT CERTIFICATE KEY ROOTS THING HOST PORT; it runs until it is ended. Each is imported
where it is used, or all of them would be measured.
"""
# ruff: noqa: PLC0415 - as said

import signal
import sys
from typing import NamedTuple

KEEP_ALIVE = 60


class Where(NamedTuple):
    """Files of the device's identity, and the broker."""

    certificate: str
    key: str
    roots: str
    thing: str
    host: str
    port: str

    @property
    def topics(self) -> str:
        """What it listens to."""
        return f"certtest/{self.thing}/#"


def paho(where: Where) -> None:
    from paho.mqtt.client import Client
    from paho.mqtt.enums import CallbackAPIVersion

    client = Client(CallbackAPIVersion.VERSION2, where.thing)
    client.tls_set(where.roots, where.certificate, where.key)

    def _subscribe(*_: object) -> None:
        client.subscribe(where.topics, 1)

    client.on_connect = _subscribe
    client.connect(where.host, int(where.port), KEEP_ALIVE)
    client.loop_forever()


def paho_and_cryptography(where: Where) -> None:
    """Of a script that makes its key and request itself."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

    ec.generate_private_key(ec.SECP256R1())
    assert x509
    paho(where)


def sdk(where: Where) -> None:
    from AWSIoTPythonSDK.MQTTLib import AWSIoTMQTTClient

    client = AWSIoTMQTTClient(where.thing)
    client.configureEndpoint(where.host, int(where.port))
    client.configureCredentials(where.roots, where.key, where.certificate)
    client.connect(KEEP_ALIVE)
    client.subscribe(where.topics, 1, lambda *_: None)
    signal.pause()


def awscrt(where: Where) -> None:
    from awscrt import io, mqtt

    options = io.TlsContextOptions.create_client_with_mtls_from_path(where.certificate, where.key)
    options.override_default_trust_store_from_path(None, where.roots)
    client = mqtt.Client(io.ClientBootstrap.get_or_create_static_default(), io.ClientTlsContext(options))
    connection = mqtt.Connection(client, where.host, int(where.port), where.thing, keep_alive_secs=KEEP_ALIVE)
    connection.connect().result(10)
    connection.subscribe(where.topics, mqtt.QoS.AT_LEAST_ONCE, lambda **_: None)[0].result(10)
    signal.pause()


CLIENTS = {"paho": paho, "paho+cryptography": paho_and_cryptography, "sdk": sdk, "awscrt": awscrt}

if __name__ == "__main__":
    CLIENTS[sys.argv[1]](Where(*sys.argv[2:]))
