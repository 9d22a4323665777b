"""Devices that wait for a person, against a running server: approved, refused, swapped, by the thousand."""

import http.client
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from keyborn.cli.console import ask
from keyborn.device.agent.enrolling import FILE
from keyborn.device.home import Home
from keyborn.device.waiting import noted
from keyborn.domain.approval import key_words
from keyborn.domain.csr import parse_csr
from support.agent_stage import SOON, Process
from support.csr_make import make_csr
from support.device import keyborn, keyborn_json
from support.device_home import eventually, home_in
from support.figures import Figure
from support.server import Answer, Server, running
from support.walks import FULL

MANY = 10_000 if FULL else 300
EACH = 90
"""Requests from one address: fewer than an address may bring at once."""


@pytest.fixture(scope="module")
def asking(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Server:
    """The server with a group that asks first."""
    file = tmp_path_factory.mktemp("groups") / "yard.toml"
    file.write_text(
        f'name = "yard"\nthings = "*"\nmethods = ["ask"]\n[ask]\npending = {MANY}\n', encoding="utf-8"
    )
    keyborn("group", "put", file, "--data", server.data)
    return server


def code_of(server: Server) -> str:
    """An enrolment code of that group."""
    return keyborn("group", "code", "yard", "--data", server.data).stdout.splitlines()[-1]


@contextmanager
def enrolling(server: Server, home: Home, thing: str) -> Iterator[subprocess.Popen[str]]:
    """A device that enrolls, in a process of its own."""
    words = ["enroll", "-", "--thing", thing, "--home", str(home.path), "--json"]
    process = subprocess.Popen(
        [sys.executable, "-m", "keyborn", *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    process.stdin.write(code_of(server))
    process.stdin.close()
    process.stdin = None
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def shown(home: Home) -> dict[str, Any]:
    """What the device shows once it waits."""
    eventually(lambda: noted(home) is not None)
    note = noted(home)
    assert note is not None
    return dict(note)


def post(server: Server, name: str, csr: str) -> Answer:
    return server.post("/v1/enroll", {"thingName": name, "csr": csr, "group": "yard"})


def words_of(csr: str) -> str:
    return key_words(parse_csr(csr).key_hash)


def test_a_device_waits_is_approved_and_has_its_identity(asking: Server, tmp_path: Path, thing: str) -> None:
    home = home_in(tmp_path)
    with enrolling(asking, home, thing) as device:
        note = shown(home)
        told = keyborn("status", "--home", home.path, expect=1).stdout
        assert note["approval"] in told
        assert note["words"] in told
        rows = keyborn_json("approval", "list", "--data", asking.data)
        [row] = [row for row in rows if row["thingName"] == thing]
        assert (row["code"], row["words"], row["state"]) == (note["approval"], note["words"], "pending")
        amiss = ("approval", "approve", row["code"], "--words", "a-b-c-d")
        wrong = keyborn(*amiss, "--data", asking.data, expect=1)
        assert "key_words_differ" in wrong.stderr
        words = ("approval", "approve", row["code"].lower(), "--words", note["words"])
        assert keyborn_json(*words, "--data", asking.data)["state"] == "approved"
        out, err = device.communicate(timeout=30)
        assert device.returncode == 0, err
    assert json.loads(out)["thing"] == thing
    assert noted(home) is None
    trail = [
        each for each in keyborn_json("audit", "show", "--data", asking.data) if each["subject"] == thing
    ]
    assert [each["action"] for each in trail] == ["approval.ask", "approval.approve", "enroll"]


@pytest.mark.slow
def test_a_device_that_is_refused_ends_and_says_so(asking: Server, tmp_path: Path, thing: str) -> None:
    home = home_in(tmp_path)
    with enrolling(asking, home, thing) as device:
        code = shown(home)["approval"]
        keyborn("approval", "refuse", code, "--reason", "nobody there", "--data", asking.data)
        _, err = device.communicate(timeout=30)
    assert device.returncode == 1
    assert json.loads(err)["code"] == "approval_refused"
    assert "nobody there" not in err
    assert keyborn("thing", "show", thing, "--data", asking.data, expect=1).stdout == ""


def test_a_request_that_was_swapped_is_not_what_gets_approved(asking: Server, thing: str) -> None:
    """Whoever stands between brings a key of their own; the operator has the words of the device."""
    (_, own), (_, swapped) = make_csr(thing), make_csr(thing)
    answer = post(asking, thing, swapped)
    assert (answer.status, answer.json["words"]) == (202, words_of(swapped))
    assert answer.json["words"] != words_of(own), "the device compares, and stops here"
    code = answer.json["approval"]
    refused = keyborn("approval", "approve", code, "--words", words_of(own), "--data", asking.data, expect=1)
    assert "key_words_differ" in refused.stderr
    assert post(asking, thing, swapped).status == 202
    mine = post(asking, thing, own).json
    listed = keyborn("approval", "list", "--data", asking.data).stdout
    assert f"2 requests are for {thing}" in listed
    keyborn("approval", "approve", mine["approval"], "--words", words_of(own), "--data", asking.data)
    assert post(asking, thing, swapped).status == 202, "another key is another request"
    assert post(asking, thing, own).status == 201
    assert post(asking, thing, own).status == 200


def test_the_answer_while_a_person_decides_is_what_the_interface_says(asking: Server, thing: str) -> None:
    answer = post(asking, thing, make_csr(thing)[1])
    assert answer.status == 202
    assert answer.headers["retry-after"] == "5"
    assert answer.headers["content-type"] == "application/json"
    assert set(answer.json) == {"status", "approval", "words", "detail"}
    assert answer.json["status"] == "pending"


def test_without_a_yes_nothing_is_decided(asking: Server, thing: str) -> None:
    code = post(asking, thing, make_csr(thing)[1]).json["approval"]
    words = ("approval", "approve", code, "--data", asking.data)
    for typed in ("", "n\n", "perhaps\n"):
        said = keyborn(*words, typed=typed, expect=None)
        assert said.returncode in (1, 130), said
    assert keyborn_json("approval", "show", code, "--data", asking.data)["state"] == "pending"
    assert keyborn("approval", "approve", code, "--json", "--data", asking.data, expect=2).stdout == ""
    done = keyborn(*words, typed="y\n").stdout
    assert f"{thing} ({code}) is approved" in done


def test_requests_are_shown_as_they_come(asking: Server, thing: str) -> None:
    post(asking, thing, make_csr(thing)[1])
    count = len(keyborn_json("approval", "list", "--data", asking.data))
    said = keyborn("approval", "watch", "--count", str(count), "--json", "--data", asking.data).stdout
    assert thing in {json.loads(line)["thingName"] for line in said.splitlines()}


@pytest.mark.slow
def test_an_agent_waits_and_status_shows_what_to_compare(asking: Server, tmp_path: Path, thing: str) -> None:
    home = home_in(tmp_path)
    home.prepare()
    (home.path / FILE).touch(mode=0o600)
    (home.path / FILE).write_text(code_of(asking))
    agent = Process(home, tmp_path / "agent.log", "--thing", thing, *SOON)
    try:
        agent.start()
        note = shown(home)
        told = keyborn_json_any("status", "--home", home.path)
        assert (told["approval"], told["words"], told["agent"]) == (note["approval"], note["words"], True)
        assert (told["journey"], note["words"] in told["lastError"]) == ("waiting", True)
        keyborn("approval", "approve", note["approval"], "--words", note["words"], "--data", asking.data)
        agent.connected()
    finally:
        agent.close()
    assert noted(home) is None
    assert not (home.path / FILE).exists()


def keyborn_json_any(*words: str | Path) -> Any:  # noqa: ANN401 - JSON
    """As ``keyborn_json``, whatever the exit code."""
    return json.loads(keyborn(*words, "--json", expect=None).stdout)


# ── by the thousand ──


def memory_of(server: Server) -> float:
    """Resident memory of the server's process, in MiB."""
    assert server.process is not None
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


def crowd(server: Server, number: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """So many devices, each with a key of its own, a few from each address."""
    for begin in range(0, number, EACH):
        source = f"127.0.{1 + begin // EACH // 250}.{1 + begin // EACH % 250}"
        host, port = server.address
        connection = http.client.HTTPSConnection(
            host, port, timeout=20, context=server.context(), source_address=(source, 0)
        )
        for each in range(begin, min(begin + EACH, number)):
            name = f"crowd-{each}"
            body = {"thingName": name, "csr": make_csr(name)[1], "group": "yard"}
            connection.request("POST", "/v1/enroll", json.dumps(body), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            yield answer.status, json.loads(answer.read())
        connection.close()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_crowd_that_waits_exhausts_neither_memory_nor_names(tmp_path: Path, figure: Figure) -> None:
    with running(tmp_path) as server:
        file = tmp_path / "yard.toml"
        file.write_text(f'name = "yard"\nthings = "*"\nmethods = ["ask"]\n[ask]\npending = {MANY}\n')
        keyborn("group", "put", file, "--data", server.data)
        assert post(server, "first", make_csr("first")[1]).status == 202
        before = memory_of(server)
        answers = list(crowd(server, MANY))
        after = memory_of(server)
        figure(
            f"requests that wait: {MANY}, resident memory of the service {before:.0f} → {after:.0f} MiB, "
            f"{(after - before) * 1024 / MANY:.1f} KiB each"
        )
        assert [status for status, _ in answers] == [202] * (MANY - 1) + [503]
        assert answers[-1][1]["code"] == "approvals_full"
        assert after - before < 24 + MANY / 100, "what waits lies on the disk"
        assert ask(server.data, "GET", "/v1/things") == []
        secret, (_, csr) = server.token(thing="crowd-7")["secret"], make_csr("crowd-7")
        assert server.enroll("crowd-7", csr, secret).status == 201, "its name was never taken"
