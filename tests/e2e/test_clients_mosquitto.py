"""mosquitto_pub and mosquitto_sub, unmodified, against a served broker."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from support.mosquitto import Sub, run, words
from support.server import Server
from support.stage import Stage, served, staged
from support.talker import Identity

V311, V5 = "mqttv311", "mqttv5"
pytestmark = [
    pytest.mark.needs("mosquitto_pub"),  # mosquitto_sub comes in the same package
    pytest.mark.parametrize("version", [V311, V5]),
]
LOST = 7
"""The exit code where the broker hung up."""
Start = Callable[..., Sub]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    yield from served(tmp_path_factory)


@pytest.fixture
def stage(server: Server, tmp_path: Path) -> Iterator[Stage]:
    with staged(server, tmp_path) as stage:
        yield stage


@pytest.fixture
def start(stage: Stage) -> Iterator[Start]:
    """Start a mosquitto_sub; it is killed at the end of the test."""
    with ExitStack() as stack:

        def _start(version: str, identity: Identity, *more: str) -> Sub:
            command = words(stage, "mosquitto_sub", version, identity, *more)
            sub = Sub(command)
            stack.callback(sub.kill)
            return sub

        yield _start


def test_it_connects_with_the_certificate_and_its_message_is_acknowledged(stage: Stage, version: str) -> None:
    device = stage.device()
    topic = f"certtest/{device.name}"
    said = run(words(stage, "mosquitto_pub", version, device, "-t", topic, "-m", "hello"))
    assert said.code == 0, said.text
    assert "received PUBACK (Mid: 1, RC:0)" in said.text
    assert stage.connected(device)
    assert stage.heard() == [(topic, "hello")]


def test_it_prints_what_it_has_subscribed_to(stage: Stage, start: Start, version: str) -> None:
    device = stage.device()
    sub = start(version, device, "-t", f"certtest/{device.name}/#", "-C", "1")
    sub.prints("Subscribed (mid: 1): 1")
    stage.say(f"certtest/{device.name}/orders", "open the door")
    sub.prints("open the door")
    assert sub.ends() == 0


def test_a_publish_for_another_thing_is_denied_and_reaches_nobody(stage: Stage, version: str) -> None:
    device, topic = stage.device(), f"certtest/{stage.device().name}"
    said = run(words(stage, "mosquitto_pub", version, device, "-t", topic, "-m", "forged"))
    if version == V5:
        assert "received PUBACK (Mid: 1, RC:135)" in said.text
        assert "Publish 1 failed: Not authorized" in said.text
    else:
        assert (said.code, "PUBACK" in said.text) == (LOST, False), said.text
    assert stage.heard() == []
    stage.refused("action=iot:Publish", f"thing={device.name}", topic)


def test_a_subscription_to_another_thing_is_denied(stage: Stage, start: Start, version: str) -> None:
    device, other = stage.device(), stage.device().name
    sub = start(version, device, "-t", f"certtest/{other}/#")
    if version == V5:
        sub.prints("Subscribed (mid: 1): 135")
        sub.prints("All subscription requests were denied")
        sub.ends()
    else:
        sub.prints("sending SUBSCRIBE (Mid: 2")  # it was cut, and tries again
        assert "SUBACK" not in sub.text
    stage.say(f"certtest/{other}/orders", "not for you")
    assert "not for you" not in sub.text
    stage.refused("action=iot:Subscribe", f"thing={device.name}", f"certtest/{other}/#")


def test_another_things_client_id_is_denied(stage: Stage, version: str) -> None:
    device, other, topic = stage.device(), stage.device().name, "certtest/x"
    said = run(
        words(stage, "mosquitto_pub", version, device, "-t", topic, "-m", "forged", client_id=other)
    )  # fmt: skip
    assert said.code == (135 if version == V5 else 5), said.text
    assert "not authorised" in said.text.lower() or "Not authorized" in said.text
    assert stage.heard() == []
    stage.refused("action=iot:Connect", f"thing={device.name}", f"resource={other}")


def test_the_newer_of_two_connections_goes_on_and_the_older_one_ends(
    stage: Stage, start: Start, version: str
) -> None:
    device = stage.device()
    old = start(version, device, "-t", f"certtest/{device.name}/orders")
    old.prints("Subscribed (mid: 1): 1")
    newer = words(stage, "mosquitto_pub", version, device, "-t", f"certtest/{device.name}", "-m", "newer")
    assert run(newer).code == 0
    if version == V5:
        old.prints("Received DISCONNECT (142)")
    else:
        old.prints("sending SUBSCRIBE (Mid: 2")  # the program connects again once it has lost its connection
    assert stage.heard() == [(f"certtest/{device.name}", "newer")]
