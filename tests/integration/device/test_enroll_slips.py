"""What a newcomer types wrong when enrolling: one true sentence each, and nothing made or lost."""

import json
import os
import pty
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from keyborn.device.enroll import Wish, enroll
from keyborn.device.home import Home
from keyborn.device.identity import State, assess
from keyborn.domain import errors
from keyborn.domain.token import EnrollmentCode
from support.device import keyborn, keyborn_json
from support.device_home import DAY, Machine
from support.device_pki import Wanted
from support.rude_service import RudeService

THING = Wish(thing="gateway-1")
ELSEWHERE = "https://elsewhere.example:8443"


def words(home: Home, *more: str | Path) -> tuple[str | Path, ...]:
    return ("enroll", *more, "--thing", "gateway-1", "--home", home.path)


def everything(home: Home) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in home.path.iterdir()}


# ── the code at a terminal ──


class Terminal:
    """A command whose standard input is a terminal; what it says goes elsewhere."""

    def __init__(self, *asked: str | Path) -> None:
        self._keyboard, theirs = pty.openpty()
        order = [sys.executable, "-m", "keyborn", *map(str, asked)]
        self.process = subprocess.Popen(
            order, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        os.close(theirs)

    def type(self, text: str) -> None:
        os.write(self._keyboard, text.encode())

    def end(self) -> tuple[int, str, str]:
        """The exit code and what was said, with the terminal still open: nobody has pressed Ctrl-D."""
        try:
            said, complained = self.process.communicate(timeout=30)
            return self.process.returncode, said, complained
        finally:
            self.process.kill()
            os.close(self._keyboard)


def test_at_a_terminal_one_line_is_asked_for_and_enough(home: Home, service: RudeService) -> None:
    terminal = Terminal(*words(home, "-"))
    assert terminal.process.stderr is not None
    assert terminal.process.stderr.readline() == "Paste the enrolment code and press Enter:\n"
    terminal.type(service.code().encode() + "\n")
    code, said, _ = terminal.end()
    assert code == 0
    assert "This device is now gateway-1." in said


def test_an_empty_line_at_a_terminal_says_that_nothing_was_read(home: Home) -> None:
    terminal = Terminal(*words(home, "-"))
    terminal.type("\n")
    code, _, complained = terminal.end()
    assert code == 1
    assert "nothing was read" in complained
    assert not home.path.exists()


def test_an_enrolled_device_does_not_ask_a_person_for_a_code(home: Home, service: RudeService) -> None:
    keyborn(*words(home, "-"), typed=service.code().encode())
    code, said, complained = Terminal(*words(home, "-")).end()
    assert code == 0
    assert "no request was made" in said
    assert "Paste" not in complained


# ── the code in other text ──

HELP = (
    "id  t1\nthings  gateway-1\n"
    "On the device, paste this code into: keyborn enroll - --thing gateway-1\n\n{code}\n"
)


@pytest.mark.parametrize("way", ["file", "stdin"])
def test_the_code_is_found_in_all_that_token_create_printed(
    home: Home, service: RudeService, tmp_path: Path, way: str
) -> None:
    text = HELP.format(code=service.code().encode())
    (tmp_path / "token.txt").write_text(text)
    more = ("--code-file", tmp_path / "token.txt") if way == "file" else ("-",)
    keyborn(*words(home, *more), typed=text if way == "stdin" else "")
    assert home.settings.exists()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "nothing was read"),
        (" \n\n", "nothing was read"),
        ("no code here", "no word of what was read starts with `kb1.`"),
        ("word", "it does not start with `kb1.`"),
        ("kb1.one and kb1.two", "several different ones were read"),
        ("kb1.\xe9\xff", "it holds a character outside base64url"),
    ],
)
def test_what_holds_no_code_is_said_and_no_home_is_made(
    home: Home, tmp_path: Path, text: str, reason: str
) -> None:
    (tmp_path / "code").write_text(text)
    done = keyborn(*words(home, "--code-file", tmp_path / "code"), expect=1)
    assert f"The enrolment code is not usable: {reason}" in done.stderr
    assert ".." not in done.stderr
    assert not home.path.exists()


def test_without_any_code_no_home_is_made(home: Home) -> None:
    done = keyborn(*words(home), expect=2)
    assert "Give the enrolment code" in done.stderr
    assert not home.path.exists()


def test_a_code_file_that_is_missing_is_one_sentence(home: Home, tmp_path: Path) -> None:
    done = keyborn(*words(home, "--code-file", tmp_path / "missing"), expect=1)
    assert done.stderr.startswith("keyborn: ")
    assert str(tmp_path / "missing") in done.stderr
    assert done.stderr.count("\n") == 1
    assert not home.path.exists()


# ── a code of another service ──


@pytest.fixture
def enrolled(home: Home, service: RudeService) -> Home:
    enroll(home, THING, service.code, Machine().surroundings())
    service.seen.clear()
    return home


def test_a_code_of_another_service_is_refused_and_nothing_changes(
    enrolled: Home, service: RudeService
) -> None:
    before, code = everything(enrolled), service.code(url=ELSEWHERE).encode()
    done = keyborn(*words(enrolled, "-"), typed=code, expect=1)
    assert f"This code is for {ELSEWHERE}, but the identity in {enrolled.path} belongs to {service.url}." in (
        done.stderr
    )
    assert "Nothing was changed." in done.stderr
    assert "--home" in done.stderr
    assert done.stderr.rstrip().endswith("[other_service]")
    assert everything(enrolled) == before


def test_the_same_service_with_another_root_is_another_service(enrolled: Home, service: RudeService) -> None:
    done = keyborn(*words(enrolled, "-"), typed=service.code(fingerprint=bytes(32)).encode(), expect=1)
    assert f"for {service.url} with the root 0000000000000000…" in done.stderr
    done = keyborn(*words(enrolled, "-"), typed=service.code(fingerprint=b"").encode(), expect=1)
    assert f"for {service.url} with a certificate of a public authority" in done.stderr


@pytest.mark.parametrize("typed", ["", "not a code", "kb1.nonsense"])
def test_an_enrolled_device_does_not_mind_what_is_no_code(enrolled: Home, typed: str) -> None:
    assert "no request was made" in keyborn(*words(enrolled, "-"), typed=typed).stdout


def test_the_same_service_written_otherwise_is_the_same(enrolled: Home, service: RudeService) -> None:
    written = service.url.replace("localhost", "LOCALHOST") + "/"
    keyborn(*words(enrolled, "-"), typed=service.code(url=written).encode())


@pytest.mark.parametrize("difference", ["url", "root"])
@pytest.mark.parametrize("days", [400, -9999])
def test_a_wrong_clock_never_lets_another_service_take_the_identity(
    enrolled: Home, service: RudeService, difference: str, days: int
) -> None:
    change = {"url": ELSEWHERE} if difference == "url" else {"fingerprint": bytes(32)}
    before, machine = everything(enrolled), Machine()
    machine.clock.at += days * DAY
    with pytest.raises(errors.OtherService, match="Nothing was changed"):
        enroll_offered(enrolled, machine, service.code(**change))
    assert everything(enrolled) == before
    assert service.seen == []


def enroll_offered(home: Home, machine: Machine, code: EnrollmentCode) -> None:
    enroll(home, THING, lambda: code, machine.surroundings(), offered=lambda: code)


def test_an_expired_identity_of_the_same_service_is_renewed_with_its_key(
    home: Home, service: RudeService
) -> None:
    service.wanted = Wanted(end=Machine().clock.now() + DAY)
    enroll(home, THING, service.code, Machine().surroundings())
    key, later = home.key.read_bytes(), Machine()
    later.clock.at += 2 * DAY
    assert assess(home, later.clock.now()).state is State.EXPIRED
    service.wanted, service.issued = Wanted(), {}
    assert enroll(home, THING, service.code, later.surroundings()).obtained
    assert home.key.read_bytes() == key


def test_a_damaged_identity_is_not_given_to_another_service_either(
    enrolled: Home, service: RudeService
) -> None:
    enrolled.roots.write_text("damaged")
    with pytest.raises(errors.OtherService):
        enroll(enrolled, THING, lambda: service.code(url=ELSEWHERE), Machine().surroundings())


# ── dates, next steps, programs ──


def test_an_expired_code_says_so_and_that_the_clock_may_be_wrong(home: Home, service: RudeService) -> None:
    machine = Machine()
    expired = service.code(expires_at=machine.clock.now().replace(microsecond=0) - timedelta(minutes=5))
    enroll(home, THING, lambda: expired, machine.surroundings())
    told = " ".join(machine.said)
    assert f"This code expired at {expired.expires_at:%Y-%m-%dT%H:%M:%SZ}" in told
    assert f"(or this device's clock, which says {machine.clock.at:%Y-%m-%dT%H:%M:%SZ}, is wrong)" in told


def test_the_next_command_finds_the_home(tmp_path: Path, service: RudeService) -> None:
    home = Home(tmp_path / "a home")
    done = keyborn(*words(home, "-"), typed=service.code().encode())
    assert (
        done.stdout.splitlines()[-1] == f"Next: keyborn publish certtest/gateway-1 hello --home '{home.path}'"
    )


def test_the_next_command_needs_no_home_where_it_is_the_default(
    home: Home, service: RudeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEYBORN_HOME", str(home.path))
    done = keyborn("enroll", "-", "--thing", "gateway-1", typed=service.code().encode())
    assert done.stdout.splitlines()[-1] == "Next: keyborn publish certtest/gateway-1 hello"


def test_a_program_gets_no_progress(home: Home, service: RudeService) -> None:
    assert keyborn(*words(home, "-", "--json"), typed=service.code().encode()).stderr == ""
    assert keyborn_json(*words(home, "-"), typed="")["obtained"] is False


@pytest.mark.parametrize(
    ("more", "code", "exit_code"),
    [
        (("-",), "service_unreachable", 1),
        (("--code-file", "/nonexistent/code"), "system_trouble", 1),
        ((), "usage", 2),
        (("-", "--key-type", "p224"), "usage", 2),
    ],
)
def test_a_program_gets_one_object_for_a_failure(
    home: Home, service: RudeService, more: tuple[str, ...], code: str, exit_code: int
) -> None:
    typed = service.code(url="https://localhost:1").encode()
    done = keyborn(*words(home, *more, "--timeout", "1", "--json"), typed=typed, expect=exit_code)
    assert json.loads(done.stderr)["code"] == code
    assert done.stdout == ""


def test_the_help_says_what_becomes_of_the_subject() -> None:
    assert "service does not copy the others" in " ".join(keyborn("enroll", "--help").stdout.split())
