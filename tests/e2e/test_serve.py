"""``keyborn serve`` as a process: start, lock, clean stop, restart, and the commands when no server runs."""

import http.client
import resource
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from support.csr_make import make_csr
from support.device import keyborn, keyborn_json
from support.figures import Figure
from support.server import running


def test_an_empty_folder_becomes_a_service_whose_files_are_private(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        assert stat.S_IMODE(server.data.stat().st_mode) == 0o700
        assert (server.data / "server.toml").exists()
        for path in server.data.rglob("*"):
            mode = stat.S_IMODE(path.lstat().st_mode)
            assert not mode & 0o077 or path.suffix == ".crt", f"{path.name} {mode:04o}"


def test_it_says_where_it_is_and_what_comes_next(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        said = server.log.read_text()
        assert server.about["url"] in said
        assert server.about["fingerprint"] in said
        assert "keyborn token create --thing NAME" in said


def test_a_second_server_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        second = keyborn("serve", "--data", server.data, "--https", "127.0.0.1:0", expect=1)
        assert "data_folder_in_use" in second.stderr
        assert server.request("GET", "/healthz").status == 200


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        words = ("serve", "--data", tmp_path / "d", "--mqtt", "127.0.0.1:0", "--https", address)
        refused = keyborn(*words, expect=1)
    assert address in refused.stderr
    assert "address_unavailable" in refused.stderr


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0"])
def test_open_enrollment_is_refused_on_anything_but_loopback(tmp_path: Path, address: str) -> None:
    words = (
        "serve",
        "--data",
        tmp_path / "d",
        "--open-enrollment",
        "--https",
        address,
        "--mqtt",
        "127.0.0.1:0",
    )
    refused = keyborn(*words, expect=1)
    assert "--open-enrollment" in refused.stderr


def test_open_enrollment_asks_no_credential_and_refuses_forwarded_requests(tmp_path: Path) -> None:
    with running(tmp_path, "--open-enrollment") as server:
        body = {"thingName": "open-1", "csr": make_csr("open-1")[1]}
        assert server.post("/v1/enroll", body).status == 201
        raw = b'{"thingName": "open-2", "csr": "x"}'
        for headers in (
            {"X-Forwarded-For": "127.0.0.1"},
            {"Host": "evil.example"},
            {"Forwarded": "for=127.0.0.1"},
        ):
            answer = server.request("POST", "/v1/enroll", raw, headers)
            assert answer.json["code"] == "open_enrollment_refused"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly_and_everything_is_there_after_a_restart(
    tmp_path: Path, number: signal.Signals
) -> None:
    with running(tmp_path) as server:
        secret = server.token(thing="kept", uses=1)["secret"]
        _, csr = make_csr("kept")
        first = server.enroll("kept", csr, secret)
        assert server.process is not None
        server.process.send_signal(number)
        assert server.process.wait(10) == 0
        assert not server.log.read_text().count("Traceback")
        server.start()
        again = server.enroll("kept", csr, secret)
        assert (again.status, again.body) == (200, first.body)


def test_answers_under_way_are_finished_when_it_stops_and_none_is_lost(
    tmp_path: Path, figure: Figure
) -> None:
    """Every certificate that a client was given is in the registry afterwards."""
    with running(tmp_path) as server:
        secret = server.token(match="load-*", uses=0)["secret"]
        given: dict[str, str] = {}
        server.context()

        def load(worker: int) -> None:
            for number in range(1000):
                name = f"load-{worker}-{number}"
                try:
                    answer = server.enroll(name, make_csr(name)[1], secret)
                except (OSError, http.client.HTTPException):
                    return
                if answer.status == 201:
                    given[name] = answer.json["certificateId"]

        workers = [threading.Thread(target=load, args=(n,)) for n in range(4)]
        for worker in workers:
            worker.start()
        while len(given) < 20:
            assert any(worker.is_alive() for worker in workers)
        assert server.stop() == 0
        for worker in workers:
            worker.join(20)
        held = {row["thingName"] for row in keyborn_json("thing", "list", "--data", server.data)}
        figure(f"certificates given under load before the stop: {len(given)}, all in the registry")
        assert set(given) <= held
        name, certificate = next(iter(given.items()))
        report = keyborn_json("thing", "show", name, "--data", server.data)
        assert report["certificates"][0]["certificateId"] == certificate


def test_the_commands_work_alike_without_a_server(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        server.token(thing="a")
    refused = keyborn("token", "create", "--data", server.data, expect=1)
    assert "server_not_running" in refused.stderr, "port 0 has no URL while nobody listens"
    settings = server.data / "server.toml"
    settings.write_text(settings.read_text().replace("127.0.0.1:0", "127.0.0.1:18443"))
    made = keyborn_json("token", "create", "--thing", "b", "--data", server.data)
    assert made["url"] == "https://127.0.0.1:18443"
    assert {row["things"] for row in keyborn_json("token", "list", "--data", server.data)} == {"a", "b"}
    keyborn("token", "withdraw", made["id"], "--data", server.data)
    assert keyborn_json("audit", "verify", "--data", server.data)["records"] == 4, "one is the default policy"
    refused = keyborn("watch", "#", "--data", server.data, expect=1)
    assert "server_not_running" in refused.stderr


def test_a_folder_without_data_is_said_to_be_so(tmp_path: Path) -> None:
    refused = keyborn("thing", "list", "--data", tmp_path / "nothing", expect=1)
    assert "data_folder_missing" in refused.stderr
    assert not (tmp_path / "nothing").exists()


def test_a_folder_that_others_can_read_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    refused = keyborn("serve", "--data", folder, "--https", "127.0.0.1:0", expect=1)
    assert "data_folder_unsafe" in refused.stderr
    assert not any(folder.iterdir())


def test_the_control_socket_is_private_and_works_in_a_deep_folder(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    with running(deep) as server:
        mode = stat.S_IMODE((server.data / "control.sock").stat().st_mode)
        assert mode == 0o600
        assert server.token()["id"]


def test_settings_of_the_first_start_are_kept_and_bad_ones_refused(tmp_path: Path) -> None:
    with running(tmp_path, "--name", "gateway.example") as server:
        pass
    settings = server.data / "server.toml"
    assert "gateway.example" in settings.read_text()
    settings.write_text(settings.read_text() + 'surprise = "x"\n')
    refused = keyborn("serve", "--data", server.data, expect=1)
    assert "surprise" in refused.stderr


def test_the_certificate_authority_may_have_a_passphrase(tmp_path: Path) -> None:
    phrase = tmp_path / "phrase"
    phrase.write_text("correct horse\n")
    phrase.chmod(0o600)
    with running(tmp_path, "--passphrase-file", str(phrase)) as server:
        secret = server.token(thing="locked")["secret"]
        assert server.enroll("locked", make_csr("locked")[1], secret).status == 201
    words = ("serve", "--data", server.data, "--https", "127.0.0.1:0", "--mqtt", "127.0.0.1:0")
    refused = keyborn(*words, expect=1)
    assert "ca_locked" in refused.stderr


def test_secrets_and_requests_are_in_no_file_and_no_log(tmp_path: Path, figure: Figure) -> None:
    with running(tmp_path) as server:
        token, (_, csr) = server.token(thing="canary"), make_csr("canary")
        server.enroll("canary", csr, token["secret"])
        server.enroll("canary-2", csr, token["secret"])
        server.enroll("canary", csr, token["secret"][:-1] + "A")
        server.post("/v1/enroll", b'{"thingName": "x", "csr": "' + csr.encode()[:200], token["secret"])
        files = [path for path in [*server.data.rglob("*"), server.log] if path.is_file()]
        canaries = [token["secret"], token["code"], csr.splitlines()[1]]
        for path in files:
            content = path.read_bytes()
            for canary in canaries:
                assert canary.encode() not in content, path.name
        figure(f"canaries: {len(canaries)} searched for in {len(files)} files, none found")


def test_a_service_on_every_address_tells_devices_the_machine_s_name(tmp_path: Path) -> None:
    words = ("--https", "0.0.0.0:0", "--mqtt", "0.0.0.0:0")
    with running(tmp_path, *words) as server:
        assert f"https://{socket.gethostname()}:" in server.about["url"]


def test_a_full_disk_is_said_everywhere_and_nothing_false_is_answered(tmp_path: Path) -> None:
    """A limit on file sizes fails the registry's writes as a full disk does."""
    with running(tmp_path) as server:
        assert server.process is not None
        secret, (_, csr) = server.token(thing="full")["secret"], make_csr("full")
        room = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (4096, room[1]))
        refused, unready = server.enroll("full", csr, secret), server.request("GET", "/readyz")
        for answer in (refused, unready):
            assert (answer.status, answer.json["code"]) == (503, "registry_unavailable")
            assert int(answer.headers["retry-after"]) >= 1
        assert server.request("GET", "/healthz").status == 200
        told = keyborn("token", "create", "--data", server.data, expect=1)
        assert "disk" in told.stderr
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, room)
        assert server.enroll("full", csr, secret).status == 201
        assert len(server.active("full")) == 1
        time.sleep(1.1)  # what readiness remembers
        assert server.request("GET", "/readyz").status == 200


def test_two_starts_at_once_have_one_winner(tmp_path: Path) -> None:
    data = tmp_path / "data"
    words = [sys.executable, "-m", "keyborn", "serve", "--data", str(data)]
    addresses = ["--https", "127.0.0.1:0", "--mqtt", "127.0.0.1:0"]
    log = (tmp_path / "log").open("w")
    started = [subprocess.Popen([*words, *addresses], stdout=log, stderr=log) for _ in range(3)]
    try:
        deadline = time.monotonic() + 20
        while sum(process.poll() is not None for process in started) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert (tmp_path / "log").read_text().count("data_folder_in_use") == 2
    finally:
        log.close()
        for process in started:
            process.terminate()
            process.wait(10)
