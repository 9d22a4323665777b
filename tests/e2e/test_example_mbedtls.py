"""The example in C (examples/mbedtls), as its reader would build and run it, against a served Keyborn."""

import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.server import Server, running

SOURCE = Path(__file__).resolve().parents[2] / "examples" / "mbedtls"
LATER = 75
FILES = ["device.crt", "device.key", "roots.pem"]
pytestmark = pytest.mark.needs("gcc", "libc", "mbedtls")
Enroll = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service with a name: this mbed TLS checks no addresses in certificates."""
    with running(tmp_path_factory.mktemp("served"), "--name", "localhost") as server:
        yield server


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built by its own Makefile, in a copy."""
    folder = tmp_path_factory.mktemp("example") / "mbedtls"
    shutil.copytree(SOURCE, folder, ignore=shutil.ignore_patterns("enroll"))
    done = subprocess.run(
        ["make", "-C", str(folder), "CC=gcc"], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "-Wall -Wextra -Werror" in done.stdout
    return folder / "enroll"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Where the device keeps what it has."""
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def enroll(server: Server, program: Path, home: Path) -> Enroll:
    """Run the program for a thing; what is not said is as it should be."""

    def _enroll(
        thing: str, secret: str, *, port: int | None = None, fingerprint: str = "", host: str = "localhost"
    ) -> "subprocess.CompletedProcess[str]":
        pinned = fingerprint or str(server.token(thing="never-used")["fingerprint"])
        words = [str(program), host, str(port or server.address[1]), pinned, thing, str(home)]
        # umask 0: in a careless environment the files are private all the same
        return subprocess.run(
            words, input=secret + "\n", capture_output=True, text=True, timeout=60, check=False, umask=0
        )

    return _enroll


@pytest.mark.needs("mosquitto_pub")
def test_it_enrolls_and_what_it_stored_publishes(server: Server, enroll: Enroll, home: Path) -> None:
    secret = server.token(thing="board-1")["secret"]
    done = enroll("board-1", secret)
    assert (done.returncode, done.stdout) == (0, "board-1 is enrolled\n"), done.stderr
    assert sorted(file.name for file in home.iterdir()) == FILES
    assert {stat.S_IMODE(file.stat().st_mode) for file in home.iterdir()} == {0o600}
    host, port = server.mqtt
    files = ["--cafile", "roots.pem", "--cert", "device.crt", "--key", "device.key"]
    message = ["-i", "board-1", "-q", "1", "-t", "certtest/board-1", "-m", "hello"]
    said = subprocess.run(
        ["mosquitto_pub", "-h", host, "-p", str(port), *files, *message],
        cwd=home,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert said.returncode == 0, said.stderr
    (row,) = server.active("board-1")
    assert row["firstConnected"] is not None


def test_run_again_it_uses_its_key_again_and_gets_the_same_certificate(
    server: Server, enroll: Enroll, home: Path
) -> None:
    secret = server.token(thing="board-2")["secret"]
    assert enroll("board-2", secret).returncode == 0
    before = {file.name: file.read_bytes() for file in home.iterdir()}
    (home / "device.crt").unlink()
    (home / "device.crt.new").write_text("half of it")  # the power was cut while it wrote
    assert enroll("board-2", secret).returncode == 0
    assert {file.name: file.read_bytes() for file in home.iterdir()} == before
    assert len(server.thing("board-2")["certificates"]) == 1


def test_a_root_with_another_fingerprint_gets_neither_secret_nor_request(
    server: Server, enroll: Enroll, home: Path
) -> None:
    secret = server.token(thing="board-3")["secret"]
    done = enroll("board-3", secret, fingerprint="00" * 32)
    assert (done.returncode, "another service" in done.stderr) == (1, True)
    assert list(home.iterdir()) == []


def test_a_name_that_is_not_in_the_services_certificate_ends_the_handshake(
    server: Server, enroll: Enroll
) -> None:
    done = enroll("board-4", server.token(thing="board-4")["secret"], host="127.0.0.1")
    assert (done.returncode, "verification failed" in done.stderr) == (1, True)


def test_a_refusal_is_told_with_its_code_and_the_key_stays(
    server: Server, enroll: Enroll, home: Path
) -> None:
    done = enroll("board-5", server.token(thing="board-6")["secret"])
    assert (done.returncode, "403 name_not_permitted" in done.stderr) == (1, True)
    assert [file.name for file in home.iterdir()] == ["device.key"]


def test_no_service_means_later(server: Server, enroll: Enroll) -> None:
    secret = server.token(thing="board-7")["secret"]
    assert enroll("board-7", secret, port=1).returncode == LATER


def test_a_key_that_others_can_read_is_not_used(server: Server, enroll: Enroll, home: Path) -> None:
    (home / "device.key").write_text("whatever")
    (home / "device.key").chmod(0o644)
    done = enroll("board-8", server.token(thing="board-8")["secret"])
    assert (done.returncode, "0600" in done.stderr) == (1, True)


@pytest.mark.parametrize("thing", ["", "a" * 65, 'a","csr":"', "a\r\nb", "a/b"])
def test_a_name_that_could_break_the_request_is_not_sent(server: Server, enroll: Enroll, thing: str) -> None:
    assert enroll(thing, server.token(thing="board-9")["secret"]).returncode == 2


@pytest.mark.parametrize("secret", ["", "a b", "a\r\nHost: elsewhere", "ä"])
def test_a_secret_that_could_break_the_request_is_not_sent(enroll: Enroll, home: Path, secret: str) -> None:
    assert enroll("board-10", secret).returncode == 2
    assert list(home.iterdir()) == []
