"""What a role's explicit denials say of a write to the table. The stand-in passes no ``dynamodb:`` condition
keys to its evaluator, so that it neither allows nor denies by them; these are evaluated here.

Rules: IAM User Guide, "Policy evaluation logic" and "Set operators for multi-valued context keys"; DynamoDB
Developer Guide, "Using IAM policy conditions for fine-grained access control" (``dynamodb:LeadingKeys``: the
partition key; ``dynamodb:Attributes``: the attributes a request names) and "Using IAM with transactions"
(each item is checked by itself, as the call that it stands for).
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

Statement = Mapping[str, Any]
_CALLS = {"Put": "PutItem", "Update": "UpdateItem", "Delete": "DeleteItem"}
_PARTS = ("UpdateExpression", "ConditionExpression")


@dataclass(frozen=True, slots=True)
class Write:
    """One item that a request writes."""

    action: str
    partition: str
    attributes: frozenset[str] = frozenset()

    @property
    def kind(self) -> str:
        """The partition without what it is about: ``cert#`` for ``cert#0123…``."""
        head, sign, _ = self.partition.partition("#")
        return head + sign


@dataclass(slots=True)
class Ledger:
    """A hook on a DynamoDB client: what it writes from now on."""

    writes: list[Write] = field(default_factory=list)

    def watch(self, client: Any) -> None:  # noqa: ANN401 - botocore's clients have no types
        """Note each of its calls, before it is sent."""
        client.meta.events.register("provide-client-params.dynamodb", self._note)

    def _note(self, params: Mapping[str, Any], event_name: str, **_: object) -> None:
        self.writes += written(event_name.rpartition(".")[2], params)


def written(operation: str, params: Mapping[str, Any]) -> Iterator[Write]:
    """What a request writes, item by item."""
    if operation in _CALLS.values():
        yield _write(operation, params)
    for part in params.get("TransactItems", ()):
        for kind, one in part.items():
            if kind in _CALLS:
                yield _write(_CALLS[kind], one)


def _write(operation: str, one: Mapping[str, Any]) -> Write:
    item = one.get("Item") or one["Key"]
    expressions = " ".join(one.get(name, "") for name in _PARTS)
    aliases = one.get("ExpressionAttributeNames", {})
    named = {aliases[alias] for alias in re.findall(r"#\w+", expressions)}
    return Write(f"dynamodb:{operation}", item["pk"]["S"], frozenset({*item, *named}))


def denied(statements: Iterable[Statement], write: Write) -> list[str]:
    """The statements that forbid a write, by name. Raises ValueError for a condition not known here."""
    return [one["Sid"] for one in statements if one["Effect"] == "Deny" and _applies(one, write)]


def _applies(statement: Statement, write: Write) -> bool:
    action = statement["Action"]
    actions = [action] if isinstance(action, str) else action
    return write.action in actions and all(
        _met(operator, values, write) for operator, values in statement.get("Condition", {}).items()
    )


def _met(operator: str, keys: Mapping[str, Any], write: Write) -> bool:
    if operator not in {"ForAnyValue:StringLike", "ForAnyValue:StringEquals"}:
        raise ValueError(operator)
    facts = {"dynamodb:LeadingKeys": {write.partition}, "dynamodb:Attributes": write.attributes}
    for key, patterns in keys.items():
        if operator.endswith("StringEquals") and any(set(one) & {"*", "?", "["} for one in patterns):
            raise ValueError(patterns)
        if not any(fnmatchcase(fact, one) for fact in facts[key] for one in patterns):
            return False
    return True
