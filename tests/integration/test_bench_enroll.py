"""The enrolment measurement works, and does not believe what it has not checked."""

import json
import math
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # `bench` is no installed package

from bench.support.chart import Panel, Series, picture
from bench.support.driver import Driver, NotHttpError, Plan, Raw, parse_answer
from bench.support.load import Load, machine_cpu, process_cpu
from bench.support.openbao import PROGRAM
from bench.support.requests import Device, Door, make_device
from bench.support.table import Cell, report
from bench.support.verdict import Outcome, judge, quantile

from support.csr_make import DeviceKey, make_csr

ROOT = Path(__file__).resolve().parents[2]
DOOR = Door("/sign", "thingName", "csr", ("result", "certificate"), "secret")
QUICK = ["--repeats", "1", "--seconds", "0.3", "--warmup", "0.1", "--clients", "2"]


def bench(folder: Path, *words: str) -> tuple[str, list[dict[str, Any]]]:
    """Run the measurement as its user does; returns what it printed, and its cells."""
    found = folder / "cells.json"
    order = [sys.executable, "bench/enroll.py", *QUICK, "--folder", str(folder), "--json", str(found), *words]
    done = subprocess.run(order, cwd=ROOT, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    cells: list[dict[str, Any]] = json.loads(found.read_text())["cells"]
    return done.stdout, cells


@pytest.mark.whole
def test_keyborn_is_measured_on_every_wire_and_each_certificate_is_in_its_registry(tmp_path: Path) -> None:
    document = tmp_path / "benchmarks.md"
    begin, end = "<!-- bench/enroll.py writes from here -->", "<!-- bench/enroll.py writes to here -->"
    document.write_text(f"before\n{begin}\nold\n{end}\nafter\n")
    printed, cells = bench(tmp_path, "--systems", "keyborn", "--docs", str(document))
    assert [(cell["wire"], cell["clients"]) for cell in cells] == [("http", 2), ("tls", 2), ("fresh", 2)]
    for cell in cells:
        assert cell["outcome"]["certificates"] == cell["outcome"]["answered"] > 0
        assert (cell["lost"], cell["surplus"], cell["outcome"]["wrong"]) == (0, 0, 0)
        assert cell["outcome"]["failures"] == {}
    written = document.read_text()
    assert printed.strip() in written
    assert "old" not in written
    assert "<polyline" in (tmp_path / "enrolments.svg").read_text()
    assert written.startswith("before\n")
    assert written.endswith("\nafter\n")


@pytest.mark.needs("cfssl")
@pytest.mark.whole
def test_cfssl_is_measured_with_and_without_a_database(tmp_path: Path) -> None:
    kinds = ["cfssl", "cfssl-sqlite", "cfssl-sqlite-wal"]
    printed, cells = bench(tmp_path, "--systems", ",".join(kinds), "--wires", "http,fresh")
    assert len(cells) == 2 * len(kinds)
    for cell in cells:
        assert cell["outcome"]["certificates"] > 0
        assert cell["lost"] == (None if cell["kind"] == "cfssl" else 0)
    for label in ("cfssl, no database", "cfssl, SQLite", "cfssl, SQLite, WAL and FULL"):
        assert f"| {label} | 2 |" in printed


@pytest.mark.whole
def test_openbao_is_measured_and_what_it_stored_outlasts_its_end(tmp_path: Path) -> None:
    if not PROGRAM.exists():  # `make bench` brings it, `make test` does not
        words = ["--systems", "openbao", "--wires", "http", "--most-per-second", "10"]
        order = [sys.executable, "bench/enroll.py", *QUICK, *words, "--folder", str(tmp_path)]
        done = subprocess.run(order, cwd=ROOT, capture_output=True, text=True, check=False, timeout=100)
        assert (done.returncode, "not installed: openbao" in done.stdout) == (1, True), done.stderr
        return
    _, cells = bench(tmp_path, "--systems", "openbao", "--wires", "http,tls")
    assert [(cell["lost"], cell["surplus"], cell["outcome"]["wrong"]) for cell in cells] == [(0, 0, 0)] * 2
    assert all(cell["outcome"]["certificates"] > 0 for cell in cells)


def test_an_unknown_system_is_a_usage_error() -> None:
    order = [sys.executable, "bench/enroll.py", "--systems", "nobody"]
    done = subprocess.run(order, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "unknown: nobody" in done.stderr


# ── the load client ───────────────────────────────────────────────────────────────────────────────────

WHOLE = b"HTTP/1.1 201 Created\r\nContent-Type: x\r\nContent-Length: 4\r\n\r\nbody"


def test_an_answer_is_read_when_its_last_byte_is_there_and_not_before() -> None:
    assert [parse_answer(WHOLE[:cut]) for cut in range(len(WHOLE))] == [None] * len(WHOLE)
    assert parse_answer(WHOLE) == (201, b"body")


def test_an_answer_in_chunks_is_read_as_well() -> None:
    whole = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n0\r\n\r\n\r\n2;x=y\r\nin\r\n0\r\n\r\n"
    assert [parse_answer(whole[:cut]) for cut in range(len(whole))] == [None] * len(whole)
    assert parse_answer(whole) == (200, b"0\r\n\r\nin")


@pytest.mark.parametrize(
    "head", [b"HTTP/1.0 200 OK\r\nContent-Length: 0", b"HTTP/1.1 200 OK\r\nServer: x", b"\0"]
)
def test_what_the_client_cannot_read_is_an_error(head: bytes) -> None:
    with pytest.raises(NotHttpError):
        parse_answer(head + b"\r\n\r\n")


def test_a_request_is_whole_and_carries_the_credential() -> None:
    head, _, body = DOOR.request(Device("bench-1", "PEM", b""), close=True).partition(b"\r\n\r\n")
    assert head.startswith(b"POST /sign HTTP/1.1\r\n")
    assert b"Authorization: Bearer secret" in head
    assert b"Connection: close" in head
    assert f"Content-Length: {len(body)}".encode() in head
    assert json.loads(body) == {"csr": "PEM", "thingName": "bench-1"}
    assert b"Connection" not in DOOR.request(Device("bench-1", "PEM", b""), close=False)


@contextmanager
def answering(*answers: bytes, met: list[int] | None = None) -> Iterator[int]:
    """A server that gives each request the next answer, the last one for ever; empty: it hangs up.

    ``met`` receives how many requests each connection brought.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            left = list(answers)
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                requests = [0] if met is None else met
                requests.append(0)
                with connection:
                    while connection.recv(65536):
                        requests[-1] += 1
                        answer = left.pop(0) if len(left) > 1 else left[0]
                        if not answer:
                            break
                        connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(5)


def drive(port: int, *, fresh: bool = False) -> Raw:
    plan = Plan(
        host="127.0.0.1",
        port=port,
        door=DOOR,
        pid=1,
        tls=False,
        fresh=fresh,
        clients=1,
        warmup=0.02,
        seconds=0.1,
    )
    return Driver(plan, [b"x"] * 50_000).run()


def test_refusals_and_broken_connections_are_counted_and_the_client_goes_on() -> None:
    with answering(b"HTTP/1.1 503 No\r\nContent-Length: 4\r\n\r\nbusy", b"", WHOLE) as port:
        raw = drive(port)
    assert raw.failures["503: busy"] == 1
    assert [count for what, count in raw.failures.items() if "Connection" in what] == [1]
    assert raw.answers
    assert {body for *_, body in raw.answers} == {b"body"}
    assert [number for number, *_ in raw.answers] == sorted({number for number, *_ in raw.answers})


def test_fresh_means_a_connection_for_each_request() -> None:
    met: list[int] = []
    with answering(WHOLE, met=met) as port:
        raw = drive(port, fresh=True)
    assert raw.answers
    assert max(met) == 1
    assert not +raw.failures


def test_kept_means_one_connection_for_all_requests() -> None:
    met: list[int] = []
    with answering(WHOLE, met=met) as port:
        raw = drive(port)
    assert len(met) == 1
    assert met[0] >= len(raw.answers) > 0


def test_too_few_requests_are_an_error_and_not_a_low_figure() -> None:
    plan = Plan("127.0.0.1", 0, DOOR, 1, tls=False, fresh=False, clients=1, warmup=0, seconds=1)
    with answering(WHOLE) as port, pytest.raises(IndexError):
        Driver(replace(plan, port=port), [b"x"] * 3).run()


# ── the verdict ───────────────────────────────────────────────────────────────────────────────────────


def self_signed(device_key: DeviceKey, name: str) -> str:
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import Encoding

    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(
        subject, subject, device_key.public_key(), 7, now, now + timedelta(days=1)
    )
    return builder.sign(device_key, SHA256()).public_bytes(Encoding.PEM).decode()


def body(pem: str) -> bytes:
    return json.dumps({"result": {"certificate": pem}}).encode()


def test_only_a_certificate_for_the_asking_key_counts_and_only_once() -> None:
    from bench.support.requests import key_hash

    key, csr = make_csr("bench-1")
    mine = Device("bench-1", csr, key_hash(key.public_key()))
    right = body(self_signed(key, "bench-1"))
    bodies = [
        right,
        right,
        body(self_signed(make_csr("x")[0], "bench-1")),
        body("no PEM"),
        b"{}",
        b"null",
        b"\xff",
    ]
    answers = [(0, 1.0, 1.25, text) for text in bodies]
    outcome = judge(Raw(1.0, 3.0, answers, Counter({"503": 2, "none": 0})), DOOR, [mine])
    assert (outcome.answered, outcome.wrong, len(outcome.certificates)) == (7, 6, 1)
    assert outcome.per_second == 0.5
    assert outcome.p50 == outcome.p99 == 0.25
    assert outcome.failures == {"503": 2}


def test_an_answer_outside_the_window_is_checked_but_not_counted() -> None:
    device = make_device(3)
    outcome = judge(Raw(1.0, 2.0, [(0, 0.1, 0.9, b"{}"), (0, 1.9, 2.1, b"{}")]), DOOR, [device])
    assert (outcome.answered, outcome.wrong, outcome.per_second) == (2, 2, 0.0)
    assert math.isnan(outcome.p99)


def test_quantiles_are_values_that_were_measured() -> None:
    values = [float(number) for number in range(100, 0, -1)]
    assert [quantile(values, share) for share in (0.0, 0.5, 0.99, 1.0)] == [1.0, 50.0, 99.0, 100.0]
    assert quantile([7.0], 0.99) == 7.0


# ── the table ─────────────────────────────────────────────────────────────────────────────────────────


def outcome(rate: float, **change: Any) -> Outcome:  # noqa: ANN401 - fields of the dataclass
    plain = Outcome(
        per_second=rate,
        p50=0.001,
        p99=0.002,
        answered=5,
        wrong=0,
        failures={},
        seconds=2.0,
        load=Load(server=rate * 2.0 * 100e-6, driver=rate * 2.0 * 50e-6, machine=1.0),
        certificates=frozenset({"a"}),
    )
    return replace(plain, **change)


def cell(
    kind: str,
    repeat: int,
    rate: float,
    *,
    lost: int | None = 0,
    surplus: int = 0,
    **change: Any,  # noqa: ANN401 - fields of the outcome
) -> Cell:
    return Cell("http", 8, kind, kind.title(), repeat, outcome(rate, **change), lost, surplus)


def test_ratios_are_taken_within_a_repeat_and_the_median_is_shown() -> None:
    rates = {"keyborn": (200.0, 600.0, 400.0), "cfssl": (100.0, 400.0, 100.0)}
    rates |= {"openbao": (50.0, 100.0, 50.0), "cfssl-sqlite": (40.0, 200.0, 100.0)}
    cells = [
        cell(kind, repeat, rate, lost=None if kind == "cfssl" else 0)
        for kind, row in rates.items()
        for repeat, rate in enumerate(row)
    ]
    lines = report(cells).splitlines()
    ours, peers = (next(line for line in lines if f"| {name} |" in line) for name in ("Keyborn", "Cfssl"))
    assert ours == "| Keyborn | 8 | **400** (200 to 600) | 2.00 | 4.00 | 1.0 | 2.0 | 100 | 50 | 0 | 0 |"
    assert (
        peers == "| Cfssl | 8 | **100** (100 to 400) | 1.00 | 2.00 | 1.0 | 2.0 | 100 | 50 | 0 | no database |"
    )
    assert len({line.count("|") for line in lines if line.startswith("|")}) == 1


@pytest.mark.parametrize(
    ("wrong_cell", "why"),
    [
        (cell("keyborn", 0, 1.0, wrong=2), "2 answers without the right certificate"),
        (cell("keyborn", 0, 1.0, lost=3), "3 certificates are not in the database"),
        (cell("keyborn", 0, 1.0, surplus=2, failures={"x": 1}), "2 certificates in the database, 1 requests"),
        (cell("keyborn", 0, 0.0, certificates=frozenset()), "nothing was enrolled"),
    ],
)
def test_a_figure_that_must_not_be_believed_says_why(wrong_cell: Cell, why: str) -> None:
    assert (wrong_cell.untrue or "").startswith(why)


def test_a_picture_holds_every_panel_and_every_name_once() -> None:
    lines = [Series("ours & theirs", 0, [(0, 1.0), (1, 2000.0)], dots=True), Series("b", 1, [(0, math.nan)])]
    panels = [Panel("rate", lines, [(0, "1"), (1, "8")]), Panel("p99", lines, log=True), Panel("none", [])]
    drawn = picture([panels[:2], panels[2:]], "title")
    names = [each.text for each in ET.fromstring(drawn) if each.tag.endswith("text")]
    assert names.count("ours & theirs") == names.count("rate") == names.count("none") == 1
    assert drawn.count("<circle") == 4


def test_a_request_without_an_answer_may_have_left_a_certificate() -> None:
    assert cell("keyborn", 0, 1.0, surplus=1, failures={"no answer in time": 1}).untrue is None


def test_processor_time_is_counted_with_the_children() -> None:
    begin = "import os; os.read(0, 1)"
    burn = "import time\nwhile time.process_time() < 0.3: pass\nprint(flush=True)\nimport os; os.read(0, 1)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {burn!r}]); {begin}"
    before = machine_cpu()
    with subprocess.Popen(
        [sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert process_cpu(process.pid) >= 0.2
        assert machine_cpu() - before >= 0.2
        process.kill()
