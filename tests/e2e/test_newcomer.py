"""A newcomer's first hour with real servers: what was printed goes in, a second service takes nothing."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.device import keyborn
from support.server import Server, running


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Server]]:
    ours, theirs = (tmp_path_factory.mktemp(name) for name in ("ours", "theirs"))
    with running(ours) as first, running(theirs) as second:
        yield first, second


def created(server: Server, thing: str) -> str:
    return keyborn("token", "create", "--thing", thing, "--data", server.data).stdout


def test_all_that_token_create_printed_enrolls_and_the_next_line_works(
    servers: tuple[Server, Server], tmp_path: Path
) -> None:
    saved, home = tmp_path / "token.txt", tmp_path / "a home"
    saved.write_text(created(servers[0], "new-1"))
    done = keyborn("enroll", "--code-file", saved, "--thing", "new-1", "--home", home)
    following = done.stdout.splitlines()[-1].removeprefix("Next: keyborn ").partition(" --home ")
    assert following[2] == f"'{home}'"
    assert keyborn(*following[0].split(), "--home", home).stdout == "delivered\n"
    assert keyborn("publish", "certtest/new-1", "-5.2", "--home", home).stdout == "delivered\n"


@pytest.mark.needs("faketime")
@pytest.mark.parametrize("years", [0, 3])
def test_a_second_service_s_code_never_takes_an_identity_whatever_the_clock_says(
    servers: tuple[Server, Server], tmp_path: Path, years: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, thing = tmp_path / "home", f"new-{years}-years"
    keyborn("enroll", "-", "--thing", thing, "--home", home, typed=created(servers[0], thing))
    before = {path.name: path.read_bytes() for path in home.iterdir()}
    foreign = created(servers[1], thing)
    if years:
        monkeypatch.setenv("LD_PRELOAD", library())
        monkeypatch.setenv("FAKETIME", f"+{years}y")
    state = json.loads(keyborn("status", "--home", home, "--json", expect=None).stdout)["state"]
    assert state == ("expired" if years else "ready")
    refused = keyborn("enroll", "-", "--home", home, typed=foreign, expect=1)
    assert servers[1].about["url"] in refused.stderr
    assert servers[0].about["url"] in refused.stderr
    assert refused.stderr.rstrip().endswith("[other_service]")
    assert {path.name: path.read_bytes() for path in home.iterdir()} == before


def library() -> str:
    return next(str(path) for path in Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))


def test_one_word_too_few_or_too_many_is_an_answer(tmp_path: Path) -> None:
    assert "Did you mean 'enroll'?" in keyborn("enrol", "-", expect=2).stderr
    home = os.fspath(tmp_path / "home")
    assert "Give the enrolment code" in keyborn("enroll", "--thing", "a", "--home", home, expect=2).stderr
    assert not Path(home).exists()
