"""How long a list of pre-registered keys takes to import, and in how much memory: through a real service.

    python bench/registered_import.py                            a million keys, about five minutes
    python bench/registered_import.py --keys 20000               a first look, to see that it works
    python bench/registered_import.py --docs docs/benchmarks.md  put the table into the document

``keyborn serve`` on an empty data folder, and ``keyborn registered import`` beside it, as an operator runs
them; resident memory is each process's own peak (``VmHWM``).
"""

import argparse
import hashlib
import json
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for `bench.support`, wherever this is started
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))  # and for the tests' `support`

from bench.support import pages

from keyborn.cli.console import Refused, ask
from support.device import keyborn
from support.server import Server, running

NAME = "bench/registered_import.py"
GROUP = 'name = "line-7"\nthings = "*"\nmethods = ["registered"]\n'


@dataclass(frozen=True, slots=True)
class Run:
    """One import, as far as it came."""

    what: str
    seconds: float
    rows: int
    added: int
    known: int
    peak: float
    """Most resident memory of the command, MiB."""


def peak_of(process: int) -> float:
    """The most that a process had in memory, MiB; 0 for one that has ended."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0.0
    return max(
        (int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM")), default=0.0
    )


def hashed(number: int) -> str:
    """A key's hash, as good as any."""
    return hashlib.sha256(str(number).encode()).hexdigest()


def is_there(server: Server, key: str) -> bool:
    """Whether a key is registered."""
    try:
        return bool(ask(server.data, "GET", f"/v1/registered/{key}"))
    except Refused:
        return False


def listing(path: Path, count: int) -> Path:
    """A list of so many keys."""
    with path.open("w") as file:
        file.write("name,keyHash\n")
        for number in range(count):
            file.write(f"sensor-{number:07d},{hashed(number)}\n")
    return path


def imported(what: str, server: Server, file: Path, until: str | None = None) -> Run:
    """Run the command, to its end; or until a key is there, and then kill it."""
    words = ["registered", "import", str(file), "--group", "line-7", "--data", str(server.data), "--json"]
    began = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "keyborn", *words], stdout=subprocess.PIPE)
    peaks = [0.0]

    def watch() -> None:
        while process.poll() is None:
            peaks.append(peak_of(process.pid))
            time.sleep(0.05)

    watching = threading.Thread(target=watch)
    watching.start()
    if until is not None:
        while process.poll() is None and not is_there(server, until):
            time.sleep(0.1)
        process.send_signal(signal.SIGKILL)
    out, _ = process.communicate()
    watching.join()
    told = json.loads(out) if out else {"rows": 0, "added": 0, "known": 0}
    seconds = time.monotonic() - began
    return Run(what, seconds, told["rows"], told["added"], told["known"], max(peaks))


def measure(count: int, folder: Path) -> tuple[list[Run], Server]:
    """Once in one go, once more, and on another service killed half way and resumed."""
    file = listing(folder / "keys.csv", count)
    middle = sorted(hashed(number) for number in range(count))[count // 2]
    runs: list[Run] = []
    with running(folder) as server:
        begin(server, folder)
        runs.append(imported("in one go", server, file))
        runs.append(imported("the same once more", server, file))
        assert server.process is not None
        print(
            f"service: {peak_of(server.process.pid):.0f} MiB, {size(server):.0f} MB on disk", file=sys.stderr
        )
    second = folder / "second"
    second.mkdir()
    with running(second) as server:
        begin(server, second)
        runs.append(imported("killed (`kill -9`)", server, file, until=middle))
        runs.append(imported("the same command again", server, file))
    return runs, server


def begin(server: Server, folder: Path) -> None:
    """The group."""
    file = folder / "line-7.toml"
    file.write_text(GROUP)
    keyborn("group", "put", file, "--data", server.data)


def size(server: Server) -> float:
    """Of the registry, MB."""
    return sum(path.stat().st_size for path in server.data.glob("registry.db*")) / 1e6


def text(count: int, runs: list[Run]) -> str:
    """The table."""
    lines = [
        f"| {count:,} keys | seconds | rows/s | added | known already | the command's memory, MiB |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for run in runs:
        rate = f"{run.rows / run.seconds:,.0f}" if run.rows else "-"
        told = (f"{run.added:,}", f"{run.known:,}") if run.rows else ("-", "-")
        lines.append(
            f"| {run.what} | **{run.seconds:.0f}** | {rate} | {told[0]} | {told[1]} | {run.peak:.0f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--docs", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runs, _ = measure(asked.keys, Path(folder))
    pages.put(text(asked.keys, runs), asked.docs, NAME)


if __name__ == "__main__":
    main()
