"""Signed enrolments over real HTTPS: what is given, and what each request that is not good is told.

Whatever is refused leaves nothing behind but its record, and brings the next nonce all the same.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from keyborn.cli.console import ask
from keyborn.domain.group_key import GroupKey, device_key
from keyborn.domain.jws import MEDIA_TYPE
from keyborn.domain.jws_enroll import Place
from keyborn.domain.names import ThingName
from keyborn.domain.token import encode_secret
from support.csr_make import csr_for, make_csr, make_key
from support.factory import Maker, manufacturer
from support.server import Answer, Server, running
from support.signed_enrolling import by_certificate, by_key, payload, toml

ENROLL = "/v1/enroll"
ROOT = manufacturer()
PLANT = ROOT.authority("Plant")
FACTORY = f'[factory]\nauthorities = """\n{ROOT.pem}"""\nname = "sensor-{{serial_number}}"\n'


@dataclass
class Line:
    """A server with groups, and who asks it."""

    server: Server

    def group(self, name: str, methods: str = "group-key", more: str = "") -> str:
        ask(self.server.data, "PUT", f"/v1/groups/{name}", {"document": toml(name, methods, more)})
        return name

    def key(self, group: str, **wish: object) -> GroupKey:
        made = ask(self.server.data, "POST", f"/v1/groups/{group}/keys", wish)
        held = GroupKey.decode(made["groupKey"])
        assert (made["id"], made["method"], made["group"]) == (held.id, "group-key", group)
        return held

    def place(self, path: str = ENROLL) -> Place:
        answer = self.server.request("GET", "/v1/nonce")
        return Place(self.server.about["url"] + path, answer.json["nonce"])

    def send(self, body: bytes, media: str = MEDIA_TYPE, **headers: str) -> Answer:
        answer = self.server.request("POST", ENROLL, body, {"Content-Type": media, **headers})
        assert len(answer.headers["replay-nonce"]) == 54
        assert answer.headers["cache-control"] == "no-store"
        return answer

    def enroll(self, held: GroupKey, name: str, csr: str | None = None, **more: object) -> Answer:
        said = payload(name, csr or make_csr(name)[1], held.group, **more)
        return self.send(by_key(held.key, name, self.place(), said))

    def refused(self, answer: Answer, status: int, code: str) -> None:
        assert (answer.status, answer.json["code"]) == (status, code), answer.body
        assert answer.headers["content-type"] == "application/problem+json"

    def things(self) -> set[str]:
        return {row["thingName"] for row in ask(self.server.data, "GET", "/v1/things", limit=1000)}

    def token(self, held: GroupKey) -> dict[str, Any]:
        rows = ask(self.server.data, "GET", "/v1/tokens", limit=1000)
        return next(row for row in rows if row["id"] == held.id)

    def last(self) -> dict[str, Any]:
        row: dict[str, Any] = ask(self.server.data, "GET", "/v1/audit", limit=1000)[-1]
        return row


@pytest.fixture
def line(server: Server) -> Line:
    return Line(server)


@pytest.fixture(scope="module")
def other_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Each address may fail twenty times: the negative tables have servers of their own."""
    with running(tmp_path_factory.mktemp("other")) as server:
        yield server


# ── given ─────────────────────────────────────────────────────────────────────────────────────────────


def test_a_derived_key_enrols_its_thing_and_a_lost_answer_is_given_again(line: Line) -> None:
    held = line.key(line.group("keys"))
    key = make_key()
    csr = csr_for(key, "sensor-1")
    first = line.enroll(held, "sensor-1", csr)
    assert first.status == 201, first.body
    leaf = x509.load_pem_x509_certificate(first.json["certificatePem"].encode())
    assert leaf.public_key() == key.public_key()
    again = line.enroll(held, "sensor-1", csr)
    assert (again.status, again.body) == (200, first.body)
    row = next(each for each in reversed(ask(line.server.data, "GET", "/v1/audit", limit=1000)))
    assert (row["action"], row["outcome"], row["subject"]) == ("enroll", "done", "sensor-1")
    assert row["actor"] == held.id
    assert {"group": "keys", "method": "group-key"}.items() <= row["details"].items()
    assert line.token(held)["usesTaken"] == 1
    thing = line.server.thing("sensor-1")
    assert thing["group"] == "keys"


def test_a_factory_certificate_enrols_the_name_that_it_says(line: Line) -> None:
    group = line.group("made", "factory", FACTORY)
    device = PLANT.device("77")
    said = payload("sensor-77", make_csr("sensor-77")[1], group)
    answer = line.send(by_certificate(device, PLANT, place=line.place(), payload=said))
    assert answer.status == 201, answer.body
    again = line.send(by_certificate(device, PLANT, place=line.place(), payload=said))
    assert (again.status, again.body) == (200, answer.body)
    row = line.last()
    assert row["actor"] == "f" + sha256(device.certificate.tbs_certificate_bytes).hexdigest()[:16]
    assert row["details"]["factoryCertificate"] == sha256(device.der).hexdigest()
    other = payload("sensor-78", make_csr("sensor-78")[1], group)
    line.refused(
        line.send(by_certificate(device, PLANT, place=line.place(), payload=other)), 403, "name_not_permitted"
    )
    assert "sensor-78" not in line.things()


def test_the_nonce_of_an_answer_serves_the_next_request(line: Line) -> None:
    held = line.key(line.group("nonces"))
    answer = line.enroll(held, "sensor-20")
    place = Place(line.server.about["url"] + ENROLL, answer.headers["replay-nonce"])
    said = payload("sensor-21", make_csr("sensor-21")[1], "nonces")
    assert line.send(by_key(held.key, "sensor-21", place, said)).status == 201


def test_a_device_sets_what_its_group_leaves_to_it(line: Line) -> None:
    held = line.key(line.group("marked", more='[give]\ndevice-attributes = ["serial"]\n'))
    assert line.enroll(held, "sensor-30", attributes={"serial": "7"}).status == 201
    assert line.server.thing("sensor-30")["attributes"] == {"serial": "7"}
    line.refused(line.enroll(held, "sensor-31", attributes={"x": "1"}), 403, "attribute_not_permitted")


def test_a_token_and_a_factory_certificate_may_be_demanded_together(line: Line) -> None:
    group = line.group("both", "factory + token", FACTORY)
    made = line.server.token(group=group, uses=1)
    said = payload("sensor-40", make_csr("sensor-40")[1], group)
    body = by_certificate(PLANT.device("40"), PLANT, place=line.place(), payload=said)
    line.refused(line.send(body), 403, "method_not_accepted")
    bearer = {"Authorization": f"Bearer {made['secret']}"}
    body = by_certificate(PLANT.device("40"), PLANT, place=line.place(), payload=said)
    assert line.send(body, **bearer).status == 201


# ── refused ───────────────────────────────────────────────────────────────────────────────────────────


def test_each_misuse_of_a_group_key_has_its_own_code_and_leaves_nothing(other_server: Server) -> None:
    line = Line(other_server)
    held = line.key(line.group("line-a", more="limit = 1\n"))
    foreign = line.key(line.group("line-b"))
    single = line.key("line-b", uses=1)
    short = line.key("line-b", ttl=1)
    only_ask = line.group("line-c", "ask")
    made_at = time.monotonic()
    used = line.enroll(single, "sensor-0")
    assert used.status == 201
    withdrawn = line.key("line-b")
    ask(other_server.data, "DELETE", f"/v1/tokens/{withdrawn.id}")
    before = line.things()

    def said(name: str = "sensor-1", group: str = "line-a") -> bytes:
        return payload(name, make_csr(name)[1], group)

    replayed = by_key(foreign.key, "sensor-0", line.place(), said("sensor-0", "line-b"))
    first = line.send(replayed)
    line.refused(first, 409, "thing_name_taken")
    place = line.place("/v1/renew")
    bearer = {"Authorization": f"Bearer {encode_secret(device_key(held.key, ThingName('sensor-1')))}"}
    master = {"Authorization": f"Bearer {encode_secret(held.key)}"}
    cases: dict[str, tuple[bytes, int, str]] = {
        "wrong key": (by_key(bytes(32), "sensor-1", line.place(), said(), held.id), 401, "group_key_refused"),
        "unknown key": (by_key(bytes(32), "sensor-1", line.place(), said()), 401, "group_key_refused"),
        "withdrawn": (
            by_key(withdrawn.key, "sensor-1", line.place(), said(group="line-b")), 401, "group_key_refused",
        ),
        "another name": (
            by_key(held.key, "sensor-2", line.place(), said("sensor-1")), 401, "group_key_refused",
        ),
        "replayed": (replayed, 400, "bad_nonce"),
        "another group": (
            by_key(held.key, "sensor-1", line.place(), said(group="line-b")), 403, "group_differs",
        ),
        "no such group": (
            by_key(held.key, "sensor-1", line.place(), said(group="line-z")), 403, "group_unknown",
        ),
        "not accepted": (
            by_key(held.key, "sensor-1", line.place(), said(group=only_ask)), 403, "method_not_accepted",
        ),
        "another route": (by_key(held.key, "sensor-1", place, said()), 401, "signed_for_elsewhere"),
        "outside": (
            by_key(held.key, "pump-1", line.place(), said("pump-1")), 403, "name_not_in_group",
        ),
        "used up": (
            by_key(single.key, "sensor-3", line.place(), said("sensor-3", "line-b")),
            403,
            "group_key_exhausted",
        ),
        "no group": (
            by_key(held.key, "sensor-1", line.place(), json.dumps(
                {"thingName": "sensor-1", "csr": make_csr("sensor-1")[1]}
            ).encode()), 400, "group_missing",
        ),
    }  # fmt: skip
    for name, (body, status, code) in cases.items():
        records = line.last()["sequence"]
        answer = line.send(body)
        assert (answer.status, answer.json["code"]) == (status, code), (name, answer.body)
        assert line.last()["sequence"] <= records + 1
        assert line.things() == before, name
    for headers in (bearer, master):
        answer = other_server.request("POST", ENROLL, said(), {**headers, "Content-Type": "application/json"})
        assert (answer.status, answer.json["code"]) == (401, "credential_refused")
    time.sleep(max(0.0, made_at + 1.2 - time.monotonic()))
    line.refused(line.enroll(short, "sensor-4"), 401, "group_key_expired")
    assert line.enroll(held, "sensor-5").status == 201
    line.refused(line.enroll(held, "sensor-6"), 403, "group_full")
    assert line.things() == before | {"sensor-5"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"\xff" * 100,
        by_key(bytes(32), "sensor-1", Place("https://x/v1/enroll", "n"), b"not JSON"),
        by_key(bytes(32), "sensor-1", Place("https://x/v1/enroll", "n"), b"[]"),
        by_key(bytes(32), "sensor-1", Place("https://x/v1/enroll", "n"), payload(7)),
        by_key(bytes(32), "sensor-1", Place("https://x/v1/enroll", "n"), payload(more="x")),
        by_key(bytes(32), "sensor-1", Place("http://x/v1/enroll", "n"), payload()),
        by_key(bytes(32), "sensor-1", Place("https://x/v1/enroll", "n n"), payload()),
    ],
)
def test_what_cannot_be_read_is_said_to_be_so_and_brings_a_nonce(other_server: Server, body: bytes) -> None:
    line = Line(other_server)
    line.refused(line.send(body), 400, "jws_malformed")


def test_a_body_that_is_too_large_is_not_read(other_server: Server) -> None:
    line = Line(other_server)
    line.refused(line.send(bytes(20_000)), 413, "too_large")


def test_each_misuse_of_a_factory_certificate_has_its_own_code_and_leaves_nothing(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        line = Line(server)
        group = line.group("made", "factory", FACTORY)
        line.group("keys")
        device, fake = PLANT.device("1"), manufacturer()
        csr = make_csr("sensor-1")[1]

        def signed(by: Maker, *above: Maker, said: bytes | None = None, key: Any = None) -> bytes:  # noqa: ANN401 - any key
            wish = said or payload("sensor-1", csr, group)
            return by_certificate(by, *above, place=line.place(), payload=wish, key=key)

        spare = by_certificate(device, PLANT, place=line.place("/v1/renew"), payload=payload(group=group))
        cases: dict[str, tuple[bytes, int, str]] = {
            "another maker": (signed(fake.device("1"), fake), 401, "factory_refused"),
            "issuer left out": (signed(device), 401, "factory_refused"),
            "not its key": (signed(device, PLANT, key=make_key()), 401, "factory_refused"),
            "an authority": (signed(PLANT), 401, "factory_refused"),
            "another name": (
                signed(device, PLANT, said=payload("sensor-2", make_csr("sensor-2")[1], group)),
                403,
                "name_not_permitted",
            ),
            "another group": (
                signed(device, PLANT, said=payload("sensor-1", csr, "keys")), 403, "method_not_accepted",
            ),
            "another route": (spare, 401, "signed_for_elsewhere"),
            "no name": (signed(PLANT.device("a b"), PLANT), 403, "credential_name_unfit"),
        }  # fmt: skip
        for name, (body, status, code) in cases.items():
            answer = line.send(body)
            assert (answer.status, answer.json["code"]) == (status, code), (name, answer.body)
            assert line.things() == set(), name
        good = signed(device, PLANT)
        assert line.send(good).status == 201
        line.refused(line.send(good), 400, "bad_nonce")
        taken = payload("sensor-1", make_csr("sensor-1")[1], group)
        line.refused(line.send(signed(device, PLANT, said=taken)), 409, "thing_name_taken")
        assert line.things() == {"sensor-1"}


def test_no_secret_of_a_line_is_in_the_servers_log_or_its_trail(other_server: Server) -> None:
    line = Line(other_server)
    held = line.key(line.group("canary"))
    assert line.enroll(held, "sensor-90").status == 201
    line.refused(
        line.send(by_key(held.key, "sensor-91", line.place(), payload("sensor-92", group="canary"))),
        401,
        "group_key_refused",
    )
    own = device_key(held.key, ThingName("sensor-90"))
    told = other_server.log.read_text() + json.dumps(
        [
            ask(other_server.data, "GET", path, limit=1000)
            for path in ("/v1/audit", "/v1/tokens", "/v1/things", "/v1/groups")
        ]
    )
    for secret in (held.key, own):
        for shape in (secret.hex(), encode_secret(secret), repr(secret)[2:-1]):
            assert shape not in told
