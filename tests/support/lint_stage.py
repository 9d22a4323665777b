"""Policies for lint's tests: written in a few words, parsed by the real parser."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from keyborn.domain.access_policy.document import PolicyDocument
from keyborn.domain.access_policy.lint import Finding, lint
from keyborn.domain.access_policy.parse import parse_document

Words = str | Sequence[str]

ARN = "arn:aws:iot:*:*:"
NAME = "${iot:Connection.Thing.ThingName}"
CLIENT = "${iot:ClientId}"
COMMON_NAME = "${iot:Certificate.Subject.CommonName}"
SITE = "${iot:Connection.Thing.Attributes[site]}"
TYPE = "${iot:Connection.Thing.ThingTypeName}"
ATTACHED: dict[str, object] = {"Bool": {"iot:Connection.Thing.IsAttached": "true"}}
DETACHED: dict[str, object] = {"Bool": {"iot:Connection.Thing.IsAttached": "false"}}
WILLS: dict[str, object] = {
    "ForAllValues:StringEquals": {"iot:ConnectAttributes": ["PersistentConnect", "LastWill"]}
}


def allow(actions: Words, resources: Words, condition: Mapping[str, object] | None = None) -> dict[str, Any]:
    """An Allow: ``allow("Publish", "topic/a")``; resources without ``arn:`` get one."""
    return _statement("Allow", actions, resources, condition)


def deny(actions: Words, resources: Words, condition: Mapping[str, object] | None = None) -> dict[str, Any]:
    """A Deny, in the same words."""
    return _statement("Deny", actions, resources, condition)


def document(*statements: Mapping[str, object]) -> PolicyDocument:
    """The statements as an operator's document."""
    return parse_document(json.dumps({"Version": "2012-10-17", "Statement": list(statements)}))


def codes(*statements: Mapping[str, object]) -> list[str]:
    """What lint finds, by code, in its order."""
    return [each.code for each in lint(document(*statements))]


def only(code: str, findings: Iterable[Finding]) -> Finding:
    """The one finding with that code."""
    found = [each for each in findings if each.code == code]
    assert len(found) == 1, found
    return found[0]


def mended(written: PolicyDocument, finding: Finding) -> PolicyDocument:
    """The document with the finding's corrected statement in its place, as an operator would paste it."""
    assert finding.corrected is not None
    assert finding.statement is not None
    statements = json.loads(written.text)["Statement"]
    statements[finding.statement] = json.loads(finding.corrected)
    return document(*statements)


@dataclass(frozen=True)
class Trap:
    """A document with a trap, and what lint must say of it."""

    code: str
    statements: Sequence[Mapping[str, object]]
    corrected: Mapping[str, object] | None = None
    at: int | None = 0
    where: str = "Resource"
    error: bool = False
    says: str = ""
    with_others: frozenset[str] = frozenset()
    """Other codes that the same document rightly has."""

    @property
    def place(self) -> str:
        """What ``Finding.where`` must be."""
        if self.at is None:
            return "document"
        return f"statement {self.at + 1}" + (f", {self.where}" if self.where else "")


def _statement(
    effect: str, actions: Words, resources: Words, condition: Mapping[str, object] | None
) -> dict[str, Any]:
    written: dict[str, Any] = {
        "Effect": effect,
        "Action": _each(actions, "iot:", "iot:"),
        "Resource": _each(resources, ARN, "arn:"),
    }
    return written | {"Condition": dict(condition)} if condition else written


def _each(words: Words, prefix: str, unless: str) -> str | list[str]:
    whole = [each if each == "*" or each.startswith(unless) else prefix + each for each in _many(words)]
    return whole[0] if isinstance(words, str) else whole


def _many(words: Words) -> Sequence[str]:
    return [words] if isinstance(words, str) else words
