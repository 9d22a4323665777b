"""The main path as people walk it: serve, token, enroll, publish, watch; every command a real process."""

import json
import re
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support.device import enroll, keyborn, keyborn_json
from support.server import Server, running


def code_for(server: Server, thing: str) -> str:
    done = keyborn("token", "create", "--thing", thing, "--data", server.data)
    return done.stdout.splitlines()[-1]


def watching(server: Server, topic_filter: str, count: int = 1) -> "subprocess.Popen[str]":
    words = [sys.executable, "-m", "keyborn", "watch", topic_filter, "--count", str(count), "--json"]
    watch = subprocess.Popen(
        [*words, "--data", str(server.data)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert watch.stderr is not None
    assert "Watching" in watch.stderr.readline()
    return watch


def test_one_command_enrols_and_says_that_the_first_message_arrived(server: Server, tmp_path: Path) -> None:
    watch = watching(server, "certtest/#", count=2)
    words = ("enroll", "-", "--thing", "gateway-0", "--home", tmp_path / "home", "--publish")
    done = keyborn(*words, "hello", typed=code_for(server, "gateway-0"))
    assert done.stdout.splitlines()[-1] == "The message to certtest/gateway-0: delivered"
    again = keyborn_json(*words, "-1", typed="")
    assert not again["obtained"]
    told = {"outcome": "delivered", "topic": "certtest/gateway-0", "outbox": {"waiting": 0, "refused": 0}}
    assert again["published"] == told
    seen = [json.loads(line)["payload"] for line in watch.communicate(timeout=20)[0].splitlines()]
    assert seen == ["hello", "-1"]


def test_a_device_enrols_publishes_and_is_seen(server: Server, tmp_path: Path) -> None:
    home = tmp_path / "home"
    enrolled = enroll(home, code_for(server, "gateway-1"), "gateway-1")
    assert stat.S_IMODE((home / "device.key").stat().st_mode) == 0o600
    watch = watching(server, "certtest/#")
    keyborn("publish", "certtest/gateway-1", "hello", "--home", home)
    seen = json.loads(watch.communicate(timeout=20)[0])
    assert (seen["thing"], seen["topic"], seen["payload"]) == ("gateway-1", "certtest/gateway-1", "hello")
    report = keyborn_json("thing", "show", "gateway-1", "--data", server.data)
    assert report["status"] == "active"
    assert report["certificates"][0]["certificateId"] == enrolled["certificateId"]
    assert report["certificates"][0]["firstConnected"]


def test_the_code_is_the_last_line_and_is_never_shown_again(server: Server) -> None:
    code = code_for(server, "gateway-2")
    assert re.fullmatch(r"kb1\.[A-Za-z0-9_-]+", code)
    listed = keyborn("token", "list", "--data", server.data).stdout
    assert "gateway-2" in listed
    assert code[10:60] not in listed


def test_a_second_enroll_makes_no_request_and_a_withdrawn_token_does_not_matter_to_it(
    server: Server, tmp_path: Path
) -> None:
    home, code = tmp_path / "home", code_for(server, "gateway-3")
    first = enroll(home, code, "gateway-3")
    before = requests(server)
    second = enroll(home, code, "gateway-3")
    assert requests(server) == before
    assert second["certificateId"] == first["certificateId"]


def requests(server: Server) -> int:
    from keyborn.cli.console import ask

    count: int = ask(server.data, "GET", "/v1/about")["requests"]
    return count


def test_another_thing_s_topic_is_refused_and_never_seen(server: Server, tmp_path: Path) -> None:
    home = tmp_path / "home"
    enroll(home, code_for(server, "gateway-4"), "gateway-4")
    watch = watching(server, "#")
    refused = keyborn("publish", "certtest/gateway-1", "stolen", "--home", home, expect=1)
    assert "publish_denied" in refused.stderr
    keyborn("publish", "certtest/gateway-4", "own", "--home", home)
    assert json.loads(watch.communicate(timeout=20)[0])["payload"] == "own"
    log = server.log.read_text()
    denied = [line for line in log.splitlines() if "certtest/gateway-1" in line and "gateway-4" in line]
    assert denied, log[-2000:]


def test_a_subscriber_gets_what_is_sent_to_its_own_topic(server: Server, tmp_path: Path) -> None:
    home = tmp_path / "home"
    enroll(home, code_for(server, "gateway-5"), "gateway-5")
    denied = keyborn("subscribe", "certtest/#", "--home", home, "--timeout", "5", expect=None)
    assert denied.returncode == 1, denied.stdout
    assert "subscribe_denied" in denied.stderr


@pytest.mark.parametrize("key_type", ["p384", "p521", "rsa2048"])
def test_every_kind_of_key_walks_the_same_path(server: Server, tmp_path: Path, key_type: str) -> None:
    home, thing = tmp_path / "home", f"gateway-{key_type}"
    enroll(home, code_for(server, thing), thing, "--key-type", key_type)
    watch = watching(server, f"certtest/{thing}")
    keyborn("publish", f"certtest/{thing}", key_type, "--home", home)
    assert json.loads(watch.communicate(timeout=20)[0])["payload"] == key_type


@pytest.mark.needs("openssl")
def test_a_key_made_with_openssl_is_adopted(server: Server, tmp_path: Path) -> None:
    key = tmp_path / "own.pem"
    words = [
        "openssl",
        "genpkey",
        "-algorithm",
        "EC",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-out",
        str(key),
    ]
    subprocess.run(words, check=True, capture_output=True)
    key.chmod(0o600)
    home = tmp_path / "home"
    enroll(home, code_for(server, "adopted-1"), "adopted-1", "--adopt-key", str(key))
    public = ["openssl", "pkey", "-in", str(key), "-pubout"]
    mine = subprocess.run(public, check=True, capture_output=True).stdout
    certificate = ["openssl", "x509", "-in", str(home / "device.crt"), "-noout", "-pubkey"]
    assert subprocess.run(certificate, check=True, capture_output=True).stdout == mine


def test_status_tells_what_is_there(server: Server, tmp_path: Path) -> None:
    home = tmp_path / "home"
    enroll(home, code_for(server, "gateway-6"), "gateway-6")
    status = keyborn_json("status", "--home", home)
    assert "gateway-6" in json.dumps(status)


def test_the_operator_s_tables_and_their_json(server: Server, tmp_path: Path) -> None:
    enroll(tmp_path / "home", code_for(server, "gateway-7"), "gateway-7")
    keyborn_json("token", "create", "--match", "fleet-*", "--uses", "0", "--ttl", "7d", "--data", server.data)
    for words in (["thing", "list"], ["token", "list"], ["ca", "show"], ["audit", "show"]):
        rows = keyborn_json(*words, "--data", server.data)
        assert isinstance(rows, list)
        assert rows
        assert keyborn(*words, "--data", server.data).stdout.count("\n") > len(rows)
    verified = keyborn_json("audit", "verify", "--data", server.data)
    assert verified["records"] > 0


@pytest.mark.needs("openssl")
def test_the_root_is_exported_and_openssl_reads_it(server: Server, tmp_path: Path) -> None:
    keyborn("ca", "export", "--out", tmp_path / "root.pem", "--data", server.data)
    words = ["openssl", "x509", "-in", str(tmp_path / "root.pem"), "-noout", "-fingerprint", "-sha256"]
    shown = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    assert server.about["fingerprint"] in shown


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["thing", "show", "nobody"], "not_found"),
        (["token", "withdraw", "t0"], "not_found"),
        (["token", "create", "--thing", "a/b"], "invalid_thing_name"),
        (["token", "create", "--ttl", "999999d"], "invalid_setting"),
    ],
)
def test_what_is_refused_ends_with_1_a_code_and_a_sentence(
    server: Server, words: list[str], code: str
) -> None:
    refused = keyborn(*words, "--data", server.data, expect=1)
    assert code in refused.stderr
    assert "Traceback" not in refused.stderr
    as_json = keyborn(*words, "--json", "--data", server.data, expect=1)
    assert json.loads(as_json.stderr)["code"] == code


@pytest.mark.parametrize(
    "words",
    [
        ["token", "create", "--uses", "-1"],
        ["token", "create", "--ttl", "soon"],
        ["nonsense"],
        ["watch"],
        ["token", "create", "--thing", "a", "--match", "b"],
        ["token", "create", "--replace"],
    ],
)
def test_a_mistyped_command_ends_with_2(server: Server, words: list[str]) -> None:
    assert keyborn(*words, "--data", server.data, expect=2).stderr or True


def test_a_watch_ends_when_the_server_stops(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        watch = watching(server, "#")
        began = time.monotonic()
        assert server.stop() == 0
        watch.communicate(timeout=20)
        assert time.monotonic() - began < 10
