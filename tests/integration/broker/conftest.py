"""A running gateway for each test that asks, and the log lines it wrote."""

import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from support.broker import World, running

Refusals = Callable[..., list[str]]


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running(tmp_path) as made:
        yield made


@pytest.fixture
def refusals(caplog: pytest.LogCaptureFixture) -> Refusals:
    """The refusals logged so far that hold every one of some words."""
    caplog.set_level(logging.INFO, "keyborn.broker")

    def lines(*words: str) -> list[str]:
        return [
            line
            for line in caplog.messages
            if line.startswith("refused") and all(word in line for word in words)
        ]

    return lines
