"""AWSIoTPythonSDK 1.6.2, unmodified, in the test's process."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from AWSIoTPythonSDK.MQTTLib import AWSIoTMQTTClient

from support.stage import Stage
from support.talker import Identity


@dataclass
class Classic:
    """One client; ``sdk`` is the SDK's own, ``events`` says when it went online and offline.

    ``alpn``: the SDK asks for ALPN as soon as it is told port 443, and goes on asking when the endpoint is
    set again. So it can be tested on a port that a test may have.
    """

    stage: Stage
    identity: Identity
    client_id: str = ""
    port: int = 0
    alpn: bool = False
    events: list[str] = field(default_factory=list)
    heard: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        host, port = self.stage.server.mqtt
        identity = self.identity
        self.sdk: Any = AWSIoTMQTTClient(self.client_id or identity.name)
        if self.alpn:
            self.sdk.configureEndpoint(host, 443)
        self.sdk.configureEndpoint(host, self.port or port)
        self.sdk.configureCredentials(str(identity.roots), str(identity.key), str(identity.certificate))
        self.sdk.configureAutoReconnectBackoffTime(30, 30, 60)
        self.sdk.configureConnectDisconnectTimeout(10)
        self.sdk.configureMQTTOperationTimeout(10)
        self.sdk.onOnline = lambda: self.events.append("online")
        self.sdk.onOffline = lambda: self.events.append("offline")

    def hasty(self, seconds: int) -> "Classic":
        """Give answers that will not come this long."""
        self.sdk.configureConnectDisconnectTimeout(seconds)
        self.sdk.configureMQTTOperationTimeout(seconds)
        return self

    def connect(self) -> bool:
        """Connect; True says only that the SDK has had an answer."""
        return bool(self.sdk.connect())

    def subscribe(self, topic_filter: str) -> bool:
        """Subscribe at QoS 1."""
        return bool(
            self.sdk.subscribe(topic_filter, 1, lambda _c, _u, each: self.heard.append(each.payload.decode()))
        )

    def publish(self, topic: str, payload: str) -> bool:
        """Publish QoS 1; False if it was only queued."""
        return bool(self.sdk.publish(topic, payload, 1))

    def give_up(self) -> None:
        """End it, online or not: its own disconnect() would wait for an answer that cannot come."""
        self.sdk._mqtt_core._internal_async_client.stop_background_network_io()
        self.sdk._mqtt_core._event_consumer.stop()


@contextlib.contextmanager
def classic(
    stage: Stage, identity: Identity, *, client_id: str = "", port: int = 0, alpn: bool = False
) -> Iterator[Classic]:
    """A client that is not connected yet, and ends with the block."""
    client = Classic(stage, identity, client_id, port, alpn)
    try:
        yield client
    finally:
        client.give_up()
