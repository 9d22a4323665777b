"""AWSIoTPythonSDK 1.6.2, unmodified, against a served broker: the way it shows that something is denied.

It has no MQTT 5 and hears no reason: a request that is never answered, and a connection that goes away.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from AWSIoTPythonSDK.exception.AWSIoTExceptions import publishTimeoutException, subscribeTimeoutException

from support.classic import classic
from support.server import Server
from support.stage import Stage, served, staged
from support.talker import until

# The SDK calls what Python deprecates; its warnings are not ours.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    yield from served(tmp_path_factory)


@pytest.fixture
def stage(server: Server, tmp_path: Path) -> Iterator[Stage]:
    with staged(server, tmp_path) as stage:
        yield stage


def test_it_connects_publishes_and_hears(stage: Stage) -> None:
    device = stage.device()
    mine, orders = f"certtest/{device.name}/data", f"certtest/{device.name}/orders"
    with classic(stage, device) as client:
        assert client.connect()
        assert stage.connected(device)
        assert client.publish(mine, "hello")
        assert client.subscribe(orders)
        stage.say(orders, "open")
        until(lambda: client.heard == ["open"], "it hears what it has subscribed to")
        assert client.sdk.disconnect()
    assert (mine, "hello") in stage.heard()


def test_a_publish_for_another_thing_is_never_acknowledged_and_reaches_nobody(stage: Stage) -> None:
    device, topic = stage.device(), f"certtest/{stage.device().name}"
    with classic(stage, device) as client:
        assert client.connect()
        with pytest.raises(publishTimeoutException):
            client.hasty(1).publish(topic, "forged")
        until(lambda: "offline" in client.events, "it is cut")
    assert stage.heard() == []
    stage.refused("action=iot:Publish", f"thing={device.name}", topic)


def test_a_subscription_to_another_thing_is_never_granted(stage: Stage) -> None:
    device, other = stage.device(), stage.device().name
    with classic(stage, device) as client:
        assert client.connect()
        with pytest.raises(subscribeTimeoutException):
            client.hasty(1).subscribe(f"certtest/{other}/#")
        until(lambda: "offline" in client.events, "it is cut")
        stage.say(f"certtest/{other}/orders", "not for you")
    assert client.heard == []
    stage.refused("action=iot:Subscribe", f"thing={device.name}", f"certtest/{other}/#")


def test_another_things_client_id_takes_it_offline_and_its_message_stays_in_its_queue(stage: Stage) -> None:
    """Its connect() takes a refusal for success."""
    device, other = stage.device(), stage.device()
    with classic(stage, other) as victim, classic(stage, device, client_id=other.name) as forger:
        assert victim.connect()
        forger.connect()
        until(lambda: "offline" in forger.events, "it is cut")
        assert not forger.publish(f"certtest/{other.name}", "forged")
        assert victim.publish(f"certtest/{other.name}", "still here")
        assert victim.events == ["online"]
    assert stage.heard() == [(f"certtest/{other.name}", "still here")]
    stage.refused("action=iot:Connect", f"thing={device.name}", f"resource={other.name}")


def test_the_newer_of_two_connections_goes_on_and_the_older_one_ends(stage: Stage) -> None:
    device = stage.device()
    with classic(stage, device) as new:
        with classic(stage, device) as old:
            assert old.connect()
            assert new.connect()
            until(lambda: "offline" in old.events, "the older one ends")
        assert new.publish(f"certtest/{device.name}", "newer")
        assert new.events[-1] == "online"
    assert stage.heard() == [(f"certtest/{device.name}", "newer")]
