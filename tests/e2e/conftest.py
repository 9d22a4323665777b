"""One real server a module, and who meets it: a device with its agent, a party of devices and services."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from keyborn.device.home import Home
from support.agent_stage import Process
from support.device import enroll
from support.device_home import home_in
from support.server import Server, running
from support.talker import Party


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("served")) as server:
        yield server


@pytest.fixture
def party(server: Server, tmp_path: Path) -> Iterator[Party]:
    """Every client of it is ended with the test."""
    party = Party(server, tmp_path)
    yield party
    party.end()


@pytest.fixture
def thing() -> str:
    """A name that no other test's device has."""
    return f"thing-{uuid4().hex[:8]}"


@pytest.fixture
def topic(thing: str) -> str:
    """The topic that is its own, by the policy that every device has."""
    return f"certtest/{thing}"


@pytest.fixture
def home(server: Server, tmp_path: Path, thing: str) -> Home:
    """A home with that identity."""
    home = home_in(tmp_path)
    enroll(home.path, server.token(thing=thing)["code"], thing)
    return home


@pytest.fixture
def agent(home: Home, tmp_path: Path) -> Iterator[Process]:
    """One for that home, not started yet; killed with the test, if it runs then."""
    made = Process(home, tmp_path / "agent.log", "--rate", "0")
    yield made
    made.close()
