"""Policies as operator and device meet them: commands on one side, open sessions on the other."""

import json
from pathlib import Path

import pytest

from support.device import keyborn, keyborn_json
from support.talker import LISTENS, V5, V311, Party, service_policy, until

DENIED = 0x87
ARN = "arn:aws:iot:*:*:"


def document(path: Path, *statements: dict[str, object]) -> Path:
    path.write_text(json.dumps({"Version": "2012-10-17", "Statement": list(statements)}))
    return path


def allow(action: str, *resources: str, effect: str = "Allow") -> dict[str, object]:
    return {
        "Effect": effect,
        "Action": [f"iot:{each}" for each in action.split()],
        "Resource": [ARN + each for each in resources],
    }


def test_the_default_policy_is_a_document_that_can_be_seen_and_put_back(party: Party, tmp_path: Path) -> None:
    data = ("--data", party.server.data)
    (row,) = [row for row in keyborn_json("policy", "list", *data) if row["policyName"] == "keyborn-default"]
    assert (row["writtenBy"], row["version"]) == ("keyborn", 1)
    text = keyborn("policy", "show", "keyborn-default", "--document", *data).stdout
    (tmp_path / "own.json").write_text(text)
    assert keyborn("policy", "lint", tmp_path / "own.json").returncode == 0
    shown = keyborn("policy", "show", "keyborn-default", *data).stdout
    assert "every device that has no policy of its own" in shown
    assert "${iot:Connection.Thing.ThingName}" in shown


@pytest.mark.parametrize("protocol", [V311, V5])
def test_a_policy_narrowed_while_connected_refuses_the_next_publish(
    party: Party, tmp_path: Path, protocol: object
) -> None:
    name = f"narrowed-{int(protocol)}"  # type: ignore[call-overload]  # paho's IntEnum
    data = ("--data", party.server.data)
    talker = party.talker(party.device(name), protocol=V5 if protocol is V5 else V311).connect()
    assert talker.publish(f"certtest/{name}/data") == 0
    narrow = document(
        tmp_path / "narrow.json", allow("Publish", f"topic/certtest/{name}/data", effect="Deny")
    )
    keyborn("policy", "put", f"no-data-{name}", narrow, *data)
    assert talker.publish(f"certtest/{name}/data") == 0, "nobody has it yet"
    keyborn("policy", "attach", f"no-data-{name}", "--thing", name, *data)
    assert talker.publish(f"certtest/{name}/data") == (DENIED if protocol is V5 else None)
    if protocol is V5:
        assert talker.publish(f"certtest/{name}/other") == 0
    else:
        talker = party.talker(talker.identity).connect()
    keyborn("policy", "detach", f"no-data-{name}", "--thing", name, *data)
    assert talker.publish(f"certtest/{name}/data") == 0
    log = party.server.log.read_text()
    (line, *_) = [each for each in log.splitlines() if f"denied by no-data-{name}" in each]
    for part in ("action=iot:Publish", f"thing={name}", f"certtest/{name}/data", "statement 1"):
        assert part in line


def test_a_policy_narrowed_while_connected_refuses_the_next_delivery(party: Party, tmp_path: Path) -> None:
    data = ("--data", party.server.data)
    device = party.talker(party.device("listening")).connect()
    boss = party.talker(party.service("boss", "Publish topic/*", "RetainPublish topic/*")).connect()
    device.subscribe("certtest/listening/#")
    boss.publish("certtest/listening/a", "first")
    device.hears("first")
    rules = [
        allow("Connect", "client/listening"),
        allow("Subscribe", "topicfilter/certtest/listening/*"),
        allow("Receive", "topic/certtest/listening/b"),
    ]
    keyborn("policy", "put", "only-b", document(tmp_path / "b.json", *rules), *data)
    keyborn("policy", "attach", "only-b", "--thing", "listening", *data)
    keyborn("policy", "detach", "keyborn-default", "--thing", "listening", *data)
    boss.publish("certtest/listening/a", "second", retain=True)
    boss.publish("certtest/listening/b", "third")
    device.hears("third")
    assert device.payloads() == ["first", "third"]
    assert device.is_in, "a delivery that is refused does not end the session"
    device.subscribe("certtest/listening/a")
    boss.publish("certtest/listening/b", "fourth")
    device.hears("fourth")
    assert "second" not in device.payloads(), "nor does the retained one come"


def test_the_default_policy_narrowed_reaches_every_session_at_once(party: Party, tmp_path: Path) -> None:
    data = ("--data", party.server.data)
    text = keyborn("policy", "show", "keyborn-default", "--document", *data).stdout
    devices = [party.talker(party.device(f"each-{number}")).connect() for number in range(5)]
    whole = json.loads(text)
    only_connect = document(tmp_path / "connect.json", whole["Statement"][0])
    keyborn("policy", "put", "keyborn-default", only_connect, *data)
    for device in devices:
        assert device.publish(f"certtest/{device.identity.name}") is None, "closed without acknowledgement"
    nothing = document(tmp_path / "nothing.json", allow("Connect", "client/nobody"))
    again = [party.talker(device.identity).connect() for device in devices]
    assert all(device.is_in for device in again)
    keyborn("policy", "put", "keyborn-default", nothing, *data)
    for device in again:
        until(device.closed.is_set, "who may not connect any more is disconnected")
    (tmp_path / "whole.json").write_text(text)
    keyborn("policy", "put", "keyborn-default", tmp_path / "whole.json", *data)
    assert party.talker(devices[0].identity).connect().is_in


def test_simulate_says_what_the_broker_does_and_why(party: Party) -> None:
    data = ("--data", party.server.data)
    talker = party.talker(party.device("asked"), protocol=V5).connect()
    for topic, allowed in (("certtest/asked/x", True), ("certtest/other", False), ("asked", False)):
        words = ("policy", "simulate", "--thing", "asked", "--action", "publish", "--topic", topic, *data)
        said = keyborn_json(*words)
        assert (said["verdict"] == "allowed") is allowed
        assert (talker.publish(topic) == 0) is allowed
        shown = keyborn(*words).stdout
        assert shown.startswith(said["verdict"].upper())
        assert "iot:Connection.Thing.ThingName  = asked" in shown
        keyborn(*words, "--expect", "denied", expect=1 if allowed else 0)
    assert said["deciding"] is None
    never = ("policy", "simulate", "--thing", "asked", "--action", "publish", "--topic", "certtest/asked/#")
    assert "invalid_topic" in keyborn(*never, *data, expect=1).stderr, "no policy can allow that"
    connect = ("policy", "simulate", "--thing", "asked", "--action", "connect", "--client-id", "other", *data)
    shown = keyborn(*connect).stdout
    assert "DENIED" in shown
    assert "does not resolve" in shown


def test_what_is_wrong_with_a_document_is_said_and_nothing_changes(party: Party, tmp_path: Path) -> None:
    data = ("--data", party.server.data)
    wrong = document(tmp_path / "wrong.json", allow("Pubish", "topic/a"))
    refused = keyborn("policy", "put", "wrong", wrong, *data, expect=1)
    assert "statement 1" in refused.stderr
    assert "iot:Publish" in refused.stderr, "did you mean"
    assert "not_found" in keyborn("policy", "show", "wrong", *data, expect=1).stderr
    wide = document(tmp_path / "wide.json", allow("Connect", "client/*"), allow("Publish", "topic/*"))
    assert "invalid_policy" in keyborn("policy", "put", "wide", wide, "--strict", *data, expect=1).stderr
    put = keyborn("policy", "put", "wide", wide, *data)
    assert "warning" in put.stderr.lower()
    assert "removed" in keyborn("policy", "remove", "wide", *data).stdout
    missing = keyborn("policy", "put", "wide", tmp_path / "none.json", *data, expect=None)
    assert missing.returncode in (1, 2)


def test_a_service_gets_its_identity_listens_and_is_revoked(party: Party, tmp_path: Path) -> None:
    data = ("--data", party.server.data)
    policy = tmp_path / "dashboard.json"
    policy.write_text(service_policy("dashboard", LISTENS))
    home = tmp_path / "dashboard"
    added = keyborn_json("service", "add", "dashboard", "--policy", policy, "--home", home, *data)
    assert added["obtained"]
    assert (home / "device.key").stat().st_mode & 0o777 == 0o600
    again = keyborn_json("service", "add", "dashboard", "--policy", policy, "--home", home, *data)
    assert (again["obtained"], again["certificateId"]) == (False, added["certificateId"])
    (row,) = [row for row in keyborn_json("service", "list", *data) if row["name"] == "dashboard"]
    assert (row["status"], row["policies"]) == ("active", ["service-dashboard"])
    assert "dashboard" not in keyborn("thing", "list", *data).stdout
    assert "kind_mismatch" in keyborn("thing", "revoke", "dashboard", *data, expect=1).stderr
    sender = party.talker(party.device("heard")).connect()
    sender.publish("certtest/heard", "to the dashboard", retain=True)
    heard = keyborn("subscribe", "certtest/heard", "--home", home, "--count", "1", "--timeout", "20")
    assert "to the dashboard" in heard.stdout
    denied = keyborn("publish", "certtest/heard", "no", "--home", home, expect=1)
    assert "publish_denied" in denied.stderr
    assert "is suspended" in keyborn("service", "suspend", "dashboard", *data).stdout
    assert "refused" in keyborn("subscribe", "certtest/#", "--home", home, expect=1).stderr
    assert "is active" in keyborn("service", "activate", "dashboard", *data).stdout
    keyborn("subscribe", "certtest/heard", "--home", home, "--count", "1", "--timeout", "20")
    assert "is revoked" in keyborn("service", "revoke", "dashboard", *data).stdout
    assert "refused" in keyborn("subscribe", "certtest/#", "--home", home, expect=1).stderr


def test_a_service_elsewhere_enrols_with_a_code(party: Party, tmp_path: Path) -> None:
    data = ("--data", party.server.data)
    policy = tmp_path / "far.json"
    policy.write_text(service_policy("far", LISTENS))
    code = keyborn("service", "add", "far", "--policy", policy, "--code", *data).stdout.splitlines()[-1]
    home = tmp_path / "far"
    keyborn("enroll", "-", "--thing", "far", "--home", home, typed=code)
    assert [row["name"] for row in keyborn_json("service", "list", *data)].count("far") == 1


def test_watch_is_a_service_of_its_own_and_says_who_published(party: Party) -> None:
    import subprocess
    import sys

    words = ["watch", "certtest/#", "--count", "1", "--json", "--data", str(party.server.data)]
    watch = subprocess.Popen(
        [sys.executable, "-m", "keyborn", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert watch.stderr is not None
    assert "Watching" in watch.stderr.readline()
    services = keyborn_json("service", "list", "--data", party.server.data)
    assert "keyborn-watch" in [row["name"] for row in services]
    sender = party.talker(party.device("seen"), protocol=V5).connect()
    assert sender.publish("certtest/seen", "hello") == 0
    row = json.loads(watch.communicate(timeout=20)[0])
    assert (row["thing"], row["payload"]) == ("seen", "hello")
