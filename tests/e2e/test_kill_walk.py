"""SIGKILL of a real server at each named step of the saga; restart; the device retries.

The list of steps is the code's own (``SagaStep``): a step without a case would fail the first test.
`make test` samples it, here as in tests/e2e/test_kill_points.py, where real devices come.
"""

import http.client
import ssl
from pathlib import Path

import pytest

from keyborn.service.saga import SagaStep
from support.csr_make import make_csr
from support.figures import Figure
from support.server import MODULE, Server
from support.walks import FULL

CRASHING = ("-m", "support.crashing")
NAME = "walker"
CASES = tuple(SagaStep)
EVERY = 1 if FULL else 3


def test_every_step_of_the_saga_has_a_case(figure: Figure) -> None:
    assert set(CASES) == set(SagaStep)
    figure(f"steps of the saga at which a server is killed: {len(CASES)}")


@pytest.mark.slow
@pytest.mark.parametrize("step", CASES[::EVERY])
def test_after_a_kill_and_a_retry_there_is_exactly_one_active_certificate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: SagaStep
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    monkeypatch.setenv("KILL_AT", step.value)
    server = Server(tmp_path / "server", tmp_path / "log", module=CRASHING).start()
    try:
        token, (_, csr) = server.token(thing=NAME), make_csr(NAME)
        with pytest.raises((OSError, http.client.HTTPException, ssl.SSLError)):
            server.enroll(NAME, csr, token["secret"])
        assert server.process is not None
        assert server.process.wait(10) == -9, "the server died where it was told to"
        assert len(active_after_restart(server)) == (1 if step is SagaStep.ACTIVATED else 0)
        answer = server.enroll(NAME, csr, token["secret"])
        assert answer.status in (200, 201), answer.body
        certificates = server.thing(NAME)["certificates"]
        assert [row["certificateId"] for row in certificates] == [answer.json["certificateId"]]
        assert certificates[0]["status"] == "active"
        again = server.enroll(NAME, csr, token["secret"])
        assert again.body == answer.body
        assert server.enroll(NAME, make_csr(NAME)[1], server.token(thing=NAME)["secret"]).status == 409
    finally:
        if server.process is not None and server.process.poll() is None:
            server.stop()


def active_after_restart(server: Server) -> list[dict[str, object]]:
    """Start the unaltered product on what the crash left, and look."""
    server.module = MODULE
    server.start()
    names = {row["thingName"] for row in things(server)}
    return server.active(NAME) if NAME in names else []


def things(server: Server) -> list[dict[str, str]]:
    from keyborn.cli.console import ask

    rows: list[dict[str, str]] = ask(server.data, "GET", "/v1/things")
    return rows
