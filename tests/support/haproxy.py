"""HAProxy with the configuration of the page, on loopback."""

import contextlib
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "behind-a-proxy.md"
BIND, PEM, ROOT, SOCKET = (
    "bind :443 ",
    "/var/lib/keyborn/ca/service.pem",
    "/etc/haproxy/keyborn-root.pem",
    "/run/keyborn/http.sock",
)
PATIENCE = 15.0


def documented() -> str:
    """The configuration, as the page has it."""
    (text,) = re.findall(r"```haproxy\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return str(text)


def documented_elsewhere() -> str:
    """The configuration of a proxy on another machine: its last line is another one."""
    (line,) = re.findall(r"```text\n( +server keyborn .*\n)```", PAGE.read_text())
    return "".join([*documented().splitlines(keepends=True)[:-1], line])


def free_port() -> int:
    """One that was free a moment ago: HAProxy wants a number."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@contextlib.contextmanager
def haproxy(folder: Path, port: int, places: Mapping[str, Path], text: str = "") -> Iterator[int]:
    """HAProxy on ``port`` for the duration of a test; ``places``: the page's paths, and what they are here.

    Every line of the page is run but for three: two need root, one as many descriptors as a server has.
    """
    text = text or documented()
    for name, place in {BIND: f"bind 127.0.0.1:{port} ", **places}.items():
        assert name in text, name
        text = text.replace(name, str(place))
    text = re.sub(r"^ +(user haproxy|group haproxy|maxconn \d+)\n", "", text, flags=re.MULTILINE)
    (folder / "haproxy.cfg").write_text(text)
    program = shutil.which("haproxy", path="/usr/sbin:/usr/bin") or "haproxy"
    with (folder / "haproxy.log").open("wb") as log:
        process = subprocess.Popen(
            [program, "-db", "-f", str(folder / "haproxy.cfg")], stdout=log, stderr=log
        )
        try:
            _wait(process, port, folder / "haproxy.log")
            yield port
        finally:
            process.kill()
            process.wait(PATIENCE)


def _wait(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.02)
