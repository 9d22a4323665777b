"""Destroying: no device comes in any more, those there are go, then the stack, then the code's bucket.

The registry goes last of what holds anything: a removal that was broken off can be repeated at any point.
"""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

from keyborn.adapters.aws.calls import Expected
from keyborn.adapters.aws.iot import Account
from keyborn.adapters.aws.stack.bucket import CodeBucket
from keyborn.adapters.aws.stack.orders import Orders, Place
from keyborn.adapters.aws.stack.stacks import Stack, Standing, Tell
from keyborn.domain.errors import StackFailed, StackMissing

_GONE = "ResourceNotFoundException"
_BLOCKED = timedelta(minutes=5, seconds=10)
"""A thing type can be deleted five minutes after it was deprecated (AWS IoT Developer Guide)."""


class Removal:
    """One destroy of one stack."""

    def __init__(self, orders: Orders, place: Place, name: str, tell: Tell) -> None:
        self.name = name
        self.session = orders.session
        self.orders = orders
        self.stack = Stack(orders, name, tell)
        self.bucket = CodeBucket(orders, place)
        self.account = Account(
            f"arn:{place.partition}:iot:{place.region}:{place.account}",
            thing_type=f"{name}_device",
            policy_prefix=f"{name}_",
        )
        self._region = place.region
        self._tell = tell
        self._there: dict[str, str] = {}

    def look(self) -> Standing | None:
        """How the stack stands; None if only the code's bucket is left. Raises StackMissing, StackForeign."""
        standing = self.stack.settled()
        if standing is not None and standing.state != "DELETE_COMPLETE":
            self._there = {
                name: identity
                for name, (identity, state) in self.stack.resources().items()
                if identity and state not in {"DELETE_COMPLETE", "DELETE_SKIPPED"}
            }
            if not self._table_stands():
                self._there.pop("Table", None)
            return standing
        if not self.bucket.exists() or not self.bucket.is_ours() or self.users():
            raise StackMissing(stack=self.name, region=self._region)
        return None

    @property
    def table(self) -> str | None:
        """The registry, if it is still there."""
        return self._there.get("Table")

    def _table_stands(self) -> bool:
        """Whether the registry is there: CloudFormation does not notice when somebody deletes a table."""
        if self.table is None:
            return False
        try:
            self.orders.ask("dynamodb", "DescribeTable", expected={_GONE}, TableName=self.table)
        except Expected:
            return False
        return True

    def things(self) -> list[str]:
        """The things of the stack's own type; none if that is gone, or is not of this stack's making."""
        kind, mark = self.account.thing_type, ("nextToken", "nextToken")
        if self._there.get("ThingType") != kind:
            return []
        found = self.orders.pages("iot", "ListThings", "things", mark=mark, thingTypeName=kind)
        return [one["thingName"] for one in found]

    def close(self) -> None:
        """Let no device enroll and no sweep begin any more; what is under way ends by itself."""
        for function in ("EnrollFunction", "SweepFunction"):
            if name := self._there.get(function):
                self._tolerant(
                    "lambda", "PutFunctionConcurrency", FunctionName=name, ReservedConcurrentExecutions=0
                )
        if kind := self._there.get("ThingType"):
            self._tolerant("iot", "DeprecateThingType", thingTypeName=kind)

    def _tolerant(self, service: str, operation: str, **parameters: Any) -> None:  # noqa: ANN401 - as botocore takes them
        try:
            self.orders.ask(service, operation, expected={_GONE}, **parameters)
        except Expected:
            return

    def delete(self) -> None:
        """Delete the stack; wait for AWS IoT's five minutes if that is all that is missing."""
        try:
            self.stack.delete()
        except StackFailed:
            failed = [name for name, (_, state) in self.stack.resources().items() if state == "DELETE_FAILED"]
            if failed != ["ThingType"]:
                raise
            self._wait_for_type()
            self.stack.delete()

    def _wait_for_type(self) -> None:
        kind = self.orders.ask("iot", "DescribeThingType", thingTypeName=self.account.thing_type)
        since: datetime | None = kind["thingTypeMetadata"].get("deprecationDate")
        now = datetime.now(UTC)
        span = _BLOCKED - (now - since if since is not None else timedelta())
        if span > timedelta():
            self._tell(f"AWS IoT keeps a thing type for five minutes; waiting {span.seconds} s for that.")
            self._pause(min(span, _BLOCKED).total_seconds())

    def _pause(self, seconds: float) -> None:
        time.sleep(seconds)

    def users(self) -> list[str]:
        """Other stacks whose code is in the bucket."""
        found = self.orders.pages("cloudformation", "DescribeStacks", "Stacks")
        return [
            one["StackName"]
            for one in found
            if one["StackName"] != self.name
            and one["StackStatus"] != "DELETE_COMPLETE"
            and any(row.get("ParameterValue") == self.bucket.name for row in one.get("Parameters") or ())
        ]

    def remove_bucket(self) -> list[str]:
        """Delete the code's bucket unless other stacks need it, those, or it is not ours."""
        users = self.users()
        if not users and self.bucket.exists():
            if not self.bucket.is_ours():
                self._tell(f"The bucket {self.bucket.name} stays: it has no tag that says it is Keyborn's.")
                return users
            self.bucket.remove()
            self._tell(f"The bucket {self.bucket.name} is removed.")
        return users
