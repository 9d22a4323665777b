"""An agent that enrolls by itself, over real sockets: a fresh image with a code on its disk, nobody near."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path

import pytest

from keyborn.adapters.system import SystemClock
from keyborn.device import code_file, files, identity
from keyborn.device.agent import run as runs
from keyborn.device.agent.bridge import Call
from keyborn.device.agent.enrolling import FILE, FirstWish
from keyborn.device.agent.log import Log
from keyborn.device.agent.run import Agent, Options
from keyborn.device.enroll import Wish, enroll
from keyborn.device.forget import forget
from keyborn.device.home import Home
from keyborn.device.identity import State, assess
from keyborn.device.pace import Pace
from keyborn.device.surroundings import Surroundings
from keyborn.domain.group_key import is_signed
from keyborn.domain.token import EnrollmentCode, encode_secret
from support.agent_stage import Running, running, talking
from support.device_home import Crash, Machine, eventually, home_in, identify, now
from support.rude_broker import RudeBroker, rude_broker
from support.rude_service import SECRET, Exchange, Reply, RudeService, plain, polite, problem, rude_service
from support.signed_service import LINE, Signed
from support.walks import FULL

ENROLL = "/v1/enroll"
THING = "gateway-1"
OWN = f"certtest/{THING}"
FIRST = Options(rate=0, first=FirstWish(thing=THING))


@dataclass
class World:
    """A service, its broker, and one device without an identity."""

    service: RudeService
    broker: RudeBroker
    home: Home

    @property
    def code(self) -> Path:
        return self.home.path / FILE

    def bring(self, code: EnrollmentCode | None = None) -> str:
        """Put a code into the home, as whoever writes images does."""
        self.home.prepare()
        text = (code or self.service.code()).encode()
        files.remove(self.code)
        files.write_new(self.code, f"Enrolment code:\n{text}\n".encode())
        return text

    def requests(self) -> int:
        return len(self.service.asked(ENROLL))


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(runs, "_GLANCE", 0.05)
    with rude_service(tmp_path) as service, rude_broker(tmp_path) as broker:
        answer = service.answer

        def at_the_broker(*asked: str) -> dict[str, object]:
            made = answer(*asked)
            return {**made, "mqtt": {**made["mqtt"], "port": broker.port}}

        monkeypatch.setattr(service, "answer", at_the_broker)
        yield World(service, broker, home_in(tmp_path))


@contextmanager
def fresh(world: World, options: Options = FIRST) -> Iterator[Running]:
    with running(world.home, options) as agent:
        yield agent


def stages(agent: Running) -> list[str]:
    return [str(each["stage"]) for each in agent.events() if each["event"] == "stage"]


def notes(agent: Running) -> str:
    return " ".join(str(each.get("text", "")) for each in agent.events())


# ── the good way ──


def test_a_fresh_device_with_a_code_becomes_a_thing_by_itself(world: World) -> None:
    text = world.bring()
    with fresh(world) as agent:
        agent.connects()
        assert agent.status()["thing"] == THING
        eventually(lambda: not world.code.exists())
    assert stages(agent) == ["waiting", "enrolled", "connected"]
    assert world.requests() == 1
    assert assess(world.home, now()).state is State.READY
    for secret in (text, encode_secret(SECRET), text[:40]):
        assert secret not in agent.log.getvalue()


def test_a_code_of_a_group_key_is_as_good(world: World) -> None:
    signed = Signed(world.service)
    world.bring(signed.code())
    with fresh(world) as agent:
        agent.connects()
        eventually(lambda: not world.code.exists())
    ((request, said),) = signed.asked()
    assert is_signed(signed.code().secret, request.signing_input, request.signature)
    assert json.loads(said)["group"] == LINE
    assert encode_secret(signed.code().secret) not in agent.log.getvalue()


def test_a_device_without_a_code_sees_it_when_it_comes(world: World) -> None:
    with fresh(world) as agent:
        agent.comes_to("unprovisioned")
        world.bring()
        agent.connects()
    assert stages(agent) == ["unprovisioned", "waiting", "enrolled", "connected"]


def test_a_code_that_comes_while_the_service_refuses_the_one_before_is_seen(world: World) -> None:
    """Between a look at the files and the wait that follows, nobody watches; what came then is seen after."""

    def exchange_it(exchange: Exchange) -> None:
        world.bring(world.service.code(secret=b"n" * 32))
        problem(403, "token_expired", "It expired.")(exchange)

    world.service.script(ENROLL, exchange_it, polite)
    world.bring()
    with fresh(world) as agent:
        agent.connects()
    assert world.requests() == 2


def test_name_key_and_subject_are_as_the_agent_was_told(world: World, tmp_path: Path) -> None:
    code = world.bring().encode()
    elsewhere = tmp_path / "elsewhere"
    world.code.unlink()
    files.write_new(elsewhere, code)
    wish = FirstWish(elsewhere, "lamp-7", "p384", "/O=Example")
    with fresh(world, replace(FIRST, first=wish)) as agent:
        agent.connects()
        own = identity.read_settings(world.home)
    assert (own.thing, own.key_type, own.subject) == ("lamp-7", "p384", "/O=Example/CN=lamp-7")
    assert not elsewhere.exists()


def test_without_a_name_it_is_the_host_s(world: World) -> None:
    world.bring()
    with fresh(world, Options(rate=0)) as agent:
        agent.connects()
    assert identity.read_settings(world.home).thing == "host"


@pytest.mark.usefixtures("pauses")
def test_messages_that_wait_for_the_enrolment_go_out_after_it(world: World) -> None:
    world.bring()
    world.service.script(ENROLL, plain(202))
    with fresh(world) as agent:
        agent.comes_to("waiting")
        with talking(world.home) as program:
            kept = program.ask("publish", topic=OWN, payload="early")
            world.service.script(ENROLL, polite)
            answer = program.ask("outcome", id=kept["id"], wait=10)
        assert answer["outcome"] == "delivered"
    assert world.broker.published() == [OWN]


# ── the network comes later, the service lets wait ──


def test_it_tries_again_when_the_network_comes(tmp_path: Path, world: World) -> None:
    world.service.script("/v1/trust-bundle", lambda exchange: exchange.hang_up(), polite)
    world.bring()
    with fresh(world) as agent:
        agent.connects()
    assert "does not answer" in notes(agent)


@pytest.mark.parametrize(
    "late",
    [
        plain(202, Retry_After="40"),
        problem(503, "overloaded", "busy", Retry_After="40"),
        plain(429, Retry_After="40"),
    ],
    ids=["a person must decide", "busy", "too many"],
)
def test_it_waits_as_long_as_the_service_says(world: World, pauses: list[float], late: Reply) -> None:
    world.service.script(ENROLL, late, polite)
    world.bring()
    with fresh(world) as agent:
        agent.connects()
    assert stages(agent) == ["waiting", "enrolled", "connected"]
    assert world.requests() == 2
    assert 40 <= pauses[0] <= 44
    assert len(world.service.issued) == 1, "the same key again"


def test_a_service_that_never_answers_is_asked_ever_more_seldom(world: World, pauses: list[float]) -> None:
    world.service.script(ENROLL, plain(500))
    world.bring()
    with fresh(world):
        eventually(lambda: len(pauses) >= 9)
    shares = [pause / 0.05 for pause in pauses[:9]]
    assert shares == pytest.approx([5, 10, 20, 40, 80, 160, 320, 600, 600])


def test_an_open_decision_is_said(world: World) -> None:
    world.service.script(ENROLL, plain(202, Retry_After="40"))
    world.bring()
    with fresh(world) as agent:
        eventually(lambda: agent.status()["trouble"] == "approval")
        assert "A person must approve this device" in agent.status()["error"]


def test_it_ends_at_once_while_it_waits(world: World) -> None:
    world.service.script(ENROLL, plain(202, Retry_After="3000"))
    world.bring()
    with fresh(world) as agent:
        eventually(lambda: agent.status()["trouble"] == "approval")
        begun = time.monotonic()
        agent.stop()
        assert time.monotonic() - begun < 2
    assert world.requests() == 1


def test_a_person_can_enroll_it_while_it_waits(world: World) -> None:
    world.service.script(ENROLL, plain(202, Retry_After="3000"), polite)
    world.bring()
    with fresh(world) as agent:
        eventually(lambda: agent.status()["trouble"] == "approval")
        enroll(world.home, Wish(THING), world.service.code, Machine().surroundings())
        agent.connects()
        eventually(lambda: not world.code.exists())


# ── codes that are of no use ──


@pytest.mark.parametrize("code", ["token_expired", "token_exhausted", "credential_refused"])
def test_a_code_that_is_refused_is_said_and_hardly_ever_tried_again(world: World, code: str) -> None:
    world.service.script(ENROLL, problem(403, code, "The enrolment token is no good."))
    world.bring()
    with fresh(world) as agent:
        agent.comes_to("stranded")
        status = agent.status()
        time.sleep(0.2)
        assert world.requests() == 1
        assert status["trouble"] == "enrollment"
        assert "Ask the operator for a new enrolment code." in status["error"]
        assert "The enrolment token is no good." in status["error"]
        assert world.code.exists()
        world.service.script(ENROLL, polite)
        world.bring(world.service.code(secret=b"n" * 32))
        agent.connects()
    assert notes(agent).count("no good") == 1
    assert not world.code.exists()


def test_a_refused_code_is_tried_again_after_half_an_hour_at_the_earliest(
    world: World, pauses: list[float]
) -> None:
    world.service.script(ENROLL, problem(403, "token_expired", "It expired."))
    world.bring()
    with fresh(world):
        eventually(lambda: world.requests() >= 3)
    assert all(1800 <= pause <= 3600 for pause in pauses)


@pytest.mark.parametrize(
    ("content", "mode", "why"),
    [
        (b"hello", 0o600, "enrolment code"),
        (b"kb1.abc kb1.def", 0o600, "several different ones"),
        (b"\xff\x00" * 4000, 0o600, "larger than 4096 bytes"),
        (None, 0o644, "its mode is 0644. Run: chmod 600"),
    ],
)
def test_a_file_that_is_no_good_is_said_and_a_better_one_is_taken(
    world: World, content: bytes | None, mode: int, why: str
) -> None:
    world.bring()
    if content is not None:
        world.code.write_bytes(content)
    world.code.chmod(mode)
    with fresh(world) as agent:
        agent.comes_to("stranded")
        assert agent.status()["trouble"] == "code"
        assert why in agent.status()["error"]
        assert world.requests() == 0
        world.bring()
        agent.connects()
    assert "kb1.abc" not in agent.log.getvalue()


def test_an_empty_file_is_no_code(world: World) -> None:
    world.home.prepare()
    files.write_new(world.code, b"")
    with fresh(world) as agent:
        agent.comes_to("unprovisioned")
        assert agent.status()["trouble"] == "not_enrolled"


def test_a_host_name_that_cannot_be_a_thing_is_no_trouble_of_the_service(world: World) -> None:
    world.bring()
    with fresh(world, replace(FIRST, first=FirstWish(thing="not a name"))) as agent:
        agent.comes_to("stranded")
        assert "cannot enroll with what it was given" in agent.status()["error"]
    assert world.requests() == 0


# ── what becomes of the code ──


def test_a_code_that_an_enrolled_device_still_has_goes(world: World) -> None:
    """Enrolled by hand, or killed between the enrolment and the removal."""
    world.bring()
    identify(world.home, broker=(world.broker.host, world.broker.port), code=world.service.code())
    with fresh(world) as agent:
        agent.connects()
        eventually(lambda: not world.code.exists())
    assert world.requests() == 0
    assert notes(agent).count("done its work and is removed") == 1


def test_a_code_of_another_service_is_left_and_that_is_said_once(world: World) -> None:
    world.bring(world.service.code(url="https://other.example"))
    identify(world.home, broker=(world.broker.host, world.broker.port), code=world.service.code())
    with fresh(world) as agent:
        agent.connects()
        agent.agent.call(Call.LOOK)
        eventually(lambda: stages(agent).count("connected") == 2)
    assert world.code.exists()
    assert notes(agent).count("is left alone. This code is for https://other.example") == 1


def test_a_code_in_a_folder_that_is_not_ours_is_emptied(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    world.bring()
    monkeypatch.setattr(files, "remove", refuse)
    code_file.remove_code(world.code)
    assert world.code.read_bytes() == b""


def test_a_code_that_cannot_be_removed_is_said_and_nothing_else_ends(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_path: Path) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(code_file, "remove_code", refuse)
    world.bring()
    with fresh(world) as agent:
        agent.connects()
        agent.agent.call(Call.LOOK)
        eventually(lambda: stages(agent).count("connected") == 2)
    assert notes(agent).count("Remove it: Read-only file system.") == 1
    assert world.requests() == 1


def test_forgetting_a_device_forgets_its_code(world: World) -> None:
    world.bring()
    assert [path.name for path in forget(world.home)] == [FILE]


# ── power cuts ──


def live(world: World, crash_before: str | None = None) -> list[str]:
    """One process, up to its session or to a power cut; the names of its steps."""
    steps: list[str] = []
    died = threading.Event()

    def note(step: str) -> None:
        steps.append(step)
        if step == crash_before:
            died.set()
            raise Crash(step)

    log = Log(StringIO(), SystemClock())
    around = Surroundings(SystemClock(), "host", log.say, Pace(fraction=lambda: 0.05), note)
    agent = Agent(world.home, around, FIRST, {}, log)
    thread = threading.Thread(target=lambda: _die(agent))
    thread.start()
    eventually(lambda: died.is_set() or (agent._bridge.standing.connected and not world.code.exists()))
    agent.call(Call.STOP) if not died.is_set() else None
    thread.join(20)
    assert not thread.is_alive()
    return steps


def _die(agent: Agent) -> None:
    try:
        agent.run()
    except Crash:
        return


def survives(world: World, crash_before: str) -> None:
    """After a power cut there, the next start ends as if there had been none."""
    world.bring()
    assert live(world, crash_before)[-1] == crash_before
    live(world)
    assert assess(world.home, now()).state is State.READY
    assert not world.code.exists()
    assert len(world.service.issued) == 1, "one key, one certificate"


@pytest.mark.parametrize("step", ["remove the enrolment code", "done", "sync the folder of device.toml"])
def test_a_power_cut_between_enrolment_and_removal_costs_nothing(world: World, step: str) -> None:
    survives(world, step)
    assert world.requests() == 1


@pytest.mark.slow
def test_a_power_cut_at_any_step_of_the_first_start_costs_nothing(
    world: World, figure: Callable[[str], None], tmp_path: Path
) -> None:
    world.bring()
    steps = list(dict.fromkeys(live(world)))
    walk = steps if FULL else steps[::8]
    for number, step in enumerate(walk):
        world.service.issued.clear()
        other = replace(world, home=Home(tmp_path / f"home-{number}"))
        survives(other, step)
    figure(
        f"power cuts in an agent's first start with a code: {len(walk)} of {len(steps)}, nothing left behind"
    )


# ── everybody at once ──


def test_after_a_start_of_the_machine_the_first_connection_waits_a_moment_of_its_own(world: World) -> None:
    identify(world.home, broker=(world.broker.host, world.broker.port))
    just_booted = replace(FIRST, spread=10.0, uptime=lambda: 20.0)
    begun = time.monotonic()
    with fresh(world, just_booted) as agent:
        agent.connects()
    assert time.monotonic() - begun >= 0.5
    assert [each["seconds"] for each in agent.events() if each["event"] == "spread"] == [0.5]


@pytest.mark.parametrize("options", [replace(FIRST, spread=3600.0, uptime=lambda: 301.0), FIRST])
def test_a_machine_that_has_run_for_a_while_connects_at_once(world: World, options: Options) -> None:
    identify(world.home, broker=(world.broker.host, world.broker.port))
    with fresh(world, options) as agent:
        agent.connects()
    assert not [each for each in agent.events() if each["event"] == "spread"]


def test_whoever_ends_it_before_its_moment_does_not_wait(world: World) -> None:
    identify(world.home, broker=(world.broker.host, world.broker.port))
    with fresh(world, replace(FIRST, spread=36000.0, uptime=lambda: 1.0)) as agent:
        eventually(lambda: any(each["event"] == "spread" for each in agent.events()))
        agent.stop()
    assert world.broker.seen == []
