"""The listener without TLS: who is answered on it, and what is left of it."""

import http.client
import json
import socket
import stat
from pathlib import Path
from typing import Any

import pytest

from support.device import keyborn, keyborn_json
from support.server import Server


def server(folder: Path, *words: str) -> Server:
    return Server(folder / "server", folder / "log", words)


def ask(place: str, path: str = "/v1/enroll", **headers: str) -> tuple[int, dict[str, Any]]:
    """POST where the settings say; no TLS."""
    if place.startswith("unix:"):
        connection = http.client.HTTPConnection("localhost", timeout=10)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(place.removeprefix("unix:"))
    else:
        connection = http.client.HTTPConnection(place, timeout=10)
    try:
        connection.request("GET" if path != "/v1/enroll" else "POST", path, headers=headers)
        answer = connection.getresponse()
        raw = answer.read()
        return answer.status, json.loads(raw) if raw.startswith(b"{") else {}
    finally:
        connection.close()


def sources(server: Server) -> set[str]:
    return {row["source"] for row in keyborn_json("audit", "show", "--data", server.data) if row["source"]}


def test_only_trusted_addresses_are_answered(tmp_path: Path) -> None:
    with_proxy = server(tmp_path, "--plain-http", "127.0.0.1:0", "--trusted-proxy", "127.0.0.2").start()
    try:
        place = with_proxy.about["plainHttp"]
        status, problem = ask(place, **{"X-Forwarded-For": "127.0.0.2", "Client-Cert": ":YQ==:"})
        assert (status, problem["code"]) == (403, "proxy_untrusted")
        assert ask(place, "/v1/trust-bundle")[0] == 403
        assert ask(place, "/readyz")[0] == 200
    finally:
        with_proxy.stop()


def test_a_trusted_proxy_says_who_calls_and_others_do_not(tmp_path: Path) -> None:
    one = server(tmp_path, "--plain-http", "127.0.0.1:0", "--trusted-proxy", "127.0.0.1").start()
    try:
        place = one.about["plainHttp"]
        spoof = {"X-Forwarded-For": "203.0.113.9, 192.0.2.1", "Authorization": "Bearer nothing"}
        assert ask(place, **spoof)[1]["code"] == "credential_refused"
        assert sources(one) == {"192.0.2.1"}
    finally:
        one.stop()


def test_without_a_word_of_a_trusted_proxy_the_connection_counts(tmp_path: Path) -> None:
    one = server(tmp_path).start()
    try:
        assert one.about["plainHttp"] is None
        spoof = {"X-Forwarded-For": "192.0.2.1", "Client-Cert": "!", "Authorization": "Bearer nothing"}
        assert one.request("POST", "/v1/enroll", b"{}", spoof).json["code"] == "credential_refused"
        assert sources(one) == {"127.0.0.1"}
    finally:
        one.stop()


def test_a_proxy_s_socket_outlives_a_kill_and_not_a_stop(tmp_path: Path) -> None:
    path = tmp_path / "http.sock"
    one = server(tmp_path, "--plain-http", f"unix:{path}").start()
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert ask(f"unix:{path}")[0] == 401
    one.kill()
    assert path.exists()
    one.start()
    assert ask(f"unix:{path}")[0] == 401
    one.stop()
    assert not path.exists()


def test_a_socket_in_use_and_another_file_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    words = (
        "serve",
        "--data",
        tmp_path / "d",
        "--https",
        "127.0.0.1:0",
        "--mqtt",
        "127.0.0.1:0",
        "--plain-http",
    )
    assert "address_unavailable" in keyborn(*words, f"unix:{tmp_path}/file", expect=1).stderr
    assert (tmp_path / "file").read_text() == "precious"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(tmp_path / "taken"))
        other.listen()
        assert "another service listens there" in keyborn(*words, f"unix:{tmp_path}/taken", expect=1).stderr


@pytest.mark.parametrize("place", ["127.0.0.1:0", "0.0.0.0:0"])
def test_a_listener_that_would_answer_nobody_is_refused(tmp_path: Path, place: str) -> None:
    words = ("serve", "--data", tmp_path / "d", "--https", "127.0.0.1:0", "--mqtt", "127.0.0.1:0")
    refused = keyborn(*words, "--plain-http", place, expect=1).stderr
    assert "invalid_setting" in refused
    assert "trusted_proxies" in refused


def test_open_enrolment_is_refused_through_a_proxy(tmp_path: Path) -> None:
    path = tmp_path / "s"
    one = server(tmp_path, "--plain-http", f"unix:{path}", "--open-enrollment").start()
    try:
        for headers in ({}, {"X-Forwarded-For": "127.0.0.1"}):
            status, problem = ask(f"unix:{path}", **headers)
            assert (status, problem["code"]) == (403, "open_enrollment_refused")
    finally:
        one.stop()
