"""Groups and moves as an operator types them, at a running service and at a data folder without one."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from keyborn.cli.main import cli
from support.group_stage import WEBHOOK, maker_pem, text
from support.server import Server, running


@pytest.fixture(scope="module", params=["running", "stopped"])
def desk(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:  # noqa: ANN401 - yields
    folder = tmp_path_factory.mktemp("served")
    with running(folder) as server:
        if request.param == "stopped":
            server.stop()
        yield Desk(server)


class Desk:
    """Commands at one data folder, in this process."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def run(self, *words: str, code: int = 0, typed: str = "") -> Result:
        words = (*words, "--data", str(self._server.data))
        done = CliRunner().invoke(cli, words, input=typed)
        assert done.exit_code == code, f"{words}: {done.output} {done.exception!r}"
        return done

    def json(self, *words: str, typed: str = "") -> Any:  # noqa: ANN401 - JSON
        return json.loads(self.run(*words, "--json", typed=typed).stdout)

    def put(self, **given: object) -> Any:  # noqa: ANN401 - JSON
        return self.json("group", "put", "-", typed=text(**given))

    def refused(self, *words: str, typed: str = "") -> str:
        return str(self.run(*words, code=1, typed=typed).exception)


def test_a_group_from_its_file_to_its_removal(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "maker.pem").write_text(maker_pem())
    file = tmp_path / "line-1.toml"
    file.write_text(
        'name = "line-1"\nthings = "a-*"\nmethods = ["factory"]\n'
        '[factory]\nauthorities-file = "maker.pem"\nname = "{common_name}"\n'
    )
    assert desk.run("group", "put", str(file)).stdout == "line-1 is kept, version 1, in force now.\n"
    assert desk.run("group", "put", str(file)).stdout == "line-1 is kept, version 1, in force now.\n"
    (row,) = [row for row in desk.json("group", "list") if row["groupName"] == "line-1"]
    assert (row["things"], row["methods"], row["enrolled"], row["usable"]) == ("a-*", ["factory"], 0, True)
    assert "a-*     factory  0 " in desk.run("group", "list").stdout
    shown = desk.run("group", "show", "line-1").stdout
    assert "methods        factory\n" in shown
    assert maker_pem() in shown
    document = desk.run("group", "show", "line-1", "--document").stdout
    assert desk.run("group", "put", "-", typed=document).stdout.startswith("line-1 is kept, version 1")
    assert desk.run("group", "remove", "line-1").stdout.startswith("line-1 is removed.")
    assert "There is no group called line-1" in desk.refused("group", "show", "line-1").replace("'", "")


def test_a_webhook_s_secret_is_printed_once(desk: Desk) -> None:
    hooked = {"name": "hooked", "things": "h-*", "methods": ["token + webhook"], "webhook": WEBHOOK}
    out = desk.run("group", "put", "-", typed=text(**hooked)).stdout
    secret = out.splitlines()[-1]
    assert "shown only now" in out
    assert secret.startswith("whsec_")
    again = desk.run("group", "put", "-", typed=text(**hooked, limit=3)).stdout
    assert again == "hooked is kept, version 2, in force now.\n"
    assert secret not in json.dumps(desk.json("group", "show", "hooked"))
    assert secret not in json.dumps(desk.json("audit", "show"))


def test_what_lint_calls_an_error_is_refused_and_a_warning_is_told(desk: Desk) -> None:
    wide = text(name="wide", things="*")
    assert "warning: things: The group may give any name" in desk.run("group", "put", "-", typed=wide).stderr
    assert "The group may give any name" in desk.refused("group", "put", "-", "--strict", typed=wide)
    assert "reserved for the service" in desk.refused("group", "put", "-", typed=text(things="keyborn-*"))
    bare = text(name="bare", things="bare-*", give={"policies": ["nobody"]})
    assert "keyborn policy put nobody FILE" in desk.refused("group", "put", "-", typed=bare)
    assert "keyborn policy put nobody FILE" in desk.refused("group", "put", "-", "--dry-run", typed=bare)
    desk.run("group", "remove", "wide")


def test_a_trial_keeps_nothing(desk: Desk) -> None:
    done = desk.run("group", "put", "-", "--dry-run", typed=text(name="trial", things="?"))
    assert done.stdout == "trial could be kept; nothing was.\n"
    assert "any name" in done.stderr
    assert "trial" not in desk.run("group", "list").stdout
    told = desk.json("group", "put", "-", "--dry-run", typed=text(name="trial", things="?"))
    assert [each["code"] for each in told["findings"]] == ["any_name"]


def test_moves_want_a_thing_and_a_group_that_are_there(desk: Desk) -> None:
    for words in (
        ("release-key", "nobody-1"),
        ("move", "nobody-1", "--no-group"),
        ("set", "nobody-1", "a=1"),
    ):
        assert "There is no thing called" in desk.refused("thing", *words)


@pytest.mark.parametrize(
    "words",
    [
        ("release-key", "a", "--for", "1h", "--end"),
        ("move", "a"),
        ("move", "a", "--group", "b", "--no-group"),
        ("set", "a"),
        ("set", "a", "b"),
        ("set", "a", "=b"),
        ("set", "a", "b=1", "b=2"),
    ],
)
def test_slips_are_usage_errors(desk: Desk, words: tuple[str, ...]) -> None:
    desk.run("thing", *words, code=2)
