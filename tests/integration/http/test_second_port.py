"""The broker's second port: told where there is one that the endpoint's name leads to, and used."""

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from keyborn.adapters.aws.iot import Account
from keyborn.device.answer import Fallback
from keyborn.device.home import Home
from keyborn.device.identity import require_identity
from keyborn.http.app import Service, build_app
from keyborn.http.bodies import AWS_FALLBACK, MqttFallback
from keyborn.http.dispatch import Dispatch
from keyborn.wiring import aws
from support import ministack
from support.csr_make import make_csr
from support.device import enroll, keyborn_json
from support.device_home import now
from support.server import Server, running

ALPN = "x-amzn-mqtt-ca"


def told(server: Server, thing: str) -> object:
    """The member of the answer."""
    answer = server.enroll(thing, make_csr(thing)[1], server.token(thing=thing)["secret"])
    assert answer.status == 201
    return answer.json["mqtt"]["fallback"]


def test_a_server_with_one_broker_port_tells_none(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        assert told(server, "one-port") is None


def test_a_port_on_another_address_than_the_endpoint_is_not_told(tmp_path: Path) -> None:
    """Devices would look for it where it is not."""
    with running(tmp_path, "--mqtt-alpn", "127.0.0.2:0") as server:
        assert told(server, "elsewhere") is None


def test_a_device_gets_it_keeps_it_and_uses_it(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with running(tmp_path, "--mqtt-alpn", "127.0.0.1:0") as server:
        second = int(server.about["mqttAlpn"].rpartition(":")[2])
        assert told(server, "asked") == {"port": second, "alpn": ALPN}
        enroll(home, server.token(thing="two-ports")["code"], "two-ports")
        assert require_identity(Home(home), now()).broker.fallback == Fallback(second, ALPN)
        assert publish(home)["outcome"] == "delivered"
        with barred(home):
            assert publish(home)["outcome"] == "delivered"


def publish(home: Path) -> dict[str, object]:
    done: dict[str, object] = keyborn_json("publish", "certtest/two-ports", "hello", "--home", home)
    return done


@contextlib.contextmanager
def barred(home: Path) -> Iterator[None]:
    """The first port is one that refuses, as a network would make it."""
    settings = home / "device.toml"
    port = require_identity(Home(home), now()).broker.port
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        instead = f"\nport = {held.getsockname()[1]}\n"
        settings.write_text(settings.read_text().replace(f"\nport = {port}\n", instead))
        yield


AWS_OWN = "a1b2c3-ats.iot.eu-central-1.amazonaws.com"


@pytest.mark.parametrize(
    ("host", "port", "second"),
    [(AWS_OWN, 8883, AWS_FALLBACK), (AWS_OWN, 18883, None), ("broker.example", 8883, None)],
)
def test_on_aws_it_is_443_unless_the_broker_has_a_name_or_a_port_of_its_own(
    monkeypatch: pytest.MonkeyPatch, host: str, port: int, second: MqttFallback | None
) -> None:
    services: list[Service] = []

    def noting(service: Service) -> Dispatch:
        services.append(service)
        return build_app(service)

    monkeypatch.setattr(aws, "build_app", noting)
    account = Account("arn:aws:iot:eu-central-1:000000000000")
    stack = aws.StackSettings("kb", "table", account, "eu-central-1", host, port)
    aws.build_enrollment(stack, ministack.shared().client, roots="").close()
    (service,) = services
    assert (service.broker.port, service.broker.fallback) == (port, second)
