"""The second broker port, where a client must ask for AWS IoT's protocol name, as on AWS's port 443."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from awscrt.exceptions import AwsCrtError
from AWSIoTPythonSDK.exception.AWSIoTExceptions import connectTimeoutException
from paho.mqtt.enums import MQTTProtocolVersion

from support.classic import classic
from support.crt import Crt5, Crt311
from support.mosquitto import run, words
from support.server import Server
from support.stage import ALPN, Stage, served, staged
from support.talker import V5, V311, Identity, Talker, until

NOT_ASKED = ("action=handshake", "the client did not ask for ALPN x-amzn-mqtt-ca")
LOST = 7


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    yield from served(tmp_path_factory)


@pytest.fixture
def stage(server: Server, tmp_path: Path) -> Iterator[Stage]:
    with staged(server, tmp_path) as stage:
        yield stage


@pytest.fixture
def refused(stage: Stage) -> Iterator[None]:
    """The test ends with one more refusal in the log than it began with."""
    before = len(stage.refusals(*NOT_ASKED))
    yield
    until(lambda: len(stage.refusals(*NOT_ASKED)) > before, "the log says why")


class Elsewhere(Talker):
    """paho on the second port; ``alpn`` is what it asks for."""

    alpn: str | None = None

    def dial(self, port: int) -> "Elsewhere":
        context = self.identity.context
        if self.alpn is not None:
            context.set_alpn_protocols([self.alpn])
        self.client._ssl_context = context
        self.client.connect(self.server.mqtt[0], port)
        self.client.loop_start()
        until(lambda: self.connected.is_set() or self.closed.is_set(), "it is answered")
        return self


def paho(stage: Stage, identity: Identity, protocol: MQTTProtocolVersion, alpn: str | None) -> Talker:
    talker = Elsewhere(stage.server, identity, identity.name, protocol)
    talker.alpn = alpn
    return talker.dial(stage.alpn_port)


@pytest.mark.parametrize("protocol", [V311, V5], ids=["3.1.1", "5"])
def test_paho_that_asks_is_served(stage: Stage, protocol: MQTTProtocolVersion) -> None:
    device = stage.device()
    talker = paho(stage, device, protocol, ALPN)
    assert talker.is_in
    assert talker.publish(f"certtest/{device.name}", "hello") == 0
    talker.leave()
    assert stage.heard() == [(f"certtest/{device.name}", "hello")]


@pytest.mark.usefixtures("refused")
@pytest.mark.parametrize("alpn", [None, "mqtt", "http/1.1"])
def test_paho_that_asks_for_something_else_is_refused(stage: Stage, alpn: str | None) -> None:
    talker = paho(stage, stage.device(), V5, alpn)
    assert not talker.is_in
    assert talker.answer is None, "the handshake failed: there was no MQTT at all"
    talker.leave()
    assert not stage.connected(talker.identity)


@pytest.mark.parametrize("kind", [Crt311, Crt5], ids=["3.1.1", "5"])
def test_awscrt_that_asks_is_served(stage: Stage, kind: type[Crt311 | Crt5]) -> None:
    device = stage.device()
    client = kind(stage, device, port=stage.alpn_port, alpn=ALPN).connect()
    assert client.publish(f"certtest/{device.name}", "hello") in (None, 0)
    client.stop()
    assert stage.heard() == [(f"certtest/{device.name}", "hello")]


@pytest.mark.usefixtures("refused")
def test_awscrt_3_1_1_that_does_not_ask_is_refused(stage: Stage) -> None:
    with pytest.raises(AwsCrtError, match="AWS_ERROR_MQTT_UNEXPECTED_HANGUP"):
        Crt311(stage, stage.device(), port=stage.alpn_port).connect()


@pytest.mark.usefixtures("refused")
def test_awscrt_5_that_does_not_ask_is_refused(stage: Stage) -> None:
    client = Crt5(stage, stage.device(), port=stage.alpn_port).connect()
    assert (client.accepted, client.failed) == ([], [None])
    client.stop()


# The SDK calls what Python deprecates; its warnings are not ours.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_classic_sdk_that_was_told_port_443_is_served(stage: Stage) -> None:
    device = stage.device()
    with classic(stage, device, port=stage.alpn_port, alpn=True) as client:
        assert client.connect()
        assert client.publish(f"certtest/{device.name}", "hello")
    assert stage.heard() == [(f"certtest/{device.name}", "hello")]


@pytest.mark.usefixtures("refused")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_classic_sdk_on_another_port_does_not_ask_and_is_refused(stage: Stage) -> None:
    with (
        classic(stage, stage.device(), port=stage.alpn_port) as client,
        pytest.raises(connectTimeoutException),
    ):
        client.hasty(1).connect()


@pytest.mark.needs("mosquitto_pub")
@pytest.mark.parametrize("version", ["mqttv311", "mqttv5"])
def test_mosquitto_pub_that_asks_is_served(stage: Stage, version: str) -> None:
    device = stage.device()
    topic, port = f"certtest/{device.name}", stage.alpn_port
    command = words(stage, "mosquitto_pub", version, device, "-t", topic, "-m", "hello", port=port)
    assert run([*command, "--tls-alpn", ALPN]).code == 0
    assert stage.heard() == [(topic, "hello")]


@pytest.mark.needs("mosquitto_pub")
@pytest.mark.usefixtures("refused")
def test_mosquitto_pub_that_does_not_ask_is_refused(stage: Stage) -> None:
    device, port = stage.device(), stage.alpn_port
    said = run(words(stage, "mosquitto_pub", "mqttv5", device, "-t", "x", "-m", "hello", port=port))
    assert said.code == LOST, said.text
    assert stage.heard() == []
