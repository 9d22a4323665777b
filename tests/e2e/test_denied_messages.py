"""A denied message through the real agent: set aside and reported, the others flow, no reconnect loop."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from keyborn.device.drain import STRIKES
from support.denied import VERSIONS, Stage, started
from support.device import enroll
from support.device_home import home_in, identify
from support.mosquitto_broker import mosquitto
from support.server import Server

ELSEWHERE = "certtest/somebody-else"
VERSION = pytest.mark.parametrize("old", VERSIONS.values(), ids=VERSIONS)
Figure = Callable[[str], None]


def told(*, old: bool) -> str:
    return f"MQTT {'3.1.1' if old else '5'}"


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def check(stage: Stage, *, old: bool) -> None:
    """Said by the broker in MQTT 5; found out in 3.1.1, where it hangs up without a word."""
    outcome, reason = stage.flow(), "hangs up on it" if old else "Not authorized"
    assert (outcome["outcome"], reason in outcome["reason"]) == ("quarantined", True)
    stage.is_reported(reason)
    stage.stays_quiet()


@VERSION
@pytest.mark.slow
def test_the_embedded_broker(
    server: Server, tmp_path: Path, stack: ExitStack, figure: Figure, *, old: bool
) -> None:
    thing, home = f"denied-{int(old)}", home_in(tmp_path)
    enroll(home.path, server.token(thing=thing)["code"], thing)
    stage = started(home, tmp_path / "agent.log", f"certtest/{thing}", ELSEWHERE, old=old)
    stack.callback(stage.agent.close)
    check(stage, old=old)
    assert stage.sessions() <= (STRIKES + 2 if old else 1)
    figure(f"denied by the embedded broker, {told(old=old)}: {stage.sessions()} sessions for all")
    if not old:
        stage.retries()
        assert stage.sessions() == 1


@pytest.mark.needs("mosquitto")
@VERSION
@pytest.mark.slow
def test_mosquitto(tmp_path: Path, stack: ExitStack, figure: Figure, *, old: bool) -> None:
    """What its rules deny, 2.0.11 acknowledges in 3.1.1, and delivers to nobody: no device can tell."""
    home = home_in(tmp_path)
    port = stack.enter_context(mosquitto(tmp_path, denied=(ELSEWHERE,)))
    identify(home, broker=("localhost", port))
    stage = started(home, tmp_path / "agent.log", "certtest/gateway-1", ELSEWHERE, old=old)
    stack.callback(stage.agent.close)
    if old:
        assert stage.flow()["outcome"] == "delivered"
        stage.stays_quiet()
    else:
        check(stage, old=False)
    assert stage.sessions() <= STRIKES, "it closes the connection once it has said no"
    figure(f"denied by mosquitto, {told(old=old)}: {stage.sessions()} sessions for all")
