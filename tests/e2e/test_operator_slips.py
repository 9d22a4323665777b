"""What an operator types wrong, finds empty, or meets at a bad moment: one sentence each, and no lie."""

import json
import resource
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from keyborn.cli.console import Refused, ask
from support.csr_make import make_csr
from support.device import keyborn, keyborn_json
from support.server import Server, running

ANY = ("--https", "127.0.0.1:0", "--mqtt", "127.0.0.1:0")


def test_an_empty_pattern_never_means_every_name(server: Server) -> None:
    refused = keyborn("token", "create", "--match", "", "--data", server.data, expect=1)
    assert "it is empty" in refused.stderr
    assert refused.stdout == ""


@pytest.mark.parametrize("name", ["", "a/b", "..", "ö x"])
def test_a_name_that_is_none_is_simply_not_there(server: Server, name: str) -> None:
    for words in (("thing", "show", name), ("token", "withdraw", name)):
        refused = keyborn(*words, "--data", server.data, expect=1)
        assert refused.stderr.startswith(f"keyborn: There is no {words[0]} called ")


def test_a_thing_with_a_colon_is_found_with_and_without_a_server(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        answer = server.enroll("plant:1", make_csr("plant:1")[1], server.token(thing="plant:1")["secret"])
        assert answer.status == 201
        served = keyborn_json("thing", "show", "plant:1", "--data", server.data)
    assert keyborn_json("thing", "show", "plant:1", "--data", tmp_path / "server") == served
    refused = keyborn("thing", "show", "", "--data", tmp_path / "server", expect=1)
    assert refused.stderr.startswith("keyborn: There is no thing called ")


def test_audit_verify_names_the_last_record_and_its_hash(server: Server) -> None:
    server.token(thing="first")
    verified = keyborn_json("audit", "verify", "--data", server.data)
    last = keyborn_json("audit", "show", "--last", "1", "--data", server.data)[0]
    assert verified["head"] == last["hash"]
    assert verified["records"] == last["sequence"]


def test_a_place_that_cannot_be_written_is_one_sentence(server: Server, tmp_path: Path) -> None:
    nowhere = tmp_path / "missing" / "root.pem"
    refused = keyborn("ca", "export", "--out", nowhere, "--data", server.data, expect=1)
    assert "Traceback" not in refused.stderr
    assert str(nowhere) in refused.stderr
    occupied = tmp_path / "file"
    occupied.write_text("")
    refused = keyborn("serve", "--data", occupied / "below", expect=1)
    assert "Traceback" not in refused.stderr
    assert str(occupied) in refused.stderr


def test_a_number_that_is_none_is_not_blamed_on_a_device(server: Server) -> None:
    refused = server_says(server, "/v1/audit?after=x")
    assert "after is not usable: it takes a number" in refused
    assert "csr" not in refused


def server_says(server: Server, path: str) -> str:
    with pytest.raises(Refused) as refusal:
        ask(server.data, "GET", path)
    return str(refusal.value)


@pytest.mark.parametrize(
    "words",
    [("--https", "192.0.2.1:1"), ("--name", "no_name"), ("--open-enrollment", "--https", "0.0.0.0:0")],
)
def test_a_first_start_that_fails_is_not_kept(tmp_path: Path, words: tuple[str, ...]) -> None:
    keyborn("serve", "--data", tmp_path / "server", *ANY, *words, expect=1)
    assert not (tmp_path / "server" / "server.toml").exists()
    with running(tmp_path) as server:
        assert server.request("GET", "/healthz").status == 200


def test_a_url_that_no_device_takes_is_refused_before_it_is_in_a_code(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        data = server.data
    (data / "server.toml").write_text('url = "http://gateway.example"\n')
    for words in (("serve",), ("token", "create")):
        refused = keyborn(*words, "--data", data, expect=1)
        assert "The setting url is not usable" in refused.stderr


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_a_watch_that_ends_early_does_not_say_it_is_done(tmp_path: Path, end: signal.Signals) -> None:
    with running(tmp_path) as server:
        words = [sys.executable, "-m", "keyborn", "watch", "#", "--count", "1", "--data", str(server.data)]
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as watch:
            assert watch.stderr is not None
            assert watch.stderr.readline().startswith("Watching")
            assert server.process is not None
            server.process.send_signal(end)
            _, said = watch.communicate(timeout=20)
        server.process.wait(20)
        assert watch.returncode == 1
        assert "has stopped" in said
        assert "Traceback" not in server.log.read_text()


def test_a_server_takes_all_the_descriptors_it_may_have(tmp_path: Path) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, hard), hard))
    try:
        with running(tmp_path) as server:
            assert server.process is not None
            assert resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


@pytest.mark.whole
def test_running_out_of_descriptors_does_not_flood_the_log(tmp_path: Path) -> None:
    with running(tmp_path, "--workers", "0") as server:
        assert server.process is not None
        held = descriptors(server.process.pid)
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (held + 20, held + 20))
        crowd = [socket.create_connection(server.address) for _ in range(60)]
        time.sleep(1.5)
        size = server.log.stat().st_size
        for one in crowd:
            one.close()
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and descriptors(server.process.pid) > held + 2:
            time.sleep(0.05)
        assert server.request("GET", "/healthz").status == 200
        said = server.log.read_text()
    assert size < 10_000
    assert "open files" in said
    assert "Traceback" not in said


def test_json_is_json_for_every_command_that_prints_data(server: Server) -> None:
    for words in (
        ("token", "list"),
        ("thing", "list"),
        ("ca", "show"),
        ("audit", "show"),
        ("audit", "verify"),
    ):
        shown = keyborn(*words, "--json", "--data", server.data)
        json.loads(shown.stdout)
        assert "(" not in shown.stdout, "a value printed as Python shows it"
