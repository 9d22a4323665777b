"""What an operator's command says besides yes and no: what comes next, and the way out of a refusal."""

import json
import time
from pathlib import Path

import pytest

from support.device import enroll, keyborn, keyborn_json
from support.server import Server, running

CONNECT = {"Effect": "Allow", "Action": "iot:Connect", "Resource": "arn:aws:iot:*:*:client/x"}
MISTAKE = {"Effect": "Allow", "Action": "iot:Subscribe", "Resource": "arn:aws:iot:*:*:topic/x"}


def written(path: Path, *statements: dict[str, str]) -> Path:
    path.write_text(json.dumps({"Version": "2012-10-17", "Statement": list(statements)}))
    return path


@pytest.mark.parametrize(
    ("wish", "name"),
    [(("--thing", "pump-1"), "pump-1"), (("--match", "pump-*"), "NAME"), ((), "NAME")],
)
def test_a_token_says_the_command_that_takes_it(server: Server, wish: tuple[str, ...], name: str) -> None:
    told = keyborn("token", "create", *wish, "--data", server.data).stdout
    assert f"keyborn enroll - --thing {name}\n" in told


def test_a_token_of_a_group_says_which(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "hints.toml"
    file.write_text('name = "hints"\nthings = "hint-*"\nmethods = ["token"]\n')
    keyborn("group", "put", file, "--data", server.data)
    told = keyborn("token", "create", "--match", "hint-*", "--group", "hints", "--data", server.data).stdout
    assert ["group", "hints"] in [line.split() for line in told.splitlines()]


def test_a_code_under_another_name_says_to_name_the_right_one(server: Server, tmp_path: Path) -> None:
    code = server.token(thing="pump-2")["code"]
    words = ("enroll", "-", "--thing", "elsewhere", "--home", tmp_path / "home")
    assert "(--thing)" in keyborn(*words, typed=code, expect=1).stderr


def test_a_first_put_says_how_to_attach_and_a_second_does_not(server: Server, tmp_path: Path) -> None:
    put = ("policy", "put", "fresh", tmp_path / "fresh.json", "--data", server.data)
    written(tmp_path / "fresh.json", CONNECT)
    next_one = f"Next: keyborn policy attach fresh --thing NAME --data {server.data}\n"
    assert next_one in keyborn(*put).stdout
    written(tmp_path / "fresh.json", CONNECT | {"Sid": "Changed"})
    assert "version 2" in (told := keyborn(*put).stdout)
    assert "Next" not in told


@pytest.mark.parametrize("words", [("policy", "put", "wrong"), ("service", "add", "wrong", "--policy")])
def test_a_refused_document_says_where_its_correction_is(
    server: Server, tmp_path: Path, words: tuple[str, ...]
) -> None:
    file = written(tmp_path / "wrong.json", CONNECT, MISTAKE)
    refused = keyborn(*words, file, "--data", server.data, expect=1).stderr
    assert "statement 2, Resource" in refused
    assert f"`keyborn policy lint {file}` says what to write instead" in refused
    assert "Write instead:" in keyborn("policy", "lint", file, expect=1).stdout


def test_lists_and_the_trail_say_who_has_which_policy_and_why(server: Server, tmp_path: Path) -> None:
    data = ("--data", server.data)
    enroll(tmp_path / "lamp", server.token(thing="lamp")["code"], "lamp")
    keyborn("policy", "put", "extra", written(tmp_path / "extra.json", CONNECT), *data)
    keyborn("policy", "attach", "extra", "--thing", "lamp", *data)
    keyborn("thing", "suspend", "lamp", "--reason", "on the bench", *data)
    (row,) = [line for line in keyborn("thing", "list", *data).stdout.splitlines() if "lamp" in line]
    assert "keyborn-default, extra" in row
    trail = keyborn("audit", "show", *data).stdout.splitlines()
    assert trail[-1].endswith("reason: on the bench")
    assert trail[-2].endswith("policy: extra")
    (enrolled,) = [line for line in trail if " enroll " in line and " lamp " in line]
    assert "…" in enrolled, "of a hash its beginning"
    shown = keyborn("policy", "simulate", "--thing", "lamp", "--action", "connect", *data).stdout
    assert "But now the broker does not let it in at all: lamp is suspended." in shown


@pytest.mark.parametrize(
    ("action", "topic"), [("publish", "a/#"), ("receive", "a/+"), ("retain", ""), ("subscribe", "a/#/b")]
)
def test_nothing_is_simulated_that_no_broker_takes(server: Server, action: str, topic: str) -> None:
    words = ("policy", "simulate", "--thing", "any", "--action", action, "--topic", topic)
    assert "[invalid_topic]" in keyborn(*words, "--data", server.data, expect=1).stderr


def test_what_cannot_be_undone_says_what_can_be_done(server: Server, tmp_path: Path) -> None:
    data = ("--data", server.data)
    enroll(tmp_path / "gone", server.token(thing="gone")["code"], "gone")
    keyborn("thing", "retire", "gone", *data)
    refused = keyborn("thing", "activate", "gone", *data, expect=1).stderr
    assert "The thing gone is retired" in refused
    assert "--replace" in refused


def test_remove_prints_json_as_its_sisters_do(server: Server, tmp_path: Path) -> None:
    keyborn("policy", "put", "short", written(tmp_path / "short.json", CONNECT), "--data", server.data)
    assert keyborn_json("policy", "remove", "short", "--data", server.data) == {"policyName": "short"}


def test_a_service_is_not_begun_where_no_server_runs(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        data = ("--data", server.data)
    file, begun = written(tmp_path / "some.json", CONNECT), time.monotonic()
    refused = keyborn("service", "add", "late", "--policy", file, *data, expect=1).stderr
    assert time.monotonic() - begun < 20, "it does not wait for a server that is not there"
    assert "[server_not_running]" in refused
    assert "service-late" not in keyborn("policy", "list", *data).stdout


def test_a_wrong_folder_says_how_to_name_the_right_one(tmp_path: Path) -> None:
    refused = keyborn("thing", "list", "--data", tmp_path / "nowhere", expect=1).stderr
    assert "--data DIR" in refused
    assert "[data_folder_missing]" in refused


@pytest.mark.parametrize("group", ["token", "thing", "policy", "service", "ca", "audit", "messages"])
def test_no_summary_in_a_list_of_commands_is_cut_off(group: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    assert "..." not in keyborn(group, "--help").stdout.partition("Commands:")[2]
