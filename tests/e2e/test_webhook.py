"""The webhook end to end: a real receiver decides about devices of a real service."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook

from support.csr_make import make_csr
from support.device import keyborn, keyborn_json
from support.rude_service import Exchange, RudeService, plain, rude_service, silent
from support.server import Answer, Server

PATH = "/may-enroll"
GROUP = """\
name = "{name}"
things = "sensor-*"
methods = ["token + webhook"]
[give]
attributes = {{ line = "7" }}
device-attributes = ["serial"]
[webhook]
url = "{url}"
timeout = "1s"
attributes = ["batch"]
roots-file = "mes-root.pem"
"""
_number = count(1)


@dataclass
class Receiver:
    """What an operator runs: it verifies the question, and looks the serial number up."""

    server: RudeService
    secret: str = ""
    allowed: set[str] = field(default_factory=set)
    questions: list[dict[str, Any]] = field(default_factory=list)

    def answer(self, exchange: Exchange) -> None:
        question = Webhook(self.secret).verify(exchange.seen.body, exchange.seen.headers)
        self.questions.append(question)
        word: dict[str, object] = {"allow": False, "reason": "no such serial number"}
        if question["attributes"].get("serial") in self.allowed:
            word = {"allow": True, "attributes": {"batch": "42"}}
        exchange.send(200, json.dumps(word).encode(), Content_Type="application/json")


def put(server: Server, receiver: RudeService, folder: Path, name: str) -> str:
    """Make a group; returns the secret."""
    (folder / "mes-root.pem").write_text(receiver.pki.root_pem)
    (folder / f"{name}.toml").write_text(GROUP.format(name=name, url=receiver.url + PATH))
    secret: str = keyborn_json("group", "put", folder / f"{name}.toml", "--data", server.data)[
        "webhookSecret"
    ]
    return secret


@pytest.fixture(scope="module")
def receiver(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    folder = tmp_path_factory.mktemp("mes")
    with rude_service(folder) as running:
        made = Receiver(running, put(server, running, folder, "line-7"), {"A1", "A2"})
        running.script(PATH, made.answer)
        yield made


def ask(server: Server, thing: str, serial: str, csr: str | None = None, group: str = "line-7") -> Answer:
    secret = server.token(thing=thing, group=group)["secret"]
    body = {"thingName": thing, "csr": csr or make_csr(thing)[1], "attributes": {"serial": serial}}
    return server.post("/v1/enroll", body, secret)


def name() -> str:
    return f"sensor-{next(_number)}"


def test_a_yes_enrols_and_what_it_adds_is_the_thing_s(server: Server, receiver: Receiver) -> None:
    thing = name()
    assert ask(server, thing, "A1").status == 201
    assert server.thing(thing)["attributes"] == {"line": "7", "serial": "A1", "batch": "42"}
    question = receiver.questions[-1]
    assert (question["group"], question["thingName"], question["method"]) == ("line-7", thing, "token")
    assert question["source"] == "127.0.0.1"


def test_a_no_is_told_with_its_reason_and_writes_nothing(server: Server, receiver: Receiver) -> None:
    thing = name()
    answer = ask(server, thing, "B9")
    assert (answer.status, answer.json["code"]) == (403, "webhook_refused")
    assert "no such serial number" in answer.json["detail"]
    assert thing not in {row["thingName"] for row in keyborn_json("thing", "list", "--data", server.data)}


def test_a_repeat_is_the_same_question_and_the_same_certificate(server: Server, receiver: Receiver) -> None:
    thing = name()
    csr = make_csr(thing)[1]
    secret = server.token(thing=thing, group="line-7")["secret"]
    body = {"thingName": thing, "csr": csr, "attributes": {"serial": "A1"}}
    first, again = (server.post("/v1/enroll", body, secret) for _ in range(2))
    assert (first.status, again.status) == (201, 200)
    assert first.body == again.body
    assert len({each["id"] for each in receiver.questions if each["thingName"] == thing}) == 1


@pytest.mark.parametrize(
    ("case", "detail"),
    [("dead", "answered 500"), ("slow", "too long"), ("generous", "which its group does not leave to it")],
)
def test_a_receiver_without_a_plain_word_enrols_nobody_and_the_trail_says_why(
    server: Server, tmp_path: Path, case: str, detail: str
) -> None:
    generous = json.dumps({"allow": True, "attributes": {"role": "admin"}}).encode()
    rude = {"dead": plain(500), "slow": silent, "generous": plain(200, generous)}
    with rude_service(tmp_path) as running:
        put(server, running, tmp_path, f"line-{case}")
        running.script(PATH, rude[case])
        thing = name()
        answer = ask(server, thing, "A1", group=f"line-{case}")
    assert (answer.status, answer.json["code"]) == (503, "webhook_unavailable")
    assert int(answer.headers["retry-after"]) >= 1
    assert detail not in answer.body.decode()
    (row,) = [row for row in keyborn_json("audit", "show", "--data", server.data) if row["subject"] == thing]
    assert (row["action"], row["outcome"]) == ("enroll", "webhook_unavailable")
    assert detail in row["details"]["detail"]
    assert thing not in {row["thingName"] for row in keyborn_json("thing", "list", "--data", server.data)}


def test_the_secret_is_shown_once_and_stays_over_new_versions(
    server: Server, receiver: Receiver, tmp_path: Path
) -> None:
    assert receiver.secret.startswith("whsec_")
    again = keyborn_json("group", "put", _same(receiver, tmp_path), "--data", server.data)
    assert (again["version"], again["webhookSecret"]) == (2, None)
    assert ask(server, name(), "A2").status == 201
    shown = keyborn("group", "show", "line-7", "--data", server.data).stdout
    assert receiver.secret not in shown
    assert receiver.secret not in server.log.read_text()


def _same(receiver: Receiver, folder: Path) -> Path:
    (folder / "mes-root.pem").write_text(receiver.server.pki.root_pem)
    path = folder / "line-7.toml"
    path.write_text(GROUP.format(name="line-7", url=receiver.server.url + PATH) + "# a remark\n")
    return path
