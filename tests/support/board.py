"""A board as docs/how-to/board-without-python.md makes it: the page's scripts, cut off at will."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from support.csr_make import make_csr
from support.documents import steps
from support.server import Server

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "board-without-python.md"
EFFECTS = ("curl", "mv", "rm", "mosquitto_pub")
"""The programs with which the script changes something that outlives it."""
KILLED = -9
_SCRIPT = re.compile(r"cat > (\w+\.sh)\)? <<'END'\n(.*)\nEND", re.DOTALL)
_CUTTING = """#!/bin/sh
cut_off() {{
  n=$(($(cat "{count}") + 1))
  echo $n > "{count}"
  test $n -ne "$CUT_AT" || kill -9 0
}}
cut_off
"{program}" "$@"
code=$?
cut_off
exit $code
"""


def scripts() -> dict[str, str]:
    """The scripts that the page writes, by name."""
    found = (_SCRIPT.search(step.line) for step in steps(PAGE.read_text()))
    return {match[1]: match[2] + "\n" for match in found if match is not None}


@dataclass
class Board:
    """A folder that is a board's flash; ``tools`` holds programs that count, and cut the power."""

    name: str
    flash: Path
    tools: Path

    def renew(self, cut_at: int = 0) -> "subprocess.CompletedProcess[str]":
        """Run the page's script; it and all that it started are killed at that count, for 0 never."""
        self._count.write_text("0\n")
        path = os.pathsep.join([str(self.tools), os.environ["PATH"]])
        return subprocess.run(
            ["sh", "renew.sh"],
            cwd=self.flash,
            env={"PATH": path, "CUT_AT": str(cut_at)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            start_new_session=True,  # what is killed is its process group
        )

    @property
    def _count(self) -> Path:
        return self.tools / "count"

    @property
    def counted(self) -> int:
        """At how many points the last run could have been cut off."""
        return int(self._count.read_text())

    @property
    def state(self) -> str:
        """What the board holds for true."""
        return (self.flash / "state").read_text().strip()

    @property
    def files(self) -> set[str]:
        """Keys and certificates that are there."""
        return {file.name for file in self.flash.iterdir() if file.suffix in (".key", ".crt")}

    def publishes(self) -> bool:
        """Whether the broker takes a message with the identity that counts."""
        slot = self.state[0]
        host, _, port = (self.flash / "broker").read_text().strip().rpartition(":")
        files = ["--cafile", "root.pem", "--cert", f"{slot}.crt", "--key", f"{slot}.key"]
        message = ["-i", self.name, "-q", "1", "-t", f"certtest/{self.name}", "-m", "here"]
        words = ["mosquitto_pub", "-h", host, "-p", port, *files, *message]
        done = subprocess.run(words, cwd=self.flash, capture_output=True, timeout=30, check=False)
        return done.returncode == 0


def make_board(server: Server, name: str, folder: Path) -> Board:
    """An enrolled board: what the page's first half leaves, with the page's scripts."""
    board = Board(name, folder / name, folder / f"{name}-tools")
    board.flash.mkdir()
    key, csr = make_csr(name)
    answer = server.enroll(name, csr, server.token(thing=name)["secret"]).json
    host, port = server.mqtt
    files = {
        "a.key": key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
        "a.crt": answer["certificatePem"] + answer["chainPem"],
        "root.pem": answer["mqtt"]["rootsPem"],
        "url": server.about["url"] + "\n",
        "name": name + "\n",
        "broker": f"{host}:{port}\n",
        "topic": answer["mqtt"]["topic"] + "\n",
        "state": "a\n",
        **scripts(),
    }
    for file, text in files.items():
        (board.flash / file).write_text(text)
    _write_tools(board)
    return board


def _write_tools(board: Board) -> None:
    board.tools.mkdir()
    for effect in EFFECTS:
        tool = board.tools / effect
        tool.write_text(_CUTTING.format(count=board.tools / "count", program=shutil.which(effect)))
        tool.chmod(0o755)
