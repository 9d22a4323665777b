"""A deployed stack for every test process that needs one."""

from collections.abc import Iterator

import pytest

from support.aws_party import Party, open_party


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Party]:
    """Deployed once in a process; functions run two at a time, and what is beyond is refused."""
    with open_party(tmp_path_factory, LAMBDA_ACCOUNT_CONCURRENCY="2") as party:
        party.deploy()
        yield party
