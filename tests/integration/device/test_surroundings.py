"""What a command must survive and never leave behind, whatever surrounds it."""

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from support.device_home import eventually, home_in, identify
from support.rude_broker import SUBSCRIBE, Packet, accept, rude_broker
from support.rude_service import SECRET, rude_service, silent

CORE = b"Max core file size"


def _allow_core() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))


def test_a_command_that_dies_leaves_no_core_file_with_its_secrets(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    command = [sys.executable, "-m", "keyborn", "enroll", "-", "--thing", "g", "--home", str(tmp_path / "h")]
    with rude_service(tmp_path) as service:
        service.script("/v1/enroll", silent)
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=empty,
            preexec_fn=_allow_core,  # noqa: PLW1509 - only a limit is set there
        )
        with process:
            assert process.stdin is not None
            process.stdin.write(service.code().encode().encode())
            process.stdin.close()
            eventually(lambda: bool(service.asked("/v1/enroll")))
            seen = Path(f"/proc/{process.pid}")
            [limit] = [line for line in (seen / "limits").read_bytes().splitlines() if CORE in line]
            shown = (seen / "cmdline").read_bytes() + (seen / "environ").read_bytes()
            process.send_signal(signal.SIGQUIT)
    assert limit.split()[4] == b"0"
    assert list(empty.iterdir()) == []
    assert SECRET not in shown
    assert service.code().encode().encode()[:40] not in shown


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "ascii:strict"])
def test_a_message_that_the_terminal_has_no_letters_for_is_still_printed(
    tmp_path: Path, encoding: str
) -> None:
    def answer(packet: Packet, level: int) -> bytes | None:
        reply = accept(packet, level)
        body = b"\x00\x01t\x00\x07\x00" + "5 € ✓".encode()
        return reply + b"\x32" + bytes([len(body)]) + body if packet.kind == SUBSCRIBE and reply else reply

    with rude_broker(tmp_path) as broker:
        broker.answer = answer
        home = home_in(tmp_path)
        identify(home, broker=(broker.host, broker.port))
        words = ["subscribe", "t", "--count", "1", "--timeout", "20", "--home", str(home.path)]
        done = subprocess.run(
            [sys.executable, "-m", "keyborn", *words],
            env={**os.environ, "PYTHONIOENCODING": encoding},
            capture_output=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    expected = "t  5 € ✓\n" if encoding == "utf-8" else "t  5 \\u20ac \\u2713\n"
    assert done.stdout == expected.encode()
