"""``keyborn renew`` and ``look`` as typed, with a service that refuses, or has another clock."""

from collections.abc import Iterator
from datetime import timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from keyborn.device.home import Home
from support.agent_stage import running
from support.device import keyborn, keyborn_json
from support.device_home import DAY, home_in, identify, now
from support.device_pki import Wanted
from support.renewing_service import RENEW, Renewing, renewing_service
from support.rude_broker import CONNECT, Packet, RudeBroker, accept

NOT_AUTHORIZED = b"\x20\x03\x00\x87\x00"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Renewing]:
    with renewing_service(tmp_path) as standing:
        yield standing


def enrolled(tmp_path: Path, broker: RudeBroker, service: Renewing, wanted: Wanted | None = None) -> Home:
    home = home_in(tmp_path)
    wish = wanted or Wanted(start=now() - DAY, end=now() + 89 * DAY)
    identify(home, broker=(broker.host, broker.port), code=service.service.code(), wanted=wish)
    service.know(home.certificate.read_bytes())
    return home


def turned_away(packet: Packet, level: int) -> bytes | None:
    return NOT_AUTHORIZED if packet.kind == CONNECT else accept(packet, level)


def test_a_refusal_is_said_once_and_nothing_is_said_to_go_on(
    tmp_path: Path, broker: RudeBroker, service: Renewing
) -> None:
    """Of a revoked device the broker's words are a note, the service's are the answer."""
    home = enrolled(tmp_path, broker, service)
    broker.answer = turned_away
    service.service.script(RENEW, service.refuse(403, "thing_revoked", detail="it is revoked"))
    said = keyborn("renew", "--now", "--home", home.path, expect=1).stderr
    assert said.count("The broker refuses this device's certificate") == 1
    assert said.count("The service does not renew the certificate") == 1
    assert said.count("it is revoked") == 1
    assert "goes on" not in said
    assert said.endswith("[renewal_not_done]\n")


def test_a_device_whose_clock_is_ahead_is_told_so(
    tmp_path: Path, broker: RudeBroker, service: Renewing, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = format_datetime(now() - timedelta(days=75), usegmt=True)
    monkeypatch.setattr(BaseHTTPRequestHandler, "date_time_string", lambda _self: there)
    home = enrolled(tmp_path, broker, service, Wanted(start=now() - 80 * DAY, end=now() + 10 * DAY))
    said = keyborn("renew", "--home", home.path).stdout
    assert said.startswith("Nothing was done")
    assert "This device's clock is ahead of the service's." in said


def test_a_look_by_the_agent_does_not_say_what_it_found(
    tmp_path: Path, broker: RudeBroker, service: Renewing
) -> None:
    home = enrolled(tmp_path, broker, service)
    with running(home) as agent:
        agent.connects()
        told = keyborn_json("look", "--home", home.path)
    assert told == {"thing": "gateway-1", "agent": True, "changed": None}
