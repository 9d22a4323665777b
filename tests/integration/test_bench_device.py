"""The measurements of the device side run, and write what they found where it belongs."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def bench(name: str, document: Path, *words: str) -> str:
    """Run a measurement as its user does; returns what it wrote between its marks."""
    marks = [f"<!-- bench/{name}.py writes {where} here -->" for where in ("from", "to")]
    document.write_text(f"before\n{marks[0]}\nold\n{marks[1]}\nafter\n")
    order = [sys.executable, str(ROOT / "bench" / f"{name}.py"), "--quick", "--docs", str(document), *words]
    done = subprocess.run(
        order, cwd=document.parent, capture_output=True, text=True, check=False, timeout=100
    )
    assert done.returncode == 0, done.stderr
    written = document.read_text()
    assert written == f"before\n{marks[0]}\n\n{done.stdout}\n{marks[1]}\nafter\n"
    return done.stdout


def row(table: str, name: str) -> list[str]:
    """The cells of the row that begins with ``name``, or has it second."""
    found = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]
    return next(cells for cells in found if name in cells[:2])


@pytest.mark.needs("openssl", "curl", "mosquitto_pub")
def test_every_way_to_the_first_message_gets_there(tmp_path: Path) -> None:
    table = bench("first_message", tmp_path / "page.md", "--folder", str(tmp_path))
    for way in (
        "`keyborn enroll --publish`",
        "`keyborn enroll`, then `keyborn publish`",
        "openssl, curl, mosquitto_pub",
        "the usual script: Python, openssl, requests, AWSIoTPythonSDK",
    ):
        kind, _, wall, cpu, *ratios = row(table, way)
        assert kind == "p256"
        assert wall.startswith("**")
        assert cpu.startswith("**")
        assert "1" in ratios or float(ratios[0]) > 1


@pytest.mark.needs("curl")
@pytest.mark.whole
def test_the_agent_at_rest_is_small_and_is_not_woken(tmp_path: Path) -> None:
    table = bench("footprint", tmp_path / "page.md", "--only", "`keyborn agent`")
    for name in ("`keyborn agent`", "`keyborn agent`, after it has renewed its certificate"):
        _, pss, rss, woken, modules, _, disk = row(table, name)
        assert 5 < float(pss.strip("*")) <= 35  # GOALS P11
        assert float(rss) >= float(pss.strip("*"))
        assert int(woken) <= 2
        assert int(modules) > 100
        assert 5 < float(disk) <= 60


@pytest.mark.needs("mosquitto", "mosquitto_pub")
@pytest.mark.whole
def test_the_outbox_is_measured_beside_its_peers(tmp_path: Path) -> None:
    table = bench("outbox", tmp_path / "page.md")
    for name in (
        "append, one at a time; WAL, FULL (ours)",
        "append, 100 at a time; WAL, FULL (ours)",
        "empty into mosquitto, MQTT 5",
    ):
        _, figure, ratio = row(table, name)
        assert figure.startswith("**")
        assert float(ratio) > 0
    assert row(table, "append, one at a time; plain SQLite, as durable")[-1] == "-"
