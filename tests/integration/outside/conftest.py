"""Whom the service asks: real servers with TLS, each as rude as a test wants it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.issuer import Provider, provider
from support.rude_service import RudeService, rude_service


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RudeService]:
    with rude_service(tmp_path) as running:
        yield running


@pytest.fixture
def issuer(tmp_path: Path) -> Iterator[Provider]:
    with provider(tmp_path) as running:
        yield running
