"""An enrolment in one command: all of it or nothing, as the saga would have left it, one signature each."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from keyborn.adapters.sql import SqliteRegistry
from keyborn.adapters.sql.session import Session
from keyborn.domain.audit import verify
from keyborn.domain.certificate import CertificateStatus, Slot
from keyborn.domain.enrollment import Attempt, Granted, Outcome
from keyborn.domain.errors import (
    CaDates,
    CredentialRefused,
    KeybornError,
    KeyInUse,
    NameNotPermitted,
    RegistryUnavailable,
    ThingNameCase,
    ThingNameTaken,
    ThingRevoked,
    TokenExhausted,
    TokenExpired,
)
from keyborn.domain.granting import GrantStep
from keyborn.domain.names import ThingName
from keyborn.domain.thing import ThingStatus
from support.gate import Gate
from support.granting_cases import Pen, request_of, spki
from support.grouping_cases import GroupingDesk, Rule, hourly, proving
from support.registry_cases import HOUR, LIFETIME, certificate_for, event


def tables(connection: sqlite3.Connection) -> list[str]:
    found = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    return [name for (name,) in found]


class Ground:
    """A registry with a signer, whose commands may be stopped at a step."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.pen = Pen()
        self.stop_at: GrantStep | None = None
        self.steps: list[GrantStep] = []
        self.registry = SqliteRegistry(path, signer=self.pen, on_grant=self._hear)
        self.desk = GroupingDesk(self.registry, request=request_of)

    def _hear(self, step: GrantStep) -> None:
        self.steps.append(step)
        if step is self.stop_at:
            raise LookupError(f"stopped: {step}")

    async def together(self, *attempts: Attempt) -> list[Outcome | BaseException]:
        """Claim all of them in one batch."""
        gate = Gate()
        held = await gate.closed_behind(self.registry)
        tasks = [asyncio.create_task(self.registry.claim(attempt)) for attempt in attempts]
        await asyncio.sleep(0)
        gate.open()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        await held
        return outcomes

    def dump(self) -> dict[str, list[tuple[object, ...]]]:
        """Every row of every table."""
        with closing(sqlite3.connect(self.path)) as connection:
            return {
                name: connection.execute(f"SELECT * FROM {name}").fetchall() for name in tables(connection)
            }


@pytest.fixture
async def ground(tmp_path: Path) -> AsyncIterator[Ground]:
    opened = Ground(tmp_path / "registry.db")
    async with opened.registry:
        yield opened


async def granted(ground: Ground, attempt: Attempt) -> Granted:
    verdict = await ground.registry.claim(attempt)
    assert isinstance(verdict, Granted)
    return verdict


# ── what one command does ─────────────────────────────────────────────────────────────────────────────


async def test_one_command_leaves_an_active_certificate_and_one_record(ground: Ground) -> None:
    token = await ground.desk.token("secret", uses=1)
    before = ground.registry.counters.commits
    attempt = replace(ground.desk.attempt(token, "lamp-1", "k1"), proof={"method": "token"})
    verdict = await granted(ground, attempt)

    assert ground.registry.counters.commits == before + 1
    assert ground.steps == list(GrantStep)
    (held,) = await ground.registry.certificates(ThingName("lamp-1"))
    assert held == verdict.certificate
    assert (held.status, held.slot, verdict.repeated) == (CertificateStatus.ACTIVE, Slot.CURRENT, False)
    assert (await ground.desk.thing("lamp-1")).status is ThingStatus.ACTIVE
    assert await ground.desk.uses_taken(token) == 1
    trail = await ground.registry.records()
    assert verify(trail).sequence == 2
    told = trail[-1].event
    assert (told.action, told.outcome, told.subject, told.actor) == ("enroll", "done", "lamp-1", token.id)
    assert told.source == "127.0.0.1"
    assert told.details == {
        "method": "token",
        "certificateId": held.id,
        "keyHash": held.key_hash,
        "slot": "current",
    }
    assert await ground.registry.leftovers(before=ground.desk.now + HOUR) == []


async def test_the_same_again_gets_the_same_certificate_unsigned_and_untold(ground: Ground) -> None:
    token = await ground.desk.token("secret", uses=1)
    first = await granted(ground, ground.desk.attempt(token, "lamp-1", "k1"))
    ground.desk.pass_time(2 * HOUR)
    before = ground.dump()
    again = await granted(ground, ground.desk.attempt(token, "lamp-1", "k1"))
    assert again == replace(first, repeated=True)
    assert ground.dump() == before
    assert len(ground.pen.signed) == 1


STATEMENTS_AROUND = 3
"""BEGIN, the trail's end, COMMIT."""
TRIGGERS = 5
"""That SQLite looks at on the way, each told as the statement that woke it, once more."""


async def test_a_new_thing_costs_one_question_and_seven_writes(ground: Ground) -> None:
    token = await ground.desk.token("secret")
    connection = ground.registry._writer._connection
    assert connection is not None
    seen: list[str] = []
    connection.set_trace_callback(seen.append)
    await ground.desk.enroll(token, "lamp-1", "k1")
    connection.set_trace_callback(None)
    assert len(set(seen)) == STATEMENTS_AROUND + 8, seen
    assert len(seen) <= STATEMENTS_AROUND + 8 + TRIGGERS, seen


async def test_an_attempt_without_its_request_is_the_callers_to_have_signed(ground: Ground) -> None:
    token = await ground.desk.token("secret")
    ground.desk.request = None
    issue = await ground.desk.claim(token, "lamp-1", "k1")
    assert ground.pen.signed == []
    assert [one.id for one in await ground.registry.leftovers(before=ground.desk.now + HOUR)] == [
        issue.intent.id
    ]


# ── refused ───────────────────────────────────────────────────────────────────────────────────────────


async def test_who_is_refused_has_nothing_signed_or_written(ground: Ground) -> None:
    desk = ground.desk
    full, narrow, late = [
        await desk.token("full", uses=1),
        await desk.token("narrow", "door-*"),
        await desk.token("late", ttl=HOUR / 60),
    ]
    await desk.enroll(full, "lamp-1", "k1")
    wide = await desk.token("wide")
    await desk.enroll(wide, "lamp-0", "k0")
    await desk.order("lamp-0", ThingStatus.REVOKED)
    withdrawn = await desk.token("withdrawn")
    await ground.registry.withdraw(withdrawn.id, event())
    desk.pass_time(HOUR / 30)
    refused = [
        (full, "lamp-2", "k2", TokenExhausted),
        (narrow, "lamp-2", "k2", NameNotPermitted),
        (late, "lamp-2", "k2", TokenExpired),
        (withdrawn, "lamp-2", "k2", CredentialRefused),
        (wide, "lamp-1", "k2", ThingNameTaken),
        (wide, "LAMP-1", "k2", ThingNameCase),
        (wide, "lamp-2", "k1", KeyInUse),
        (wide, "lamp-0", "k9", ThingRevoked),
    ]
    before, signed = ground.dump(), len(ground.pen.signed)
    attempts = [desk.attempt(token, thing, name) for token, thing, name, _ in refused]
    outcomes = await ground.together(*attempts)
    assert [type(one) for one in outcomes] == [kind for *_, kind in refused]
    assert ground.dump() == before
    assert len(ground.pen.signed) == signed
    assert ground.registry.counters.redone == 0, "who is refused costs its neighbours nothing"


async def test_what_the_authority_refuses_leaves_nothing_and_may_be_repeated(ground: Ground) -> None:
    token = await ground.desk.token("secret", uses=1)
    before = ground.dump()
    ground.pen.trouble = CaDates(seconds=1, begins="then", ends="now")
    with pytest.raises(CaDates):
        await ground.registry.claim(ground.desk.attempt(token, "lamp-1", "k1"))
    assert ground.dump() == before
    ground.pen.trouble = None
    assert not (await granted(ground, ground.desk.attempt(token, "lamp-1", "k1"))).repeated


async def test_a_certificate_for_another_key_is_kept_by_nobody(ground: Ground) -> None:
    token = await ground.desk.token("secret")
    before = ground.dump()
    ground.pen.slip = spki("another")
    with pytest.raises(ValueError, match="another key"):
        await ground.registry.claim(ground.desk.attempt(token, "lamp-1", "k1"))
    assert ground.dump() == before


# ── stopped half way ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("step", GrantStep)
async def test_who_is_stopped_at_a_step_leaves_nothing_and_hurts_no_neighbour(
    ground: Ground, step: GrantStep
) -> None:
    token = await ground.desk.token("secret")
    ground.stop_at = step
    before = ground.dump()
    [stopped] = await ground.together(ground.desk.attempt(token, "lamp-1", "k1"))
    assert isinstance(stopped, LookupError)
    assert ground.dump() == before
    assert ground.registry.counters.redone == (1 if step is GrantStep.WRITTEN else 0)
    ground.stop_at = None
    assert not (await granted(ground, ground.desk.attempt(token, "lamp-1", "k1"))).repeated


async def test_a_neighbour_that_breaks_off_half_done_costs_one_more_run(ground: Ground) -> None:
    desk, registry = ground.desk, ground.registry
    token = await desk.token("secret")

    def broken(session: Session) -> None:
        session.chain(event("never"))
        session.run("UPDATE things SET status = 'retired'")
        raise LookupError("a fault of ours")

    gate = Gate()
    held = await gate.closed_behind(registry)
    tasks = [
        asyncio.create_task(registry.claim(desk.attempt(token, "lamp-1", "k1"))),
        asyncio.create_task(registry._writer.run(broken)),
        asyncio.create_task(registry.claim(desk.attempt(token, "lamp-1", "k2"))),
        asyncio.create_task(registry.claim(desk.attempt(token, "lamp-2", "k3"))),
    ]
    await asyncio.sleep(0)
    gate.open()
    first, fault, taken, third = await asyncio.gather(*tasks, return_exceptions=True)
    await held

    assert isinstance(fault, LookupError)
    assert isinstance(taken, ThingNameTaken)
    assert registry.counters.redone == 1
    for verdict, name in ((first, "lamp-1"), (third, "lamp-2")):
        assert isinstance(verdict, Granted)
        assert await registry.certificates(ThingName(name)) == [verdict.certificate]
    assert await desk.uses_taken(token) == 2
    trail = await registry.records()
    assert [one.event.action for one in trail] == ["token.create", "enroll", "enroll"]
    assert verify(trail).sequence == 3


async def test_where_the_disk_is_full_nobody_in_the_batch_has_a_certificate(ground: Ground) -> None:
    """``max_page_count`` gives SQLITE_FULL, as a full disk does; a new connection has room again."""
    desk, registry = ground.desk, ground.registry
    token = await desk.token("secret")
    before = ground.dump()
    await registry._writer.run(lambda session: session.one("PRAGMA max_page_count = 1"))
    crowd = [desk.attempt(token, f"lamp-{number}", f"k{number}") for number in range(60)]
    outcomes = await ground.together(*crowd)
    assert {type(one) for one in outcomes} == {RegistryUnavailable}
    assert ground.dump() == before
    again = await asyncio.gather(*(registry.claim(attempt) for attempt in crowd))
    assert all(isinstance(one, Granted) and not one.repeated for one in again)
    assert await desk.uses_taken(token) == 60


async def test_a_commit_that_fails_gives_nobody_a_certificate(ground: Ground) -> None:
    desk, registry = ground.desk, ground.registry
    token = await desk.token("secret")
    before = ground.dump()

    def sabotage(session: Session) -> None:
        """A deferred constraint that only COMMIT finds broken."""
        session.one("PRAGMA defer_foreign_keys = ON")
        session.run("INSERT INTO keys (key_hash, thing, intent) VALUES ('k', 'nobody', 'i')")

    gate = Gate()
    held = await gate.closed_behind(registry)
    claiming = asyncio.create_task(registry.claim(desk.attempt(token, "lamp-1", "k1")))
    failing = asyncio.create_task(registry._writer.run(sabotage))
    await asyncio.sleep(0)
    gate.open()
    outcomes = await asyncio.gather(claiming, failing, return_exceptions=True)
    await held
    assert [type(one) for one in outcomes] == [RegistryUnavailable] * 2
    assert len(ground.pen.signed) == 1, "it was signed, and nobody ever sees it"
    assert ground.dump() == before


# ── many at once ──────────────────────────────────────────────────────────────────────────────────────


async def test_fifty_keys_for_one_name_have_one_winner_and_one_signature(ground: Ground) -> None:
    token = await ground.desk.token("secret")
    crowd = [ground.desk.attempt(token, "lamp-1", f"k{number}") for number in range(50)]
    outcomes = await ground.together(*crowd)
    assert sum(isinstance(one, Granted) for one in outcomes) == 1
    assert sum(isinstance(one, ThingNameTaken) for one in outcomes) == 49
    assert len(ground.pen.signed) == 1
    assert await ground.desk.uses_taken(token) == 1


async def test_fifty_equal_requests_get_one_certificate_and_one_signature(ground: Ground) -> None:
    token = await ground.desk.token("secret", uses=1)
    crowd = [ground.desk.attempt(token, "lamp-1", "k1") for _ in range(50)]
    outcomes = await ground.together(*crowd)
    assert all(isinstance(one, Granted) for one in outcomes)
    assert len({one.certificate.id for one in outcomes if isinstance(one, Granted)}) == 1
    assert sum(isinstance(one, Granted) and not one.repeated for one in outcomes) == 1
    assert len(ground.pen.signed) == 1


# ── what an earlier crash left ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("stored", [False, True])
async def test_an_intent_that_was_left_open_is_resumed_with_its_own_contents(
    ground: Ground, *, stored: bool
) -> None:
    desk, token = ground.desk, await ground.desk.token("secret", uses=1)
    desk.request = None
    issue = await (desk.stored if stored else desk.claim)(token, "lamp-1", "k1")
    desk.request = request_of
    desk.pass_time(2 * HOUR)
    verdict = await granted(ground, desk.attempt(token, "lamp-1", "k1"))

    assert verdict.repeated, "what was written down before is what is given"
    assert ground.pen.signed[-1].intent == issue.intent
    assert (verdict.certificate.id == certificate_for(issue.intent).id) is stored
    assert verdict.certificate.status is CertificateStatus.ACTIVE
    assert verdict.certificate.not_before == issue.intent.not_before
    assert await ground.registry.certificates(ThingName("lamp-1")) == [verdict.certificate]
    assert await ground.registry.leftovers(before=desk.now + HOUR) == []
    assert await desk.uses_taken(token) == 1


# ── as the saga ───────────────────────────────────────────────────────────────────────────────────────


async def live(desk: GroupingDesk) -> None:
    """Whatever can become of a name: each of its enrolments is one command, or a saga."""
    token, swap = await desk.token("secret"), await desk.token("swap", "lamp-1", replaces=True)
    await desk.put_group()
    first = await desk.enroll(token, "lamp-1", "k1")
    assert await desk.enroll(token, "lamp-1", "k1") == first
    await desk.enroll(token, "lamp-2", "k2")
    await desk.connect(await desk.enroll(swap, "lamp-1", "k3"))
    await desk.order("lamp-1", ThingStatus.REVOKED)
    freed = await desk.token("freed", "lamp-1", replaces=True)
    await desk.enroll(freed, "lamp-1", "k4")
    rule = Rule(limit=3, rate=hourly(2))
    for name in ("a", "b"):
        await desk.join(proving(name), f"door-{name}", name, rule)
    desk.pass_time(2 * HOUR)
    await desk.join(proving("c"), "door-c", "c", rule)
    with pytest.raises(KeybornError):
        await desk.join(proving("d"), "door-d", "d", rule)
    desk.pass_time(LIFETIME)
    fresh = await desk.token("fresh")
    await desk.enroll(fresh, "lamp-2", "k2")


COMPARED = {
    "certificates": "SELECT number, intent, serial, thing, key_hash, not_before, not_after, status, slot,"
    " connected_at, renews FROM certificates",
    "attachments": "SELECT a.thing, a.slot, c.number FROM attachments a"
    " JOIN certificates c ON c.id = a.certificate",
    "audit": "SELECT sequence, event ->> 'action', event ->> 'subject', event ->> 'at' FROM audit",
    "revocations": "SELECT r.sequence, r.what, coalesce(c.number, r.id), r.of FROM revocations r"
    " LEFT JOIN certificates c ON c.id = r.id",
}
"""What holds a certificate's bytes differs, what a saga of tests tells of itself, and what the clock says."""
OWN = {"lineage"}
"""What is drawn for each file."""


def told(path: Path) -> dict[str, list[tuple[object, ...]]]:
    with closing(sqlite3.connect(path)) as connection:
        return {
            name: sorted(connection.execute(COMPARED.get(name, f"SELECT * FROM {name}")), key=str)
            for name in tables(connection)
            if name not in OWN
        }


async def test_what_is_left_is_what_the_saga_would_have_left(tmp_path: Path) -> None:
    found = []
    for name, request in (("steps", None), ("command", request_of)):
        path = tmp_path / name
        async with SqliteRegistry(path, signer=Pen()) as registry:
            await live(GroupingDesk(registry, request=request))
        found.append(told(path))
    steps, command = found
    assert steps.keys() == command.keys()
    for table, rows in steps.items():
        assert command[table] == rows, table
