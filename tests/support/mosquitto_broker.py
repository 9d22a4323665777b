"""Debian's mosquitto with mutual TLS, as a broker that is not ours."""

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from support.pki import SERVER, shared_pki


@contextlib.contextmanager
def mosquitto(folder: Path, *, denied: tuple[str, ...] = ()) -> Iterator[int]:
    """Start it on a free port, wait until it answers, and end it; yields the port.

    With ``denied`` everybody may use every topic but these.
    """
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    program = shutil.which("mosquitto", path="/usr/sbin:/usr/bin")
    assert program is not None
    process = subprocess.Popen(
        [program, "-c", _settings(folder, port, denied)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 10
        while not _answers(port):
            assert process.poll() is None, f"mosquitto ended with {process.returncode}"
            assert time.monotonic() < deadline
        yield port
    finally:
        process.terminate()
        process.wait(10)


def _settings(folder: Path, port: int, denied: tuple[str, ...]) -> Path:
    pki = shared_pki()
    chain, key = pki.servers.leaf("broker", usage=SERVER, between=True).write(folder, "mosquitto")
    (folder / "ca.pem").write_text(pki.client_ca_pem)
    lines = [
        f"listener {port} 127.0.0.1",
        f"cafile {folder}/ca.pem",
        f"certfile {chain}",
        f"keyfile {key}",
        "require_certificate true",
        "use_identity_as_username true",
        "allow_anonymous true",
        "user root",
        "max_queued_messages 0",
    ]
    if denied:
        rules = ["pattern readwrite #", *(f"pattern deny {topic}" for topic in denied)]
        (folder / "acl").write_text("\n".join(rules) + "\n")
        lines.append(f"acl_file {folder}/acl")
    settings = folder / "mosquitto.conf"
    settings.write_text("\n".join(lines) + "\n")
    return settings


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        time.sleep(0.02)
        return False
    return True
