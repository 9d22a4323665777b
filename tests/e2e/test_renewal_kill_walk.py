"""SIGKILL of a real server at each named step of a renewal and of its confirmation; the device retries.

The list of steps is the code's own (``SagaStep``): what a renewal announces, and what a confirmation does, is
held by tests/unit/service/test_renew.py. `make test` samples it, here as in
tests/e2e/test_kill_points.py, where real devices come.
"""

import http.client
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from keyborn.domain.names import CertificateId
from keyborn.service.saga import SagaStep
from support.csr_make import make_csr
from support.figures import Figure
from support.server import MODULE, Answer, Server
from support.signing import NextKey, Signer
from support.walks import FULL

CRASHING = ("-m", "support.crashing")
NAME = "walker"
JOSE = {"Content-Type": "application/jose+json"}
RENEW, CONFIRM = "/v1/renew", "/v1/renew/confirm"
OF_CONFIRMATION = (SagaStep.AUTHENTICATED, SagaStep.ADMITTED, SagaStep.ACTIVATED)
EVERY = 1 if FULL else 3
CASES = [(RENEW, step) for step in SagaStep] + [(CONFIRM, step) for step in OF_CONFIRMATION]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    server = Server(tmp_path / "server", tmp_path / "log").start()
    yield server
    if server.process is not None and server.process.poll() is None:
        server.stop()


def post(server: Server, path: str, who: Signer, payload: object = None) -> Answer:
    nonce = server.request("GET", "/v1/nonce").headers["replay-nonce"]
    return server.request("POST", path, who.body(server.about["url"] + path, nonce, payload), JOSE)


def enrolled(server: Server) -> Signer:
    key, csr = make_csr(NAME)
    answer = server.enroll(NAME, csr, server.token(thing=NAME)["secret"])
    return Signer(NAME, key, CertificateId(answer.json["certificateId"]))


def renewed(server: Server, first: Signer, following: NextKey) -> Signer:
    answer = post(server, RENEW, first, following.wish)
    assert answer.status in (200, 201), answer.body
    return following.with_certificate(answer.json["certificateId"])


def restart(server: Server, module: tuple[str, ...]) -> None:
    server.module = module
    server.start()


def killed(server: Server, path: str, who: Signer, payload: object) -> None:
    """A request that the server does not survive; then the unaltered product on what that left."""
    server.stop()
    restart(server, CRASHING)
    with pytest.raises((OSError, http.client.HTTPException, ssl.SSLError)):
        post(server, path, who, payload)
    assert server.process is not None
    assert server.process.wait(10) == -9, "the server died where it was told to"
    restart(server, MODULE)


def active(server: Server) -> list[str]:
    return [str(row["certificateId"]) for row in server.active(NAME)]


def test_every_step_has_a_case(figure: Figure) -> None:
    assert {step for path, step in CASES if path == RENEW} == set(SagaStep)
    figure(f"steps of a renewal and its confirmation at which a server is killed: {len(CASES)}")


@pytest.mark.slow
@pytest.mark.parametrize("step", list(SagaStep)[::EVERY])
def test_after_a_kill_in_a_renewal_and_a_retry_the_device_goes_over(
    server: Server, monkeypatch: pytest.MonkeyPatch, step: SagaStep
) -> None:
    first = enrolled(server)
    following = first.next_key()
    monkeypatch.setenv("KILL_AT", step.value)
    killed(server, RENEW, first, following.wish)
    assert len(active(server)) == (2 if step is SagaStep.ACTIVATED else 1)

    second = renewed(server, first, following)
    assert active(server) == [first.certificate_id, second.certificate_id]
    assert post(server, CONFIRM, second).status == 200
    assert active(server) == [second.certificate_id]
    assert len(server.thing(NAME)["certificates"]) == 2


@pytest.mark.slow
@pytest.mark.parametrize("step", OF_CONFIRMATION[::-EVERY])
def test_after_a_kill_in_a_confirmation_and_a_retry_one_is_active(
    server: Server, monkeypatch: pytest.MonkeyPatch, step: SagaStep
) -> None:
    first = enrolled(server)
    second = renewed(server, first, first.next_key())
    monkeypatch.setenv("KILL_AT", step.value)
    killed(server, CONFIRM, second, {})
    assert len(active(server)) == (1 if step is SagaStep.ACTIVATED else 2)

    assert post(server, CONFIRM, second).status == 200
    assert active(server) == [second.certificate_id]
    refused = post(server, RENEW, first, first.next_key().wish)
    assert (refused.status, refused.json["code"]) == (403, "certificate_not_active")
