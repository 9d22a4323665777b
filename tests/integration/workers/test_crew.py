"""A served crew of two: what holds when one of them, or the core, goes in whatever way."""

import json
import os
import signal
import socket
import sqlite3
import ssl
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from keyborn.cli.console import ask
from keyborn.service.admission import SLOTS
from support.crew import Load, descriptors_of, is_worker, loaded, sockets_of, until, worker_pids
from support.csr_make import make_csr
from support.server import Server, running


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with running(tmp_path, "--workers", "2") as server:
        yield server


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One for whatever it outlives; who its workers are changes between two tests."""
    with running(tmp_path_factory.mktemp("standing"), "--workers", "2") as server:
        yield server


def active_ids(server: Server) -> set[str]:
    with closing(sqlite3.connect(f"file:{server.data / 'registry.db'}?mode=ro", uri=True)) as database:
        return {row[0] for row in database.execute("SELECT id FROM certificates WHERE status = 'active'")}


def given_ids(load: Load) -> set[str]:
    return {json.loads(body)["certificateId"] for body in load.given.values()}


def test_two_workers_answer_and_share_a_burst_of_connections(standing: Server) -> None:
    workers = worker_pids(standing)
    assert len(workers) == 2
    before = [sockets_of(pid) for pid in workers]
    context = standing.context()

    def connected(_number: int) -> ssl.SSLSocket:
        plain = socket.create_connection(standing.address, 10)
        return context.wrap_socket(plain, server_hostname=standing.address[0])

    with ThreadPoolExecutor(20) as pool:
        held = list(pool.map(connected, range(60)))
    taken = [sockets_of(pid) - old for pid, old in zip(workers, before, strict=True)]
    for each in held:
        each.close()
    assert sum(taken) == 60
    assert min(taken) >= 60 * 0.25, taken


def asks_to_enroll(server: Server, context: ssl.SSLContext, name: str, secret: str) -> ssl.SSLSocket:
    """A connection with that request on it, whose answer is still to come."""
    body = json.dumps({"thingName": name, "csr": make_csr(name)[1]}).encode()
    head = (
        f"POST /v1/enroll HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {secret}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    plain = socket.create_connection(server.address, 10)
    caller = context.wrap_socket(plain, server_hostname=server.address[0])
    caller.sendall(head.encode() + body)
    return caller


def test_nobody_enrolls_for_callers_who_left_while_they_stood_in_line(server: Server) -> None:
    assert server.process is not None
    secret, context = server.token(match="lamp-*", uses=0)["secret"], server.context()
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        callers = [asks_to_enroll(server, context, f"lamp-{number}", secret) for number in range(2 * SLOTS)]
        time.sleep(0.3)
        for each in callers:
            each.close()
        time.sleep(0.3)
    finally:
        os.kill(server.process.pid, signal.SIGCONT)
    assert server.enroll("lamp-last", make_csr("lamp-last")[1], secret).status == 201
    assert 2 <= len(active_ids(server)) <= SLOTS + 1


def test_the_row_of_the_service_tells_of_workers_and_of_all_their_answers(standing: Server) -> None:
    assert standing.about["workers"] == 2
    before = ask(standing.data, "GET", "/v1/about")["requests"]
    for _ in range(10):
        assert standing.request("GET", "/healthz").status == 200
    assert ask(standing.data, "GET", "/v1/about")["requests"] == before + 10


def test_the_passphrase_of_the_authority_never_reaches_a_worker(tmp_path: Path) -> None:
    environment = {"KEYBORN_CA_PASSPHRASE": "open sesame"}
    server = Server(tmp_path / "data", tmp_path / "log", ("--workers", "1"), environment=environment)
    try:
        server.start()
        (worker,) = worker_pids(server)
        assert server.request("GET", "/readyz").status == 200
        assert b"sesame" not in Path(f"/proc/{worker}/environ").read_bytes()
        names = descriptors_of(worker)
        assert any("registry.db" in name for name in names)
        assert not [name for name in names if "/ca/" in name]
    finally:
        server.stop()


def test_a_worker_that_is_killed_under_load_is_replaced_and_nothing_is_lost(standing: Server) -> None:
    victim, other = worker_pids(standing)
    with loaded(standing) as load:
        os.kill(victim, signal.SIGKILL)
        until(lambda: len(worker_pids(standing)) == 2 and victim not in worker_pids(standing))
        known = len(load.given)
        until(lambda: len(load.given) > known + 10)
    assert other in worker_pids(standing)
    assert load.half == 0
    assert set(load.refused) <= {503}
    assert given_ids(load) <= active_ids(standing)
    until(lambda: _readable(standing))


def _readable(server: Server) -> bool:
    return server.request("GET", "/readyz").status == 200


@pytest.mark.slow
def test_a_worker_that_hangs_is_replaced(standing: Server) -> None:
    victim, _ = worker_pids(standing)
    os.kill(victim, signal.SIGSTOP)
    until(lambda: not is_worker(victim), patience=25)
    until(lambda: len(worker_pids(standing)) == 2)
    assert "gives no sign of life" in standing.log.read_text()
    for _ in range(6):
        assert standing.request("GET", "/healthz").status == 200


def test_when_the_core_is_killed_its_workers_go(server: Server) -> None:
    workers = worker_pids(server)
    with loaded(server) as load:
        server.kill()
        took = until(lambda: not any(map(is_worker, workers)))
    assert took < 2
    assert load.half == 0
    assert given_ids(load) <= active_ids(server)
    server.start()
    assert len(worker_pids(server)) == 2
    assert given_ids(load) <= active_ids(server)


def test_a_stop_under_load_gives_whole_answers_or_none(server: Server) -> None:
    workers = worker_pids(server)
    with loaded(server) as load:
        assert server.stop() == 0
        assert not any(map(is_worker, workers))
    assert load.half == 0
    assert given_ids(load) <= active_ids(server)
    assert "Traceback" not in server.log.read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_everybody_is_for_the_core(server: Server, number: int) -> None:
    assert server.process is not None
    for worker in worker_pids(server):
        os.kill(worker, number)
    secret, (_, csr) = server.token(thing="lamp")["secret"], make_csr("lamp")
    assert server.enroll("lamp", csr, secret).status == 201
    assert all(map(is_worker, worker_pids(server)))
    server.process.send_signal(number)
    assert server.process.wait(10) == 0


def test_a_worker_that_stands_still_is_replaced_when_the_root_changes(standing: Server) -> None:
    victim, _ = worker_pids(standing)
    os.kill(victim, signal.SIGSTOP)
    ask(standing.data, "POST", "/v1/roots/next")
    until(lambda: victim not in worker_pids(standing) and len(worker_pids(standing)) == 2)
    bundles = {standing.request("GET", "/v1/trust-bundle").body for _ in range(8)}
    assert [body.count(b"BEGIN CERTIFICATE") for body in bundles] == [2]


def test_there_is_a_worker_for_each_processor_but_the_cores_if_nothing_else_is_said(tmp_path: Path) -> None:
    server = Server(tmp_path / "data", tmp_path / "log", workers=None)
    try:
        server.start()
        expected = max(1, len(os.sched_getaffinity(0)) - 1)
        assert len(worker_pids(server)) == expected == server.about["workers"]
        assert "workers" not in (server.data / "server.toml").read_text()
    finally:
        server.stop()


def test_everything_in_one_process(tmp_path: Path) -> None:
    with running(tmp_path, "--workers", "0") as server:
        assert worker_pids(server) == []
        assert server.request("GET", "/readyz").status == 200
        assert server.about["workers"] == 0
