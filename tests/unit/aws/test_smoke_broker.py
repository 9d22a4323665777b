"""What the checks of the broker say of one that is otherwise than Keyborn assumes.

The broker is a script here: who it accepts, what it answers, what it sends. tests/integration/aws has a real
one, the stand-in's.
"""

import json
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from keyborn.adapters.aws.smoke import connecting, revoking, talk
from keyborn.adapters.aws.smoke.lab import Lab, Specimen, Undecided
from keyborn.adapters.aws.smoke.ledger import open_ledger
from keyborn.adapters.aws.smoke.run import Finding
from keyborn.adapters.aws.smoke.talk import MQTT_3_1_1, How, Talk, Will
from support.pki import new_pki
from support.smoke_world import OUTPUTS, QUICK, Answer, World, lab, refusing, try_check

DENIED, CLOSED = "Not authorized (0x87)", "closed without a word"
GONE = refusing("ResourceNotFoundException", 404)
"""Of who is not connected."""


@dataclass
class Broker:
    """Accepts everybody, takes everything, sends nothing, unless a test says otherwise."""

    accepts: Callable[["Broker", str, How], bool] = lambda _self, _client, _how: True
    says: Callable[[str, How], str | None] = lambda _topic, _how: None
    """How publishing and subscribing are refused."""
    hears: Callable[[str], bytes | None] = lambda _topic: None
    present: bool = False
    told: Mapping[str, object] = field(default_factory=dict)
    takes_over: bool = True
    talks: list[tuple[str, How, Talk]] = field(default_factory=list)

    def connect(self, _lab: Lab, _who: Specimen, client_id: str, how: How | None = None) -> Talk:
        how = how or How()
        one = Talk(Client(CallbackAPIVersion.VERSION2, client_id), present=self.present, told=dict(self.told))
        if not self.accepts(self, client_id, how):
            one.closed = CLOSED
        else:
            self._take_over(client_id)
            one.accepted, one.code = "Success", 0
        self.talks.append((client_id, how, one))
        return one

    def _take_over(self, client_id: str) -> None:
        for other, _, one in self.talks:
            if other == client_id and one.is_open and self.takes_over:
                one.closed = "closed with Session taken over (0x8e)"

    def how(self, one: Talk) -> How:
        return next(how for _, how, each in self.talks if each is one)

    def act(self, _lab: Lab, one: Talk, topic: str, _payload: bytes = b"") -> str | None:
        said = self.says(topic, self.how(one))
        if said is not None and said.startswith("closed"):
            one.closed = said
        return said

    def hear(self, _lab: Lab, _one: Talk, topic: str, _seconds: float) -> bytes | None:
        return self.hears(topic)

    def delete_connection(self, **given: Any) -> Mapping[str, Any]:  # noqa: ANN401 - AWS's
        """DeleteConnection, if it does what it should."""
        return self.end(given["clientId"])

    def end(self, client_id: str) -> Mapping[str, Any]:
        """End every connection under a name."""
        for other, _, one in self.talks:
            if other == client_id:
                one.closed = "closed with Administrative action (0x98)"
        return {}


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Finding]:
    """Try a check with a broker, in a world where AWS IoT says yes to everything."""

    def _try(name: str, broker: Broker, **answers: Any) -> Finding:  # noqa: ANN401 - answers
        for module in (connecting, revoking):
            for word, work in {
                "connect": broker.connect,
                "publish": broker.act,
                "subscribe": broker.act,
                "hears": broker.hear,
            }.items():
                if hasattr(module, word):
                    monkeypatch.setattr(module, word, work)
        return try_check(name, World(**answers), tmp_path)

    return _try


Found = Callable[..., Finding]
ALPHA, BETA, DELTA = (f"keyborn-smoke-test-{one}" for one in ("alpha", "beta", "delta"))


def never_again(self: Broker, client: str, _how: How) -> bool:
    """Everybody once: who has been there is not let in again."""
    return client not in {other for other, _, _ in self.talks}


def only_itself(_self: Broker, _client: str, how: How) -> bool:
    return how.will is None


def nobody(_self: Broker, _client: str, _how: How) -> bool:
    return False


# ── connecting ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "broker", "word", "seen"),
    [
        ("activation-delay", Broker(), "holds", "after 0.0"),
        ("connect", Broker(), "holds", "both accepted on port 8883"),
        ("connect", Broker(accepts=never_again), "differs", "MQTT 5: closed without a word"),
        (
            "connect",
            Broker(accepts=lambda _self, _client, how: how.version is not MQTT_3_1_1),
            "differs",
            "MQTT 3.1.1: closed without a word",
        ),
        ("connect-443", Broker(), "holds", "accepted"),
        ("connect-443", Broker(accepts=lambda _self, _client, how: not how.port), "differs", CLOSED),
        ("other-client-id", Broker(), "differs", "accepted"),
        ("other-client-id", Broker(accepts=never_again), "holds", CLOSED),
        ("inactive-refused", Broker(), "differs", "accepted"),
        ("inactive-refused", Broker(accepts=nobody), "holds", CLOSED),
        ("own-topics", Broker(hears=lambda _: b"x"), "holds", "heard"),
        ("own-topics", Broker(), "differs", "accepted, and not heard"),
        ("own-topics", Broker(says=lambda _topic, _how: DENIED), "differs", DENIED),
        ("own-topics", Broker(accepts=never_again), "not decided", "was not accepted: closed without a word"),
        ("foreign-topic-311", Broker(), "differs", "publish: accepted; subscribe: accepted"),
        (
            "foreign-topic-311",
            Broker(says=lambda _topic, _how: CLOSED),
            "holds",
            f"publish: {CLOSED}; subscribe: {CLOSED}",
        ),
        ("foreign-topic-311", Broker(says=lambda _topic, _how: DENIED), "differs", f"publish: {DENIED}"),
        ("foreign-topic-5", Broker(), "differs", "publish: accepted; subscribe: accepted; still connected"),
        ("foreign-topic-5", Broker(says=lambda _topic, _how: DENIED), "holds", "; still connected"),
        ("foreign-topic-5", Broker(says=lambda _topic, _how: CLOSED), "differs", "; disconnected"),
        ("will", Broker(hears=lambda _: b"will"), "holds", "accepted, and sent"),
        ("will", Broker(), "differs", "accepted, and not sent"),
        ("will", Broker(accepts=only_itself), "differs", "with a will: closed without a word"),
        ("will-unlisted", Broker(), "differs", "accepted"),
        ("will-unlisted", Broker(accepts=only_itself), "holds", CLOSED),
        ("persistent-session", Broker(), "differs", "session not kept, message not heard"),
        ("persistent-session", Broker(present=True), "differs", "session kept, message not heard"),
        (
            "persistent-session",
            Broker(present=True, hears=lambda _: b"later"),
            "holds",
            "session kept, message heard",
        ),
        (
            "persistent-session",
            Broker(accepts=lambda _self, _client, how: how.clean),
            "differs",
            "closed without a word",
        ),
        (
            "connack",
            Broker(told={"MaximumQoS": 1, "MaximumPacketSize": 149504}),
            "holds",
            "MaximumPacketSize 149504",
        ),
        ("connack", Broker(told={"MaximumQoS": 1}), "holds", "MaximumQoS 1"),
        ("connack", Broker(), "differs", "nothing"),
        (
            "connack",
            Broker(told={"MaximumQoS": 1, "MaximumPacketSize": 4096}),
            "differs",
            "MaximumPacketSize 4096",
        ),
        ("connack", Broker(told={"MaximumQoS": 1, "RetainAvailable": 0}), "differs", "RetainAvailable 0"),
        ("takeover", Broker(), "holds", "the first: closed with Session taken over (0x8e)"),
        ("takeover", Broker(takes_over=False), "differs", "the first: still connected"),
    ],
)
def test_a_broker_that_behaves_otherwise_is_told(
    found: Found, name: str, broker: Broker, word: str, seen: str
) -> None:
    one = found(name, broker)
    assert one.word == word, one
    assert seen in one.seen


def test_devices_are_what_an_enrolment_leaves(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    world = World()
    monkeypatch.setattr(connecting, "connect", Broker().connect)
    with open_ledger(tmp_path, "run") as ledger:
        one = connecting.device(lab(world, ledger), "alpha")
    policy = world.called("iot_CreatePolicy")[0]["policyDocument"]
    assert "keyborn-smoke-test-topics/${iot:Connection.Thing.ThingName}" in policy
    assert "certtest" not in policy
    assert world.called("iot_AttachThingPrincipal") == [
        {"thingName": ALPHA, "principal": one.arn, "thingPrincipalType": "EXCLUSIVE_THING"}
    ]
    assert [each["newStatus"] for each in world.called("iot_UpdateCertificate")] == ["ACTIVE"]


def test_a_certificate_that_connects_late_differs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(connecting, "device", lambda hands, _part: hands.shared("delays", list).append(7.5))
    one = try_check("activation-delay", World(), tmp_path)
    assert (one.word, one.seen) == ("differs", "after 7.50 s")


# ── sessions ──────────────────────────────────────────────────────────────────────────────────────────


def test_deleting_a_connection_ends_it_without_its_will(found: Found) -> None:
    broker = Broker()
    one = found("delete-connection", broker, iot_data_DeleteConnection=broker.delete_connection)
    assert one.word == "holds"
    assert one.seen.startswith("closed with Administrative action (0x98) after 0.0")
    assert one.seen.endswith("will not sent")


def test_a_will_that_is_sent_all_the_same_differs(found: Found) -> None:
    broker = Broker(hears=lambda _: b"will")
    one = found("delete-connection", broker, iot_data_DeleteConnection=broker.delete_connection)
    assert one.word == "differs"
    assert one.seen.endswith("will sent")


def test_a_connection_that_outlives_its_deletion_differs(found: Found) -> None:
    one = found("delete-connection", Broker())
    assert one.word == "differs"
    assert one.seen.startswith("still connected after")


@pytest.mark.parametrize(
    ("answer", "word"),
    [(GONE, "holds"), (lambda **_: {}, "holds"), (refusing("InvalidRequestException"), "differs")],
)
def test_deleting_no_connection_may_be_refused_as_missing_only(
    found: Found,
    answer: Answer,
    word: str,
) -> None:
    assert found("delete-connection-absent", Broker(), iot_data_DeleteConnection=answer).word == word


def news(*left_out: str, **other: str) -> Callable[[str], bytes | None]:
    def _hear(topic: str) -> bytes | None:
        client = topic.rpartition("/")[2]
        event = {
            "clientId": client,
            "eventType": "connected",
            "timestamp": 1,
            "principalIdentifier": "?",
        } | other
        return json.dumps({key: value for key, value in event.items() if key not in left_out}).encode()

    return _hear


@pytest.mark.parametrize(
    ("broker", "seen"),
    [
        (Broker(), "nothing within 0.05 s"),
        (Broker(says=lambda _topic, _how: DENIED), f"subscribing: {DENIED}"),
        (Broker(hears=news("principalIdentifier")), "fields clientId, eventType, timestamp"),
        (Broker(hears=news(clientId="other")), "fields clientId, eventType, principalIdentifier, timestamp"),
        (Broker(hears=news()), "fields clientId, eventType, principalIdentifier, timestamp"),
    ],
)
def test_news_of_a_connection_that_say_less_or_otherwise_differ(
    found: Found, broker: Broker, seen: str
) -> None:
    one = found("presence-event", broker)
    assert (one.word, one.seen) == ("differs", seen)


def test_a_revoked_certificate_that_is_let_in_differs(found: Found) -> None:
    assert found("revoked-refused", Broker()).word == "differs"


def test_a_revoked_certificate_is_tried_until_it_is_refused(found: Found) -> None:
    def _twice_more(self: Broker, client: str, _how: How) -> bool:
        return client != DELTA or len([1 for other, _, _ in self.talks if other == DELTA]) < 4

    one = found("revoked-refused", Broker(accepts=_twice_more))
    assert one.word == "holds"
    assert one.seen.endswith(f"s: {CLOSED}")


def test_a_session_that_ends_after_its_certificate_was_revoked_holds(found: Found) -> None:
    broker = Broker()

    def _update(certificateId: str, newStatus: str) -> Mapping[str, Any]:  # noqa: N803 - AWS's names
        return broker.end(DELTA) if newStatus == "REVOKED" else {}

    one = found("revoked-session", broker, iot_UpdateCertificate=_update)
    assert one.word == "holds"
    assert one.seen.startswith("closed with Administrative action (0x98), within 0 s")


def test_a_session_that_stays_open_as_long_as_we_wait_decides_nothing(found: Found) -> None:
    one = found("revoked-session", Broker())
    assert one.word == "not decided"
    assert one.seen.endswith("this run waits no longer")


def test_a_policy_that_is_taken_away_is_waited_for(found: Found) -> None:
    calls: list[str] = []

    def _later(topic: str, _how: How) -> str | None:
        calls.append(topic)
        return DENIED if len(calls) > 2 else None

    one = found("policy-change", Broker(says=_later))
    assert one.word == "holds"
    assert one.seen.startswith(f"{DENIED}, after")
    assert found("policy-change", Broker()).word == "not decided"
    assert found("policy-change", Broker(says=lambda _topic, _how: DENIED)).word == "differs"


# ── the connection itself ─────────────────────────────────────────────────────────────────────────────


def specimen(folder: Path) -> tuple[Lab, Specimen]:
    with open_ledger(folder, "run") as ledger:
        hands = lab(
            World(),
            ledger,
            outputs=replace(OUTPUTS, mqtt_host="127.0.0.1", mqtt_port=1),
            roots=new_pki().root_pem,
        )
        one = hands.certificate("lamp")
        for each in ledger.owed:
            ledger.strike(each)
    return hands, one


def test_a_port_that_nobody_listens_on_leaves_a_check_undecided(tmp_path: Path) -> None:
    hands, one = specimen(tmp_path)
    with pytest.raises(Undecided, match="port 1 of the broker cannot be reached"):
        talk.connect(hands, one, one.name)


@pytest.mark.parametrize(
    ("error", "closed"),
    [
        (ssl.SSLError(1, "x"), "closed in the handshake (SSLError)"),
        (ConnectionResetError(), "closed in the handshake (ConnectionResetError)"),
    ],
)
def test_a_broker_that_hangs_up_in_the_handshake_has_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError, closed: str
) -> None:
    hands, one = specimen(tmp_path)

    def _fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(Client, "connect", _fail)
    refused = talk.connect(hands, one, one.name)
    assert (refused.is_open, refused.how_refused) == (False, closed)
    with pytest.raises(Undecided, match="was not accepted: closed in the handshake"):
        talk.need(refused)


def test_connections_of_one_client_id_are_kept_apart(tmp_path: Path) -> None:
    hands, one = specimen(tmp_path)
    hands.pace = replace(QUICK, between=0.2)
    moments: list[float] = []
    for client in ("a", "a", "b"):
        with pytest.raises(Undecided):
            talk.connect(hands, one, client)
        moments.append(hands.shared("connected", dict[str, float])[client])
    assert moments[1] - moments[0] >= 0.2
    assert moments[2] - moments[1] < 0.2


def test_what_the_broker_said_is_told_in_words() -> None:
    one = Talk(Client(CallbackAPIVersion.VERSION2, "x"))
    assert one.how_refused == "no answer"
    one.accepted, one.code = "Not authorized", 0x87
    assert one.how_refused == "refused with Not authorized (0x87)"
    assert not one.is_open


def test_a_will_is_sent_to_the_device_s_own_topic() -> None:
    assert Will("a/b").payload == b"will"
