"""The line in DynamoDB: what it costs in calls, what it leaves in the table, and how it fails."""

import asyncio
from collections import Counter
from typing import Any

import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse

from keyborn.adapters.aws.admission import DynamoLine
from keyborn.adapters.aws.table.values import from_wire
from keyborn.domain.errors import AwsRefused, Queued
from keyborn.domain.quota import Pacing, place_name
from keyborn.service.quota import QuotaGate
from support import ministack

NOON = 1_795_000_000.0
PACING = Pacing(rate=10.0)


async def nobody_asks() -> None:
    """The caller is known."""


class Instance:
    """One instance with its own client and clock; counts its calls."""

    def __init__(self, table: str, now: float = NOON) -> None:
        self.now = now
        self.calls: Counter[str] = Counter()
        client: Any = ministack.shared().client("dynamodb")
        client.meta.events.register("before-call.dynamodb.*", self._count)
        self.client = client
        self.line = DynamoLine(client, table, PACING)
        self.gate = QuotaGate(self.line, PACING, seconds=lambda: self.now, sleep=self._sleep)

    def _count(self, model: Any, **_: object) -> None:  # noqa: ANN401 - botocore's models have no types
        self.calls[model.name] += 1

    async def _sleep(self, seconds: float) -> None:
        self.now += seconds

    async def admits(self, who: str) -> bool:
        try:
            await self.turn(who)
        except Queued:
            return False
        return True

    async def turn(self, who: str) -> None:
        """What a caller goes through, with a claim that takes no time."""
        turn = await self.gate.admit(who, nobody_asks)
        await turn.meanwhile()
        await turn.demand()


async def test_without_a_storm_admission_is_one_call() -> None:
    instance = Instance(ministack.new_table())
    for _ in range(10):
        assert await instance.admits("a")
        instance.now += 5
    assert instance.calls["UpdateItem"] <= 11, "one of them met an empty table"
    assert set(instance.calls) == {"UpdateItem"}


async def test_instances_together_admit_what_the_quota_allows_and_no_more() -> None:
    table = ministack.new_table()
    instances = [Instance(table) for _ in range(8)]

    async def work(instance: Instance, number: int) -> int:
        admitted = 0
        for turn in range(30):
            instance.now = NOON + turn * 0.1
            admitted += await instance.admits(f"{number}-{turn}")
        return admitted

    admitted = sum(await asyncio.gather(*(work(one, number) for number, one in enumerate(instances))))
    assert 20 <= admitted <= (3 + PACING.burst + PACING.patience) * PACING.rate + 1


async def test_a_place_lies_in_the_table_with_an_end_and_without_a_name() -> None:
    table = ministack.new_table()
    instance = Instance(table)
    who = place_name("t0ken", "sensor-1")
    due = (await instance.line.join(who, NOON)).due
    items = [from_wire(item) for item in instance.client.scan(TableName=table)["Items"]]
    (place,) = (item for item in items if item["pk"].startswith("place#"))
    assert due + PACING.grace < place["ttl"] <= due + PACING.grace + 2
    assert "sensor-1" not in str(items)
    assert "t0ken" not in str(items)


async def test_the_shared_item_stays_as_small_as_it_was() -> None:
    table = ministack.new_table()
    instance = Instance(table)
    for number in range(30):
        await instance.line.take(NOON + number, NOON + number)
        await instance.line.join(f"device-{number}", NOON)
    (bucket,) = (
        from_wire(item)
        for item in instance.client.scan(TableName=table)["Items"]
        if from_wire(item)["pk"] == "bucket"
    )
    assert set(bucket) == {"pk", "sk", "freeAt", "endsAt"}


class _Raw:
    def stream(self, **_: object) -> list[bytes]:
        return [b'{"__type": "com.amazonaws.dynamodb.v20120810#ThrottlingException", "message": "m"}']


def _throttled(request: AWSPreparedRequest, **_: object) -> AWSResponse:
    return AWSResponse(request.url, 400, {"content-type": "application/x-amz-json-1.0"}, _Raw())


async def test_where_the_item_is_throttled_callers_come_back_in_some_seconds() -> None:
    instance = Instance(ministack.new_table())
    instance.client.meta.events.register("before-send.dynamodb.UpdateItem", _throttled)
    with pytest.raises(Queued) as queued:
        await instance.turn("a")
    assert queued.value.retry_after is not None
    assert 2 <= queued.value.retry_after <= 10


async def test_without_its_table_the_service_says_so() -> None:
    with pytest.raises(AwsRefused):
        await Instance("no-such-table").turn("a")
