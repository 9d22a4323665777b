"""A fresh image, behind a proxy, with a real server: processes as systemd starts them, and kills them."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from keyborn.device.home import Home
from keyborn.settings import ServerSettings, write_settings
from support.agent_stage import Process, status_of
from support.connect_proxy import VARIABLES, ConnectProxy, connect_proxy
from support.device import keyborn, keyborn_json
from support.device_home import eventually, home_in
from support.pki import DISTANT
from support.server import Server
from support.walks import FULL

CODE, THING = "enroll.code", "fresh-1"
MOMENTS = (0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.4)
PASSWORD = "hunter2-very-secret"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Known by a name that only the proxy can lead to; its broker answers to that name, too."""
    folder = tmp_path_factory.mktemp("fresh")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    made = Server(folder / "server", folder / "log", ("--name", DISTANT))
    made.about = {"https": f"127.0.0.1:{port}"}
    made.data.mkdir(0o700)
    settings = ServerSettings(url=f"https://{DISTANT}:{port}")
    (made.data / "server.toml").write_text(write_settings(settings))
    try:
        yield made.start()
    finally:
        made.stop()


@pytest.fixture
def way(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[ConnectProxy]:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    leads = {f"{DISTANT}:{port}": port for port in (server.address[1], server.mqtt[1])}
    with connect_proxy(leads, login=f"me:{PASSWORD}") as made:
        yield made


def with_code(folder: Path, code: str) -> Home:
    home = home_in(folder)
    home.prepare()
    path = home.path / CODE
    path.touch(0o600)
    path.write_text(code)
    return home


def variables(way: ConnectProxy) -> dict[str, str]:
    return {"HTTPS_PROXY": way.url.replace("//", f"//me:{PASSWORD}@")}


def test_it_enrolls_through_the_proxy_publishes_and_renews(
    server: Server, way: ConnectProxy, tmp_path: Path
) -> None:
    code = server.token(thing=THING)["code"]
    home, log = with_code(tmp_path, code), tmp_path / "agent.log"
    agent = Process(home, log, "--thing", THING, "--subject", "/O=Example", "--rate", "0")
    try:
        agent.start(**variables(way)).connected()
        assert not (home.path / CODE).exists()
        assert agent.end() == 0
        settings = home.settings.read_text()
        home.settings.write_text(settings.replace('endpoint = "127.0.0.1"', f'endpoint = "{DISTANT}"'))
        agent.start(**variables(way)).connected()
        topic = f"certtest/{THING}"
        assert keyborn("publish", topic, "x", "--home", home.path).stdout == "delivered\n"
        report = keyborn_json("renew", "--now", "--home", home.path)
        assert [row["certificateId"] for row in server.active(THING)] == [report["certificateId"]]
        assert agent.end() == 0
    finally:
        agent.close()
    assert set(way.asked()) == set(way.leads)
    for secret in (code, PASSWORD):
        assert secret not in log.read_text()


def test_a_token_that_is_used_up_is_said_and_kept_apart(
    server: Server, way: ConnectProxy, tmp_path: Path
) -> None:
    """Two devices with the same image: the second one asks once, waits, and takes what a person brings."""
    code = server.token(thing="twin", uses=1)["code"]
    first, second = (with_code(tmp_path / name, code) for name in ("first", "second"))
    agents = [Process(home, home.path.parent / "log", "--thing", "twin") for home in (first, second)]
    try:
        agents[0].start(**variables(way)).connected()
        agents[1].start(**variables(way))
        eventually(lambda: status_of(second)["stage"] == "stranded")
        status = status_of(second)
        assert status["trouble"] == "enrollment"
        assert "Ask the operator for a new enrolment code" in status["error"]
        assert (second.path / CODE).exists()
        (second.path / CODE).write_text(server.token(thing="twin", replace=True)["code"])
        agents[1].send(signal.SIGHUP)
        agents[1].connected()
    finally:
        for agent in agents:
            agent.close()


@pytest.mark.slow
def test_killed_at_moments_of_its_own_it_ends_with_one_certificate(
    server: Server, way: ConnectProxy, tmp_path: Path
) -> None:
    home = with_code(tmp_path, server.token(thing="killed")["code"])
    words = [sys.executable, "-m", "keyborn", "agent", "--home", str(home.path), "--thing", "killed"]
    for seconds in MOMENTS if FULL else MOMENTS[-1:]:
        process = subprocess.Popen(
            [*words, "--spread", "0"], stderr=subprocess.DEVNULL, env={**os.environ, **variables(way)}
        )
        time.sleep(seconds)
        process.kill()
        process.wait(10)
    agent = Process(home, tmp_path / "agent.log", "--thing", "killed")
    try:
        agent.start(**variables(way)).connected()
        assert [row["certificateId"] for row in server.active("killed")] == [status_of(home)["certificateId"]]
        assert not (home.path / CODE).exists()
    finally:
        agent.close()


def test_the_last_will_reaches_who_watches_when_a_device_is_lost(
    server: Server, way: ConnectProxy, tmp_path: Path
) -> None:
    home = with_code(tmp_path, server.token(thing="lost")["code"])
    words = ("--thing", "lost", "--will", "certtest/lost/state", "gone")
    agent = Process(home, tmp_path / "agent.log", *words)
    watch = [sys.executable, "-m", "keyborn", "watch", "certtest/lost/#", "--data", str(server.data)]
    around = {**os.environ, **variables(way)}
    with subprocess.Popen([*watch, "--count", "1"], stdout=-1, stderr=-1, text=True, env=around) as watching:
        try:
            assert watching.stderr is not None
            watching.stderr.readline()
            agent.start(**variables(way)).connected()
            agent.kill()
            out, _ = watching.communicate(timeout=20)
        finally:
            agent.close()
            watching.kill()
    assert "certtest/lost/state" in out
    assert "gone" in out
