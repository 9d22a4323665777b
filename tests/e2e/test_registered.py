"""Registered keys against a running server: imported, interrupted, resumed, used."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from keyborn.cli.console import Refused, ask
from keyborn.device.home import Home
from support.device import keyborn, keyborn_json
from support.figures import Figure
from support.registry_cases import key
from support.server import Server, running
from support.walks import FULL

MANY = 1_000_000 if FULL else 20_000


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a group of registered keys."""
    folder = tmp_path_factory.mktemp("line")
    with running(folder) as server:
        for name in ("line-7", "line-8"):
            file = folder / f"{name}.toml"
            file.write_text(f'name = "{name}"\nthings = "*"\nmethods = ["registered"]\n')
            keyborn("group", "put", file, "--data", server.data)
        yield server


def listing(path: Path, *rows: tuple[str, str]) -> Path:
    path.write_text("".join(f"{name},{hashed}\n" for name, hashed in (("name", "keyHash"), *rows)))
    return path


def test_a_device_prints_its_hash_is_registered_and_enrolls(line: Server, tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    made = keyborn_json("key", "make", "--home", home.path)
    assert keyborn_json("key", "hash", "--home", home.path) == made
    assert keyborn_json("key", "hash", home.key) == made
    code = keyborn("group", "code", "line-7", "--data", line.data).stdout.splitlines()[-1]
    refused = keyborn("enroll", "-", "--thing", "s-1", "--home", home.path, typed=code, expect=1)
    assert "key_not_registered" in refused.stderr
    file = listing(tmp_path / "list.csv", ("s-1", made["keyHash"]))
    done = keyborn_json("registered", "import", file, "--group", "line-7", "--data", line.data)
    assert (done["added"], done["known"], done["refused"]) == (1, 0, 0)
    keyborn("enroll", "-", "--thing", "s-1", "--home", home.path, typed=code)
    shown = keyborn_json("registered", "show", "s-1", "--group", "line-7", "--data", line.data)
    assert shown == {"thingName": "s-1", "keyHash": made["keyHash"], "group": "line-7"}
    gone = keyborn_json("registered", "remove", made["keyHash"], "--data", line.data)
    assert gone == shown
    assert (
        "not_registered"
        in keyborn("registered", "show", made["keyHash"], "--data", line.data, expect=1).stderr
    )


def test_where_a_line_is_not_in_order_nothing_is_registered_unless_asked_for(
    line: Server, tmp_path: Path
) -> None:
    file = listing(tmp_path / "list.csv", ("a-1", key("a1")), ("a 2", key("a2")), ("a-3", key("a1")))
    words = ("registered", "import", file, "--group", "line-8", "--data", line.data)
    said = keyborn(*words, expect=1).stderr
    assert "import_refused" in said
    assert "line 3: " in said
    assert "line 4: its key hash stands in line 2 already" in said
    assert keyborn_json("registered", "list", "--group", "line-8", "--data", line.data) == []
    assert "import_incomplete" in keyborn(*words, "--keep-going", expect=1).stderr
    [row] = keyborn_json("registered", "list", "--group", "line-8", "--data", line.data)
    assert row["thingName"] == "a-1"


def test_what_is_registered_otherwise_is_told_with_its_line(line: Server, tmp_path: Path) -> None:
    first = listing(tmp_path / "first.csv", ("b-1", key("b1")))
    keyborn("registered", "import", first, "--group", "line-8", "--data", line.data)
    second = listing(tmp_path / "second.csv", ("b-2", key("b2")), ("b-9", key("b1")))
    said = keyborn("registered", "import", second, "--group", "line-8", "--data", line.data, expect=1)
    assert "line 3: the key" in said.stderr
    assert key("b1") in keyborn("registered", "list", "--group", "line-8", "--data", line.data).stdout


def test_a_list_comes_from_standard_input_too(line: Server) -> None:
    typed = f'{{"name": "c-1", "keyHash": "{key("c1")}"}}\n'
    done = keyborn_json("registered", "import", "-", "--group", "line-8", "--data", line.data, typed=typed)
    assert done["added"] == 1


def test_keys_of_a_group_that_there_is_not_are_refused(line: Server, tmp_path: Path) -> None:
    file = listing(tmp_path / "list.csv", ("d-1", key("d1")))
    said = keyborn("registered", "import", file, "--group", "line-9", "--data", line.data, expect=1)
    assert "group_unknown" in said.stderr


def count_of(server: Server) -> int:
    """How many keys are registered; a page at a time."""
    after, count = None, 0
    while page := ask(server.data, "GET", "/v1/registered", group="line-7", after=after, limit=1000):
        after, count = page[-1]["keyHash"], count + len(page)
    return count


def is_there(server: Server, hashed: str) -> bool:
    """Whether a key is registered."""
    try:
        return bool(ask(server.data, "GET", f"/v1/registered/{hashed}"))
    except Refused:
        return False


def memory_of(process: int) -> float:
    """The most that a process had in memory, in MiB."""
    status = Path(f"/proc/{process}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_an_import_that_is_killed_goes_on_where_it_was(line: Server, tmp_path: Path, figure: Figure) -> None:
    keys = [key(str(number)) for number in range(MANY)]
    file = listing(tmp_path / "all.csv", *((f"n-{number}", each) for number, each in enumerate(keys)))
    words = ["registered", "import", str(file), "--group", "line-7", "--data", str(line.data)]
    before, began = count_of(line), time.monotonic()
    killed = subprocess.Popen([sys.executable, "-m", "keyborn", *words], stderr=subprocess.PIPE)
    while not is_there(line, sorted(keys)[MANY // 4]):
        assert killed.poll() is None
        time.sleep(0.05)
    seconds = time.monotonic() - began
    memory = memory_of(killed.pid)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    there = count_of(line) - before
    assert 0 < there < MANY
    again = [sys.executable, "-m", "keyborn", *words, "--json"]
    done = json.loads(subprocess.run(again, capture_output=True, timeout=600, check=True).stdout)
    assert (done["added"], done["known"], done["refused"]) == (MANY - there, there, 0)
    assert count_of(line) - before == MANY
    assert line.process is not None
    figure(
        f"registered keys: {MANY:,}; killed after {there:,} and {seconds:.0f} s, the rest in "
        f"{done['seconds']:.0f} s; most memory of the command {memory:.0f} MiB, "
        f"of the service {memory_of(line.process.pid):.0f} MiB"
    )
