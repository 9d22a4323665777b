"""The enrolment function as Lambda starts it: what it imports is bounded, and so is its memory."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from support import ministack, packages
from support.function_start import Place, Start, place, start, unpack

MOST_MIB = 128
ENROLLMENTS = 20
NEVER = {
    "anyio._backends",
    "boto3",
    "cffi",
    "click",
    "cryptography.hazmat.primitives.serialization.pkcs12",
    "cryptography.hazmat.primitives.serialization.pkcs7",
    "difflib",
    "email.mime",
    "h11",
    "httptools",
    "idna",
    "jwt",
    "keyborn.adapters.asking",
    "keyborn.adapters.aws.bytecode",
    "keyborn.adapters.aws.models",
    "keyborn.adapters.aws.package",
    "keyborn.adapters.aws.smoke",
    "keyborn.adapters.aws.stack",
    "keyborn.adapters.backup",
    "keyborn.adapters.broker",
    "keyborn.adapters.ca",
    "keyborn.adapters.memory",
    "keyborn.adapters.sql",
    "keyborn.adapters.workers",
    "keyborn.cli",
    "keyborn.device",
    "keyborn.domain.access_policy.evaluate",
    "keyborn.domain.access_policy.explain",
    "keyborn.domain.access_policy.lint",
    "keyborn.domain.access_policy.parse",
    "keyborn.http.admin",
    "keyborn.http.cycle",
    "keyborn.http.metrics",
    "keyborn.http.observing",
    "keyborn.http.protocol",
    "keyborn.http.server",
    "keyborn.testing",
    "multiprocessing",
    "paho",
    "pycparser",
    "python_multipart",
    "s3transfer",
    "sqlite3",
    "starlette.middleware.cors",
    "starlette.schemas",
    "starlette.staticfiles",
    "starlette.templating",
    "starlette.testclient",
    "unittest",
}
"""What enrolling has no need for; each was, or would be, a part of every cold start."""
LATE = {"encodings", "stringprep", "cryptography.hazmat.backends", "cryptography.hazmat.bindings.openssl"}
"""What Python and cryptography import by themselves, at the first host name and the first signature: 5 ms."""
MOST_MODULES = 660
"""At the time of writing 625, more than half of them botocore's and what it needs; 540 before groups."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    code = packages.kept(packages.run_folder(tmp_path_factory), packages.own_target())
    return unpack(code, tmp_path_factory.mktemp("function"))


@pytest.fixture(scope="module")
def somewhere() -> Place:
    return place(ministack.shared(), f"start-{os.getpid()}")


@pytest.fixture(scope="module")
def busy(folder: Path, somewhere: Place) -> Start:
    """A function that was started for a first device and has enrolled more."""
    events = somewhere.enrollments([f"{somewhere.table}-{number}" for number in range(ENROLLMENTS)])
    return start("serve", folder, environment=somewhere.environment, events=events)


def of(modules: frozenset[str], unwanted: set[str]) -> set[str]:
    """Those of the modules that are unwanted, or inside what is."""
    return {name for name in modules if any(name == one or name.startswith(f"{one}.") for one in unwanted)}


def test_starting_imports_nothing_that_enrolling_does_not_need(folder: Path, somewhere: Place) -> None:
    begun = start("function", folder, environment=somewhere.environment)
    assert of(begun.modules, NEVER) == set()
    assert len(begun.modules) <= MOST_MODULES


def test_enrolling_imports_nothing_of_it_later_either(busy: Start) -> None:
    assert of(busy.modules, NEVER) == set()


def test_the_first_device_waits_for_hardly_any_import(folder: Path, somewhere: Place, busy: Start) -> None:
    """What every invocation needs belongs into the start, where Lambda gives a whole processor."""
    begun = start("function", folder, environment=somewhere.environment)
    late = busy.modules - begun.modules
    assert late - of(late, LATE) == set()


def test_memory_stays_within_the_smallest_function_of_lambda(
    busy: Start, figure: Callable[[str], None]
) -> None:
    assert [one.status for one in busy.answers] == [201] * ENROLLMENTS
    figure(f"the enrolment function's peak memory after {ENROLLMENTS} enrolments: {busy.peak:.0f} MiB")
    assert busy.peak <= MOST_MIB


def test_every_module_of_the_function_comes_compiled(folder: Path) -> None:
    """Lambda could write no bytecode, and would compile them at every cold start."""
    sources = set(folder.rglob("*.py"))
    compiled = {path.parent.parent / f"{path.name.partition('.')[0]}.py" for path in folder.rglob("*.pyc")}
    assert compiled == sources
