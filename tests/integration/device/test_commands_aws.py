"""The device's commands at the broker of the stand-in for AWS: mutual TLS, certificates of its making."""

import contextlib
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import count

import pytest

from keyborn.device.answer import Fallback
from keyborn.device.connecting import connect, tls_context
from keyborn.device.home import Home
from keyborn.device.keystore import FileKeyStore
from keyborn.device.messages import Message
from keyborn.device.opening import Limits
from keyborn.device.session import MQTT_3_1_1, MQTT_5, Session
from keyborn.domain import errors
from support import ministack
from support.aws_device import AwsDevice, enroll_at_aws
from support.device import keyborn, keyborn_json
from support.device_home import now

_numbers = count(1)


@pytest.fixture
def device(home: Home) -> AwsDevice:
    """A device that no other test has."""
    return enroll_at_aws(home, f"aws-device-{next(_numbers)}")


def session(home: Home, device: AwsDevice) -> contextlib.closing[Session]:
    context = tls_context(home, FileKeyStore(home.key), device.identity, now())
    return contextlib.closing(connect(device.identity, context))


@contextlib.contextmanager
def closed() -> Iterator[int]:
    """A port that refuses."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


# ── commands ──


def test_publish_is_acknowledged(home: Home, device: AwsDevice) -> None:
    told = keyborn_json("publish", device.identity.broker.topic, "hello", "--home", home.path)
    assert (told["outcome"], told["outbox"]) == ("delivered", {"waiting": 0, "refused": 0})


def test_subscribe_prints_what_arrives(home: Home, device: AwsDevice) -> None:
    topic = f"{device.identity.broker.topic}/in"
    words = ["subscribe", topic, "--count", "1", "--timeout", "20", "--json", "--home", str(home.path)]
    with subprocess.Popen(
        [sys.executable, "-m", "keyborn", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as listener:
        assert listener.stderr is not None
        # with --json it says nothing when it has subscribed: what is published is repeated until it is heard
        plane = ministack.shared().client("iot-data")
        while listener.poll() is None:
            plane.publish(topic=topic, qos=1, payload=b"to you")
            with contextlib.suppress(subprocess.TimeoutExpired):
                listener.wait(0.2)
        out, said = listener.communicate()
    assert listener.returncode == 0, said
    assert json.loads(out)["payload"] == "to you"


def test_status_knows_it_is_ready_for_decades(home: Home, device: AwsDevice) -> None:
    told = keyborn_json("status", "--home", home.path)
    assert (told["state"], told["certificateId"]) == ("ready", device.identity.certificate_id)
    assert told["notAfter"] == "2049-12-31T23:59:59Z"
    assert told["daysLeft"] > 8000
    assert told["problems"] == []


@pytest.mark.parametrize("topic", ["certtest/another-thing", "certtest", "certtest/aws-device", "other"])
def test_another_thing_s_topic_is_refused_for_good(home: Home, device: AwsDevice, topic: str) -> None:
    done = keyborn("publish", topic, "hello", "--home", home.path, "--json", expect=1)
    assert json.loads(done.stderr.splitlines()[-1])["code"] == "publish_denied"
    told = json.loads(keyborn("status", "--home", home.path, "--json", expect=None).stdout)
    assert (told["outboxWaiting"], told["outboxRefused"]) == (0, 1)


@pytest.mark.parametrize("topic_filter", ["#", "certtest/#", "certtest/+/in", "certtest/another-thing"])
def test_a_filter_outside_its_own_is_refused(home: Home, device: AwsDevice, topic_filter: str) -> None:
    done = keyborn("subscribe", topic_filter, "--timeout", "9", "--home", home.path, "--json", expect=1)
    assert json.loads(done.stderr.splitlines()[-1])["code"] == "subscribe_denied"


@pytest.mark.parametrize("status", ["INACTIVE", "REVOKED"])
def test_a_certificate_that_is_not_active_gets_no_session(home: Home, device: AwsDevice, status: str) -> None:
    device.set_status(status)
    topic = device.identity.broker.topic
    done = keyborn("publish", topic, "hello", "--home", home.path, "--json", expect=1)
    refusal = json.loads(done.stderr.splitlines()[-1])
    assert refusal["code"] == "session_refused"
    assert device.identity.thing in refusal["detail"]
    assert keyborn_json("status", "--home", home.path)["outboxWaiting"] == 1


def test_what_waited_leaves_when_the_device_is_active_again(home: Home, device: AwsDevice) -> None:
    topic = device.identity.broker.topic
    device.set_status("INACTIVE")
    keyborn("publish", topic, "first", "--home", home.path, expect=1)
    device.set_status("ACTIVE")
    told = keyborn_json("publish", topic, "second", "--home", home.path)
    assert (told["outcome"], told["outbox"]["waiting"]) == ("delivered", 0)


# ── sessions ──


def test_mqtt_5_is_what_it_speaks(home: Home, device: AwsDevice) -> None:
    with session(home, device) as made:
        assert made.version == MQTT_5


@pytest.mark.parametrize("version", [MQTT_5, MQTT_3_1_1])
def test_both_versions_carry_messages_both_ways(home: Home, device: AwsDevice, version: int) -> None:
    topic = device.identity.broker.topic
    context = tls_context(home, FileKeyStore(home.key), device.identity, now())
    limits = Limits(time.monotonic(), 10, 10)
    with contextlib.closing(Session(device.identity, context, version, limits)) as made:
        accepted = made.open()
        assert accepted is not None
        assert accepted.code == 0
        made.subscribe(f"{topic}/#")
        assert made.publish(Message(1, f"{topic}/out", b"to myself")).code == 0
        received = made.receive(10)
    assert received is not None
    assert (received.topic, received.payload) == (f"{topic}/out", b"to myself")


def test_in_3_1_1_a_refusal_ends_the_connection_without_a_word(home: Home, device: AwsDevice) -> None:
    context = tls_context(home, FileKeyStore(home.key), device.identity, now())
    limits = Limits(time.monotonic(), 10, 10)
    with contextlib.closing(Session(device.identity, context, MQTT_3_1_1, limits)) as made:
        made.open()
        with pytest.raises(errors.SessionLost):
            made.publish(Message(1, "certtest/another-thing", b"hello"))


def test_the_largest_message_passes(home: Home, device: AwsDevice) -> None:
    with session(home, device) as made:
        assert made.publish(Message(1, device.identity.broker.topic, bytes(128 * 1024))).code == 0


def test_where_the_first_port_is_barred_the_second_serves(home: Home) -> None:
    with closed() as port:
        second = Fallback(ministack.shared().mqtt_port, "x-amzn-mqtt-ca")
        device = enroll_at_aws(home, f"aws-device-{next(_numbers)}", first_port=port, fallback=second)
        told = keyborn_json("publish", device.identity.broker.topic, "hello", "--home", home.path)
    assert told["outcome"] == "delivered"
