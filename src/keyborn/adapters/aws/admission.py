"""The shared bucket and the line in DynamoDB: one small item that every instance moves, one for each place.

Plain UpdateItem, never a transaction: a refused condition hands back the item as it is (Developer Guide,
"ReturnValuesOnConditionCheckFailure"), so a look and an attempt are one call. Moments are kept as whole
microseconds. Nothing is deleted here: places end by time to live.
"""

import asyncio
import math
from collections.abc import Mapping

from keyborn.adapters.aws.calls import Answer, Expected, Patience, Service
from keyborn.adapters.aws.table.values import from_wire, to_wire
from keyborn.domain.errors import RegistryUnavailable
from keyborn.domain.quota import Pacing, Place, Slice, ceiling_of, floor_of

_FREE, _END = "freeAt", "endsAt"
_FAILED = "ConditionalCheckFailedException"
_ROUNDS = 5
_MICRO = 1_000_000
_PATIENCE = Patience(whole=0.3)


class DynamoLine:
    """``AdmissionLine`` in the one table: item ``bucket``/quota, and ``place#``who/``-``."""

    def __init__(self, client: object, table: str, pacing: Pacing, *, quota: str = "enroll") -> None:
        """``client`` is a botocore client, or makes one at the first call."""
        self._service = Service(client, "dynamodb", patience=_PATIENCE)
        self._table = table
        self._pacing = pacing
        self._steps = {_FREE: _micro(pacing.slot), _END: _micro(pacing.place)}
        self._seen: Mapping[str, int] = {}
        """The item when it was last met: it tells which of two forms to try first."""
        self._key = to_wire({"pk": "bucket", "sk": quota})

    async def take(self, now: float, latest: float) -> Slice:
        """Take the next slot if it begins by ``latest``. Raises ValueError for one that is never kept."""
        return await asyncio.to_thread(self._take, _micro(now), _micro(latest))

    async def find(self, who: str, now: float) -> float | None:
        """When the turn of ``who`` is or was; None if it has no place, or one that is long past."""
        return await asyncio.to_thread(self._find, who, now)

    async def join(self, who: str, now: float) -> Place:
        """Give ``who`` the place at the end of the line. Killed in between, a place stays empty."""
        return await asyncio.to_thread(self._join, who, _micro(now))

    def _take(self, now: int, latest: int) -> Slice:
        floor = _micro(floor_of(self._pacing, now / _MICRO))
        if floor > latest:
            raise ValueError("a slot that begins so early is not kept")
        far = _micro(ceiling_of(self._pacing, now / _MICRO))
        left, moved = self._advance(_FREE, floor, latest, far)
        free = left.get(_FREE, 0)
        begins = (free - self._steps[_FREE]) / _MICRO if moved else None
        return Slice(begins, free / _MICRO, left.get(_END, 0) / _MICRO)

    def _join(self, who: str, now: int) -> Place:
        left, _ = self._advance(_END, now)
        due = left[_END] - self._steps[_END]
        expires = round(due / _MICRO + self._pacing.grace) + 1
        place = {"pk": f"place#{who}", "sk": "-", "due": due, "ttl": expires}
        self._service.call("PutItem", TableName=self._table, Item=to_wire(place))
        return Place(due / _MICRO, left[_END] / _MICRO)

    def _find(self, who: str, now: float) -> float | None:
        key = to_wire({"pk": f"place#{who}", "sk": "-"})
        item = self._service.call("GetItem", TableName=self._table, Key=key).get("Item")
        due = from_wire(item)["due"] / _MICRO if item else None
        return due if due is not None and due + self._pacing.grace >= now else None

    def _advance(
        self, name: str, floor: int, latest: int | None = None, far: int | None = None
    ) -> tuple[Mapping[str, int], bool]:
        """Move one of the two moments on by its step, from ``floor`` at least and ``latest`` at most.

        Returns the item, and whether it moved. The two forms exclude each other: add to a moment that is at
        the floor or later; begin anew from one that is not, or that lies beyond ``far``.
        """
        at_most = f" AND #m <= {_LATEST}" if latest is not None else ""
        step = self._steps[name]
        add = (f"SET #m = #m + {_STEP}", f"#m >= {_FLOOR}{at_most}")
        or_far = f" OR #m > {_FAR}" if far is not None else ""
        anew = (f"SET #m = {_START}", f"attribute_not_exists(#m) OR #m < {_FLOOR}{or_far}")
        values = {_STEP: step, _FLOOR: floor, _LATEST: latest, _START: floor + step, _FAR: far}
        most = math.inf if far is None else far
        for _ in range(_ROUNDS):
            form = add if floor <= self._seen.get(name, 0) <= most else anew
            left, moved = self._update(name, *form, values)
            self._seen = left
            if moved:
                return left, True
            if latest is not None and latest < left.get(name, 0) <= most:
                return left, False
        raise RegistryUnavailable

    def _update(
        self, name: str, change: str, condition: str, values: Mapping[str, int | None]
    ) -> tuple[Mapping[str, int], bool]:
        used = {key: value for key, value in values.items() if key in f"{change} {condition}"}
        try:
            answer = self._service.call(
                "UpdateItem",
                repeatable=False,
                expected={_FAILED},
                TableName=self._table,
                Key=self._key,
                UpdateExpression=change,
                ConditionExpression=condition,
                ExpressionAttributeNames={"#m": name},
                ExpressionAttributeValues=to_wire(used),
                ReturnValues="ALL_NEW",
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except Expected as failed:
            return _old(failed), False
        return from_wire(answer["Attributes"]), True


_STEP, _FLOOR, _LATEST, _START, _FAR = ":step", ":floor", ":latest", ":start", ":far"


def _micro(seconds: float) -> int:
    return round(seconds * _MICRO)


def _old(failed: Expected) -> Mapping[str, int]:
    """The item that a condition met; nothing where there is none yet."""
    response: Answer = getattr(failed.__cause__, "response", {})
    return from_wire(response.get("Item", {}))
