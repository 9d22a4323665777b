"""Groups on disk: upgrading older files, what a claim costs, several processes at once, crashes."""

import asyncio
import os
import signal
import sqlite3
from collections import Counter
from contextlib import closing
from itertools import groupby
from pathlib import Path

import pytest

from keyborn.adapters.sql import SqliteRegistry, rows, schema
from keyborn.adapters.sql.schema import Migration
from keyborn.adapters.sql.session import Session
from keyborn.domain.approval import ApprovalState
from keyborn.domain.audit import AuditRecord, verify
from keyborn.domain.errors import GroupFull, RegistryUnavailable
from keyborn.domain.group import window_of
from keyborn.domain.thing import ThingStatus
from support.child_process import child, lines
from support.grouping_cases import LINE, GroupingDesk, Rule, hourly, proving, registered
from support.registry_cases import HOUR, START, key, make_token


def execute(path: Path, statement: str, *values: object) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        return connection.execute(statement, values).fetchall()


# ── files of older releases ───────────────────────────────────────────────────────────────────────────


def before_groups(path: Path) -> None:
    """A file as the releases before left it: a token that has served two pairs, one of which waits."""
    schema.prepare(path, [step for step in schema.migrations() if step.name < "0005_groups"])
    token = make_token("first", uses=3)
    begin, end = rows.to_ms(token.issued_at), rows.to_ms(token.expires_at)
    execute(
        path,
        "INSERT INTO tokens VALUES (?, ?, '*', 3, 2, ?, ?, 0, NULL, 'device', NULL)",
        token.id,
        token.digest,
        begin,
        end,
    )
    for number, status in ((1, "active"), (2, "claimed")):
        name, hashed = f"lamp-{number}", key(f"k{number}")
        execute(
            path,
            "INSERT INTO things VALUES (?, ?, ?, ?, ?, '{\"a\":\"1\"}', 'device', NULL, NULL)",
            name,
            name,
            status,
            hashed,
            begin,
        )
        execute(path, "INSERT INTO keys VALUES (?, ?, ?)", hashed, name, f"i{number}")
        execute(path, "INSERT INTO redemptions VALUES (?, ?, ?, ?)", name, hashed, token.id, f"i{number}")
    execute(
        path,
        "INSERT INTO intents VALUES ('i2', 'lamp-2', ?, ?, ?, 'ab', ?, ?, 'current', NULL)",
        key("k2"),
        token.id,
        begin,
        begin,
        end,
    )


async def test_what_older_releases_counted_still_counts_and_can_be_given_back(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    before_groups(path)

    async with SqliteRegistry(path) as registry:
        desk, token = GroupingDesk(registry), make_token("first", uses=3)
        assert await registry.find(token.id) == token
        assert await desk.uses_taken(token) == 2
        things = await registry.things()
        assert [(one.group, one.thing_type, one.release_until) for one in things] == [(None, None, None)] * 2
        resumed = await desk.claim(token, "lamp-2", "k2")
        assert resumed.resumed
        assert await desk.uses_taken(token) == 2
        assert await desk.drop(resumed)
        assert await desk.uses_taken(token) == 1
        await desk.put_group()
        await desk.join(token, "lamp-3", "k3")
        assert (await desk.uses_taken(token), await desk.taken()) == (2, 1)
        assert (await desk.move("lamp-1", LINE)).group == LINE

    assert execute(path, "PRAGMA integrity_check") == [("ok",)]
    assert execute(path, "PRAGMA foreign_key_check") == []
    assert execute(path, "SELECT name FROM sqlite_master WHERE sql LIKE '%of_accounts%'") == []


def test_a_number_that_is_left_out_is_no_hindrance(tmp_path: Path) -> None:
    """Numbers have to rise from release to release: one below the highest that is there is passed over."""
    path = tmp_path / "registry.db"
    first, *_ = schema.migrations()
    later = [
        Migration(number, f"00{number}_t", f"CREATE TABLE t{number} (a TEXT) STRICT;\n") for number in (6, 11)
    ]
    schema.prepare(path, [first, *later])
    between = Migration(10, "0010_t", "CREATE TABLE t10 (a TEXT) STRICT;\n")
    schema.prepare(path, [first, later[0], between, later[1]])
    assert execute(path, "SELECT version FROM schema_versions") == [(1,), (6,), (11,)]


# ── what a claim costs ────────────────────────────────────────────────────────────────────────────────

OVERHEAD = 3
"""Statements of the writer around a command: BEGIN, the trail's end, COMMIT."""


async def statements(registry: SqliteRegistry, work: object) -> int:
    """How many statements the writer runs for one command."""
    seen: list[str] = []
    connection = registry._writer._connection
    assert connection is not None
    connection.set_trace_callback(seen.append)
    await work  # type: ignore[misc] # a coroutine of the desk
    connection.set_trace_callback(None)
    return len(list(groupby(seen))) - OVERHEAD  # what its triggers do is told as the statement once more


async def test_a_claim_without_a_group_costs_what_it_did_before_there_were_groups(tmp_path: Path) -> None:
    async with SqliteRegistry(tmp_path / "registry.db") as registry:
        desk = GroupingDesk(registry)
        token = await desk.token("secret")
        assert await statements(registry, desk.claim(token, "lamp-1", "k1")) == 6
        assert await statements(registry, desk.claim(token, "lamp-1", "k1")) == 5
        await desk.enroll(token, "lamp-1", "k1")
        assert await statements(registry, desk.enroll(token, "lamp-1", "k1")) == 5


async def test_a_group_costs_a_claim_a_question_and_two_writes_for_each_account(tmp_path: Path) -> None:
    async with SqliteRegistry(tmp_path / "registry.db") as registry:
        desk = GroupingDesk(registry)
        await desk.put_group()
        token, rule = await desk.token("secret"), Rule(limit=9, rate=hourly(9))
        plain = 6
        assert await statements(registry, desk.begin(token, "lamp-1", "k1", Rule(limit=9))) == plain + 3
        first = plain + 5 + 1
        assert await statements(registry, desk.begin(token, "lamp-2", "k2", rule)) == first, "of its hour"
        assert await statements(registry, desk.begin(token, "lamp-3", "k3", rule)) == first - 1


# ── what is kept ──────────────────────────────────────────────────────────────────────────────────────


async def test_of_a_rate_only_the_period_that_counts_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    rate = hourly(9)
    async with SqliteRegistry(path) as registry:
        desk = GroupingDesk(registry)
        for group in (LINE, "line-7.a", "line-8"):
            await desk.put_group(group)
        other = Rule(rate=rate, group="line-7.a")  # type: ignore[arg-type] # a name
        for number in range(3):
            await desk.join(proving(f"a{number}"), f"a{number}", f"a{number}", Rule(rate=rate))
            if not number:
                await desk.join(proving("b"), "b", "b", other)
            desk.pass_time(HOUR)
        waiting = await desk.begin(proving("c"), "c", "c", Rule(rate=rate))

    periods = {account for (account,) in execute(path, "SELECT id FROM accounts WHERE id GLOB 'g:*:*'")}
    now, then = START + 3 * HOUR, START
    assert periods == {
        window_of(LINE, rate, now).account,
        window_of(other.group, rate, then).account,
    }
    paid = execute(path, "SELECT thing FROM redemptions WHERE token GLOB 'g:*:*'")
    assert paid == [(waiting.intent.thing,)], "only what may still be given back"
    assert len(execute(path, "SELECT * FROM redemptions WHERE token = 'g:line-7'")) == 4


async def test_a_claim_of_an_hour_ago_is_given_back_though_its_period_is_forgotten(tmp_path: Path) -> None:
    async with SqliteRegistry(tmp_path / "registry.db") as registry:
        desk = GroupingDesk(registry)
        await desk.put_group()
        rule = Rule(limit=2, rate=hourly(1))
        old = await desk.begin(proving("a"), "lamp-1", "k1", rule)
        desk.pass_time(HOUR)
        await desk.join(proving("b"), "lamp-2", "k2", rule)
        with pytest.raises(GroupFull):
            await desk.join(proving("c"), "lamp-3", "k3", rule)

        assert await desk.drop(old)

        assert await desk.taken() == 1
        desk.pass_time(HOUR)
        await desk.join(proving("c"), "lamp-3", "k3", rule)


async def test_groups_survive_closing_and_opening(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"

    async def everything(registry: SqliteRegistry) -> list[object]:
        return [
            await registry.groups(),
            await registry.things(),
            await registry.tokens(),
            await registry.registered_in(LINE),
            *[await registry.approvals(state) for state in ApprovalState],
        ]

    async with SqliteRegistry(path) as registry:
        desk = GroupingDesk(registry)
        await desk.put_group(policies=["fleet"], secret=b"\x00\xff")
        await registry.add(make_token("member", group=LINE), desk.done("token"))
        await desk.join(await desk.token("secret"), "lamp-1", "k1", Rule(thing_type="lamp"))
        await desk.release("lamp-1")
        await desk.register(registered("k2"))
        await desk.decide(await desk.ask(desk.wish("lamp-3")))
        await desk.ask(desk.wish("lamp-4"))
        seen = await everything(registry)

    async with SqliteRegistry(path) as registry:
        assert await everything(registry) == seen


# ── several processes ─────────────────────────────────────────────────────────────────────────────────


async def test_two_processes_at_once_fill_a_group_and_its_places_exactly(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    async with SqliteRegistry(path) as registry:
        await GroupingDesk(registry).put_group()
    with child(path, "fill") as one, child(path, "fill") as other:
        for process in (one, other):
            assert next(lines(process)) == ["ready"]
        for process in (one, other):
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        told = [words for process in (one, other) for words in lines(process)]

    joined = [int(words[1]) for words in told]
    assert sum(joined) == 40
    assert min(joined) > 0, "both took part"
    assert [words[3] for words in told] == ["20", "20"], "the same requests"
    async with SqliteRegistry(path) as registry:
        desk = GroupingDesk(registry)
        assert await desk.taken() == 40
        assert len(await registry.approvals(ApprovalState.PENDING)) == 20
        assert Counter(await desk.told())["approval.ask"] == 20


# ── crashes ───────────────────────────────────────────────────────────────────────────────────────────


async def whole_trail(registry: SqliteRegistry) -> list[AuditRecord]:
    found: list[AuditRecord] = []
    while page := await registry.records(after=len(found)):
        found += page
    verify(found)
    return found


@pytest.mark.parametrize("survivors", [1, 30, 200])
async def test_what_a_group_counted_decided_and_announced_survives_a_kill(
    tmp_path: Path, survivors: int
) -> None:
    path = tmp_path / "registry.db"
    heard: set[tuple[str, ...]] = set()
    with child(path, "group") as process:
        for words in lines(process):
            heard.add(tuple(words))
            if len(heard) > survivors:
                os.kill(process.pid, signal.SIGKILL)
                break

    async with SqliteRegistry(path) as registry:
        desk = GroupingDesk(registry)
        things = await registry.things(limit=1000)
        active = {one.name for one in things if one.status is ThingStatus.ACTIVE}
        decided = {one.thing for one in await registry.approvals(ApprovalState.APPROVED, limit=1000)}
        keys = Counter(one.thing.rsplit("-", 1)[0] for one in await registry.registered_in(LINE, limit=1000))
        for verb, names in (("joined", active), ("decided", decided)):
            assert {words[1] for words in heard if words[0] == verb} <= names
        assert {f"lamp-{words[1]}" for words in heard if words[0] == "registered"} <= set(keys)
        assert set(keys.values()) <= {3}, "a batch is whole or not there"
        actions = Counter(one.event.action for one in await whole_trail(registry))
        assert (actions["enroll"], actions["approval.decide"]) == (len(active), len(decided))
        assert actions["registered.import"] == len(keys)

        assert await desk.taken() == len(things)
        for intent in await registry.leftovers(before=START + HOUR):
            assert await registry.drop(intent.id, desk.done(intent.thing))
        assert await desk.taken() == len(active)
    [(credentials,)] = execute(path, "SELECT sum(taken) FROM accounts WHERE id LIKE 'f%'")
    assert credentials == len(active)


async def test_a_database_without_room_charges_no_account(tmp_path: Path) -> None:
    async with SqliteRegistry(tmp_path / "registry.db") as registry:
        desk = GroupingDesk(registry)
        await desk.put_group()

        def shrink(session: Session) -> None:
            session.one("PRAGMA max_page_count = 1")

        await registry._writer.run(shrink)
        crowd = [
            desk.joining(proving(f"{each}"), f"lamp-{each}", f"k{each}", Rule(limit=300))
            for each in range(300)
        ]
        outcomes = await asyncio.gather(*(registry.claim(one) for one in crowd), return_exceptions=True)

        refused = [one for one in outcomes if isinstance(one, BaseException)]
        assert refused
        assert {type(one) for one in refused} == {RegistryUnavailable}
        assert await desk.taken() == 300 - len(refused) == len(await registry.things(limit=1000))
        await asyncio.gather(*(registry.claim(one) for one in crowd))
        assert await desk.taken() == 300
