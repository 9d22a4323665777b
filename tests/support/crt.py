"""awscrt's two MQTT clients, with what happens to them in lists."""

from dataclasses import dataclass, field
from typing import Any

from awscrt import io, mqtt, mqtt5

from support.stage import Stage
from support.talker import PATIENCE, Identity, until


def tls(identity: Identity, alpn: str | None = None) -> Any:  # noqa: ANN401 - awscrt's types are loose
    """Mutual TLS; ``alpn`` is the protocol to ask for."""
    options = io.TlsContextOptions.create_client_with_mtls_from_path(
        str(identity.certificate), str(identity.key)
    )
    options.override_default_trust_store_from_path(None, str(identity.roots))
    if alpn is not None:
        options.alpn_list = [alpn]
    return io.ClientTlsContext(options)


@dataclass
class Crt311:
    """The MQTT 3.1.1 client; ``interrupted`` holds the errors that ended its connection."""

    stage: Stage
    identity: Identity
    client_id: str = ""
    port: int = 0
    alpn: str | None = None
    heard: list[str] = field(default_factory=list)
    interrupted: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        host, port = self.stage.server.mqtt
        client = mqtt.Client(io.ClientBootstrap.get_or_create_static_default(), tls(self.identity, self.alpn))
        self.connection = mqtt.Connection(
            client,
            host,
            self.port or port,
            self.client_id or self.identity.name,
            reconnect_min_timeout_secs=1,  # also how long disconnect() takes after an interruption
            reconnect_max_timeout_secs=1,
            on_connection_interrupted=lambda error, **_: self.interrupted.append(error),
        )

    def connect(self) -> "Crt311":
        """Connect; raises AwsCrtError."""
        self.connection.connect().result(PATIENCE)
        return self

    def publish(self, topic: str, payload: str) -> None:
        """Publish QoS 1 and wait for the answer; raises AwsCrtError where the connection ends instead."""
        self.connection.publish(topic, payload, mqtt.QoS.AT_LEAST_ONCE)[0].result(PATIENCE)

    def subscribe(self, topic_filter: str) -> Any:  # noqa: ANN401 - awscrt's types are loose
        """Subscribe at QoS 1; the granted QoS, or AwsCrtError where the connection ends instead."""
        granted, _ = self.connection.subscribe(
            topic_filter, mqtt.QoS.AT_LEAST_ONCE, lambda payload, **_: self.heard.append(payload.decode())
        )
        return granted.result(PATIENCE)["qos"]

    def is_cut(self) -> None:
        """Wait until the broker has hung up, once: awscrt may tell so after it failed what was waiting."""
        until(lambda: bool(self.interrupted), "the broker hangs up")
        assert [each.name for each in self.interrupted] == ["AWS_ERROR_MQTT_UNEXPECTED_HANGUP"]

    def stop(self) -> None:
        """Disconnect, and try no more."""
        self.connection.disconnect().result(PATIENCE)


@dataclass
class Crt5:
    """The MQTT 5 client; the codes of CONNACK, refused CONNACK and DISCONNECT in lists."""

    stage: Stage
    identity: Identity
    client_id: str = ""
    port: int = 0
    alpn: str | None = None
    heard: list[str] = field(default_factory=list)
    accepted: list[int] = field(default_factory=list)
    failed: list[int | None] = field(default_factory=list)
    disconnected: list[int | None] = field(default_factory=list)
    stopped: list[bool] = field(default_factory=list)

    def __post_init__(self) -> None:
        host, port = self.stage.server.mqtt
        options = mqtt5.ClientOptions(
            host_name=host,
            port=self.port or port,
            tls_ctx=tls(self.identity, self.alpn),
            connect_options=mqtt5.ConnectPacket(client_id=self.client_id or self.identity.name),
            min_reconnect_delay_ms=60_000,  # it would go on for ever
            max_reconnect_delay_ms=60_000,
            on_publish_callback_fn=lambda data: self.heard.append(
                bytes(data.publish_packet.payload).decode()
            ),
            on_lifecycle_event_connection_success_fn=lambda data: self.accepted.append(
                int(data.connack_packet.reason_code)
            ),
            on_lifecycle_event_connection_failure_fn=lambda data: self.failed.append(
                _code(data.connack_packet)
            ),
            on_lifecycle_event_disconnection_fn=lambda data: self.disconnected.append(
                _code(data.disconnect_packet)
            ),
            on_lifecycle_event_stopped_fn=lambda _data: self.stopped.append(True),
        )
        self.client = mqtt5.Client(options)

    def connect(self) -> "Crt5":
        """Connect, and wait until it is accepted or has failed."""
        self.client.start()
        until(lambda: bool(self.accepted or self.failed), "the connection is answered")
        return self

    def publish(self, topic: str, payload: str) -> int:
        """Publish QoS 1; the reason code in a future that succeeds, whatever the broker has said."""
        packet = mqtt5.PublishPacket(topic=topic, qos=mqtt5.QoS.AT_LEAST_ONCE, payload=payload)
        return int(self.client.publish(packet).result(PATIENCE).puback.reason_code)

    def subscribe(self, topic_filter: str) -> list[int]:
        """Subscribe at QoS 1; the reason codes in a future that succeeds."""
        wanted = mqtt5.Subscription(topic_filter, mqtt5.QoS.AT_LEAST_ONCE)
        granted = self.client.subscribe(mqtt5.SubscribePacket([wanted])).result(PATIENCE)
        return [int(each) for each in granted.reason_codes]

    def stop(self) -> None:
        """Disconnect, and try no more."""
        self.client.stop()
        until(lambda: bool(self.stopped), "the client stops")


def _code(packet: Any) -> int | None:  # noqa: ANN401 - awscrt's types are loose
    return None if packet is None else int(packet.reason_code)
