"""Figures and log of a real server: enrolment, refusal, renewal, session and revoke are in them."""

import asyncio
import contextlib
import http.client
import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from keyborn.adapters.data_folder import DataFolder
from keyborn.cli.console import ask
from keyborn.device import https, tls
from keyborn.service import figures
from keyborn.settings import Address, ServerSettings
from keyborn.wiring.service import LocalService, ServeOptions
from keyborn.wiring.watching import new_meter
from support.csr_make import make_csr
from support.device import enroll, keyborn
from support.server import Answer, Server, running
from support.talker import Party, until

CANARY = "canary4711"
THING = f"lamp-{CANARY}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    words = ("--metrics", "127.0.0.1:0", "--log-format", "json", "--access-log")
    with running(tmp_path_factory.mktemp("server"), *words) as server:
        yield server


def scrape(server: Server, path: str = "/metrics") -> Answer:
    with contextlib.closing(http.client.HTTPConnection(server.about["metrics"], timeout=20)) as connection:
        connection.request("GET", path)
        answer = connection.getresponse()
        return Answer(answer.status, dict(answer.getheaders()), answer.read())


def text(server: Server) -> str:
    answer = scrape(server)
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return answer.body.decode()


Numbers = dict[tuple[str, ...], float]


def numbers(server: Server) -> Numbers:
    """Every sample, by its name and label values in the order of their names."""
    found: Numbers = {}
    for family in text_string_to_metric_families(text(server)):
        for each in family.samples:
            found[each.name, *(value for _, value in sorted(each.labels.items()))] = each.value
    return found


def grown(before: Numbers, after: Numbers) -> Numbers:
    return {key: value - before.get(key, 0) for key, value in after.items() if value != before.get(key, 0)}


def logged(server: Server) -> list[dict[str, object]]:
    lines = [line for line in server.log.read_text().splitlines() if line.startswith("{")]
    return [json.loads(line) for line in lines]


def test_a_life_is_counted_step_by_step(server: Server, tmp_path: Path) -> None:
    home, before = tmp_path / "device", numbers(server)
    token = server.token(thing=THING)
    enroll(home, token["code"], THING)
    after = numbers(server)
    new = grown(before, after)
    assert new["keyborn_enrollments_total", "token", "issued"] == 1
    assert new["keyborn_enrollment_seconds_count", "granted"] == 1
    assert 0 < new["keyborn_enrollment_seconds_sum", "granted"] < 20
    assert new["keyborn_http_request_seconds_count", "/v1/enroll", "2xx"] == 1
    assert new["keyborn_registry_commands_total",] >= 2
    assert after["keyborn_registry_queue_depth",] == after["keyborn_admission_waiting", "enroll"] == 0
    assert after["keyborn_registry_largest_batch",] >= 1
    assert new["keyborn_http_handshakes_total",] == new["keyborn_http_connections_accepted_total",] > 0

    before = after
    _, csr = make_csr(f"other-{CANARY}")
    refusal = server.enroll(f"other-{CANARY}", csr, token["secret"])
    assert refusal.status == 403
    new = grown(before, numbers(server))
    code = refusal.json["code"]
    assert new["keyborn_enrollments_total", "token", code] == 1
    assert new["keyborn_enrollment_seconds_count", "refused"] == 1
    assert new["keyborn_http_problems_total", code, "/v1/enroll"] == 1

    before = numbers(server)
    keyborn("renew", "--now", "--home", home)
    new = grown(before, numbers(server))
    assert new["keyborn_renewals_total", "renewed", "renew"] == 1
    assert new["keyborn_renewals_total", "confirmed", "confirm"] == 1
    assert new["keyborn_renewal_seconds_count", "granted"] == 2
    assert new["keyborn_broker_admissions_total",] >= 1


def test_a_session_and_its_end_are_counted(server: Server, tmp_path: Path) -> None:
    party, before = Party(server, tmp_path), numbers(server)
    talker = party.talker(party.device(f"desk-{CANARY}")).connect()
    during = numbers(server)
    assert during["keyborn_broker_sessions", "connected"] == 1
    assert during["keyborn_broker_connections",] == 1
    assert grown(before, during)["keyborn_broker_admissions_total",] == 1
    ask(server.data, "POST", f"/v1/things/desk-{CANARY}/status", {"status": "revoked"})
    until(lambda: not talker.is_in, "the end of the session")
    after = numbers(server)
    party.end()
    assert after["keyborn_broker_sessions", "connected"] == 0
    assert grown(during, after)["keyborn_broker_evictions_total",] == 1


def test_what_is_no_tls_is_seen_as_an_unfinished_handshake(server: Server) -> None:
    before = numbers(server)
    with socket.create_connection(server.address, timeout=20) as plain:
        plain.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            plain.recv(100)
    new = grown(before, numbers(server))
    assert new["keyborn_http_connections_accepted_total",] == 1
    assert ("keyborn_http_handshakes_total",) not in new


def test_the_registry_is_counted_at_the_next_census(tmp_path: Path) -> None:
    """The first look at figures counts; so here is a server on which nobody has looked yet."""
    with running(tmp_path, "--metrics", "127.0.0.1:0") as server:
        for name in ("one", "two", "three"):
            _, csr = make_csr(name)
            assert server.enroll(name, csr, server.token(thing=name)["secret"]).status == 201
        ask(server.data, "POST", "/v1/things/one/status", {"status": "revoked"})
        ask(server.data, "POST", "/v1/things/two/status", {"status": "suspended"})
        seen = numbers(server)
    things = {key[1]: value for key, value in seen.items() if key[0] == "keyborn_things"}
    assert things == {"claimed": 0, "active": 1, "suspended": 1, "revoked": 1, "retired": 0}
    certificates = {key[1]: value for key, value in seen.items() if key[0] == "keyborn_certificates"}
    assert certificates == {"inactive": 1, "active": 1, "revoked": 1}
    ending = {key[1]: value for key, value in seen.items() if key[0] == "keyborn_certificates_expiring"}
    assert ending == {"0": 0, "7": 0, "30": 0, "90": 1}


async def test_a_process_may_be_given_its_meter(tmp_path: Path) -> None:
    meter, folder, any_port = new_meter(), DataFolder(tmp_path / "data"), Address("127.0.0.1", 0)
    settings = ServerSettings(https=any_port, mqtt=any_port)
    folder.create()
    with folder.lock():
        async with LocalService(folder, settings, ServeOptions(meter=meter)).run() as running:
            there = https.Service(running.url)
            asked = https.Request("GET", "/healthz")
            await asyncio.to_thread(https.exchange, there, tls.blind_context(), asked, seconds=10)
    assert list(meter.snapshot()[figures.HTTP_SECONDS]) == ["/healthz 2xx"]


def test_the_listener_has_two_routes_and_the_public_one_has_none_of_them(server: Server) -> None:
    assert scrape(server, "/healthz").status == 200
    for path in ("/", "/v1/metrics", "/v1/things", "/v1/enroll", "/metrics/x"):
        assert scrape(server, path).status == 404
    for path in ("/metrics", "/v1/metrics"):
        assert server.request("GET", path).status in (401, 403, 404)
    key = ask(server.data, "POST", "/v1/api-keys", {"name": "alice", "role": "admin"})["apiKey"]
    refused = server.request("GET", "/v1/metrics", headers={"Authorization": f"Bearer {key}"})
    assert (refused.status, refused.json["code"]) == (403, "local_only")


def test_a_refusal_is_found_in_the_log_by_what_its_answer_says(server: Server) -> None:
    _, csr = make_csr("nobody")
    refused = server.enroll("nobody", csr, CANARY)
    request = refused.json["requestId"]
    assert refused.headers["x-request-id"] == request
    assert re.fullmatch(r"[0-9a-f]{16}", request)

    def _found() -> list[dict[str, object]]:
        return [each for each in logged(server) if each.get("requestId") == request]

    until(lambda: bool(_found()), "the line of the request")
    (line,) = _found()
    assert (line["logger"], line["route"], line["status"]) == ("keyborn.access", "/v1/enroll", 401)


def test_no_figure_and_no_line_about_requests_holds_what_callers_chose(server: Server) -> None:
    """Names, secrets, requests: by now all of them have been here."""
    _, csr = make_csr(CANARY)
    token = server.token(thing=f"late-{CANARY}")
    server.enroll(f"late-{CANARY}", csr, token["secret"])
    server.request("GET", f"/{CANARY}", headers={"X-Request-Id": CANARY, CANARY: CANARY})
    told = text(server)
    access = [each for each in logged(server) if each["logger"] == "keyborn.access"]
    assert len(access) > 5
    for secret in (CANARY, token["secret"], token["id"], csr.splitlines()[2]):
        assert secret not in told
        assert secret not in json.dumps(access)
    log = server.log.read_text()
    assert token["secret"] not in log
    assert csr.splitlines()[2] not in log
    assert "127.0.0.1" not in told


def test_every_label_is_of_the_lists(server: Server) -> None:
    lists = {
        each.name.removesuffix("_total"): {label.name: label.values for label in each.labels}
        for each in figures.FIGURES
    }
    for family in text_string_to_metric_families(text(server)):
        for sample in family.samples:
            for name, value in sample.labels.items():
                if name != "le":
                    assert value in lists[family.name][name] | {figures.OTHER}
