"""The device's commands as a person types them: output, exit codes, interrupts, and what is never shown."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from keyborn.device.home import Home
from keyborn.domain.token import encode_secret
from support.device import keyborn, keyborn_json
from support.device_home import OWN, eventually, identify
from support.rude_broker import PUBLISH, SUBSCRIBE, Packet, RudeBroker, accept
from support.rude_service import SECRET, RudeService, changed, problem


def enroll_words(home: Home, *more: str | Path) -> tuple[str | Path, ...]:
    return ("enroll", "-", "--thing", "gateway-1", "--home", home.path, *more)


# ── enroll ──


def test_enroll_tells_who_the_device_is_and_what_comes_next(home: Home, service: RudeService) -> None:
    done = keyborn(*enroll_words(home), typed=service.code().encode() + "\n")
    assert "This device is now gateway-1." in done.stdout
    assert f"Next: keyborn publish {OWN} hello" in done.stdout
    assert str(home.key) in done.stdout
    assert "Making a p256 key" in done.stderr


def test_enroll_with_json_prints_one_object(home: Home, service: RudeService) -> None:
    report = keyborn_json(*enroll_words(home, "--subject", "/C=JP"), typed=service.code().encode())
    assert report["thing"] == "gateway-1"
    assert report["subject"] == "/C=JP/CN=gateway-1"
    assert report["obtained"] is True
    assert len(report["certificateId"]) == 64
    assert report["notAfter"].endswith("Z")
    assert {Path(path).exists() for path in report["files"].values()} == {True}


def test_a_second_enroll_says_so_and_asks_nobody(home: Home, service: RudeService) -> None:
    keyborn(*enroll_words(home), typed=service.code().encode())
    service.seen.clear()
    again = keyborn(*enroll_words(home), typed="not even a code")
    assert "already is gateway-1; no request was made" in again.stdout
    assert service.seen == []


@pytest.mark.parametrize("way", ["argument", "file", "environment"])
def test_the_code_comes_in_every_documented_way(
    home: Home, service: RudeService, tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = service.code().encode()
    words: tuple[str | Path, ...] = ("enroll", "--thing", "gateway-1", "--home", home.path)
    if way == "argument":
        words = (*words, code)
    elif way == "file":
        (tmp_path / "code").write_text(code + "\n")
        words = (*words, "--code-file", tmp_path / "code")
    else:
        monkeypatch.setenv("KEYBORN_CODE", code)
    keyborn(*words)
    assert home.settings.exists()


def test_the_home_comes_from_the_environment(
    home: Home, service: RudeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEYBORN_HOME", str(home.path))
    keyborn("enroll", "-", "--thing", "gateway-1", typed=service.code().encode())
    assert home.settings.exists()


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--key-type", "p256", "--adopt-key", "x"),
        ("--key-type", "p224"),
        ("--timeout", "0"),
        ("--code-file", "/nonexistent/code"),
    ],
)
def test_misuse_is_a_usage_error(home: Home, words: tuple[str, ...]) -> None:
    done = keyborn("enroll", "--thing", "gateway-1", "--home", home.path, *words, expect=None)
    assert done.returncode in ({1} if "--code-file" in words else {2})
    assert "Traceback" not in done.stderr
    assert not home.key.exists()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("kb1.nonsense",), "invalid_enrollment_code"),
        (("-", "--thing", "no spaces"), "invalid_thing_name"),
        (("-", "--subject", "C=JP"), "invalid_subject"),
        (("-", "--subject", "/CN=other"), "invalid_subject"),
        (("-", "--key", "pkcs11:token=x"), "key_store_unsupported"),
        (("-", "--key", "file:/somewhere/else"), "key_store_unsupported"),
        (("-", "--adopt-key", "/nonexistent/key"), "key_unusable"),
    ],
)
def test_a_refusal_is_one_sentence_with_a_code_and_exit_1(
    home: Home, service: RudeService, words: tuple[str, ...], code: str
) -> None:
    given = words if "--thing" in words else (*words, "--thing", "gateway-1")
    done = keyborn("enroll", *given, "--home", home.path, typed=service.code().encode(), expect=1)
    assert done.stdout == ""
    assert done.stderr.rstrip().endswith(f"[{code}]")
    assert "Traceback" not in done.stderr
    assert service.seen == []
    assert not home.key.exists()


def test_the_service_s_refusal_keeps_its_code(home: Home, service: RudeService) -> None:
    service.script("/v1/enroll", problem(409, "thing_name_taken", "Taken. Choose another name."))
    done = keyborn(*enroll_words(home), typed=service.code().encode(), expect=1)
    assert done.stderr.splitlines()[-1].startswith("keyborn: The service refused: Taken.")
    assert done.stderr.rstrip().endswith("[thing_name_taken]")


def test_with_json_the_refusal_is_an_object(home: Home, service: RudeService) -> None:
    service.script("/v1/enroll", problem(409, "thing_name_taken", "Taken."))
    done = keyborn(*enroll_words(home, "--json"), typed=service.code().encode(), expect=1)
    assert json.loads(done.stderr.splitlines()[-1])["code"] == "thing_name_taken"


@pytest.mark.parametrize("reply", ["good", "refused", "wrong"])
def test_secrets_are_never_printed(home: Home, service: RudeService, reply: str) -> None:
    """Whatever happens, neither the code, its secret nor the key reaches the terminal."""
    secret = encode_secret(SECRET)
    if reply == "refused":
        service.script("/v1/enroll", problem(403, "odd", f"your secret is {secret}"))
    if reply == "wrong":
        service.script("/v1/enroll", changed(certificateId=secret))
    done = keyborn(*enroll_words(home, "--json"), typed=service.code().encode(), expect=None)
    told = done.stdout + done.stderr
    assert secret not in told
    assert service.code().encode()[60:100] not in told
    assert home.key.read_text().splitlines()[1] not in told


def test_the_file_uri_of_the_home_s_own_key_is_accepted(home: Home, service: RudeService) -> None:
    keyborn(*enroll_words(home, "--key", f"file:{home.key}"), typed=service.code().encode())
    assert home.settings.exists()


# ── status ──


def status(home: Home, expect: int) -> dict[str, object]:
    done = keyborn("status", "--home", home.path, "--json", expect=expect)
    report: dict[str, object] = json.loads(done.stdout)
    return report


def test_status_of_a_ready_device(enrolled: Home) -> None:
    report = status(enrolled, 0)
    assert report["state"] == "ready"
    assert report["thing"] == "gateway-1"
    assert report["keyMode"] == "0600"
    assert report["keyType"] == "p256"
    assert report["daysLeft"] == 89
    assert (report["outboxWaiting"], report["outboxRefused"]) == (0, 0)
    assert report["problems"] == []
    assert not enrolled.outbox.exists()


def test_status_for_people_is_a_list(enrolled: Home) -> None:
    shown = keyborn("status", "--home", enrolled.path).stdout
    assert "thing          gateway-1" in shown
    assert "{" not in shown


def test_status_of_nothing_says_what_to_do(home: Home) -> None:
    assert "Run: keyborn enroll - --home" in keyborn("status", "--home", home.path, expect=1).stdout
    assert not home.path.exists()


@pytest.mark.parametrize("mode", [0o644, 0o660])
def test_status_names_a_key_that_others_can_read(enrolled: Home, mode: int) -> None:
    enrolled.key.chmod(mode)
    report = status(enrolled, 1)
    assert report["state"] == "incomplete"
    assert "chmod 600" in str(report["problems"])


def test_status_names_a_home_that_others_can_enter(enrolled: Home) -> None:
    enrolled.path.chmod(0o755)
    assert "chmod 700" in str(status(enrolled, 1)["problems"])


def test_status_names_a_file_that_was_changed(enrolled: Home) -> None:
    enrolled.roots.write_text("other")
    assert "roots.pem" in str(status(enrolled, 1)["problems"])


def test_status_counts_the_outbox(enrolled: Home) -> None:
    keyborn("publish", OWN, "hello", "--home", enrolled.path, "--wait", "0")
    assert status(enrolled, 0)["outboxWaiting"] == 1


@pytest.mark.parametrize("words", [("status",), ("publish", OWN, "x")])
def test_a_device_that_only_works_never_loads_the_certificate_library(
    enrolled: Home, words: tuple[str, ...]
) -> None:
    """FACTS: 38 MiB with cryptography, 28 MiB without."""
    program = (
        "import sys; from keyborn.cli.main import cli; "
        f"cli.main([*{words!r}, '--home', {str(enrolled.path)!r}], standalone_mode=False); "
        "assert 'cryptography' not in sys.modules, 'cryptography was loaded'"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# ── publish and subscribe ──


def test_publish_says_delivered(enrolled: Home, broker: RudeBroker) -> None:
    assert keyborn("publish", OWN, "hello", "--home", enrolled.path).stdout == "delivered\n"
    assert broker.published() == [OWN]


def test_publish_takes_a_message_from_standard_input(enrolled: Home, broker: RudeBroker) -> None:
    report = keyborn_json("publish", OWN, "-", "--home", enrolled.path, typed="two\nlines\n")
    assert report == {"outcome": "delivered", "topic": OWN, "outbox": {"waiting": 0, "refused": 0}}
    assert next(packet for packet in broker.seen if packet.kind == PUBLISH).body.endswith(b"two\nlines\n")


def test_publish_without_a_broker_keeps_and_succeeds(home: Home) -> None:
    identify(home, broker=("localhost", 1))
    done = keyborn("publish", OWN, "hello", "--home", home.path, "--wait", "1")
    assert done.stdout.startswith("kept: the broker localhost:1 cannot be reached: ")
    assert done.stdout.endswith("; 1 waiting in the outbox, sent with the next publish or subscribe\n")
    assert (done.stdout.count("\n"), done.stderr) == (1, "")


def test_a_denied_publish_is_exit_1(enrolled: Home, broker: RudeBroker) -> None:
    broker.answer = lambda packet, level: (
        b"\x40\x03" + packet.number + b"\x87" if packet.kind == PUBLISH else accept(packet, level)
    )
    done = keyborn("publish", "certtest/other", "x", "--home", enrolled.path, expect=1)
    assert done.stderr.rstrip().endswith("[publish_denied]")
    assert status(enrolled, 0)["outboxRefused"] == 1


def test_publish_without_an_identity_says_what_to_do(home: Home) -> None:
    done = keyborn("publish", OWN, "x", "--home", home.path, expect=1)
    assert done.stderr.rstrip().endswith("[no_identity]")
    assert "keyborn enroll" in done.stderr
    assert not home.path.exists()


def speaking(payload: bytes) -> object:
    def answer(packet: Packet, level: int) -> bytes | None:
        reply = accept(packet, level)
        if packet.kind == SUBSCRIBE and reply is not None:
            body = b"\x00\x01t\x00" + payload
            return reply + b"\x30" + bytes([len(body)]) + body
        return reply

    return answer


def test_subscribe_prints_messages_and_stops_at_the_count(enrolled: Home, broker: RudeBroker) -> None:
    broker.answer = speaking(b"21.5 \xc2\xb0C")  # type: ignore[assignment] # an Answer
    done = keyborn("subscribe", "t", "--count", "1", "--timeout", "20", "--home", enrolled.path)
    assert done.stdout == "t  21.5 °C\n"
    assert "Listening for t" in done.stderr


def test_subscribe_never_lets_a_message_draw_on_the_terminal(enrolled: Home, broker: RudeBroker) -> None:
    broker.answer = speaking(b"\x1b[2J\xff\r\n")  # type: ignore[assignment] # an Answer
    done = keyborn("subscribe", "t", "--count", "1", "--timeout", "20", "--home", enrolled.path)
    assert done.stdout == "t  \\x1b[2J\\xff\\r\\n\n"


@pytest.mark.parametrize(
    ("payload", "shown"), [(b"text", {"payload": "text"}), (b"\xff\x00", {"payloadBase64": "/wA="})]
)
def test_subscribe_with_json_prints_a_line_per_message(
    enrolled: Home, broker: RudeBroker, payload: bytes, shown: dict[str, str]
) -> None:
    broker.answer = speaking(payload)  # type: ignore[assignment] # an Answer
    words = ("subscribe", "t", "--count", "1", "--timeout", "20", "--home", enrolled.path)
    assert keyborn_json(*words) == {"topic": "t", "qos": 0, "retain": False, **shown}


def test_too_few_messages_in_time_is_a_failure(enrolled: Home, broker: RudeBroker) -> None:
    words = ("subscribe", "t", "--count", "2", "--timeout", "0.5", "--home", enrolled.path)
    assert "[nothing_arrived]" in keyborn(*words, expect=1).stderr


def test_the_time_alone_is_no_failure(enrolled: Home, broker: RudeBroker) -> None:
    keyborn("subscribe", "t", "--timeout", "0.5", "--home", enrolled.path)


def hear_interrupts() -> None:
    """Whoever started the tests in the background has made them deaf to SIGINT, and children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_an_interrupt_ends_a_listener_cleanly(enrolled: Home, broker: RudeBroker) -> None:
    words = [sys.executable, "-m", "keyborn", "subscribe", "t", "--home", str(enrolled.path)]
    listener = subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=hear_interrupts,  # noqa: PLW1509 - nothing else runs in this process
    )
    assert listener.stderr is not None
    assert "Listening" in listener.stderr.readline()
    os.kill(listener.pid, signal.SIGINT)
    printed, told = listener.communicate(timeout=20)
    assert listener.returncode == 130
    assert (printed, "Traceback" in told) == ("", False)
    eventually(lambda: 14 in broker.kinds())  # DISCONNECT: it said goodbye


def test_standard_input_that_is_closed_is_a_usage_error(enrolled: Home) -> None:
    command = [sys.executable, "-m", "keyborn", "publish", OWN, "-", "--home", str(enrolled.path)]
    words = ["/bin/sh", "-c", 'exec "$0" "$@" <&-', *command]
    done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert "closed" in done.stderr
    assert "Traceback" not in done.stderr


def test_status_shows_the_identity_beside_a_damaged_outbox(enrolled: Home) -> None:
    enrolled.outbox.write_bytes(b"rubbish" * 1000)
    enrolled.outbox.chmod(0o600)
    report = status(enrolled, 1)
    assert report["thing"] == "gateway-1"
    assert report["outboxWaiting"] is None
    assert "outbox.db" in str(report["problems"])
