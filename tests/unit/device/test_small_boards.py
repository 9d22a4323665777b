"""Dates on boards whose C library keeps time in 32 bits: certificates of AWS last beyond their 2038."""

import ast
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

import keyborn
from keyborn.device import identity
from keyborn.domain.moment import shown
from keyborn.domain.token import EnrollmentCode
from support.device_home import home_in, identify
from support.device_pki import Wanted

SOURCE = Path(keyborn.__file__).parent
END = datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC)
OF_THE_C_LIBRARY = {"fromtimestamp", "utcfromtimestamp", "mktime", "localtime", "gmtime", "ctime"}
"""They go through ``time_t``; arithmetic with ``datetime`` and ``timedelta`` does not."""


def names(folder: Path) -> Iterator[tuple[str, str]]:
    """Every attribute and name in the code of a folder, with its file."""
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute):
                yield path.name, node.attr
            elif isinstance(node, ast.Name):
                yield path.name, node.id


@pytest.mark.parametrize("folder", ["device", "domain"])
def test_no_date_goes_through_the_c_library(folder: str) -> None:
    assert [found for found in names(SOURCE / folder) if found[1] in OF_THE_C_LIBRARY] == []


def test_the_last_day_of_a_certificate_is_kept_and_shown(tmp_path: Path) -> None:
    home = home_in(tmp_path)
    identify(home, wanted=Wanted(end=END))
    read = identity.require_identity(home, datetime(2048, 1, 1, tzinfo=UTC))
    assert read.not_after == END
    assert "not_after = 2049-12-31T23:59:59+00:00" in home.settings.read_text()
    assert shown(read.not_after) == "2049-12-31T23:59:59Z"


def test_a_code_of_after_2038_is_read() -> None:
    late = datetime(2045, 6, 1, tzinfo=UTC)
    made = EnrollmentCode("https://x.example", b"", bytes(32), late, END)
    assert EnrollmentCode.decode(made.encode()) == made
