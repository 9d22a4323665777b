"""The demonstration's stage: a real server process, a device's home, and the commands a person would type."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

_PATIENCE = 20.0
Say = Callable[[str], None]


class Untrue(Exception):
    """A step of the demonstration did not hold."""


def require(truth: bool, sentence: str) -> None:  # noqa: FBT001 - reads as a sentence
    """Raise Untrue unless the step holds."""
    if not truth:
        raise Untrue(sentence)


def command(*words: str) -> list[str]:
    """``keyborn …`` as this interpreter runs it."""
    return [sys.executable, "-m", "keyborn", *words]


class Stage:
    """Folders, a server process and what to type; the constructor starts nothing."""

    def __init__(self, root: Path, say: Say) -> None:
        self.data = root / "server"
        self.home = root / "device"
        self._log_path = root / "server.log"
        self.say = say
        self._started: list[subprocess.Popen[str]] = []

    def start_server(self) -> dict[str, Any]:
        """Start ``keyborn serve`` on free ports; returns what it says of itself once it answers."""
        from keyborn.adapters.data_folder import DataFolder

        serve = command("serve", "--data", str(self.data), "--https", "127.0.0.1:0", "--mqtt", "127.0.0.1:0")
        with self._log_path.open("w") as log:
            self._start(subprocess.Popen(serve, stdout=log, stderr=log, text=True))  # noqa: S603 - our own command
        # Its settings are kept once it serves; its socket is there a moment before it is listened to.
        self._wait(DataFolder(self.data).settings.exists, "the service starts")
        return self.about()

    def about(self) -> dict[str, Any]:
        """URL, fingerprint, addresses and the number of requests answered so far."""
        from keyborn.cli.console import ask

        answer: dict[str, Any] = ask(self.data, "GET", "/v1/about")
        return answer

    def run(self, *words: str, typed: str = "", expect: int = 0) -> str:
        """Type a command as a person would; returns its output, raises Untrue for another exit code."""
        done = subprocess.run(  # noqa: S603 - our own command
            command(*words), input=typed, capture_output=True, text=True, timeout=_PATIENCE, check=False
        )
        said = done.stdout + done.stderr
        require(
            done.returncode == expect,
            f"`keyborn {words[0]}` ends with {expect}, not {done.returncode}: {said}",
        )
        return said.strip()

    def run_json(self, *words: str, typed: str = "") -> Any:  # noqa: ANN401 - JSON
        """Type a command with ``--json``."""
        done = subprocess.run(  # noqa: S603 - our own command
            command(*words, "--json"),
            input=typed,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
        require(done.returncode == 0, f"`keyborn {words[0]}` ends with 0: {done.stderr}")
        return json.loads(done.stdout)

    def start_watch(self, topic_filter: str) -> subprocess.Popen[str]:
        """Start ``keyborn watch`` for one message, and wait until it listens."""
        words = command("watch", topic_filter, "--count", "1", "--data", str(self.data))
        watch = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # noqa: S603
        self._start(watch)
        assert watch.stderr is not None
        require("Watching" in watch.stderr.readline(), "the operator's watch starts")
        return watch

    def start_listening(self, topic_filter: str, home: Path) -> subprocess.Popen[str]:
        """Start ``keyborn subscribe`` as a device, and wait until it listens."""
        words = command("subscribe", topic_filter, "--home", str(home))
        device = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # noqa: S603
        self._start(device)
        assert device.stderr is not None
        require("Listening" in device.stderr.readline(), "the device listens")
        return device

    def openssl(self, *words: str) -> str:
        """Ask OpenSSL, which shares no code with Keyborn; returns what it printed."""
        require(shutil.which("openssl") is not None, "openssl is installed (apt-get install openssl)")
        asked = ["openssl", *words]
        done = subprocess.run(asked, capture_output=True, text=True, timeout=_PATIENCE, check=False)  # noqa: S603 - fixed words
        require(done.returncode == 0, f"openssl {words[0]} agrees: {done.stderr.strip()}")
        return done.stdout.strip()

    def server_log(self) -> Sequence[str]:
        """What the server process has printed."""
        return self._log_path.read_text().splitlines()

    def server_files(self) -> Sequence[Path]:
        """Every regular file that the server side wrote."""
        return [path for path in [*self.data.rglob("*"), self._log_path] if path.is_file()]

    def close(self) -> None:
        """End what was started, gently."""
        for process in reversed(self._started):
            process.terminate()
        for process in self._started:
            process.wait(_PATIENCE)
            for stream in (process.stdout, process.stderr):
                if stream:
                    stream.close()

    def _start(self, process: subprocess.Popen[str]) -> None:
        self._started.append(process)

    def _wait(self, true: Callable[[], bool], sentence: str) -> None:
        deadline = time.monotonic() + _PATIENCE
        while not true():
            alive = self._started[0].poll() is None
            require(alive and time.monotonic() < deadline, f"{sentence}: {' '.join(self.server_log()[-3:])}")
            time.sleep(0.02)
