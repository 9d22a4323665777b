from collections.abc import Iterator

import pytest

from support.server import Server, running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One real server for the tests of a module."""
    with running(tmp_path_factory.mktemp("server")) as server:
        yield server
