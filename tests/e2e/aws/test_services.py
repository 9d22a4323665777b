"""Programs on AWS: they enrol through the stack's own door like any device, and watch is one of them."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from support.aws_party import Party

THING, PROGRAM = "meter-1", "dashboard"
POLICY = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Action": "iot:Connect", "Resource": f"arn:aws:iot:*:*:client/{PROGRAM}"},
        {"Effect": "Allow", "Action": "iot:Subscribe", "Resource": "arn:aws:iot:*:*:topicfilter/certtest/*"},
        {"Effect": "Allow", "Action": "iot:Receive", "Resource": "arn:aws:iot:*:*:topic/certtest/*"},
    ],
}


@pytest.fixture(scope="module")
def meter(stack: Party) -> Path:
    """The home of a device that speaks."""
    home = stack.folder / "meter"
    code = stack.keyborn("token", "create", "--thing", THING, *desk(stack)).stdout.splitlines()[-1]
    stack.keyborn("enroll", "-", "--thing", THING, "--home", home, typed=code)
    return home


def desk(stack: Party) -> tuple[str, str]:
    return ("--aws", stack.stack)


def told(stack: Party, *words: str | Path) -> Any:  # noqa: ANN401 - JSON
    return json.loads(stack.keyborn(*words, "--json").stdout)


@contextmanager
def listening(stack: Party, *words: str | Path) -> Iterator["subprocess.Popen[str]"]:
    """A command that prints messages, for as long as it is looked at."""
    process = subprocess.Popen(
        stack.order(*words),
        env=stack.surroundings(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=30)


def watched(stack: Party, meter: Path, topic_filter: str, *topics: str) -> list[dict[str, Any]]:
    """What watch prints of one message to each of ``topics``."""
    count = ("--count", str(len(topics)), "--json")
    with listening(stack, "watch", topic_filter, *count, *desk(stack)) as watch:
        assert watch.stderr is not None
        assert watch.stdout is not None
        assert "Watching" in watch.stderr.readline()
        assert "AWS IoT tells no publisher" in watch.stderr.readline()
        for topic in topics:
            stack.keyborn("publish", topic, "hello", "--home", meter)
        return [json.loads(watch.stdout.readline()) for _ in topics]


@pytest.mark.timeout(240)
def test_watch_sees_everything_and_names_the_thing_whose_topic_it_is(stack: Party, meter: Path) -> None:
    first, second = watched(stack, meter, "#", f"certtest/{THING}", f"certtest/{THING}/state")
    for row in (first, second):
        assert (row["thing"], row["thingFrom"], row["payload"]) == (THING, "topic", "hello")
    services = told(stack, "service", "list", *desk(stack))
    assert [(row["name"], row["policies"]) for row in services if row["name"] == "keyborn-watch"] == [
        ("keyborn-watch", ["service-keyborn-watch"])
    ]


@pytest.mark.timeout(240)
def test_watch_enrols_once_and_keeps_its_key_in_the_operators_state(stack: Party, meter: Path) -> None:
    for _ in range(2):
        watched(stack, meter, f"certtest/{THING}", f"certtest/{THING}")
    shown = told(stack, "thing", "show", "keyborn-watch", *desk(stack))
    (held,) = shown["certificates"]
    (home,) = stack.folder.glob(f"keyborn/aws/*-{stack.outputs['Table']}/services/keyborn-watch")
    status = json.loads(stack.keyborn("status", "--home", home, "--json").stdout)
    assert (status["certificateId"], status["state"]) == (held["certificateId"], "ready")
    assert (home / "device.key").stat().st_mode & 0o777 == 0o600
    assert "PRIVATE KEY" not in "".join(stack.said)


@pytest.mark.timeout(240)
def test_a_program_gets_its_identity_listens_and_is_revoked(
    stack: Party, meter: Path, tmp_path: Path
) -> None:
    policy, home = tmp_path / "policy.json", tmp_path / "dashboard"
    policy.write_text(json.dumps(POLICY))
    added = told(stack, "service", "add", PROGRAM, "--policy", policy, "--home", home, *desk(stack))
    assert (added["name"], added["policy"], added["obtained"]) == (PROGRAM, f"service-{PROGRAM}", True)
    again = told(stack, "service", "add", PROGRAM, "--policy", policy, "--home", home, *desk(stack))
    assert (again["certificateId"], again["obtained"]) == (added["certificateId"], False)

    with listening(stack, "subscribe", f"certtest/{THING}", "--count", "1", "--home", home) as program:
        until_connected(stack, program, meter)

    stack.keyborn("service", "revoke", PROGRAM, *desk(stack), expect=None)
    assert stack.certificates()[added["certificateId"]] == "REVOKED"
    refused = stack.keyborn("subscribe", "certtest/#", "--home", home, "--timeout", "5", expect=None)
    assert refused.returncode == 1
    taken = stack.keyborn(
        "service", "add", PROGRAM, "--policy", policy, "--home", home, *desk(stack), expect=1
    )
    assert "[identity_taken_away]" in taken.stderr


def until_connected(stack: Party, program: "subprocess.Popen[str]", meter: Path) -> None:
    """Speak until the program, which does not say when it has subscribed, has heard it and ended."""
    for _ in range(20):
        stack.keyborn("publish", f"certtest/{THING}", "hello", "--home", meter)
        if program.poll() is not None:
            break
    out, err = program.communicate(timeout=30)
    assert (program.returncode, "hello" in out) == (0, True), err
