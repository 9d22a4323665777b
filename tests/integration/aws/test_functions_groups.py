"""Groups behind the deployed door, with the rights that the template gives its function and the sweeper."""

import asyncio
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from keyborn.adapters.aws.iot import GROUP, TYPE
from keyborn.adapters.system import SystemEntropy
from keyborn.domain.approval import ApprovalId, ApprovalState
from keyborn.domain.names import GroupName, ThingName, key_hash
from keyborn.domain.registered import RegisteredKey
from keyborn.domain.token import encode_secret
from keyborn.service.groups import GroupOffice, GroupPorts
from support.aws_party import Party, open_party
from support.aws_roles import Backroom, backroom
from support.csr_build import spki_of
from support.csr_make import make_csr
from support.pki import pem
from support.registry_cases import event

pytestmark = pytest.mark.whole
LINE = GroupName("line-7")
FILE = """\
name = "line-7"
things = "lamp-*"
methods = ["registered", "token + webhook", "token", "ask"]
limit = 3
rate = "100/h"
[give]
attributes = { line = "7" }
type = "lamp"
[webhook]
url = "https://127.0.0.1:9/never"
"""


@dataclass(frozen=True, slots=True)
class Scene:
    """A deployed stack with one group, and the operator's side of it."""

    party: Party
    office: Backroom

    def ask(self, name: str, csr: str, secret: bytes | None = None) -> tuple[int, dict[str, Any]]:
        """A device's request."""
        body = json.dumps({"thingName": name, "csr": csr, "group": LINE}).encode()
        headers = {"Content-Type": "application/json"}
        if secret is not None:
            headers["Authorization"] = f"Bearer {encode_secret(secret)}"
        request = urllib.request.Request(f"{self.party.front.url}/v1/enroll", body, headers)
        context = ssl.create_default_context(cadata=pem(self.party.front.root.certificate))
        try:
            with urllib.request.urlopen(request, timeout=30, context=context) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, json.load(refused)

    def said(self, name: str) -> dict[str, str]:
        """What AWS IoT's thing says."""
        attributes: dict[str, str] = self.party.aws.root("iot").describe_thing(thingName=name)["attributes"]
        return attributes

    def taken(self) -> int:
        """How many the group has counted."""

        async def _taken() -> int:
            async with self.office.table() as table:
                [use] = await table.groups()
                return use.taken

        return asyncio.run(_taken())


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with open_party(tmp_path_factory) as party:
        party.deploy()
        office = backroom(party)

        async def _put() -> None:
            async with office.table() as table:
                groups = GroupOffice(
                    GroupPorts(table, table, table), clock=office.clock, entropy=SystemEntropy()
                )
                await groups.put(LINE, FILE)

        asyncio.run(_put())
        yield Scene(party, office)


def test_who_waits_for_a_person_is_counted_when_the_person_has_said_yes(scene: Scene) -> None:
    csr = make_csr("lamp-1")[1]
    status, waits = scene.ask("lamp-1", csr)
    assert status == 202, waits
    assert (scene.taken(), scene.party.active()) == (0, set())

    async def _approve() -> None:
        now = scene.office.clock.now()
        async with scene.office.table() as table:
            [one] = await table.approvals(ApprovalState.PENDING)
            assert one.code in waits.values(), "what the device shows is what the operator looks for"
            until = now + timedelta(hours=1)
            told = event("approval.approve", one.thing, now)
            await table.decide(ApprovalId(one.id), ApprovalState.APPROVED, until, told)

    asyncio.run(_approve())
    status, answer = scene.ask("lamp-1", csr)
    assert status == 201, answer
    assert scene.party.active() == {answer["certificateId"]}
    assert scene.said("lamp-1") == {"line": "7", GROUP: LINE, TYPE: "lamp"}
    assert scene.taken() == 1
    assert scene.ask("lamp-1", csr)[1]["certificateId"] == answer["certificateId"], "the same answer again"


def test_an_announced_key_is_let_in_and_a_full_group_is_said(scene: Scene) -> None:
    names = [ThingName(f"lamp-{number}") for number in range(2, 5)]
    requests = {name: make_csr(name) for name in names}

    async def _announce() -> None:
        rows = [RegisteredKey(key_hash(spki_of(key)), name, LINE) for name, (key, _) in requests.items()]
        async with scene.office.table() as table:
            await table.register(rows, event("registered.import", LINE, scene.office.clock.now()))

    asyncio.run(_announce())
    before = scene.taken()
    outcomes = [scene.ask(name, csr) for name, (_, csr) in requests.items()]
    admitted = 3 - before
    assert [status for status, _ in outcomes] == [201] * admitted + [403] * (3 - admitted)
    assert [said["code"] for status, said in outcomes if status == 403] == ["group_full"] * (3 - admitted)
    assert scene.taken() == 3


def test_the_sweeper_tells_aws_iot_what_an_operator_changed(scene: Scene) -> None:
    async def _change() -> None:
        async with scene.office.table() as table:
            thing = (await table.things())[0]
            told = event("thing.set", thing.name, scene.office.clock.now())
            await table.set_attributes(thing.name, {"line": "8"}, told)
            await table.set_group(thing.name, None, told)

    asyncio.run(_change())
    swept = scene.party.sweep()
    assert (swept["told"], swept["troubles"]) == (2, [])
    assert scene.said("lamp-1") == {"line": "8", TYPE: "lamp"}
