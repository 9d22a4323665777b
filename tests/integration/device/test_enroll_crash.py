"""A power cut at any effect of an enrolment: the next run continues with the same key to one identity."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from keyborn.device import files, identity, keys, slots
from keyborn.device.enroll import Outcome, Wish, enroll
from keyborn.device.home import Home
from keyborn.device.identity import State, assess
from keyborn.device.keystore import FileKeyStore
from keyborn.domain.token import EnrollmentCode
from support.device_home import Crash, Machine, home_in, identify
from support.device_slots import stage
from support.rude_service import RudeService

THING = Wish(thing="gateway-1")
ENROLL = "/v1/enroll"


def every_step(tmp: Path) -> list[str]:
    """The names of all effects, from the code itself."""
    home = Home(tmp)
    made = identify(home_in(tmp))
    key = FileKeyStore(home.key).creation("p256")
    stored = identity.storage_steps(home, "certificate", "roots", made)
    return [
        *(step.name for step in key),
        "ask whom to trust",
        "send the request",
        *(step.name for step in stored),
        "done",
    ]


STEPS = [
    "write device.key.tmp",
    "name device.key",
    "remove device.key.tmp",
    "sync the folder of device.key",
    "ask whom to trust",
    "send the request",
    "write device.crt.tmp",
    "rename device.crt",
    "sync the folder of device.crt",
    "write roots.pem.tmp",
    "rename roots.pem",
    "sync the folder of roots.pem",
    "write device.toml.tmp",
    "rename device.toml",
    "sync the folder of device.toml",
    "done",
]


def run(home: Home, service: RudeService, machine: Machine) -> Outcome:
    return enroll(home, THING, service.code, machine.surroundings())


def test_the_walk_knows_every_step(tmp_path: Path, service: RudeService) -> None:
    """A new effect without a place in the walk fails here."""
    machine = Machine()
    run(home_in(tmp_path), service, machine)
    assert machine.steps == STEPS == every_step(tmp_path / "other")


@pytest.mark.parametrize("step", STEPS)
def test_a_crash_before_any_step_leaves_one_key_and_the_next_run_a_working_identity(
    tmp_path: Path, service: RudeService, step: str
) -> None:
    home = home_in(tmp_path)
    with pytest.raises(Crash):
        run(home, service, Machine(crash_before=step))
    key = home.key.read_bytes() if home.key.exists() else None
    complete = assess(home, Machine().clock.now()).state is State.READY
    service.seen.clear()
    outcome = run(home, service, Machine())
    assert key is None or home.key.read_bytes() == key
    assert assess(home, Machine().clock.now()).state is State.READY
    assert len(service.issued) == 1
    assert {path.name for path in home.path.iterdir()} == {
        "lock",
        "device.key",
        "device.crt",
        "roots.pem",
        "device.toml",
    }
    assert outcome.obtained is not complete
    assert bool(service.seen) is not complete
    assert complete is (STEPS.index(step) > STEPS.index("rename device.toml"))


@pytest.mark.parametrize("step", [step for step in STEPS if "device.crt" in step or "roots" in step])
def test_two_crashes_in_a_row_are_no_worse_than_one(tmp_path: Path, service: RudeService, step: str) -> None:
    home = home_in(tmp_path)
    for _ in range(2):
        with pytest.raises(Crash):
            run(home, service, Machine(crash_before=step))
    assert run(home, service, Machine()).obtained
    assert len(service.issued) == 1


@pytest.mark.parametrize("step", STEPS[6:-1])
def test_a_crash_while_an_expired_identity_is_replaced_keeps_the_key(
    tmp_path: Path, service: RudeService, step: str
) -> None:
    """Old and new files stand side by side; only device.toml decides which of them are an identity."""
    from datetime import timedelta

    from support.device_pki import Wanted

    home, old = home_in(tmp_path), Machine()
    ended = Wanted(end=old.clock.now() - timedelta(seconds=1), start=old.clock.now() - timedelta(9))
    identify(home, wanted=ended, code=service.code())
    key = home.key.read_bytes()
    with pytest.raises(Crash):
        run(home, service, Machine(crash_before=step))
    run(home, service, Machine())
    assert home.key.read_bytes() == key
    assert assess(home, old.clock.now()).state is State.READY


def test_half_a_key_is_never_taken_for_a_key(tmp_path: Path, service: RudeService) -> None:
    """A torn write can only ever lie under the temporary name, which the next run removes."""
    home = home_in(tmp_path)
    home.prepare()
    torn = keys.key_pem(keys.make_key("p256"))[:100]
    files.write_new(files.temporary_of(home.key), torn)
    assert assess(home, Machine().clock.now()).state is State.NONE
    run(home, service, Machine())
    assert home.key.read_bytes()[:100] != torn
    assert not files.temporary_of(home.key).exists()


KILLED = """
import json, os, signal, sys
from pathlib import Path
from keyborn.adapters.system import SystemClock
from keyborn.device.enroll import Wish, enroll
from keyborn.device.home import Home
from keyborn.device.surroundings import Surroundings
from keyborn.domain.token import EnrollmentCode
home, code, step = json.loads(sys.argv[1])
def checkpoint(name):
    if name == step:
        os.kill(os.getpid(), signal.SIGKILL)
around = Surroundings(SystemClock(), "host", lambda text: None, checkpoint=checkpoint)
enroll(Home(Path(home)), Wish(thing="gateway-1"), lambda: EnrollmentCode.decode(code), around)
"""


@pytest.mark.parametrize("step", ["name device.key", "rename roots.pem", "rename device.toml", "never"])
def test_a_killed_process_is_followed_by_one_that_ends_well(
    tmp_path: Path, service: RudeService, step: str
) -> None:
    """SIGKILL: no handler runs, the lock goes with the process."""
    home, code = home_in(tmp_path), service.code().encode()
    environment = {**os.environ, "PYTHONWARNINGS": "error"}
    for stop, expected in ((step, 0 if step == "never" else -signal.SIGKILL), ("never", 0)):
        words = [sys.executable, "-c", KILLED, json.dumps([str(home.path), code, stop])]
        done = subprocess.run(words, capture_output=True, timeout=30, check=False, env=environment)
        assert done.returncode == expected, done.stderr
    assert assess(home, Machine().clock.now()).state is State.READY
    assert len(service.issued) == 1


# ── beside a renewal ──


def no_code() -> EnrollmentCode:
    raise AssertionError("nobody needs a code")


def test_an_identity_that_was_just_being_replaced_is_finished_and_needs_no_code(tmp_path: Path) -> None:
    home = home_in(tmp_path)
    identify(home)
    made = stage(home)
    for step in slots.promotion(home):
        if step.name == "rename next.crt":
            break
        step.run()
    outcome = enroll(home, THING, no_code, Machine().surroundings())
    assert outcome.identity.certificate_id == made.certificate_id
    assert not outcome.obtained


def test_who_holds_the_home_already_enrolls_in_it(tmp_path: Path, service: RudeService) -> None:
    """As an agent does; anybody else is told that it is busy."""
    home = home_in(tmp_path)
    home.prepare()
    with home.session():
        outcome = enroll(home, THING, service.code, Machine().surroundings(), held=True)
    assert outcome.obtained
    assert assess(home, Machine().clock.now()).state is State.READY
