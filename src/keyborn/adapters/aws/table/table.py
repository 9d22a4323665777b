"""The one table: reads, pages, and operations that are committed as conditional transactions.

``run`` is the only way to write. It repeats an operation on what a cancelled transaction told it until one
round fits: optimistic, like a compare-and-swap, so somebody always gets through.
"""

import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from keyborn.adapters.aws.calls import Expected, Patience, Rounds, Service, within
from keyborn.adapters.aws.errors import CANCELLED, CONDITION_FAILED
from keyborn.adapters.aws.table.draft import MOST_ITEMS, Beliefs, Draft, Key, Unknown
from keyborn.adapters.aws.table.values import Item, from_wire, to_wire
from keyborn.domain.errors import KeybornError, RegistryUnavailable

T = TypeVar("T")

_PAGE = 500
"""Items that one query asks for at most."""


@dataclass(frozen=True, slots=True)
class Done(Generic[T]):
    """What an operation gave, and the whole items it left."""

    result: T
    left: Mapping[Key, Item | None]


class Stamps:
    """Words that sort by the time they were made; within one process never twice, and never backwards."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0
        self._tail = secrets.token_hex(4)

    def next(self) -> str:
        """Nanoseconds since 1970 in 20 digits, and what tells this process from others."""
        with self._lock:
            self._last = max(self._last + 1, time.time_ns())
            return f"{self._last:020}-{self._tail}"


class Table:
    """A DynamoDB table with ``pk`` and ``sk``. Everything here blocks and may be called from any thread."""

    def __init__(self, service: Service, name: str, *, patience: Patience | None = None) -> None:
        """``patience`` bounds the rounds of one operation."""
        self._service = service
        self.name = name
        self.stamps = Stamps()
        self._patience = patience or Patience()

    # ── reading ───────────────────────────────────────────────────────────────────────────────────────

    def get(self, key: Key) -> Item | None:
        """One item as of now (strongly consistent), or None."""
        answer = self._service.call("GetItem", TableName=self.name, Key=_wire_key(key), ConsistentRead=True)
        return _solid(answer.get("Item"))

    def get_many(self, keys: Iterable[Key]) -> dict[Key, Item | None]:
        """Items as of now; up to a hundred are one snapshot."""
        wanted = list(dict.fromkeys(keys))
        found: dict[Key, Item | None] = {}
        if len(wanted) == 1:
            return {wanted[0]: self.get(wanted[0])}
        for start in range(0, len(wanted), MOST_ITEMS):
            part = wanted[start : start + MOST_ITEMS]
            gets = [{"Get": {"TableName": self.name, "Key": _wire_key(key)}} for key in part]
            answers = self._service.call("TransactGetItems", TransactItems=gets)["Responses"]
            found |= {key: _solid(one.get("Item")) for key, one in zip(part, answers, strict=True)}
        return found

    def query(self, partition: str, *, after: str = "", before: str = "", limit: int) -> Iterator[Item]:
        """At most ``limit`` items of a partition by sort key, in byte order; no husks.

        ``after`` or ``before``, not both, is where it begins or ends; neither is among them.
        """
        bound = "after" if after else "before" if before else ""
        values = to_wire({":pk": partition, f":{bound}": after or before or None})
        sign = {"after": " AND #sk > :after", "before": " AND #sk < :before", "": ""}[bound]
        begin: Mapping[str, Any] = {}
        while limit > 0:
            answer = self._service.call(
                "Query",
                TableName=self.name,
                ConsistentRead=True,
                KeyConditionExpression=f"#pk = :pk{sign}",
                FilterExpression="attribute_not_exists(#void)",
                ExpressionAttributeNames={"#pk": "pk", "#void": "void"} | ({"#sk": "sk"} if bound else {}),
                ExpressionAttributeValues=values,
                Limit=min(limit, _PAGE),
                **begin,
            )
            yield from map(from_wire, answer["Items"])
            limit -= len(answer["Items"])
            if "LastEvaluatedKey" not in answer:
                return
            begin = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}

    def last(self, partition: str) -> Item | None:
        """The last item of a partition that has no husks, or None."""
        answer = self._service.call(
            "Query",
            TableName=self.name,
            ConsistentRead=True,
            KeyConditionExpression="#pk = :pk",
            ExpressionAttributeNames={"#pk": "pk"},
            ExpressionAttributeValues=to_wire({":pk": partition}),
            ScanIndexForward=False,
            Limit=1,
        )
        return next(map(from_wire, answer["Items"]), None)

    def husks(self, partition: str, *, limit: int) -> list[Key]:
        """Keys of husks among the first ``limit`` items of a partition."""
        answer = self._service.call(
            "Query",
            TableName=self.name,
            ConsistentRead=True,
            KeyConditionExpression="#pk = :pk",
            FilterExpression="attribute_exists(#void)",
            ExpressionAttributeNames={"#pk": "pk", "#void": "void"},
            ExpressionAttributeValues=to_wire({":pk": partition}),
            Limit=limit,
        )
        return [(item["pk"], item["sk"]) for item in map(from_wire, answer["Items"])]

    # ── writing ───────────────────────────────────────────────────────────────────────────────────────

    def run(self, operation: Callable[[Draft], T], guess: Mapping[Key, Item | None] | None = None) -> T:
        """Run and commit ``operation``; returns what it returned in the round that fitted.

        ``guess`` saves the first reads where it is right. Raises what the operation raised on facts that
        were read (then nothing was written), and RegistryUnavailable where no round fitted in time.
        """
        return self.run_keeping(operation, guess).result

    def run_keeping(
        self, operation: Callable[[Draft], T], guess: Mapping[Key, Item | None] | None = None
    ) -> Done[T]:
        """The same, with the items that were left in the table."""
        with within(self._patience.whole):
            return self._rounds(operation, Beliefs.guess(guess or {}))

    def _rounds(self, operation: Callable[[Draft], T], beliefs: Beliefs) -> Done[T]:
        rounds = Rounds(self._patience)
        while True:
            draft = Draft(beliefs, self.stamps.next)
            try:
                result = operation(draft)
            except Unknown as unknown:
                beliefs.learn(self.get_many(unknown.keys))
                continue
            except (KeybornError, ValueError):
                if not self._checked(draft, beliefs):
                    continue
                raise
            if not draft.changes:
                if self._checked(draft, beliefs):
                    return Done(result, {})
            elif self._committed(draft, beliefs):
                return Done(result, draft.left())
            elif not rounds.pause():
                raise RegistryUnavailable(seconds=1)

    def _checked(self, draft: Draft, beliefs: Beliefs) -> bool:
        """Whether what writes nothing rests on one snapshot; if not, one is read for the next round."""
        if draft.holds:
            return True
        beliefs.learn(self.get_many(draft.used))
        return False

    def _committed(self, draft: Draft, beliefs: Beliefs) -> bool:
        """Whether all was written. If not, the items that stood in the way are known now."""
        keys, items = draft.request(self.name)
        if len(items) > MOST_ITEMS:
            raise RegistryUnavailable
        cancelled = self.transact(items)
        if cancelled is None:
            return True
        failed = [reason.get("Code") == CONDITION_FAILED for reason in cancelled]
        found = zip(keys, cancelled, failed, strict=True)
        beliefs.learn({key: _solid(reason.get("Item")) for key, reason, lost in found if lost})
        return False

    def transact(self, items: list[dict[str, Any]]) -> Sequence[Mapping[str, Any]] | None:
        """Write all or nothing: None, or the reasons, one for each item, if conditions failed.

        The request's token makes a repeat after a lost answer harmless (DynamoDB API Reference,
        TransactWriteItems, ClientRequestToken).
        """
        token = secrets.token_hex(16)
        try:
            self._service.call(
                "TransactWriteItems", expected={CANCELLED}, TransactItems=items, ClientRequestToken=token
            )
        except Expected as cancelled:
            if any(reason.get("Code") == CONDITION_FAILED for reason in cancelled.reasons):
                return cancelled.reasons
            raise RegistryUnavailable from cancelled
        return None

    def put(self, key: Key, item: Item) -> None:
        """Write one item whatever is there."""
        whole = {**item, "pk": key[0], "sk": key[1]}
        self._service.call("PutItem", TableName=self.name, Item=to_wire(whole))

    def put_new(self, key: Key, item: Item) -> bool:
        """Write one item where none is; whether there was none.

        After an answer that was lost it says no of its own item.
        """
        whole = {**item, "pk": key[0], "sk": key[1]}
        try:
            self._service.call(
                "PutItem",
                expected={f"{CONDITION_FAILED}Exception"},
                TableName=self.name,
                Item=to_wire(whole),
                ConditionExpression="attribute_not_exists(#pk)",
                ExpressionAttributeNames={"#pk": "pk"},
            )
        except Expected:
            return False
        return True

    def delete(self, key: Key) -> None:
        """Remove one item, or its husk; missing is fine. Only who tidies up may do that."""
        self._service.call("DeleteItem", TableName=self.name, Key=_wire_key(key))

    def delete_same(self, key: Key, attribute: str, value: object) -> None:
        """Remove one item if ``attribute`` is still ``value``, or still not there if that is None."""
        there = "attribute_not_exists(#same)" if value is None else "#same = :same"
        values: dict[str, Any] = {}
        if value is not None:
            values["ExpressionAttributeValues"] = to_wire({":same": value})
        with suppress(Expected):
            self._service.call(
                "DeleteItem",
                expected={f"{CONDITION_FAILED}Exception"},
                TableName=self.name,
                Key=_wire_key(key),
                ConditionExpression=there,
                ExpressionAttributeNames={"#same": attribute},
                **values,
            )


def _wire_key(key: Key) -> dict[str, Any]:
    return to_wire({"pk": key[0], "sk": key[1]})


def _solid(item: Mapping[str, Any] | None) -> Item | None:
    """An item, unless there is none or only its husk."""
    found = from_wire(item) if item else None
    return None if found is None or found.get("void") else found
