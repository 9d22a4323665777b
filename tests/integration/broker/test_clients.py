"""Other people's MQTT clients, unmodified: paho and awscrt (both versions), AWSIoTPythonSDK 1.6.2.

Each connects, publishes, subscribes and is denied. They block or run threads of their own: each script has a
thread while the broker has the event loop.
"""

import asyncio
import queue
import ssl
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from paho.mqtt.client import Client as PahoClient, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties as PahoProperties

from support.broker import PATIENCE, Device, World

Refusals = Callable[..., list[str]]
TOPIC = "certtest/dev/hello"


def in_thread(script: Callable[..., Any], *arguments: object) -> Awaitable[Any]:
    return asyncio.wait_for(asyncio.to_thread(script, *arguments), 3 * PATIENCE)


# ── paho ──────────────────────────────────────────────────────────────────────────────────────────────


class Paho:
    """A paho client whose callbacks end in queues."""

    def __init__(self, port: int, device: Device, version: int, **options: Any) -> None:  # noqa: ANN401 - paho's
        protocol = MQTTProtocolVersion.MQTTv5 if version == 5 else MQTTProtocolVersion.MQTTv311
        clean = {} if version == 5 else {"clean_session": options.pop("clean", True)}
        self.client = PahoClient(CallbackAPIVersion.VERSION2, device.thing, protocol=protocol, **clean)
        self.client.tls_set_context(device.context)
        self.connected: queue.Queue[Any] = queue.Queue()
        self.disconnected: queue.Queue[Any] = queue.Queue()
        self.messages: queue.Queue[MQTTMessage] = queue.Queue()
        self.granted: queue.Queue[list[Any]] = queue.Queue()
        self.published: queue.Queue[Any] = queue.Queue()
        self.client.on_connect = lambda _c, _u, _f, reason, _p: self.connected.put(reason)
        self.client.on_disconnect = lambda _c, _u, _f, reason, _p: self.disconnected.put(reason)
        self.client.on_message = lambda _c, _u, message: self.messages.put(message)
        self.client.on_subscribe = lambda _c, _u, _m, reasons, _p: self.granted.put(reasons)
        self.client.on_publish = lambda _c, _u, _m, reason, _p: self.published.put(reason)
        if "will" in options:
            self.client.will_set(*options["will"])
        properties: Any = PahoProperties(PacketTypes.CONNECT) if version == 5 else None  # type: ignore[no-untyped-call] # as paho has it
        if properties is not None:
            properties.SessionExpiryInterval = options.get("expiry", 0)
        self.client.connect("localhost", port, keepalive=30, properties=properties)
        self.client.loop_start()
        self.reason = self.connected.get(timeout=PATIENCE)

    def subscribe(self, topic_filter: str) -> list[Any]:
        self.client.subscribe(topic_filter, qos=1)
        return self.granted.get(timeout=PATIENCE)

    def publish(self, topic: str, payload: bytes) -> Any:  # noqa: ANN401 - whatever paho says
        self.client.publish(topic, payload, qos=1)
        return self.published.get(timeout=PATIENCE)

    def stop(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@contextmanager
def paho(world: World, device: Device, version: int, **options: object) -> Iterator[Paho]:
    client = Paho(world.port, device, version, **options)
    try:
        yield client
    finally:
        client.stop()


@pytest.mark.parametrize("version", [4, 5])
async def test_paho_connects_publishes_subscribes(world: World, version: int) -> None:
    def script(device: Device) -> None:
        with paho(world, device, version) as client:
            assert not client.reason.is_failure
            assert [reason.value for reason in client.subscribe("certtest/dev/#")] == [1]
            client.publish(TOPIC, b"hello")
            assert client.messages.get(timeout=PATIENCE).payload == b"hello"

    await in_thread(script, world.device("dev"))


@pytest.mark.parametrize("version", [4, 5])
async def test_paho_is_denied_as_its_version_says(world: World, refusals: Refusals, version: int) -> None:
    def script(device: Device) -> None:
        with paho(world, device, version) as client:
            if version == 5:
                assert client.publish("certtest/other", b"x").value == 0x87
                assert client.subscribe("#")[0].value == 0x87
                assert client.disconnected.empty()
            else:
                client.client.publish("certtest/other", b"x", qos=1)
                assert client.disconnected.get(timeout=PATIENCE).is_failure
                assert client.published.empty(), "a denied publish was acknowledged"

    await in_thread(script, world.device("dev"))
    assert refusals("action=iot:Publish", "resource='certtest/other'")


@pytest.mark.parametrize("version", [4, 5])
async def test_paho_is_told_that_it_may_not_connect(world: World, version: int) -> None:
    def script(device: Device) -> None:
        with paho(world, device, version) as client:
            assert "ot authorized" in str(client.reason)

    await in_thread(script, world.device("dev", status=None))


@pytest.mark.parametrize("version", [4, 5])
async def test_paho_is_taken_over_by_the_newer(world: World, version: int) -> None:
    def script(device: Device) -> None:
        with paho(world, device, version) as old:
            old.client.reconnect_delay_set(60, 60)
            with paho(world, device, version) as new:
                assert not new.reason.is_failure
                reason = old.disconnected.get(timeout=PATIENCE)
                assert version == 4 or reason.value == 0x8E
                new.publish(TOPIC, b"x")

    await in_thread(script, world.device("dev"))


@pytest.mark.parametrize("version", [4, 5])
async def test_paho_finds_what_waited_for_it(world: World, version: int) -> None:
    device = world.device("dev")

    def first() -> None:
        with paho(world, device, version, clean=False, expiry=60) as client:
            client.subscribe("certtest/dev/#")

    def second() -> bytes:
        with paho(world, device, version, clean=False, expiry=60) as client:
            return bytes(client.messages.get(timeout=PATIENCE).payload)

    await in_thread(first)
    world.say(TOPIC, b"waited")
    # paho 5 asks for a clean start at its first connection unless told otherwise, and then nothing waits
    if version == 4:
        assert await in_thread(second) == b"waited"


# ── AWSIoTPythonSDK 1.6.2, which needs ssl.wrap_socket: Python 3.11 and older ─────────────────────────


def aws_iot_client(world: World, device: Device) -> Any:  # noqa: ANN401 - the SDK has no types
    from AWSIoTPythonSDK.MQTTLib import AWSIoTMQTTClient

    client = AWSIoTMQTTClient(device.thing)
    client.configureEndpoint("localhost", world.port)
    client.configureCredentials(str(device.roots), str(device.key), str(device.chain))
    client.configureOfflinePublishQueueing(-1)
    client.configureDrainingFrequency(2)
    client.configureConnectDisconnectTimeout(10)
    client.configureMQTTOperationTimeout(5)
    return client


def give_up(client: Any) -> None:  # noqa: ANN401 - the SDK has no types
    """End a client that is offline: its own disconnect() waits for an answer that cannot come."""
    client._mqtt_core._internal_async_client.stop_background_network_io()
    client._mqtt_core._event_consumer.stop()


if sys.version_info < (3, 12):
    # The SDK calls what Python 3.11 deprecates; its warnings are not ours.
    old_sdk = pytest.mark.filterwarnings("ignore::DeprecationWarning")

    @old_sdk
    async def test_the_classic_sdk_connects_publishes_subscribes(world: World) -> None:
        heard: queue.Queue[bytes] = queue.Queue()

        def script(device: Device) -> None:
            client = aws_iot_client(world, device)
            assert client.connect()
            assert client.subscribe("certtest/dev/#", 1, lambda _c, _u, message: heard.put(message.payload))
            assert client.publish(TOPIC, "hello", 1)
            assert heard.get(timeout=PATIENCE) == b"hello"
            assert client.disconnect()

        await in_thread(script, world.device("dev"))

    @old_sdk
    async def test_the_classic_sdk_is_cut_when_it_says_too_much(world: World, refusals: Refusals) -> None:
        from AWSIoTPythonSDK.exception.AWSIoTExceptions import publishTimeoutException

        def script(device: Device) -> None:
            client = aws_iot_client(world, device)
            client.configureMQTTOperationTimeout(1)
            client.configureAutoReconnectBackoffTime(30, 30, 60)
            gone = threading.Event()
            client.onOffline = gone.set
            assert client.connect()
            with pytest.raises(publishTimeoutException):
                client.publish("certtest/other", "x", 1)
            assert gone.wait(PATIENCE)
            give_up(client)

        await in_thread(script, world.device("dev"))
        assert refusals("action=iot:Publish", "thing=dev", "resource='certtest/other'")

    @old_sdk
    async def test_the_classic_sdk_goes_offline_when_it_may_not_connect(
        world: World, refusals: Refusals
    ) -> None:
        """Its connect() takes a refusal for success; what it publishes then stays in its queue."""

        def script(device: Device) -> None:
            client = aws_iot_client(world, device)
            client.configureAutoReconnectBackoffTime(30, 30, 60)
            gone = threading.Event()
            client.onOffline = gone.set
            client.connect()
            assert gone.wait(PATIENCE)
            assert client.publish(TOPIC, "x", 1) is False
            give_up(client)

        await in_thread(script, world.device("dev", status=None))
        assert refusals("action=iot:Connect", "the registry does not know the certificate")


# ── awscrt, on which awsiotsdk stands ─────────────────────────────────────────────────────────────────


def crt_tls(device: Device) -> Any:  # noqa: ANN401 - awscrt's types are loose
    from awscrt import io

    options = io.TlsContextOptions.create_client_with_mtls_from_path(str(device.chain), str(device.key))
    options.override_default_trust_store_from_path(None, str(device.roots))
    return io.ClientTlsContext(options)


async def test_awscrt_3_1_1_connects_publishes_subscribes(world: World) -> None:
    from awscrt import io, mqtt

    def script(device: Device) -> None:
        heard: queue.Queue[bytes] = queue.Queue()
        client = mqtt.Client(io.ClientBootstrap.get_or_create_static_default(), crt_tls(device))
        connection = mqtt.Connection(client, "localhost", world.port, str(device.thing))
        assert connection.connect().result(PATIENCE) == {"session_present": False}
        subscribed, _ = connection.subscribe(
            "certtest/dev/#", mqtt.QoS.AT_LEAST_ONCE, lambda payload, **_: heard.put(payload)
        )
        assert subscribed.result(PATIENCE)["qos"] == mqtt.QoS.AT_LEAST_ONCE
        published, _ = connection.publish(TOPIC, b"hello", mqtt.QoS.AT_LEAST_ONCE)
        published.result(PATIENCE)
        assert heard.get(timeout=PATIENCE) == b"hello"
        connection.disconnect().result(PATIENCE)

    await in_thread(script, world.device("dev"))


async def test_awscrt_5_connects_publishes_subscribes_and_reads_the_denial(
    world: World, refusals: Refusals
) -> None:
    from awscrt import mqtt5

    def script(device: Device) -> None:
        heard: queue.Queue[bytes] = queue.Queue()
        up: queue.Queue[Any] = queue.Queue()
        down = threading.Event()
        options = mqtt5.ClientOptions(
            host_name="localhost",
            port=world.port,
            tls_ctx=crt_tls(device),
            connect_options=mqtt5.ConnectPacket(client_id=str(device.thing)),
            on_publish_callback_fn=lambda data: heard.put(bytes(data.publish_packet.payload or b"")),
            on_lifecycle_event_connection_success_fn=lambda data: up.put(data.connack_packet),
            on_lifecycle_event_stopped_fn=lambda _data: down.set(),
        )
        client = mqtt5.Client(options)
        client.start()
        assert up.get(timeout=PATIENCE).maximum_qos == mqtt5.QoS.AT_LEAST_ONCE
        wanted = [mqtt5.Subscription("certtest/dev/#", mqtt5.QoS.AT_LEAST_ONCE), mqtt5.Subscription("#")]
        granted = client.subscribe(mqtt5.SubscribePacket(wanted)).result(PATIENCE)
        assert [int(reason) for reason in granted.reason_codes] == [1, 0x87]
        for topic, reason in ((TOPIC, 0), ("certtest/other", 0x87)):
            packet = mqtt5.PublishPacket(topic=topic, qos=mqtt5.QoS.AT_LEAST_ONCE, payload=b"hello")
            answer = client.publish(packet).result(PATIENCE).puback
            assert int(answer.reason_code) == reason
        assert heard.get(timeout=PATIENCE) == b"hello"
        client.stop()
        assert down.wait(PATIENCE)

    await in_thread(script, world.device("dev"))
    assert refusals("action=iot:Publish", "resource='certtest/other'")


async def test_awscrt_5_is_told_that_it_may_not_connect(world: World) -> None:
    from awscrt import mqtt5

    def script(device: Device) -> None:
        failed: queue.Queue[Any] = queue.Queue()
        down = threading.Event()
        options = mqtt5.ClientOptions(
            host_name="localhost",
            port=world.port,
            tls_ctx=crt_tls(device),
            connect_options=mqtt5.ConnectPacket(client_id="victim"),
            on_lifecycle_event_connection_failure_fn=lambda data: failed.put(data.connack_packet),
            on_lifecycle_event_stopped_fn=lambda _data: down.set(),
        )
        client = mqtt5.Client(options)
        client.start()
        answer = failed.get(timeout=PATIENCE)
        assert int(answer.reason_code) == 0x87
        client.stop()
        assert down.wait(PATIENCE)

    await in_thread(script, world.device("dev"))


def test_the_clients_verify_the_broker(world: World) -> None:
    """All of the above connect by name and check it: nothing here turns verification off."""
    assert world.device("dev").context.verify_mode is ssl.CERT_REQUIRED
    assert world.device("dev").context.check_hostname
