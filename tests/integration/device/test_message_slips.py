"""What a newcomer types and meets when a device speaks: words with dashes, a broker that is away, status."""

import json
import os
import pwd
import socket
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from keyborn.cli.main import cli
from keyborn.device.home import Home
from keyborn.device.messages import Fate, Outcome
from keyborn.device.outbox import open_outbox
from support.agent_stage import running
from support.device import keyborn
from support.device_home import OWN, eventually, identify, now
from support.device_pki import Wanted
from support.rude_broker import PUBLISH, RudeBroker, accept, rude_broker


def sent(broker: RudeBroker) -> bytes:
    return next(packet for packet in broker.seen if packet.kind == PUBLISH).body


# ── words that begin with a dash ──


@pytest.mark.parametrize("message", ["-5.2", "-1", "-.5", "-20 h", "-1e-3"])
@pytest.mark.parametrize("last", [True, False])
def test_a_negative_number_is_a_message(
    enrolled: Home, broker: RudeBroker, message: str, *, last: bool
) -> None:
    where = ("--home", str(enrolled.path))
    words = (*where, OWN, message) if last else (OWN, message, *where)
    keyborn("publish", *words)
    assert sent(broker).endswith(b"\x00" + message.encode())  # after the properties, of which there are none


def test_after_two_dashes_anything_is_a_message(enrolled: Home, broker: RudeBroker) -> None:
    keyborn("publish", "--home", enrolled.path, OWN, "--", "--json")
    assert sent(broker).endswith(b"\x00--json")


@pytest.mark.parametrize("message", ["-x", "--verbose", "-hello"])
def test_another_word_with_a_dash_shows_the_way(enrolled: Home, broker: RudeBroker, message: str) -> None:
    done = keyborn("publish", "--home", enrolled.path, OWN, message, expect=2)
    assert "publish TOPIC -- -x" in " ".join(done.stderr.split())
    assert broker.seen == []


def test_a_negative_value_of_an_option_stays_one() -> None:
    done = keyborn("publish", OWN, "x", "--wait", "-1", expect=2)
    assert "'--wait': -1.0 is not in the range" in done.stderr


def test_the_help_shows_how() -> None:
    shown = " ".join(keyborn("publish", "--help").stdout.split())
    assert "-- -x" in shown
    assert "standard input" in shown


# ── a broker that is away ──


def test_a_broker_that_comes_back_in_time_gets_the_message(tmp_path: Path, home: Home) -> None:
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))  # ours already, and connections to it are refused
    identify(home, broker=("localhost", bound.getsockname()[1]))
    words = [
        sys.executable,
        "-m",
        "keyborn",
        "publish",
        OWN,
        "hello",
        "--home",
        str(home.path),
        "--wait",
        "60",
    ]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as publisher:
        eventually(lambda: home.outbox.exists() and bool(home.outbox.stat().st_size))
        with rude_broker(tmp_path, bound=bound) as back:
            said, complained = publisher.communicate(timeout=60)
            assert (said, complained, publisher.returncode) == ("delivered\n", "", 0)
            assert back.published() == [OWN]


def test_without_time_to_send_it_is_kept_and_says_why(enrolled: Home, broker: RudeBroker) -> None:
    done = keyborn("publish", OWN, "x", "--home", enrolled.path, "--wait", "0")
    assert done.stdout.startswith("kept: no time was given to send it; 1 waiting in the outbox")
    assert broker.seen == []


def test_a_program_learns_why_it_was_kept(home: Home) -> None:
    identify(home, broker=("localhost", 1))
    done = keyborn("publish", OWN, "x", "--home", home.path, "--wait", "0.2", "--json")
    outcome = json.loads(done.stdout)
    assert outcome["outcome"] == "kept"
    assert "cannot be reached" in outcome["reason"]
    assert done.stderr == ""


# ── refused messages ──


def refuse(broker: RudeBroker, home: Home, *more: str) -> "subprocess.CompletedProcess[str]":
    broker.answer = lambda packet, level: (
        b"\x40\x03" + packet.number + b"\x87" if packet.kind == PUBLISH else accept(packet, level)
    )
    return keyborn("publish", "certtest/other", "a secret", "--home", home.path, *more, expect=1)


def test_a_refusal_is_said_once(enrolled: Home, broker: RudeBroker) -> None:
    assert refuse(broker, enrolled).stderr.count("\n") == 1


def test_a_refusal_is_one_object_for_a_program(enrolled: Home, broker: RudeBroker) -> None:
    assert json.loads(refuse(broker, enrolled, "--json").stderr)["code"] == "publish_denied"


def test_status_explains_refused_messages_and_shows_them(enrolled: Home, broker: RudeBroker) -> None:
    refuse(broker, enrolled)
    told = keyborn("status", "--home", enrolled.path).stdout
    assert "outboxRefused: 1 that the broker will never take" in told
    assert f"keyborn status --outbox --home {enrolled.path}" in told
    listed = keyborn("status", "--home", enrolled.path, "--outbox").stdout
    assert "refused: certtest/other, kept at 2" in listed
    assert "secret" not in listed
    report = json.loads(keyborn("status", "--home", enrolled.path, "--outbox", "--json").stdout)
    assert set(report["refused"][0]) == {"topic", "keptAt", "reason"}


def test_what_a_broker_answers_cannot_draw_on_the_terminal(enrolled: Home) -> None:
    with open_outbox(enrolled.outbox) as outbox:
        number = outbox.append("t", b"", now())
        outbox.settle([(number, Fate(Outcome.QUARANTINED, "\x1b[2J"))])
    assert "\x1b" not in keyborn("status", "--home", enrolled.path, "--outbox").stdout


# ── where the identity is ──


@pytest.mark.parametrize("words", [("publish", OWN, "x"), ("subscribe", OWN)])
def test_a_missing_home_is_said_with_both_ways_out_and_not_made(home: Home, words: tuple[str, ...]) -> None:
    done = keyborn(*words, "--home", home.path, expect=1)
    assert "keyborn enroll" in done.stderr
    assert "--home DIR" in done.stderr
    assert not home.path.exists()


def test_status_says_that_it_looks_at_files_alone(enrolled: Home) -> None:
    assert keyborn("status", "--home", enrolled.path).stdout.endswith("no service was asked.\n")


def test_status_of_an_expired_identity_says_what_to_do(home: Home) -> None:
    identify(home, wanted=Wanted(start=now() - timedelta(days=9), end=now() - timedelta(days=1)))
    told = keyborn("status", "--home", home.path, expect=1).stdout
    assert f"run: keyborn enroll - --home {home.path}" in told
    assert "if this device's clock is right" in told
    assert "T" in told.partition("problem: device.crt: it is valid from ")[2][:20]


def test_root_sees_by_status_what_the_agent_of_another_user_says(
    enrolled: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may talk to any agent, and publishes through it."""
    mine = os.geteuid()
    with running(enrolled) as agent:
        agent.connects()
        monkeypatch.setattr(os, "geteuid", lambda: mine + 4242)
        done = CliRunner().invoke(cli, ["status", "--json", "--home", str(enrolled.path)])
        monkeypatch.undo()
    report = json.loads(done.output)
    assert (report["state"], report["thing"], report["connected"]) == ("unusable", "gateway-1", True)
    assert done.exit_code == 1
    assert "belongs to the user" in report["problems"][0]


def test_status_of_a_stranded_device_is_no_success_and_says_how_to_try_again(
    enrolled: Home, broker: RudeBroker
) -> None:
    broker.answer = lambda _packet, _level: b"\x20\x03\x00\x87\x00"
    with running(enrolled) as agent:
        agent.comes_to("stranded")
        told = keyborn("status", "--home", enrolled.path, expect=1).stdout
    assert f"at once with: keyborn look --home {enrolled.path}" in told


def test_status_names_settings_of_the_outbox_that_no_command_takes(enrolled: Home) -> None:
    (enrolled.path / "outbox.toml").write_text("mesages = 3\n")
    told = json.loads(keyborn("status", "--home", enrolled.path, "--json", expect=1).stdout)
    assert "outbox.toml mesages is not usable" in told["problems"][0]


@pytest.mark.parametrize("words", [["status"], ["publish", OWN, "x"], ["enroll", "kb1.x", "--thing", "a"]])
def test_the_home_of_another_user_is_refused_in_our_own_words(
    enrolled: Home, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = os.geteuid()
    owner = pwd.getpwuid(mine).pw_name
    monkeypatch.setattr(os, "geteuid", lambda: mine + 4242)
    monkeypatch.setattr(os, "access", lambda *_args, **_more: False)  # as the system tells such a user
    done = CliRunner().invoke(cli, [*words, "--home", str(enrolled.path)])
    assert f"belongs to the user {owner}, not to you: run this as {owner}" in f"{done.output}{done.exception}"
