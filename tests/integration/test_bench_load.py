"""The measurements under load run, find what they look for, and write it where it belongs. Tiny runs."""

import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # `bench` is no installed package

from bench.support import tree
from bench.support.loitering import KINDS
from bench.support.mqtt_line import plugin
from bench.support.powering import MOST, Tally, Wave, _Caller, _Crowd
from bench.support.requests import Door, make_device

ROOT = Path(__file__).resolve().parents[2]
DOOR = Door("/v1/enroll", "thingName", "csr", ("certificatePem",), "secret")


def bench(name: str, folder: Path, *words: str) -> str:
    """Run a measurement as its user does; returns what it wrote between its marks."""
    document = folder / "page.md"
    marks = [f"<!-- bench/{name}.py writes {where} here -->" for where in ("from", "to")]
    document.write_text(f"before\n{marks[0]}\nold\n{marks[1]}\nafter\n")
    order = [sys.executable, str(ROOT / "bench" / f"{name}.py"), "--docs", str(document), *words]
    done = subprocess.run(order, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    assert document.read_text() == f"before\n{marks[0]}\n\n{done.stdout}\n{marks[1]}\nafter\n"
    return done.stdout


def test_a_fleet_that_powers_on_is_enrolled_and_is_in_the_registry(tmp_path: Path) -> None:
    said = bench("storm_real", tmp_path, "--devices", "40", "--within", "0.2", "--folder", str(tmp_path))
    assert "Every promise was kept." in said
    assert "| enrolled | 40 |" in said
    assert "| certificates given and not in the registry | 0 |" in said
    assert "<polyline" in (tmp_path / "storm-real.svg").read_text()


@pytest.mark.needs("mosquitto")
@pytest.mark.whole
def test_the_end_of_a_session_is_measured_beside_its_peer(tmp_path: Path) -> None:
    said = bench("revoke", tmp_path, "--sessions", "4", "--count", "3", "--folder", str(tmp_path))
    ours = [cell.strip() for cell in said.splitlines()[-2 if plugin() else -1].split("|")[1:-1]]
    assert ours[:3] == ["`keyborn thing revoke`", "4", "3"]
    assert ours[-2:] == ["0", "no"]
    assert 0 < float(ours[3]) < 1000


@pytest.mark.needs("mosquitto")
@pytest.mark.whole
def test_both_brokers_are_measured_by_one_client(tmp_path: Path) -> None:
    said = bench("broker", tmp_path, "--seconds", "0.2", "--repeats", "2")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in said.splitlines() if "**" in line]
    assert [row[1] for row in rows] == ["the embedded broker", "Mosquitto"] * 3
    assert all(float(row[3]) > 0 for row in rows)


@pytest.mark.whole
def test_slow_ones_are_told_apart_by_kind_and_nobody_else_fails(tmp_path: Path) -> None:
    words = ["--count", "40", "--rate", "200", "--hold", "12", "--quiet", "0.5", "--most-per-second", "1500"]
    said = bench("slow_clients", tmp_path, *words, "--folder", str(tmp_path))
    rows = {line.split("|")[1].strip(): line for line in said.splitlines() if line.startswith("|")}
    assert "| 408: 10 | 0 |" in rows["half a header"]
    assert "413" in rows["a body of 60 MB"]
    assert set(KINDS) <= rows.keys()
    assert "Failures among those who behave: 0." in said


@pytest.mark.whole
def test_where_the_time_goes_is_told_by_thread() -> None:
    order = [sys.executable, "bench/hot.py", "--seconds", "1", "--most-per-second", "3000", "--clients", "4"]
    done = subprocess.run(order, cwd=ROOT, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    assert "enrolments/s, p50" in done.stdout
    assert "| of one core |" in done.stdout


def test_the_start_of_the_commands_is_measured(tmp_path: Path) -> None:
    assert "| keyborn --help | " in bench("start", tmp_path, "--rounds", "1")


# ── the devices' side of a storm ──────────────────────────────────────────────────────────────────────


@pytest.fixture
def crowd() -> _Crowd:
    wave = Wave("127.0.0.1", 1, DOOR, 0, time.monotonic(), 0.0, time.monotonic() + 5)
    return _Crowd(wave, [make_device(1)])


def answered(crowd: _Crowd, head: str) -> Tally:
    caller: _Caller = crowd._callers[0]
    caller.tries, caller.due, crowd._due = 1, 0.0, []
    caller.buffer = f"HTTP/1.1 {head}\r\nContent-Length: 0\r\n\r\n".encode()
    crowd._take(caller, int(head[:3]), b"")
    return crowd._tally


def test_a_device_that_is_told_when_comes_then_and_not_before(crowd: _Crowd) -> None:
    before = time.monotonic()
    tally = answered(crowd, "429 Too Many\r\nRetry-After: 7")
    ((due, number),) = crowd._due
    assert (number, tally.statuses, tally.failures) == (0, {"429": 1}, {})
    assert 7.0 <= due - before <= 7.9


def test_a_refusal_that_names_no_time_is_counted_as_such(crowd: _Crowd) -> None:
    assert answered(crowd, "503 Busy").statuses == {"503, no Retry-After": 1}
    assert len(crowd._due) == 1


def test_a_connection_that_fails_is_a_failure_and_is_tried_again(crowd: _Crowd) -> None:
    caller = crowd._callers[0]
    caller.tries, caller.due, crowd._due = 1, 0.0, []
    crowd._again(caller, None, "ConnectionResetError while shaking hands")
    assert crowd._tally.failures == {"ConnectionResetError while shaking hands": 1}
    assert len(crowd._due) == 1


def test_one_process_has_descriptors_for_its_devices() -> None:
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[1] > MOST + 100


def test_memory_is_counted_for_the_whole_family() -> None:
    child = "x = bytearray(30_000_000); print(flush=True); input()"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    with subprocess.Popen(
        [sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert len(tree.family(process.pid)) == 2
        assert tree.memory(process.pid) > 30_000_000
        process.communicate(b"\n")
