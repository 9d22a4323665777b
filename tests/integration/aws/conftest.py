"""Tables and hooks for the tests of the AWS adapters."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support import aws_saga, ministack
from support.aws_deployer import EVERYTHING, Deployer
from support.aws_faults import Faults
from support.aws_gate import Gate, open_gate
from support.aws_stage import Stage


@pytest.fixture
def stage() -> Stage:
    """An empty table."""
    return Stage()


@pytest.fixture
def faults() -> Faults:
    """A client of this test's own, and the hooks on it."""
    return Faults(ministack.shared().client("dynamodb"))


@pytest.fixture(scope="session")
def ground() -> Iterator[aws_saga.Stage]:
    """An account for whole sagas, in a stand-in of its own: everything is forgotten before each case."""
    running = ministack.start()
    yield aws_saga.make_stage(running)
    running.stop()


@pytest.fixture(scope="module")
def own_aws() -> Iterator[ministack.Ministack]:
    """A stand-in of a module's own: what is listed there is what that module made."""
    running = ministack.start(LAMBDA_ACCOUNT_CONCURRENCY="2")
    yield running
    running.stop()


@pytest.fixture(scope="module")
def gate(own_aws: ministack.Ministack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    """TLS before it."""
    with open_gate(own_aws, tmp_path_factory.mktemp("gate")) as opened:
        yield opened


@pytest.fixture
def deployer(
    own_aws: ministack.Ministack, gate: Gate, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Deployer:
    """A user of an empty account who may do everything, and whose code is built in no time."""
    own_aws.reset()
    one = Deployer(own_aws, gate, monkeypatch, tmp_path)
    one.sign_in(EVERYTHING)
    one.build()
    return one
