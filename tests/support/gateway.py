"""A Debian gateway around a page: a machine below one folder, with the programs that manage it."""

import os
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support import gateway_machine
from support.documents import World

CHECKOUT = Path(__file__).resolve().parents[2]
_FILES = ("passwd", "group", "shadow", "gshadow")


@contextmanager
def open_gateway(folder: Path) -> Iterator[World]:
    """A machine with Keyborn in /opt/keyborn and no user for it yet; what still runs at the end is ended."""
    _furnish(folder)
    tools = Path(sys.executable).parent
    path = os.pathsep.join(
        [str(folder / "shims"), str(folder / "usr/local/bin"), str(tools), os.environ["PATH"]]
    )
    places = {place: f"{folder}{place}" for place in gateway_machine.PLACES}
    try:
        yield World(
            {"PATH": path, "GATEWAY": str(folder)}, {**places, "checkout/deploy": str(CHECKOUT / "deploy")}
        )
    finally:
        for pid in (folder / "run").glob("*.pid"):
            os.kill(int(pid.read_text()), signal.SIGKILL)


def _furnish(folder: Path) -> None:
    """The folders and files that a fresh machine has."""
    for place in ("etc/systemd/system", "opt/keyborn/bin", "usr/local/bin", "var/lib", "run", "shims"):
        (folder / place).mkdir(parents=True)
    for name in _FILES:
        (folder / "etc" / name).touch()
    if Path("/etc/login.defs").exists():
        shutil.copy("/etc/login.defs", folder / "etc/login.defs")
    (folder / "opt/keyborn/bin/keyborn").symlink_to(Path(sys.executable).parent / "keyborn")
    for name in gateway_machine.PROGRAMS:
        shim = folder / "shims" / name
        shim.write_text(f"#!{sys.executable}\n{Path(gateway_machine.__file__).read_text()}")
        shim.chmod(0o755)
