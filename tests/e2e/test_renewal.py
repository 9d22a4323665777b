"""A running service and a device that renews: keys on disk, HTTPS, the broker, the operator's command."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from keyborn.cli.console import ask
from keyborn.domain.names import CertificateId
from support.csr_make import DeviceKey, make_csr
from support.device import keyborn, keyborn_json
from support.figures import Figure
from support.server import Answer, Server, running
from support.signing import NextKey, Signer
from support.talker import V5, Identity, Party, Talker, until

JOSE = {"Content-Type": "application/jose+json"}
RENEW, CONFIRM = "/v1/renew", "/v1/renew/confirm"
CROWD = 40


@pytest.fixture
def party(server: Server, tmp_path: Path) -> Iterator[Party]:
    party = Party(server, tmp_path)
    yield party
    party.end()


def signer(identity: Identity) -> Signer:
    key = load_pem_private_key(identity.key.read_bytes(), None)
    assert isinstance(key, DeviceKey)
    return Signer(identity.name, key, CertificateId(identity.certificate_id))


def post(server: Server, path: str, who: Signer, payload: object = None) -> Answer:
    nonce = server.request("GET", "/v1/nonce").headers["replay-nonce"]
    return server.request("POST", path, who.body(server.about["url"] + path, nonce, payload), JOSE)


def kept(folder: Path, old: Identity, following: NextKey, answer: Answer) -> Identity:
    """What a device has on disk after a renewal."""
    body = answer.json
    key, certificate = folder / "next.key", folder / "next.crt"
    key.write_bytes(following.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    certificate.write_text(body["certificatePem"] + body["chainPem"])
    return Identity(old.name, body["certificateId"], key, certificate, old.roots)


def renewed(server: Server, folder: Path, old: Identity) -> Identity:
    following = signer(old).next_key()
    answer = post(server, RENEW, signer(old), following.wish)
    assert answer.status == 201, answer.body
    return kept(folder, old, following, answer)


def comes_in(party: Party, identity: Identity) -> Talker:
    talker = party.talker(identity, protocol=V5).connect()
    assert talker.is_in, talker.answer
    return talker


def test_a_device_goes_over_to_its_next_certificate_without_losing_the_broker(
    server: Server, party: Party, tmp_path: Path
) -> None:
    old = party.device("over-1")
    comes_in(party, old)
    new = renewed(server, tmp_path, old)

    first = comes_in(party, new)
    assert first.publish("certtest/over-1") == 0
    assert {row["certificateId"] for row in server.active("over-1")} == {
        old.certificate_id,
        new.certificate_id,
    }
    back = comes_in(party, old)
    until(first.closed.is_set, "the session that another one has taken over ends")

    again = comes_in(party, new)
    until(back.closed.is_set, "and the other way round")
    confirmed = post(server, CONFIRM, signer(new))
    assert (confirmed.status, confirmed.json["certificateId"]) == (200, new.certificate_id)
    assert again.publish("certtest/over-1") == 0, "the session with the new certificate goes on"
    assert not party.talker(old, protocol=V5).connect().is_in
    (row,) = server.active("over-1")
    assert (row["certificateId"], row["slot"], row["renews"]) == (
        new.certificate_id,
        "current",
        old.certificate_id,
    )


def test_confirming_ends_the_session_of_the_certificate_before(
    server: Server, party: Party, tmp_path: Path
) -> None:
    old = party.device("over-2")
    open_one = comes_in(party, old)
    new = renewed(server, tmp_path, old)
    assert post(server, CONFIRM, signer(new)).status == 200
    until(open_one.closed.is_set, "the session with the retired certificate ends")
    assert comes_in(party, new).publish("certtest/over-2") == 0


def test_a_restart_makes_nonces_void_and_loses_no_renewal(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        party = Party(server, tmp_path)
        old = party.device("over-3")
        new = renewed(server, tmp_path, old)
        nonce = server.request("GET", "/v1/nonce").headers["replay-nonce"]
        body = signer(new).body(server.about["url"] + CONFIRM, nonce)
        server.kill()
        server.start()

        refusal = server.request("POST", CONFIRM, body, JOSE)
        assert (refusal.status, refusal.json["code"]) == (400, "bad_nonce")
        nonce = refusal.headers["replay-nonce"]
        body = signer(new).body(server.about["url"] + CONFIRM, nonce)
        assert server.request("POST", CONFIRM, body, JOSE).status == 200
        assert [row["certificateId"] for row in server.active("over-3")] == [new.certificate_id]


def test_a_crowd_renews_at_once_and_each_device_has_one_certificate(server: Server, figure: Figure) -> None:
    """Each request is sent twice, as by a device that does not wait; all go over together."""
    names = [f"crowd-{number}" for number in range(CROWD)]
    with ThreadPoolExecutor(16) as pool:
        devices = list(pool.map(lambda name: enrolled(server, name), names))
        keys = [device.next_key() for device in devices]
        began = time.monotonic()
        twice = [
            list(pool.map(lambda who, key: post(server, RENEW, who, key.wish), devices, keys))
            for _ in range(2)
        ]
        answers, again = twice
        successors = [
            key.with_certificate(answer.json["certificateId"])
            for key, answer in zip(keys, answers, strict=True)
        ]
        confirmed = list(pool.map(lambda one: post(server, CONFIRM, one), successors * 2))
        took = time.monotonic() - began
    assert [one.body for one in answers] == [one.body for one in again]
    assert {one.status for one in confirmed} == {200}
    for one in successors:
        assert [row["certificateId"] for row in server.active(one.name)] == [one.certificate_id]
    figure(f"renewals of {CROWD} devices over HTTPS, each request twice: {4 * CROWD / took:.0f} requests/s")


def enrolled(server: Server, name: str) -> Signer:
    key, csr = make_csr(name)
    answer = server.enroll(name, csr, server.token(thing=name)["secret"])
    return Signer(name, key, CertificateId(answer.json["certificateId"]))


# ── the operator ──────────────────────────────────────────────────────────────────────────────────────


def test_the_operator_grants_grace_and_ends_it(server: Server, party: Party) -> None:
    party.device("late-1")
    data = ("--data", server.data)
    said = keyborn("thing", "grace", "late-1", "--for", "7d", *data).stdout
    assert said.startswith("late-1 may renew with an expired certificate until 2")
    shown = keyborn_json("thing", "show", "late-1", *data)
    assert shown["graceUntil"] in said
    row = keyborn_json("thing", "grace", "late-1", "--end", *data)
    assert (row["thingName"], row["graceUntil"]) == ("late-1", None)
    assert keyborn("thing", "grace", "late-1", "--end", *data).stdout == "late-1 has no grace any more.\n"
    records = [
        each for each in ask(server.data, "GET", "/v1/audit", limit=1000) if each["subject"] == "late-1"
    ]
    assert [each["action"] for each in records[-2:]] == ["thing.grace", "thing.grace"]
    assert records[-2]["details"] == {"until": shown["graceUntil"]}


def test_grace_that_makes_no_sense_is_refused_in_words(server: Server, party: Party) -> None:
    party.device("late-2")
    data = ("--data", server.data)
    for words in ((), ("--for", "1d", "--end"), ("--for", "soon")):
        keyborn("thing", "grace", "late-2", *words, *data, expect=2)
    for words in (("--for", "31d"), ("--for", "0s")):
        refused = keyborn("thing", "grace", "late-2", *words, *data, expect=1)
        assert "one second to 30 days" in refused.stderr
    assert "[not_found]" in keyborn("thing", "grace", "late-9", "--for", "1d", *data, expect=1).stderr
    keyborn("thing", "revoke", "late-2", *data)
    refused = keyborn("thing", "grace", "late-2", "--for", "1d", *data, expect=1)
    assert "[thing_revoked]" in refused.stderr


def test_grace_is_granted_where_no_server_runs_too(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        Party(server, tmp_path).device("late-3")
    said = keyborn("thing", "grace", "late-3", "--for", "12h", "--data", server.data).stdout
    assert said.startswith("late-3 may renew")


def test_a_service_has_no_grace(server: Server, party: Party) -> None:
    party.service("program-1", "Publish topic/*")
    refused = keyborn("thing", "grace", "program-1", "--for", "1d", "--data", server.data, expect=1)
    assert "[kind_mismatch]" in refused.stderr
