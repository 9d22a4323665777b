"""Tables and hooks for the tests of the AWS adapters."""

import pytest

from support import ministack
from support.aws_faults import Faults
from support.aws_stage import Stage


@pytest.fixture
def stage() -> Stage:
    """An empty table."""
    return Stage()


@pytest.fixture
def faults() -> Faults:
    """A client of this test's own, and the hooks on it."""
    return Faults(ministack.shared().client("dynamodb"))
