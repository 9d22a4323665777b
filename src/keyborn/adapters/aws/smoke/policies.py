"""Checks of policies in AWS IoT."""

import json
from collections.abc import Mapping

from keyborn.adapters.aws.smoke.certificates import GONE
from keyborn.adapters.aws.smoke.check import Check, Differs, Holds, Verdict, check, holds_if
from keyborn.adapters.aws.smoke.lab import Lab, Refused, Specimen

_THERE = "ResourceAlreadyExistsException"
_MOST_CHARACTERS, _MOST_POLICIES, _MOST_VERSIONS = 2048, 10, 5


def document(*statements: Mapping[str, object]) -> str:
    """A policy's text."""
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def _nothing(lab: Lab, sid: str = "Nothing") -> str:
    """A policy's text that gives nobody anything."""
    arn = f"{lab.outputs.iot_arn}:topic/{lab.name('nothing')}"
    return document({"Sid": sid, "Effect": "Deny", "Action": "iot:Publish", "Resource": arn})


def _long(lab: Lab) -> str:
    """One that is longer than the limit, white space not counted; nothing in it is long by itself."""
    resources: list[str] = []
    while True:
        statement = {"Effect": "Deny", "Action": "iot:Publish", "Resource": resources}
        text = document(statement)
        if len(text.replace(" ", "")) > _MOST_CHARACTERS:
            return text
        resources.append(f"{lab.outputs.iot_arn}:topic/{lab.name('nothing')}/{len(resources)}")


def _policy(lab: Lab) -> str:
    return lab.shared("policy", lambda: lab.policy("nothing", _nothing(lab)))


def _holder(lab: Lab) -> Specimen:
    """A certificate for policies; it stays inactive."""
    return lab.shared("holder", lambda: lab.certificate("holder"))


def _seen(refused: Refused | None) -> str:
    return refused.short if refused else "accepted"


@check(
    "policy-repeat",
    "CreatePolicy of a name that is there is refused with ResourceAlreadyExistsException, the same text too.",
    relied="adapters.aws.iot.put_policy (looks at the text then, and makes a new version if it is another)",
    means="A policy that is put again fails, or is overwritten without a version.",
)
def _policy_repeat(lab: Lab) -> Verdict:
    name = _policy(lab)
    refused = lab.refusal("iot", "CreatePolicy", policyName=name, policyDocument=_nothing(lab))
    return holds_if(refused and refused.code == _THERE, _seen(refused))


@check(
    "policy-text",
    "GetPolicy gives back the very text that was put.",
    relied="adapters.aws.iot.put_policy (compares it, to make no version without need)",
    means="Every deploy makes a new version of the default policy.",
)
def _policy_text(lab: Lab) -> Verdict:
    # Spaces, line ends and an order of members that no program would choose.
    text = (
        '{ "Statement": [\n'
        + _nothing(lab).partition("[")[2].partition("]")[0]
        + '],\n"Version": "2012-10-17" }'
    )
    name = lab.policy("text", text)
    same = lab.ask("iot", "GetPolicy", policyName=name)["policyDocument"] == text
    return holds_if(same, "the same text" if same else "another text")


@check(
    "policy-length",
    "A policy of more than 2,048 characters is refused.",
    relied="domain.access_policy.document.MAX_DOCUMENT",
    means="Keyborn refuses policies that AWS IoT would take.",
    remedy="Nothing: shorter policies are what devices are sent.",
)
def _policy_length(lab: Lab) -> Verdict:
    text = _long(lab)
    try:
        lab.policy("long", text)
    except Refused as refused:
        return Holds(_seen(refused))
    return Differs(f"{len(text)} characters were accepted")


@check(
    "policy-versions",
    "A policy has five versions; a sixth is refused with VersionsLimitExceededException.",
    relied="adapters.aws.iot.put_policy (removes the oldest one then)",
    means="A policy can be changed four times, and then no more.",
)
def _policy_versions(lab: Lab) -> Verdict:
    name = lab.policy("versions", _nothing(lab, "V1"))
    for number in range(2, _MOST_VERSIONS + 2):
        text = _nothing(lab, f"V{number}")
        refused = lab.refusal("iot", "CreatePolicyVersion", policyName=name, policyDocument=text)
        if refused:
            right = number > _MOST_VERSIONS and refused.code == "VersionsLimitExceededException"
            return holds_if(right, f"version {number}: {refused.short}")
    return Differs(f"{_MOST_VERSIONS + 1} versions were accepted")


@check(
    "attach-policy-repeat",
    "AttachPolicy and DetachPolicy repeated succeed, or the second detaching finds nothing.",
    relied="adapters.aws.iot.attach_policy, detach_policy (an interrupted enrolment does it again)",
    means="An enrolment that was interrupted cannot be taken up again.",
)
def _attach_policy_repeat(lab: Lab) -> Verdict:
    call = {"policyName": _policy(lab), "target": _holder(lab).arn}
    lab.ask("iot", "AttachPolicy", **call)
    again = lab.refusal("iot", "AttachPolicy", **call)
    lab.ask("iot", "DetachPolicy", **call)
    off = lab.refusal("iot", "DetachPolicy", **call)
    right = again is None and (off is None or off.code == GONE)
    return holds_if(right, f"attach: {_seen(again)}; detach: {_seen(off)}")


@check(
    "attach-policy-missing",
    "AttachPolicy of a policy that is not there is refused with ResourceNotFoundException.",
    relied="adapters.aws.registry (an enrolment with such a policy fails and says so)",
    means="A device may be enrolled without the rights that its token names.",
)
def _attach_policy_missing(lab: Lab) -> Verdict:
    refused = lab.refusal("iot", "AttachPolicy", policyName=lab.name("nobody"), target=_holder(lab).arn)
    return holds_if(refused and refused.code == GONE, _seen(refused))


@check(
    "policies-per-certificate",
    "A certificate takes ten policies; the eleventh is refused with LimitExceededException.",
    relied="domain.access_policy.attaching (the same limit), adapters.aws.errors.QUOTAS",
    means="Keyborn refuses what AWS IoT would take, or the other way round: then an order fails half way.",
)
def _policies_per_certificate(lab: Lab) -> Verdict:
    target = lab.certificate("many").arn
    for number in range(1, _MOST_POLICIES + 2):
        name = lab.policy(f"many-{number}", _nothing(lab))
        refused = lab.refusal("iot", "AttachPolicy", policyName=name, target=target)
        if refused:
            right = number > _MOST_POLICIES and refused.code == "LimitExceededException"
            return holds_if(right, f"number {number}: {refused.short}")
    return Differs(f"{_MOST_POLICIES + 1} were accepted")


CHECKS: tuple[Check, ...] = (
    _policy_repeat,
    _policy_text,
    _policy_length,
    _policy_versions,
    _attach_policy_repeat,
    _attach_policy_missing,
    _policies_per_certificate,
)
