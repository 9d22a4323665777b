"""A party of devices and services on the module's server."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.server import Server
from support.talker import Party


@pytest.fixture
def party(server: Server, tmp_path: Path) -> Iterator[Party]:
    """Every client of it is ended with the test."""
    party = Party(server, tmp_path)
    yield party
    party.end()
