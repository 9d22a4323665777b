"""awscrt (under awsiotsdk), both of its clients, unmodified, against a served broker.

Its MQTT 5 futures succeed even where the broker has refused: the reason code says what happened.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from awscrt.exceptions import AwsCrtError

from support.crt import Crt5, Crt311
from support.server import Server
from support.stage import DENIED, TAKEN_OVER, Stage, served, staged
from support.talker import Identity, until


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    yield from served(tmp_path_factory)


@pytest.fixture
def stage(server: Server, tmp_path: Path) -> Iterator[Stage]:
    with staged(server, tmp_path) as stage:
        yield stage


@contextmanager
def crt311(stage: Stage, identity: Identity) -> Iterator[Crt311]:
    client = Crt311(stage, identity).connect()
    try:
        yield client
    finally:
        client.stop()


@contextmanager
def crt5(stage: Stage, identity: Identity, client_id: str = "") -> Iterator[Crt5]:
    client = Crt5(stage, identity, client_id).connect()
    try:
        yield client
    finally:
        client.stop()


ClientOf = Callable[[Stage, Identity], AbstractContextManager[Crt311 | Crt5]]


@pytest.mark.parametrize("client_of", [crt311, crt5], ids=["3.1.1", "5"])
def test_it_connects_publishes_and_hears(stage: Stage, client_of: ClientOf) -> None:
    device = stage.device()
    mine, orders = f"certtest/{device.name}/data", f"certtest/{device.name}/orders"
    with client_of(stage, device) as client:
        assert stage.connected(device)
        assert client.publish(mine, "hello") in (None, 0)
        assert client.subscribe(orders) in (1, [1])
        stage.say(orders, "open")
        until(lambda: client.heard == ["open"], "it hears what it has subscribed to")
    assert (mine, "hello") in stage.heard()


def test_on_3_1_1_a_publish_for_another_thing_cuts_it_and_reaches_nobody(stage: Stage) -> None:
    device, topic = stage.device(), f"certtest/{stage.device().name}"
    with crt311(stage, device) as client:
        with pytest.raises(AwsCrtError, match="AWS_ERROR_MQTT_CANCELLED_FOR_CLEAN_SESSION"):
            client.publish(topic, "forged")
        client.is_cut()
    assert stage.heard() == []
    stage.refused("action=iot:Publish", f"thing={device.name}", topic)


def test_on_3_1_1_a_subscription_to_another_thing_cuts_it(stage: Stage) -> None:
    device, other = stage.device(), stage.device().name
    with crt311(stage, device) as client:
        with pytest.raises(AwsCrtError):
            client.subscribe(f"certtest/{other}/#")
        client.is_cut()
        stage.say(f"certtest/{other}/orders", "not for you")
    assert client.heard == []
    stage.refused("action=iot:Subscribe", f"thing={device.name}", f"certtest/{other}/#")


def test_on_3_1_1_another_things_client_id_is_denied(stage: Stage) -> None:
    """awscrt takes the return code 5 for a protocol error."""
    device, other = stage.device(), stage.device()
    with crt311(stage, other) as victim:
        with pytest.raises(AwsCrtError, match="AWS_ERROR_MQTT_PROTOCOL_ERROR"):
            Crt311(stage, device, other.name).connect()
        victim.publish(f"certtest/{other.name}", "still here")
        assert victim.interrupted == []
    stage.refused("action=iot:Connect", f"thing={device.name}", f"resource={other.name}")


def test_on_3_1_1_the_newer_of_two_connections_goes_on_and_the_older_one_ends(stage: Stage) -> None:
    device = stage.device()
    with crt311(stage, device) as old:
        new = Crt311(stage, device).connect()
        old.is_cut()
    new.publish(f"certtest/{device.name}", "newer")
    assert new.interrupted == []
    new.stop()
    assert stage.heard() == [(f"certtest/{device.name}", "newer")]


def test_on_5_a_denied_publish_is_a_future_that_succeeds_with_a_reason_code(stage: Stage) -> None:
    device, topic = stage.device(), f"certtest/{stage.device().name}"
    with crt5(stage, device) as client:
        assert client.publish(topic, "forged") == DENIED
        assert client.publish(f"certtest/{device.name}", "mine") == 0
        assert client.disconnected == []
    assert stage.heard() == [(f"certtest/{device.name}", "mine")]
    stage.refused("action=iot:Publish", f"thing={device.name}", topic)


def test_on_5_a_denied_subscription_is_a_future_that_succeeds_with_a_reason_code(stage: Stage) -> None:
    device, other = stage.device(), stage.device().name
    with crt5(stage, device) as client:
        assert client.subscribe(f"certtest/{other}/#") == [DENIED]
        assert client.subscribe(f"certtest/{device.name}/#") == [1]
        stage.say(f"certtest/{other}/orders", "not for you")
        stage.say(f"certtest/{device.name}/orders", "for you")
        until(lambda: "for you" in client.heard, "its own message comes")
        assert (client.heard, client.disconnected) == (["for you"], [])
    stage.refused("action=iot:Subscribe", f"thing={device.name}", f"certtest/{other}/#")


def test_on_5_another_things_client_id_is_denied_with_a_reason_code(stage: Stage) -> None:
    device, other = stage.device(), stage.device()
    with crt5(stage, other) as victim, crt5(stage, device, other.name) as forger:
        assert (forger.accepted, forger.failed) == ([], [DENIED])
        assert victim.publish(f"certtest/{other.name}", "still here") == 0
        assert victim.disconnected == []
    stage.refused("action=iot:Connect", f"thing={device.name}", f"resource={other.name}")


def test_on_5_the_older_of_two_connections_is_told_that_it_was_taken_over(stage: Stage) -> None:
    device = stage.device()
    with crt5(stage, device) as old, crt5(stage, device) as new:
        until(lambda: bool(old.disconnected), "the older one ends")
        assert old.disconnected == [TAKEN_OVER]
        assert new.publish(f"certtest/{device.name}", "newer") == 0
        assert new.disconnected == []
    assert stage.heard() == [(f"certtest/{device.name}", "newer")]
