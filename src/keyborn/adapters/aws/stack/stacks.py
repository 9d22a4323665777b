"""One CloudFormation stack: how it stands, what would change, and watching it change."""

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

from keyborn.adapters.aws.calls import Expected
from keyborn.adapters.aws.stack.orders import Orders
from keyborn.domain.errors import StackFailed, StackForeign, StackNotReady, StackSlow

NOTHING = ("didn't contain changes", "No updates are to be performed")
"""How CloudFormation says so (no code: it calls the change set FAILED)."""
MINUTES = 45
_MISSING = "ValidationError"
_PLAN = "keyborn-"
"""How the names of our change sets begin."""
_OURS = frozenset({"CodeBucket", "CodeKey", "MqttEndpoint"})
"""Parameters of every template of ours: a stack that lacks one of them is somebody else's."""
_BARE = frozenset({"REVIEW_IN_PROGRESS", "DELETE_IN_PROGRESS", "DELETE_COMPLETE"})
"""States in which a stack need not tell its parameters."""
_OVERTAKEN = frozenset({"ChangeSetNotFound", "InvalidChangeSetStatus"})
"""Answers of ExecuteChangeSet once another change set of the stack was executed."""
_OTHERS = "somebody else changed the stack after these changes were shown, and CloudFormation forgot them"
_FAILED = re.compile(r".*_FAILED")
_CONSEQUENCE = re.compile(r"Resource \w+ cancelled", re.IGNORECASE)
_BEAT, _LONGEST_BEAT = 0.05, 3.0

Tell = Callable[[str], None]
"""Where progress goes, line by line."""


def template() -> str:
    """The template, YAML."""
    return files(__package__).joinpath("template.yaml").read_text("utf-8")


@dataclass(frozen=True, slots=True)
class Standing:
    """A stack as it is."""

    identity: str
    """Its ARN, under which it is found even when it is gone."""
    state: str
    reason: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def moves(self) -> bool:
        """Whether CloudFormation is at work on it."""
        return self.state.endswith("_IN_PROGRESS") and self.state != "REVIEW_IN_PROGRESS"


@dataclass(frozen=True, slots=True)
class Change:
    """What would become of one resource."""

    action: str
    """Add, Modify, Remove."""
    resource: str
    type: str
    replacement: str
    """True, False, Conditional; empty for what is new or goes."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A change set that waits to be executed."""

    name: str
    creates: bool
    changes: tuple[Change, ...]


class Stack:
    """A stack of our template, by name."""

    def __init__(self, orders: Orders, name: str, tell: Tell) -> None:
        self.name = name
        self._orders = orders
        self._tell = tell
        self._seen: set[str] = set()

    def standing(self, identity: str | None = None) -> Standing | None:
        """How it stands; None if there is none. Raises StackForeign."""
        try:
            found = self._order("DescribeStacks", expected={_MISSING}, StackName=identity or self.name)
        except Expected:
            return None
        one = found["Stacks"][0]
        parameters = _pairs(one, "Parameters", "ParameterKey", "ParameterValue")
        if not parameters.keys() >= _OURS and one["StackStatus"] not in _BARE:
            raise StackForeign(stack=self.name, output="CodeKey")
        return Standing(
            one["StackId"],
            one["StackStatus"],
            one.get("StackStatusReason", ""),
            parameters,
            _pairs(one, "Outputs", "OutputKey", "OutputValue"),
            _pairs(one, "Tags", "Key", "Value"),
        )

    def plan(
        self, standing: Standing | None, parameters: Mapping[str, str], tags: Mapping[str, str]
    ) -> Plan | None:
        """What would change; None if nothing would. What ``parameters`` does not name stays as it is."""
        name = f"{_PLAN}{time.time_ns():x}"
        known = {} if standing is None else standing.parameters
        rows: list[dict[str, object]] = [
            {"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()
        ]
        rows += [
            {"ParameterKey": key, "UsePreviousValue": True}
            for key in known
            if key not in parameters and key in _declared()
        ]
        mine = {**({} if standing is None else standing.tags), **tags, "keyborn:stack": self.name}
        which: dict[str, Any] = {"StackName": self.name, "ChangeSetName": name}
        self._order(
            "CreateChangeSet",
            **which,
            ChangeSetType="CREATE" if standing is None else "UPDATE",
            TemplateBody=template(),
            Parameters=rows,
            Capabilities=["CAPABILITY_IAM"],
            Tags=[{"Key": key, "Value": value} for key, value in sorted(mine.items())],
        )
        plan = Plan(name, standing is None, ())
        state, reason = self._made(which)
        if state == "CREATE_COMPLETE":
            return Plan(name, plan.creates, tuple(self._changes(which)))
        self.discard(plan)
        if any(words in reason for words in NOTHING):
            return None
        raise StackFailed(stack=self.name, resource="its change set", reason=reason.rstrip("."), state=state)

    def _made(self, which: Mapping[str, Any]) -> tuple[str, str]:
        for _ in self._beats():
            found = self._order("DescribeChangeSet", **which)
            if not found["Status"].endswith(("_IN_PROGRESS", "_PENDING")):
                break
        return found["Status"], found.get("StatusReason", "")

    def _changes(self, which: Mapping[str, Any]) -> Iterator[Change]:
        for one in self._orders.pages("cloudformation", "DescribeChangeSet", "Changes", **which):
            change = one["ResourceChange"]
            yield Change(
                change["Action"],
                change["LogicalResourceId"],
                change["ResourceType"],
                change.get("Replacement", ""),
            )

    def discard(self, plan: Plan) -> None:
        """Forget a plan; of a stack that would have been new, nothing is left."""
        self._order("DeleteChangeSet", StackName=self.name, ChangeSetName=plan.name)
        if plan.creates and not self.plans():
            self.delete_leftover()

    def plans(self) -> list[str]:
        """The names of all change sets of the stack, whoever made them."""
        which: dict[str, Any] = {"StackName": self.name, "expected": {_MISSING}}
        try:
            found = list(self._orders.pages("cloudformation", "ListChangeSets", "Summaries", **which))
        except Expected:
            return []
        return [one["ChangeSetName"] for one in found]

    def delete_leftover(self) -> None:
        """Remove a stack that was never made, or whose making was undone: it holds nothing.

        Somebody else may have made it meanwhile: then it stays.
        """
        standing = self.standing()
        if standing is not None and standing.state in _NEVER_MADE:
            self._order("DeleteStack", StackName=standing.identity)
            self._watch(standing.identity, "DELETE_COMPLETE", quiet=True)

    def apply(self, plan: Plan) -> Standing:
        """Execute a plan and wait for its end. Raises StackFailed with the first cause, StackSlow."""
        standing = self.standing()
        identity = self.name if standing is None else standing.identity
        self._skip_old(identity)
        which = {"StackName": self.name, "ChangeSetName": plan.name}
        try:
            self._order("ExecuteChangeSet", expected=_OVERTAKEN, **which)
        except Expected:
            now = self.standing(identity)
            state = "unknown" if now is None else now.state
            raise StackFailed(
                stack=self.name, resource="its change set", reason=_OTHERS, state=state
            ) from None
        return self._watch(identity, "CREATE_COMPLETE" if plan.creates else "UPDATE_COMPLETE")

    def settled(self) -> Standing | None:
        """How it stands once CloudFormation has ended what it is at, if it is at work. Raises StackSlow."""
        standing = self.standing()
        if standing is None or not standing.moves:
            return standing
        self._tell(f"{self.name} is being worked on ({standing.state}); waiting for the end of that.")
        self._skip_old(standing.identity)
        return self._end(standing.identity, quiet=False)[0]

    def delete(self) -> None:
        """Delete it and wait. Raises StackFailed, StackSlow."""
        standing = self.standing()
        if standing is None:
            return
        self._skip_old(standing.identity)
        self._order("DeleteStack", StackName=standing.identity)
        self._watch(standing.identity, "DELETE_COMPLETE")

    def resources(self) -> dict[str, tuple[str, str]]:
        """Physical id and state of every resource, by its name in the template."""
        try:
            found = self._order("DescribeStackResources", expected={_MISSING}, StackName=self.name)
        except Expected:
            return {}
        return {
            one["LogicalResourceId"]: (one.get("PhysicalResourceId", ""), one["ResourceStatus"])
            for one in found["StackResources"]
        }

    # ── watching ──────────────────────────────────────────────────────────────────────────────────────

    def _watch(self, identity: str, wanted: str, *, quiet: bool = False) -> Standing:
        standing, cause = self._end(identity, quiet=quiet)
        if standing.state != wanted:
            resource, reason = cause or (self.name, standing.reason or "CloudFormation gives no reason")
            raise StackFailed(
                stack=self.name, resource=resource, reason=reason.rstrip(". "), state=standing.state
            )
        return standing

    def _end(self, identity: str, *, quiet: bool) -> tuple[Standing, tuple[str, str] | None]:
        """Wait until it rests; how it stands then, and which resource failed first, and why."""
        cause: tuple[str, str] | None = None
        standing = Standing(identity, "DELETE_COMPLETE")
        for _ in self._beats():
            # None: it is gone, and forgotten already.
            standing = self.standing(identity) or Standing(identity, "DELETE_COMPLETE")
            for event in self._news(identity):
                cause = cause or self._cause(event)
                if not quiet and _tells(event):
                    self._tell(_line(event))
            if not standing.moves:
                break
        return standing, cause

    def _cause(self, event: Mapping[str, Any]) -> tuple[str, str] | None:
        reason = event.get("ResourceStatusReason", "")
        whole = event["LogicalResourceId"] == self.name
        if whole or not _FAILED.fullmatch(event["ResourceStatus"]) or _CONSEQUENCE.search(reason):
            return None
        return event["LogicalResourceId"], reason

    def _skip_old(self, identity: str) -> None:
        self._seen |= {event["EventId"] for event in self._events(identity)}

    def _news(self, identity: str) -> Sequence[Mapping[str, Any]]:
        """Events that have not been seen, oldest first."""
        fresh = [event for event in self._events(identity) if event["EventId"] not in self._seen]
        self._seen |= {event["EventId"] for event in fresh}
        return fresh[::-1]

    def _events(self, identity: str) -> Sequence[Mapping[str, Any]]:
        """The newest hundred: more do not come between two looks."""
        try:
            found = self._order("DescribeStackEvents", expected={_MISSING}, StackName=identity)
        except Expected:
            return []
        events: Sequence[Mapping[str, Any]] = found["StackEvents"]
        return events

    def _beats(self) -> Iterator[None]:
        """The looks of one wait, slower and slower; raises StackSlow when it is too long."""
        until, pause = time.monotonic() + MINUTES * 60, _BEAT
        while time.monotonic() < until:
            yield
            time.sleep(pause)
            pause = min(_LONGEST_BEAT, pause * 1.5)
        raise StackSlow(stack=self.name, minutes=MINUTES)

    def _order(self, operation: str, **parameters: Any) -> Mapping[str, Any]:  # noqa: ANN401 - as botocore takes them
        return self._orders.ask("cloudformation", operation, **parameters)


def ready(stack: Stack, tell: Tell) -> Standing | None:
    """The stack in a state to plan from; None if it is to be made. Clears away what never became one.

    Raises StackNotReady, StackForeign, StackSlow.
    """
    standing = stack.settled()
    if standing is None or standing.state == "DELETE_COMPLETE":
        return None
    if standing.state == "REVIEW_IN_PROGRESS":
        plans = stack.plans()
        if not all(name.startswith(_PLAN) for name in plans):
            raise StackNotReady(stack=stack.name, state=standing.state, remedy=_SOMEBODYS)
        if not plans:
            return None  # a name and nothing else, whoever took it: a plan is made for that
    if standing.state in _NEVER_MADE:
        tell(f"{stack.name} was begun before and did not become a stack ({standing.state}); clearing that.")
        stack.delete_leftover()
        return None
    if standing.state not in _GOOD:
        raise StackNotReady(stack=stack.name, state=standing.state, remedy=_remedy(standing.state))
    return standing


_GOOD = frozenset({"CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE"})
_NEVER_MADE = frozenset({"REVIEW_IN_PROGRESS", "ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED"})


_SOMEBODYS = (
    "It has a change set that is not Keyborn's: somebody is about to make another stack of this name. Choose "
    "another name with --stack, or delete that stack in CloudFormation's console."
)


def _remedy(state: str) -> str:
    if state == "DELETE_FAILED":
        return "Its removal has begun: complete it with keyborn aws destroy, then deploy."
    return "Open it in CloudFormation's console, choose to continue the rollback, then repeat the command."


def _declared() -> frozenset[str]:
    """The names of the template's parameters."""
    text = template()
    block = text[text.index("\nParameters:") : text.index("\nConditions:")]
    return frozenset(re.findall(r"^  (\w+):$", block, re.MULTILINE))


def _pairs(one: Mapping[str, Any], member: str, key: str, value: str) -> dict[str, str]:
    return {row[key]: row.get(value, "") for row in one.get(member) or ()}


def _tells(event: Mapping[str, Any]) -> bool:
    """Whether a person wants to read it: how each resource ended, and every word about the stack itself."""
    whole = event["ResourceType"] == "AWS::CloudFormation::Stack"
    return whole or not event["ResourceStatus"].endswith("_IN_PROGRESS")


def _line(event: Mapping[str, Any]) -> str:
    """``CREATE_COMPLETE       AWS::DynamoDB::Table  Table``, and why, if it failed."""
    state, reason = event["ResourceStatus"], event.get("ResourceStatusReason", "")
    why = f"  {reason}" if reason and _FAILED.fullmatch(state) else ""
    return f"{state:<20}  {event['ResourceType']:<32}  {event['LogicalResourceId']}{why}"
