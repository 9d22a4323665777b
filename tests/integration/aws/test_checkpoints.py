"""Checkpoints on AWS: the sweeper signs, the operator checks, and what was done to the table is found."""

import asyncio
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from keyborn.adapters.aws.notary import TableNotary, service_of
from keyborn.adapters.aws.table import DynamoRegistry, keys
from keyborn.adapters.system import SystemEntropy
from keyborn.domain.audit import ChainHead
from keyborn.domain.checkpoint import Checkpoint, checkpoint_text, holds, ring
from keyborn.wiring.aws import StackSettings, SweepHandler, read_stack
from support import ministack
from support.aws_function import ARN, stack_of_parts
from support.desks import OnStack, Said, on_stack, read_descriptions_once, told, typed
from support.exports import happened
from support.lambda_events import Context

TEXT = b"what the trail says"


def notary_of(registry: DynamoRegistry) -> TableNotary:
    return TableNotary(registry, "arn:aws:dynamodb:r:a:table/t", SystemEntropy())


async def test_the_key_is_made_once_however_many_begin_at_once() -> None:
    table = ministack.new_table()
    async with (
        DynamoRegistry(ministack.dynamodb, table) as one,
        DynamoRegistry(ministack.dynamodb, table) as two,
    ):
        signed = await asyncio.gather(*(notary_of(each).sign(TEXT) for each in (one, two) * 4))
        assert len({each.key for each in signed}) == 1
        publics = await notary_of(two).keys()
        assert len(publics) == 1
        assert holds(signed[0], TEXT, ring(publics))


async def test_a_key_that_was_taken_away_is_followed_by_another_and_both_hold() -> None:
    table = ministack.new_table()
    async with DynamoRegistry(ministack.dynamodb, table) as registry:
        first = await notary_of(registry).sign(TEXT)
        registry._table.delete(keys.NOTARY)
        second = await notary_of(registry).sign(TEXT)
        publics = await notary_of(registry).keys()
    assert list(ring(publics)) == [first.key, second.key], "the newest last"
    assert all(holds(each, TEXT, ring(publics)) for each in (first, second))


def test_a_stack_is_named_by_region_account_and_table() -> None:
    assert service_of("arn:aws-cn:iot:cn-north-1:123456789012", "kb-Table-1X") == (
        "arn:aws-cn:dynamodb:cn-north-1:123456789012:table/kb-Table-1X"
    )


# ── the sweeper ───────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def stack() -> StackSettings:
    return stack_of_parts()


class Sweeping:
    """The sweeper's function on a table of its own."""

    def __init__(self, stack: StackSettings) -> None:
        self.handler = SweepHandler(stack, ministack.shared().client, out=io.StringIO())
        self._stack = stack

    def __call__(self) -> list[Checkpoint]:
        """Sweep; the checkpoints there are then."""
        assert self.handler({}, Context(50_000))["troubles"] == []
        return asyncio.run(self._checkpoints())

    def happens(self, *numbers: int) -> None:
        asyncio.run(self._append(numbers))

    async def _append(self, numbers: tuple[int, ...]) -> None:
        async with DynamoRegistry(ministack.dynamodb, self._stack.table) as registry:
            for number in numbers:
                await registry.append(happened(number))

    async def _checkpoints(self) -> list[Checkpoint]:
        async with DynamoRegistry(ministack.dynamodb, self._stack.table) as registry:
            return list(await registry.checkpoints())


@pytest.fixture
def sweeping(stack: StackSettings) -> Iterator[Sweeping]:
    one = Sweeping(stack)
    yield one
    one.handler.close()


def test_the_sweeper_signs_where_the_trail_ends_and_only_when_it_has_grown(
    sweeping: Sweeping, stack: StackSettings
) -> None:
    assert sweeping() == []
    sweeping.happens(1, 2)
    [first] = sweeping()
    assert first.head.sequence == 2
    assert sweeping() == [first]
    sweeping.happens(3)
    assert [one.head.sequence for one in sweeping()] == [2, 3]
    text = checkpoint_text(service_of(ARN, stack.table), first.head, first.at)
    assert holds(first.by, text, ring(asyncio.run(_publics(stack))))


async def _publics(stack: StackSettings) -> list[bytes]:
    async with DynamoRegistry(ministack.dynamodb, stack.table) as registry:
        return list(await registry.notaries())


def test_an_instance_that_begins_signs_nothing_twice(sweeping: Sweeping, stack: StackSettings) -> None:
    sweeping.happens(1)
    once = sweeping()
    other = Sweeping(stack)
    assert other() == once
    other.handler.close()


def test_a_sweep_over_a_trail_that_was_written_anew_fails_loudly(
    sweeping: Sweeping, stack: StackSettings, caplog: pytest.LogCaptureFixture
) -> None:
    sweeping.happens(1, 2)
    sweeping()
    _alter(stack.table, keys.record(2), "hash", "f" * 64)
    sweeping.happens(3)
    with pytest.raises(RuntimeError, match="the sweep failed"):
        sweeping.handler({}, Context(50_000))
    assert "AuditBroken" in caplog.text


def _alter(table: str, key: tuple[str, str], name: str, value: str) -> None:
    ministack.dynamodb().update_item(
        TableName=table,
        Key={"pk": {"S": key[0]}, "sk": {"S": key[1]}},
        UpdateExpression="SET #n = :v",
        ExpressionAttributeNames={"#n": name},
        ExpressionAttributeValues={":v": {"S": value}},
    )


# ── the operator ──────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def aws() -> Iterator[ministack.Ministack]:
    """A stand-in of this module's own."""
    started = ministack.start()
    yield started
    started.stop()


@pytest.fixture
def desk(aws: ministack.Ministack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OnStack]:
    read_descriptions_once(monkeypatch)
    aws.reset()
    with on_stack(aws, None, tmp_path) as made:
        yield made


def swept(desk: OnStack) -> None:
    function = desk.aws.client("lambda").get_function_configuration(
        FunctionName=desk.outputs["SweepFunction"]
    )
    handler = SweepHandler(
        read_stack(function["Environment"]["Variables"]), desk.aws.client, out=io.StringIO()
    )
    handler({}, Context(50_000))
    handler.close()


def refused(desk: OnStack, *words: str | Path) -> dict[str, Any]:
    said: Said = typed(desk, *words, "--json")
    assert said.code == 1, said
    problem: dict[str, Any] = json.loads(said.err)
    return problem


def test_what_the_sweeper_signed_convinces_the_operator_and_an_export_of_it_anybody(
    desk: OnStack, tmp_path: Path
) -> None:
    told(desk, "token", "create", "--thing", "lamp-1")
    swept(desk)
    verified = told(desk, "audit", "verify")
    assert (verified["checkpoints"], verified["signedUpTo"]) == (1, verified["records"])
    told(desk, "token", "create", "--thing", "lamp-2")
    file = tmp_path / "audit.jsonl"
    assert typed(desk, "audit", "export", file).code == 0
    whole = told(desk, "audit", "verify", file, "--key", verified["key"], "--expect", verified["expect"])
    assert (whole["records"], whole["checkpoints"], whole["keyGiven"]) == (verified["records"] + 1, 2, True)
    assert whole["service"].startswith("arn:aws:dynamodb:")
    assert told(desk, "audit", "verify", "--expect", whole["expect"])["checkpoints"] == 2


def test_who_writes_in_the_table_is_found(desk: OnStack) -> None:
    for number in range(3):
        told(desk, "token", "create", "--thing", f"lamp-{number}")
    swept(desk)
    verified = told(desk, "audit", "verify")
    table, last = desk.outputs["Table"], verified["records"]
    client = desk.aws.client("dynamodb")
    kept = client.get_item(TableName=table, Key=_key(keys.record(last)))["Item"]
    before = client.get_item(TableName=table, Key=_key(keys.record(last - 1)))["Item"]

    client.delete_item(TableName=table, Key=_key(keys.record(last)))
    end = ChainHead(last - 1, before["hash"]["S"])
    head = {**_key(keys.HEAD), "sequence": {"N": str(end.sequence)}, "hash": {"S": end.hash}}
    client.put_item(TableName=table, Item=head)
    problem = refused(desk, "audit", "verify")
    assert problem["code"] == "audit_broken"
    assert f"record {last}: a checkpoint speaks of it" in problem["detail"]
    assert refused(desk, "audit", "export", Path("never"))["code"] == "audit_broken"

    client.delete_item(TableName=table, Key=_key(keys.checkpoint(last)))
    assert told(desk, "audit", "verify")["records"] == last - 1, "who takes both away is found elsewhere"
    problem = refused(desk, "audit", "verify", "--expect", verified["expect"])
    assert problem["code"] == "audit_head_missing"
    client.put_item(TableName=table, Item=kept)
    assert told(desk, "audit", "verify", "--expect", verified["expect"])["records"] == last


def _key(key: tuple[str, str]) -> dict[str, Any]:
    return {"pk": {"S": key[0]}, "sk": {"S": key[1]}}
