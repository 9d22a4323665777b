"""An operator's slips around policies and services: no lie, no traceback, nothing done by half."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from keyborn.policies import device_policy
from support.device import keyborn, keyborn_json
from support.server import Server, running
from support.talker import LISTENS, Party, service_policy

NO_TEXT = b"\xff".decode(errors="surrogateescape")
"""A byte that is no UTF-8, as the command line hands it over."""


@pytest.fixture(scope="module")
def device(server: Server, tmp_path_factory: pytest.TempPathFactory) -> str:
    return Party(server, tmp_path_factory.mktemp("device")).device("gateway").name


@pytest.fixture
def document(tmp_path: Path) -> Path:
    path = tmp_path / "service.json"
    path.write_text(service_policy("dash", LISTENS))
    return path


@pytest.mark.parametrize(
    "words",
    [
        ("thing", "show", NO_TEXT),
        ("thing", "revoke", NO_TEXT),
        ("thing", "suspend", "gateway", "--reason", NO_TEXT),
        ("policy", "show", NO_TEXT),
        ("policy", "attach", NO_TEXT, "--thing", "gateway"),
        ("policy", "simulate", "--thing", "gateway", "--action", "publish", "--topic", NO_TEXT),
        ("service", "revoke", NO_TEXT),
        ("token", "withdraw", NO_TEXT),
        ("watch", NO_TEXT),
    ],
)
def test_bytes_that_are_no_text_get_a_sentence(server: Server, device: str, words: tuple[str, ...]) -> None:
    assert device == "gateway"
    asked: list[str | bytes | Path] = [
        sys.executable,
        "-m",
        "keyborn",
        *map(os.fsencode, words),
        "--data",
        server.data,
    ]
    done = subprocess.run(asked, capture_output=True, timeout=60, check=False)
    assert done.returncode in (1, 2)
    assert b"Traceback" not in done.stderr
    assert b"thingName and csr" not in done.stderr, "that is what devices send"


@pytest.mark.parametrize("name", ["", "a/b", "..", "x y", "a/policies"])
def test_a_policy_that_cannot_be_is_simply_not_there(server: Server, device: str, name: str) -> None:
    data = ("--data", server.data)
    for words in (("show", name), ("remove", name), ("attach", name, "--thing", device)):
        refused = keyborn("policy", *words, *data, expect=1).stderr
        assert refused.startswith("keyborn: There is no policy called "), words
    refused = keyborn("policy", "detach", name, "--thing", device, *data, expect=1).stderr
    assert refused.startswith("keyborn: There is no policy called ")
    refused = keyborn("policy", "attach", "keyborn-default", "--thing", name, *data, expect=1).stderr
    assert refused.startswith("keyborn: There is no thing called ")


def test_a_policy_cannot_be_put_under_a_name_with_a_slash(server: Server, document: Path) -> None:
    refused = keyborn("policy", "put", "a/b", document, "--data", server.data, expect=1)
    assert "invalid_policy_name" in refused.stderr


def test_a_filter_that_is_none_is_refused_before_anybody_is_asked(server: Server) -> None:
    for topic_filter in ("", "a/#/b", "a+", "x#y"):
        refused = keyborn("watch", topic_filter, "--data", server.data, expect=1)
        assert "Traceback" not in refused.stderr
        assert "[invalid_topic]" in refused.stderr


def test_a_document_of_sixteen_kilobytes_with_its_white_space_can_be_put(
    server: Server, tmp_path: Path
) -> None:
    path = tmp_path / "airy.json"
    path.write_text(json.dumps(json.loads(device_policy()), indent=4) + "\n" * 14000)
    assert keyborn("policy", "lint", path).returncode == 0
    keyborn("policy", "put", "airy", path, "--data", server.data)


def test_no_document_draws_on_the_terminal(server: Server, device: str, tmp_path: Path) -> None:
    data = ("--data", server.data)
    path = tmp_path / "drawing.json"
    drawing = "\u009b31m\u202e\u007f\\u001b[2J\\nALLOWED"
    path.write_text(device_policy().replace("certtest", drawing))
    keyborn("policy", "put", "drawing", path, *data)
    shown = keyborn("policy", "show", "drawing", *data).stdout
    simulated = keyborn(
        *(
            "policy",
            "simulate",
            "--thing",
            device,
            "--action",
            "publish",
            "--topic",
            "x",
            "--policy",
            path,
            *data,
        )
    ).stdout
    for text in (shown, simulated):
        assert all(char.isprintable() for char in text.replace("\n", ""))
        assert "\\x9b31m" in text
        assert not any(line.startswith("ALLOWED") for line in text.splitlines())
    whole = keyborn("policy", "show", "drawing", "--document", *data).stdout
    assert whole.rstrip() == path.read_text().rstrip(), "for a file it is what was put"


def test_simulate_takes_nothing_that_it_would_not_look_at(server: Server, device: str) -> None:
    asked = ("policy", "simulate", "--thing", device, "--action", "connect", "--data", server.data)
    assert "--client-id" in keyborn(*asked, "--topic", "x", expect=2).stderr
    said = keyborn_json(*asked, "--client-id", "")
    assert said["verdict"] == "denied", "an empty client id is not the thing's name"


def test_a_service_whose_name_has_a_colon_gets_its_policy(server: Server, document: Path) -> None:
    made = keyborn_json("service", "add", "plant:dash", "--policy", document, "--data", server.data)
    assert made["policy"] == "service-plant.dash"
    (row,) = [
        row
        for row in keyborn_json("service", "list", "--data", server.data)
        if row["thingName"] == "plant:dash"
    ]
    assert row["policies"] == ["service-plant.dash"]


def test_a_refusal_names_a_command_that_exists(server: Server, device: str, document: Path) -> None:
    data = ("--data", server.data)
    keyborn("service", "add", "kindly", "--policy", document, *data)
    for words in (("thing", "suspend", "kindly"), ("service", "revoke", device)):
        refused = keyborn(*words, *data, expect=1).stderr
        command = refused.partition("see: keyborn ")[2].partition(" [")[0].split()
        keyborn(*command, *data)


def test_a_revoked_service_is_not_said_to_have_its_identity(server: Server, document: Path) -> None:
    data = ("--data", server.data)
    add = ("service", "add", "dash", "--policy", document, *data)
    first = keyborn_json(*add)
    assert "had its identity" in keyborn(*add).stdout
    keyborn("service", "revoke", "dash", *data)
    tokens = keyborn_json("token", "list", *data)
    for more in ((), ("--replace",)):
        refused = keyborn(*add, *more, expect=1).stderr
        assert "[identity_taken_away]" in refused
        assert first["home"] in refused
    assert keyborn_json("token", "list", *data) == tokens, "nobody was invited"
    shutil.move(first["home"], first["home"] + ".old")
    assert keyborn_json(*add, "--replace")["obtained"]


def test_a_revoked_watch_says_how_it_comes_back(server: Server, device: str) -> None:
    data = ("--data", server.data)
    keyborn("service", "add", "keyborn-watch", "--policy", "/dev/null", *data, expect=1)
    watching = subprocess.Popen(
        [sys.executable, "-m", "keyborn", "watch", "x", *map(str, data)], stderr=subprocess.PIPE, text=True
    )
    assert watching.stderr is not None
    assert watching.stderr.readline().startswith("Watching x")
    assert "Open sessions closed: 1" in keyborn("service", "revoke", "keyborn-watch", *data).stdout
    assert watching.wait(20) == 1
    watching.stderr.close()
    for _ in range(2):
        refused = keyborn("watch", "x", *data, expect=1).stderr
        assert "[identity_taken_away]" in refused
        assert str(server.data / "services" / "keyborn-watch") in refused


def test_without_a_server_a_service_that_cannot_be_added_changes_nothing(
    tmp_path: Path, document: Path
) -> None:
    with running(tmp_path):
        pass
    data = ("--data", tmp_path / "server")
    keyborn("service", "add", "late", "--policy", document, *data, expect=1)
    assert [row["policyName"] for row in keyborn_json("policy", "list", *data)] == ["keyborn-default"]
