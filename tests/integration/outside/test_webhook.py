"""The webhook against a real receiver: what it is asked, what its word does; silence enrols nobody."""

import asyncio
import json
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from keyborn.adapters.outbound import HttpsOutbound
from keyborn.adapters.system import SystemClock
from keyborn.domain.access_policy.document import PolicyName
from keyborn.domain.applicant import Applicant
from keyborn.domain.errors import WebhookRefused, WebhookUnavailable
from keyborn.domain.group import EnrollmentGroup, GroupDocument, Terms, WebhookRule, account_of
from keyborn.domain.method import Method, Way
from keyborn.domain.names import GroupName, KeyHash, NameScope, ThingName
from keyborn.domain.token import TokenId
from keyborn.domain.webhook import shown_secret
from keyborn.ports import Clock, Request
from keyborn.service.circuit import MOST_FAILURES, MOST_RUNNING
from keyborn.service.methods.webhook import WebhookMethod
from keyborn.testing.time import VirtualClock
from support.rude_service import (
    Exchange,
    Reply,
    RudeService,
    dripping,
    endless,
    plain,
    rude_service,
    silent,
)

PATH = "/may-enroll"
SECRET = bytes(range(32))
LINE = GroupName("line-7")


class Groups:
    """The documents, as the registry keeps them: only their secrets matter here."""

    def __init__(self, secret: bytes | None = SECRET) -> None:
        self.secret = secret

    async def put_group(self, group: GroupDocument, event: object) -> GroupDocument:
        return group

    async def group(self, name: GroupName) -> GroupDocument | None:
        return GroupDocument(name, "", SystemClock().now(), webhook_secret=self.secret)

    async def remove_group(self, name: GroupName, event: object) -> None:
        return


def rule(server: RudeService, **changes: Any) -> EnrollmentGroup:  # noqa: ANN401 - any field of the rule
    webhook = WebhookRule(
        server.url + PATH,
        timeout=timedelta(seconds=2),
        roots_pem=server.pki.root_pem,
        attributes=("batch",),
        policies=(PolicyName("line-7"),),
    )
    ways = (Way(frozenset({Method.TOKEN, Method.WEBHOOK})),)
    return EnrollmentGroup(LINE, NameScope("sensor-*"), ways, webhook=replace(webhook, **changes))


def applicant() -> Applicant:
    terms = Terms(LINE, account_of(LINE), attributes={"line": "7"})
    return Applicant(
        Method.TOKEN,
        TokenId("t0123456789abcdef"),
        NameScope("sensor-*"),
        policies=(PolicyName("usual"),),
        terms=terms,
        details={"subject": "CN=sensor"},
    )


def wish(number: int = 1) -> Request:
    return Request(ThingName(f"sensor-{number}"), KeyHash(f"{number:064x}"), "192.0.2.1", {"serial": "5"})


class Hook:
    """The method as the service has it, and one receiver."""

    def __init__(
        self, server: RudeService, clock: Clock | None = None, secret: bytes | None = SECRET
    ) -> None:
        self.server = server
        self.clock = clock or SystemClock()
        self.group = rule(server)
        self.method = WebhookMethod(HttpsOutbound(), Groups(secret), self.clock)

    def says(self, answer: object, status: int = 200) -> None:
        self.server.script(PATH, plain(status, json.dumps(answer).encode()))

    async def ask(self, number: int = 1, group: EnrollmentGroup | None = None) -> Applicant:
        return await self.method.met(applicant(), wish(number), group or self.group)

    async def unavailable(self, number: int = 1, group: EnrollmentGroup | None = None) -> WebhookUnavailable:
        with pytest.raises(WebhookUnavailable) as caught:
            await self.ask(number, group)
        assert str(caught.value.facts["detail"]) not in str(caught.value), "that is for the operator's eyes"
        return caught.value


@pytest.fixture
def hook(server: RudeService) -> Hook:
    return Hook(server)


# ── the question ──────────────────────────────────────────────────────────────────────────────────────


async def test_the_question_says_who_asks_for_what_and_proves_who_put_it(hook: Hook) -> None:
    hook.says({"allow": True})
    await hook.ask()
    (seen,) = hook.server.asked(PATH)
    assert seen.method == "POST"
    question = Webhook(shown_secret(SECRET)).verify(seen.body, seen.headers)
    assert question == {
        "id": seen.headers["webhook-id"],
        "group": "line-7",
        "thingName": "sensor-1",
        "keyHash": f"{1:064x}",
        "source": "192.0.2.1",
        "method": "token",
        "details": {"subject": "CN=sensor"},
        "attributes": {"serial": "5"},
    }
    with pytest.raises(WebhookVerificationError):
        Webhook(shown_secret(bytes(32))).verify(seen.body, seen.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(shown_secret(SECRET)).verify(seen.body.replace(b"sensor-1", b"sensor-2"), seen.headers)


async def test_the_same_wish_has_the_same_id_each_time_and_another_one_another(hook: Hook) -> None:
    hook.says({"allow": True})
    for number in (1, 1, 2):
        await hook.ask(number)
    first, again, other = (each.headers["webhook-id"] for each in hook.server.asked(PATH))
    assert first == again != other


# ── the word ──────────────────────────────────────────────────────────────────────────────────────────


async def test_a_plain_yes_changes_nothing(hook: Hook) -> None:
    hook.says({"allow": True})
    assert await hook.ask() == applicant()


async def test_a_yes_may_add_attributes_and_choose_policies(hook: Hook) -> None:
    hook.says({"allow": True, "attributes": {"batch": "42"}, "policies": ["line-7"]})
    met = await hook.ask()
    assert met.terms is not None
    assert met.terms.attributes == {"line": "7", "batch": "42"}
    assert met.policies == (PolicyName("line-7"),)
    assert replace(met, terms=applicant().terms, policies=applicant().policies) == applicant()


async def test_a_no_is_a_refusal_with_its_reason(hook: Hook) -> None:
    hook.says({"allow": False, "reason": "not on today's list"})
    with pytest.raises(WebhookRefused, match="not on today's list"):
        await hook.ask()


async def test_a_no_is_an_answer_however_often_it_comes(hook: Hook) -> None:
    hook.says({"allow": False})
    for _ in range(3 * MOST_FAILURES):
        with pytest.raises(WebhookRefused):
            await hook.ask()


# ── silence, and what counts as silence ───────────────────────────────────────────────────────────────


def redirect(exchange: Exchange) -> None:
    exchange.send(307, b"", Location=exchange.service.url + "/yes")


def huge(exchange: Exchange) -> None:
    exchange.send(200, b'{"allow": true, "reason": "' + b"x" * 20_000 + b'"}')


def cut(exchange: Exchange) -> None:
    exchange.send(200, b'{"allow": true}', content_length="99")
    exchange.hang_up()


def yes(**more: object) -> Reply:
    return plain(200, json.dumps({"allow": True, **more}).encode())


RUDE: dict[str, tuple[Reply, str]] = {
    "created": (plain(201, b'{"allow": true}'), "answered 201"),
    "no content": (plain(204), "answered 204"),
    "forbidden": (plain(403, b'{"allow": true}'), "answered 403"),
    "broken": (plain(500, b'{"allow": true}'), "answered 500"),
    "redirecting": (redirect, "answered 307"),
    "silent": (silent, "too long"),
    "dripping": (dripping, "too long"),
    "huge": (huge, "more than"),
    "endless": (endless, "more than"),
    "cut": (cut, "cut short"),
    "hanging up": (lambda exchange: exchange.hang_up(), "cut short"),
    "empty": (plain(200), "not JSON"),
    "a page": (plain(200, b"<html>yes</html>"), "not JSON"),
    "half a yes": (plain(200, b'{"allow": "yes"}'), "no allow"),
    "generous": (yes(attributes={"role": "admin"}), "'role'"),
    "mighty": (yes(policies=["admin"]), "'admin'"),
    "talkative": (yes(scope="*"), "'scope'"),
}


@pytest.mark.parametrize("case", RUDE)
async def test_a_receiver_that_gives_no_plain_word_enrols_nobody(server: RudeService, case: str) -> None:
    reply, detail = RUDE[case]
    hook = Hook(server)
    server.script(PATH, reply)
    refusal = await hook.unavailable(group=rule(server, timeout=timedelta(seconds=0.4)))
    assert refusal.retry_after == 5
    assert detail in str(refusal.facts["detail"])
    assert server.asked("/yes") == []


async def test_a_receiver_that_is_gone_or_is_another_enrols_nobody(hook: Hook, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with rude_service(tmp_path / "other", tls=False) as plain_http:
        for url in ("https://127.0.0.1:1/x", "http://localhost/x", plain_http.url + PATH):
            await hook.unavailable(group=rule(hook.server, url=url))
        assert plain_http.seen == []
    await hook.unavailable(group=rule(hook.server, roots_pem=None))
    assert hook.server.seen == []


async def test_a_group_without_a_secret_or_a_webhook_asks_nobody(server: RudeService) -> None:
    hook = Hook(server, secret=None)
    await hook.unavailable()
    hook = Hook(server)
    await hook.unavailable(group=replace(rule(server), webhook=None))
    assert server.seen == []


# ── many, and many failures ───────────────────────────────────────────────────────────────────────────


async def test_after_failures_in_a_row_devices_are_told_at_once_and_nobody_is_asked(
    server: RudeService,
) -> None:
    clock = VirtualClock()
    hook = Hook(server, clock)
    hook.says({}, status=500)
    for number in range(MOST_FAILURES):
        await hook.unavailable(number)
    began = time.monotonic()
    refusals = [await hook.unavailable(number) for number in range(1000)]
    assert time.monotonic() - began < 5
    assert {each.retry_after for each in refusals} == {10}
    assert len(server.seen) == MOST_FAILURES
    hook.says({"allow": True})
    other = replace(rule(server), name=GroupName("line-8"))
    await hook.ask(group=other)
    clock.advance(timedelta(seconds=10))
    await hook.ask()


async def test_a_slow_receiver_is_asked_by_so_many_at_a_time_and_harms_no_other_group(
    hook: Hook, tmp_path: Path
) -> None:
    hook.server.script(PATH, silent)
    slow = [asyncio.create_task(hook.unavailable(number)) for number in range(3 * MOST_RUNNING)]
    await asyncio.sleep(0)
    while sum(each.done() for each in slow) < 2 * MOST_RUNNING:  # noqa: ASYNC110 - tasks of our own
        await asyncio.sleep(0.005)
    (tmp_path / "other").mkdir()
    with rude_service(tmp_path / "other") as quick:
        quick.script(PATH, yes())
        began = time.monotonic()
        await hook.ask(group=replace(rule(quick), name=GroupName("line-8")))
        assert time.monotonic() - began < 1
    refusals = await asyncio.gather(*slow)
    assert sum(each.retry_after == 1 for each in refusals) == 2 * MOST_RUNNING
    assert len(hook.server.asked(PATH)) <= MOST_RUNNING
