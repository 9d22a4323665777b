"""What tests of a device meet: a home, a service and a broker that answer as a test tells them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from keyborn.device.agent.run import Agent
from keyborn.device.home import Home
from support.device_home import Machine, home_in, identify
from support.rude_broker import RudeBroker, rude_broker
from support.rude_service import RudeService, rude_service


@pytest.fixture
def service(tmp_path: Path) -> Iterator[RudeService]:
    with rude_service(tmp_path) as running:
        yield running


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[RudeBroker]:
    with rude_broker(tmp_path) as running:
        yield running


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home that does not exist yet."""
    return home_in(tmp_path)


@pytest.fixture
def enrolled(tmp_path: Path, broker: RudeBroker) -> Home:
    """The same home with an identity, as an enrolment that named ``broker`` leaves it."""
    home = home_in(tmp_path)
    identify(home, broker=(broker.host, broker.port))
    return home


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The agent's waits, each cut to a moment."""
    told: list[float] = []
    sleep = Agent._sleep

    def short(self: Agent, seconds: float) -> None:
        told.append(seconds)
        sleep(self, min(seconds, 0.02))

    monkeypatch.setattr(Agent, "_sleep", short)
    return told
