"""Policies on disk: upgrading what the first schema kept, snapshots, unreadable documents, crashes."""

import asyncio
import os
import signal
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from keyborn.adapters.sql import SqliteRegistry, rows, schema
from keyborn.adapters.sql.reads import Ask, Reader
from keyborn.adapters.sql.session import Session
from keyborn.domain.access_policy.document import DEFAULT_POLICY, PolicyName
from keyborn.domain.audit import AuditRecord, verify
from keyborn.domain.enrollment import Repeat
from keyborn.domain.errors import NotFound, PolicyInUse, RegistryUnavailable
from keyborn.domain.names import CertificateId, ThingName
from keyborn.domain.thing import ThingKind
from support.child_process import child, lines
from support.gate import Gate
from support.registry_cases import START, Desk, document, event, key, make_token, policy_names


def execute(path: Path, statement: str, *values: object) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        return connection.execute(statement, values).fetchall()


# ── what the first schema kept ────────────────────────────────────────────────────────────────────────

FIRST_STATEMENTS: list[tuple[str, *tuple[object, ...]]] = [
    ("INSERT INTO things VALUES ('lamp-1', 'lamp-1', 'active', ?, 0, '{\"room\":\"4\"}')", key("k1")),
    ("INSERT INTO things VALUES ('lamp-2', 'lamp-2', 'claimed', ?, 0, '{}')", key("k2")),
    ("INSERT INTO things VALUES ('Old', 'old', 'revoked', ?, 0, '{}')", key("k3")),
    ("INSERT INTO name_tombstones VALUES ('Old', 'revoked', ?, 0)", key("k3")),
    ("INSERT INTO keys VALUES (?, 'lamp-1', 'i1')", key("k1")),
    ("INSERT INTO keys VALUES (?, 'lamp-2', 'i2')", key("k2")),
    ("INSERT INTO keys VALUES (?, 'Old', 'i3')", key("k3")),
    ("INSERT INTO key_tombstones VALUES (?, 'Old', 0)", key("k3")),
    (
        "INSERT INTO certificates VALUES (1, ?, 'i', 's', 'lamp-1', ?, x'', 0, ?, 'active', 'current', 7)",
        "c" * 64,
        key("k1"),
        rows.to_ms(START.replace(year=2030)),
    ),
    ("INSERT INTO attachments VALUES ('lamp-1', 'current', ?)", "c" * 64),
]


def first_registry(path: Path) -> None:
    """A file as the first release left it: an active, a claimed and a revoked device, and a used token."""
    schema.prepare(path, schema.migrations()[:1])
    token = make_token("first", uses=9)
    for statement, *values in FIRST_STATEMENTS:
        execute(path, statement, *values)
    execute(
        path,
        "INSERT INTO tokens VALUES (?, ?, '*', 9, 1, ?, ?, 0, NULL)",
        token.id,
        token.digest,
        rows.to_ms(token.issued_at),
        rows.to_ms(token.expires_at),
    )
    execute(path, "INSERT INTO redemptions VALUES ('lamp-1', ?, ?, 'i1')", key("k1"), token.id)


async def test_what_the_first_schema_kept_is_devices_with_the_default_policy(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    first_registry(path)

    async with SqliteRegistry(path) as registry:
        desk = Desk(registry)
        things = await registry.things()
        assert [(one.name, one.kind, one.policies) for one in things] == [
            (name, ThingKind.DEVICE, None) for name in ("Old", "lamp-1", "lamp-2")
        ]
        assert things[1].attributes == {"room": "4"}
        assert await registry.things(kind=ThingKind.SERVICE) == []
        (use,) = await registry.tokens()
        assert (use.token, use.uses_taken) == (make_token("first", uses=9), 1)
        default = await desk.put(DEFAULT_POLICY)
        badge = await registry.badge(CertificateId("c" * 64))
        assert badge is not None
        assert (badge.thing, badge.policies) == (things[1], (default,))

    assert execute(path, "SELECT version, name FROM schema_versions")[:2] == [
        (1, "0001_registry"),
        (2, "0002_policies"),
    ]
    assert execute(path, "PRAGMA integrity_check") == [("ok",)]
    assert execute(path, "PRAGMA foreign_key_check") == []


async def test_enrolment_goes_on_after_the_upgrade(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    first_registry(path)

    async with SqliteRegistry(path) as registry:
        desk = Desk(registry)
        token = make_token("first", uses=9)
        again = await registry.claim(desk.attempt(token, "lamp-1", "k1"))
        assert isinstance(again, Repeat)
        await desk.enroll(token, "lamp-2", "k2")
        await desk.enroll(token, "lamp-4", "k4")
        assert await desk.uses_taken(token) == 3

        await desk.put("fleet")
        assert (await desk.attach("lamp-2", "fleet")).policies == policy_names(DEFAULT_POLICY, "fleet")


async def test_a_tombstone_of_the_first_schema_comes_back_whole(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    first_registry(path)

    async with SqliteRegistry(path) as registry:
        desk = Desk(registry)
        old = await desk.thing("Old")
        issue = await desk.claim(
            await desk.token("swap", "Old", replaces=True, policies=["new"]), "Old", "k9"
        )
        assert (await desk.thing("Old")).policies == ("new",)
        await desk.drop(issue)
        assert await desk.thing("Old") == old


def test_the_new_columns_have_their_constraints(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    first_registry(path)
    schema.prepare(path)

    for statement in (
        "UPDATE things SET kind = 'gadget'",
        "UPDATE things SET kind = NULL",
        "UPDATE tokens SET kind = 'gadget'",
        "UPDATE things SET policies = x'00'",
        "UPDATE tokens SET policies = x'00'",
    ):
        with pytest.raises(sqlite3.IntegrityError):
            execute(path, statement)


# ── the badge ─────────────────────────────────────────────────────────────────────────────────────────


async def test_every_question_of_a_snapshot_is_answered_as_of_one_moment(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    schema.prepare(path)
    reader = Reader(path)
    with closing(schema.connect_writer(path)) as writer:
        reader.open()
        count = "SELECT count(*) FROM policies"

        def look_twice(ask: Ask) -> tuple[object, object]:
            before = ask(count)
            writer.execute("INSERT INTO policies VALUES ('p', '{}', 1, 0, 0)")
            return before, ask(count)

        before, after = reader.snapshot(look_twice)
        assert before == after == [(0,)]
        assert reader.snapshot(lambda ask: ask(count)) == [(1,)]
        reader.close()


async def test_a_snapshot_that_fails_leaves_the_reader_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    schema.prepare(path)
    reader = Reader(path)
    with pytest.raises(RegistryUnavailable):
        reader.snapshot(lambda ask: ask("SELECT 1"))
    with closing(schema.connect_writer(path)):
        reader.open()

        def fault(_ask: Ask) -> None:
            raise LookupError("a fault of ours")

        with pytest.raises(RegistryUnavailable):
            reader.snapshot(lambda ask: ask("SELECT nonsense"))
        with pytest.raises(LookupError):
            reader.snapshot(fault)
        assert reader.snapshot(lambda ask: ask("SELECT 1")) == [(1,)]
        reader.close()


async def test_a_badge_is_unavailable_where_the_reader_is_in_trouble(tmp_path: Path) -> None:
    registry = SqliteRegistry(tmp_path / "registry.db")
    with pytest.raises(RegistryUnavailable):
        await registry.badge(CertificateId("0" * 64))
    async with registry:
        assert registry._lookups._connection is not None
        registry._lookups._connection.close()
        with pytest.raises(RegistryUnavailable):
            await registry.badge(CertificateId("0" * 64))


async def test_a_badge_does_not_wait_for_the_writer(tmp_path: Path) -> None:
    async with SqliteRegistry(tmp_path / "registry.db") as registry:
        desk = Desk(registry)
        first = await desk.put(DEFAULT_POLICY, "Connect")
        certificate = await desk.enroll(await desk.token("secret"), "lamp-1", "k1")
        gate = Gate()
        held = await gate.closed_behind(registry)
        changing = asyncio.create_task(desk.put(DEFAULT_POLICY, "Publish"))
        await asyncio.sleep(0)

        badge = await registry.badge(certificate.id)
        assert badge is not None
        assert badge.policies == (first,)

        gate.open()
        second = (await asyncio.gather(held, changing))[1]
        badge = await registry.badge(certificate.id)
        assert badge is not None
        assert badge.policies == (second,)


async def test_a_document_is_parsed_once_for_all_who_have_it(tmp_path: Path) -> None:
    async with SqliteRegistry(tmp_path / "registry.db") as registry:
        desk = Desk(registry)
        await desk.put(DEFAULT_POLICY)
        token = await desk.token("secret")
        certificates = [await desk.enroll(token, f"lamp-{number}", f"k{number}") for number in range(3)]

        badges = [await registry.badge(one.id) for one in certificates]

        documents = [badge.policies[0].document for badge in badges if badge is not None]
        assert len(documents) == 3
        assert all(one is documents[0] for one in documents)


# ── a document that nobody can read ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("text", ["", "no json", '{"Version": "2031-01-01", "Tomorrow": true}', "[" * 9999])
async def test_a_document_that_does_not_parse_any_more_counts_as_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "registry.db"
    async with SqliteRegistry(path) as registry:
        desk = Desk(registry)
        kept, other = await desk.put("fleet"), await desk.put("other")
        token = await desk.token("secret", policies=["fleet", "other"])
        certificate = await desk.enroll(token, "lamp-1", "k1")
        execute(path, "UPDATE policies SET document = ? WHERE name = 'fleet'", text)

        badge = await registry.badge(certificate.id)
        assert badge is not None
        assert badge.policies == (other,)

        shown = await registry.policy(kept.name)
        assert shown is not None
        assert (shown.document.text, shown.document.statements) == (text, ()), "the operator sees the text"
        assert await registry.policies() == [shown, other]
        assert (await desk.put("fleet")).version == 2
        mended = await registry.badge(certificate.id)
        assert mended is not None
        assert [one.version for one in mended.policies] == [2, 1]


# ── commits and crashes ───────────────────────────────────────────────────────────────────────────────


async def test_policies_survive_closing_and_opening(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    async with SqliteRegistry(path) as registry:
        desk = Desk(registry)
        await desk.put("fleet", "Connect", shipped=True)
        await desk.put("fleet", "Publish")
        token = await desk.token("secret", kind=ThingKind.SERVICE, policies=["fleet"])
        certificate = await desk.enroll(token, "collector", "k1")
        seen = (await registry.policies(), await registry.badge(certificate.id), await registry.tokens())

    async with SqliteRegistry(path) as registry:
        again = (await registry.policies(), await registry.badge(certificate.id), await registry.tokens())
    assert again == seen


async def test_a_refused_order_does_not_hurt_its_neighbours(tmp_path: Path) -> None:
    async with SqliteRegistry(tmp_path / "registry.db") as registry:
        desk = Desk(registry)
        await desk.enroll(await desk.token("secret"), "lamp-1", "k1")
        before = len(await registry.records())
        gate = Gate()
        held = await gate.closed_behind(registry)
        tasks = [
            asyncio.ensure_future(order)
            for order in (
                desk.put("fleet"),
                desk.attach("lamp-1", "unheard-of"),
                desk.attach("lamp-1", "fleet"),
                desk.remove("fleet"),
                desk.detach("nobody", "fleet"),
                desk.put("fleet", "Publish"),
            )
        ]
        await asyncio.sleep(0)
        gate.open()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        await held

        refused = [type(one) for one in outcomes if isinstance(one, Exception)]
        assert refused == [NotFound, PolicyInUse, NotFound]
        trail = await registry.records()
        assert [one.event.action for one in trail[before:]] == ["policy.put", "policy.attach", "policy.put"]
        assert verify(trail).sequence == before + 3
        assert (await desk.thing("lamp-1")).policies == policy_names(DEFAULT_POLICY, "fleet")
        assert registry.counters.largest_batch == 6


async def test_a_commit_that_fails_keeps_neither_policy_nor_attachment(tmp_path: Path) -> None:
    async with SqliteRegistry(tmp_path / "registry.db") as registry:
        desk = Desk(registry)
        certificate = await desk.enroll(await desk.token("secret"), "lamp-1", "k1")
        kept = await desk.put("fleet", "Connect")
        before = (await registry.records(), await registry.badge(certificate.id))

        def sabotage(session: Session) -> None:
            session.one("PRAGMA defer_foreign_keys = ON")
            session.run("INSERT INTO keys (key_hash, thing, intent) VALUES ('k', 'nobody', 'i')")

        gate = Gate()
        held = await gate.closed_behind(registry)
        tasks = [
            asyncio.ensure_future(desk.put("fleet", "Publish")),
            asyncio.ensure_future(desk.attach("lamp-1", "fleet")),
            asyncio.ensure_future(registry._writer.run(sabotage)),
            asyncio.ensure_future(desk.detach("lamp-1", DEFAULT_POLICY)),
            asyncio.ensure_future(desk.remove("fleet")),
        ]
        await asyncio.sleep(0)
        gate.open()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        await held

        assert isinstance(outcomes.pop(), PolicyInUse | RegistryUnavailable)
        assert [type(one) for one in outcomes] == [RegistryUnavailable] * 4
        assert (await registry.records(), await registry.badge(certificate.id)) == before
        assert await registry.policies() == [kept]
        assert (await desk.attach("lamp-1", "fleet")).policies == policy_names(DEFAULT_POLICY, "fleet")


def replayed(trail: list[AuditRecord]) -> tuple[Counter[str], dict[str, list[str]]]:
    """What the trail says the registry must hold: versions by policy, attached policies by thing."""
    versions: Counter[str] = Counter()
    attached: dict[str, list[str]] = {}
    for record in trail:
        subject, told = record.event.subject, record.event.action
        if told == "policy.put":
            versions[subject] += 1
        elif told == "policy.attach":
            attached.setdefault(subject, [DEFAULT_POLICY]).append(f"of-{subject}")
        elif told == "policy.detach":
            attached[subject].remove(f"of-{subject}")
    return versions, attached


async def whole_trail(registry: SqliteRegistry) -> list[AuditRecord]:
    found: list[AuditRecord] = []
    while page := await registry.records(after=len(found)):
        found += page
    verify(found)
    return found


@pytest.mark.parametrize("survivors", [1, 40, 400])
async def test_what_was_ordered_about_policies_survives_a_kill(tmp_path: Path, survivors: int) -> None:
    """Each order and its line in the trail are one effect, whenever the process dies."""
    path = tmp_path / "registry.db"
    heard: Counter[str] = Counter()
    with child(path, "police") as process:
        for words in lines(process):
            heard[" ".join(words)] += 1
            if heard.total() >= survivors:
                os.kill(process.pid, signal.SIGKILL)
                break

    async with SqliteRegistry(path) as registry:
        trail = await whole_trail(registry)
        told = Counter(f"{one.event.action} {one.event.subject}" for one in trail)
        assert not heard - told, "what was answered is in the trail"
        versions, attached = replayed(trail)
        assert {one.name: one.version for one in await registry.policies()} == versions
        for name, names in attached.items():
            thing = await registry.thing(ThingName(name))
            assert thing is not None
            assert thing.policies == policy_names(*names)


async def test_a_database_without_room_keeps_nothing_of_a_policy(tmp_path: Path) -> None:
    async with SqliteRegistry(tmp_path / "registry.db") as registry:
        desk = Desk(registry)
        kept = await desk.put("fleet")
        before = await registry.records()

        def shrink(session: Session) -> None:
            session.one("PRAGMA max_page_count = 1")

        await registry._writer.run(shrink)
        wide = document()
        long = type(kept)(PolicyName("long"), type(wide)(wide.statements, wide.text + " " * 9000), desk.now)
        with pytest.raises(RegistryUnavailable):
            await registry.put_policy(long, event("policy.put"))

        assert await registry.policies() == [kept]
        assert await registry.records() == before
        assert (await registry.put_policy(long, event("policy.put"))).version == 1
