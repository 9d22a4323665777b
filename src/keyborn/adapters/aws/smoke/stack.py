"""Checks of the stack: its roles, the account's quotas, its functions, its door."""

import re
import ssl
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from http.client import HTTPException
from typing import Any

from keyborn.adapters.aws.errors import THROTTLED
from keyborn.adapters.aws.smoke.check import Check, Differs, Holds, NotDecided, Verdict, check, holds_if
from keyborn.adapters.aws.smoke.lab import Lab, Refused, Undecided

_PER_ENROLLMENT = (
    "CreateCertificateFromCsr",
    "CreateThing",
    "AttachPolicy",
    "AttachThingPrincipal",
    "UpdateCertificate",
)
"""Calls that every enrolment makes once."""
_CONCURRENT = 100
_SKEW = 30.0
_LARGE = 7 << 20
_MOST_REQUESTS = 1000
_THREADS = 16
_TOO_MANY = 429


# ── roles ─────────────────────────────────────────────────────────────────────────────────────────────


def _simulate(lab: Lab, role: str, cases: Mapping[str, str]) -> dict[str, str]:
    """What IAM decides for a role about actions, each on its resource, such as ``implicitDeny``."""
    partition, account = lab.outputs.iot_arn.split(":")[1], lab.outputs.account
    decided = {}
    for action, resource in cases.items():
        answer = lab.ask(
            "iam",
            "SimulatePrincipalPolicy",
            PolicySourceArn=f"arn:{partition}:iam::{account}:role/{role}",
            ActionNames=[action],
            ResourceArns=[resource],
        )
        decided[action] = str(answer["EvaluationResults"][0]["EvalDecision"])
    return decided


def _compare(lab: Lab, role: str, may: Mapping[str, str], may_not: Mapping[str, str]) -> Verdict:
    if not role:
        raise Undecided("the stack does not tell its roles")
    wrong = [f"{one} {word}" for one, word in _simulate(lab, role, may).items() if word != "allowed"]
    wrong += [f"{one} allowed" for one, word in _simulate(lab, role, may_not).items() if word == "allowed"]
    return Differs("; ".join(wrong)) if wrong else Holds(f"{len(may)} allowed, {len(may_not)} denied")


@check(
    "enroll-role",
    "The enrolment function's role may do its work on the narrow resources of the template, and no more.",
    relied="adapters/aws/stack/template.yaml (EnrollRole)",
    means="Enrolments fail with aws_refused, or the function has rights that it should not have.",
    remedy="Look for other policies on the role, a permissions boundary or a policy of the organization.",
)
def _enroll_role(lab: Lab) -> Verdict:
    arn = lab.outputs.iot_arn
    certificate, thing = f"{arn}:cert/{'0' * 64}", f"{arn}:thing/{lab.name('nobody')}"
    may = {
        "iot:CreateCertificateFromCsr": "*",
        "iot:AttachThingPrincipal": "*",
        "iot:AttachPolicy": certificate,
        "iot:DetachPolicy": certificate,
        "iot:UpdateCertificate": certificate,
        "iot:CreateThing": thing,
    }
    may_not = {
        "iot:DeleteCertificate": certificate,
        "iot:DeleteThing": thing,
        "iot:CreatePolicy": f"{arn}:policy/{lab.name('nobody')}",
        "iot:Publish": f"{arn}:topic/{lab.name('nobody')}",
    }
    return _compare(lab, lab.outputs.enroll_role, may, may_not)


@check(
    "sweep-role",
    "The sweeper's role may do its work on the narrow resources of the template, and no more.",
    relied="adapters/aws/stack/template.yaml (SweepRole)",
    means="What crashed enrolments left stays, and so do the sessions of revoked devices.",
    remedy="Look for other policies on the role, a permissions boundary or a policy of the organization.",
)
def _sweep_role(lab: Lab) -> Verdict:
    arn = lab.outputs.iot_arn
    certificate, nobody = f"{arn}:cert/{'0' * 64}", lab.name("nobody")
    may = {
        "iot:ListCertificates": "*",
        "iot:DeleteCertificate": certificate,
        "iot:ListAttachedPolicies": certificate,
        "iot:DeleteThing": f"{arn}:thing/{nobody}",
        "iot:DeleteConnection": f"{arn}:client/{nobody}",
    }
    may_not = {
        "iot:CreateCertificateFromCsr": "*",
        "iot:CreatePolicy": f"{arn}:policy/{nobody}",
        "iot:Publish": f"{arn}:topic/{nobody}",
    }
    return _compare(lab, lab.outputs.sweep_role, may, may_not)


# ── quotas ────────────────────────────────────────────────────────────────────────────────────────────


@check(
    "iot-quotas",
    "The account's quotas for the calls of an enrolment are above the stack's EnrollmentsPerSecond.",
    relied="service.quota, adapters.aws.admission",
    means="When a fleet comes at once, AWS throttles enrolments that Keyborn has let in.",
    remedy="Deploy with --enrollments-per-second below the smallest of them, or have them raised.",
)
def _iot_quotas(lab: Lab) -> Verdict:
    found: dict[str, float] = {}
    for one in _quotas(lab, "iotcore"):
        words = set(re.findall(r"\w+", one["QuotaName"]))
        if "MQTT" not in words:  # those are of AWS's own provisioning
            found |= {call: float(one["Value"]) for call in _PER_ENROLLMENT if call in words}
    if not found:
        return NotDecided("none of the account's quotas is named after a call of an enrolment")
    rate = lab.outputs.enrollments_per_second
    least = min(found, key=lambda call: found[call])
    seen = ", ".join(f"{call} {value:g}" for call, value in sorted(found.items()))
    return holds_if(found[least] >= rate, f"{seen}; the stack admits {rate:g} a second")


def _quotas(lab: Lab, service: str) -> Iterator[Mapping[str, Any]]:
    begin: dict[str, str] = {}
    while True:
        answer = lab.ask("service-quotas", "ListServiceQuotas", ServiceCode=service, MaxResults=100, **begin)
        yield from answer["Quotas"]
        if not answer.get("NextToken"):
            return
        begin = {"NextToken": answer["NextToken"]}


@check(
    "concurrency",
    "The account lets at least a hundred functions run at once.",
    relied="adapters.aws.admission (a fleet that waits in line asks often), docs/adr/0015",
    means="API Gateway refuses requests beyond that, without Retry-After; devices come again by themselves.",
    remedy="Have the quota for concurrent executions of Lambda raised; it costs nothing.",
)
def _concurrency(lab: Lab) -> Verdict:
    limit = lab.ask("lambda", "GetAccountSettings")["AccountLimit"]
    free = int(limit.get("UnreservedConcurrentExecutions", limit["ConcurrentExecutions"]))
    return holds_if(free >= _CONCURRENT, f"{free} not reserved, of {limit['ConcurrentExecutions']}")


@check(
    "function",
    "The enrolment function runs as it was deployed: its code, its memory, 15 seconds, a Python we support.",
    relied="adapters/aws/stack/template.yaml, adapters.aws.registry.LEASE (longer than the function's limit)",
    means="Two processes may work at one enrolment at the same time.",
    remedy="Bring the stack up to date with: keyborn aws deploy",
)
def _function(lab: Lab) -> Verdict:
    if not lab.outputs.enroll_function:
        raise Undecided("the stack does not tell its functions")
    found = lab.ask("lambda", "GetFunctionConfiguration", FunctionName=lab.outputs.enroll_function)
    seconds, runtime = int(found["Timeout"]), str(found["Runtime"])
    architecture = "/".join(found.get("Architectures", ["x86_64"]))
    seen = f"{runtime}, {architecture}, {found['MemorySize']} MB, {seconds} s"
    return holds_if(seconds <= 15 and re.fullmatch(r"python3\.1[1-9]", runtime), seen)  # noqa: PLR2004 - as it says


@check(
    "throttling",
    "Too many calls are refused with an error that Keyborn knows for throttling.",
    relied="adapters.aws.errors.THROTTLED",
    means="Enrolments that meet a quota are refused for good, when they should wait.",
    burst=True,
)
def _throttling(lab: Lab) -> Verdict:
    ends: Counter[str] = Counter()

    def _one(_number: int) -> Refused | None:
        try:
            lab.once("iot", "DescribeEndpoint", endpointType="iot:Data-ATS")
        except Refused as refused:
            return refused
        return None

    for _ in range(-(-lab.pace.burst // _THREADS)):
        for refused in lab.together(_THREADS, _one):
            ends[refused.short if refused else "answered"] += 1
    unknown = [end for end in ends if end != "answered" and end.partition(" ")[0] not in THROTTLED]
    seen = ", ".join(f"{count} {end}" for end, count in sorted(ends.items()))
    if set(ends) == {"answered"}:
        return NotDecided(f"all of {ends.total()} calls were answered")
    return holds_if(not unknown, seen)


# ── the door ──────────────────────────────────────────────────────────────────────────────────────────


def _request(lab: Lab, path: str, body: bytes | None = None) -> tuple[int, str, str]:
    """Status, content type and the beginning of the answer. Raises Undecided."""
    headers = {"Content-Type": "application/json"} if body is not None else {}
    request = urllib.request.Request(lab.outputs.url + path, body, headers)  # noqa: S310 - the stack's own https URL
    try:
        with urllib.request.urlopen(request, timeout=30, context=_context(lab)) as answer:  # noqa: S310 - as above
            return answer.status, answer.headers.get_content_type(), answer.read(200).decode(errors="replace")
    except urllib.error.HTTPError as refused:
        with refused:
            text = refused.read(200).decode(errors="replace")
            return refused.code, refused.headers.get_content_type(), text
    except (OSError, HTTPException) as error:
        raise Undecided(f"the stack's URL cannot be reached ({getattr(error, 'reason', error)})") from error


def _context(lab: Lab) -> ssl.SSLContext:
    """A domain with a private root is asked without looking at its certificate: nothing secret is sent."""
    context = ssl.create_default_context()
    if lab.outputs.root_fingerprint:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


@check(
    "door",
    "The stack's door answers, without a function that fails.",
    relied="http.lambda_handler",
    means="No device can enrol.",
    remedy="Look at /readyz and at the enrolment function's log.",
)
def _door(lab: Lab) -> Verdict:
    status, _, text = _request(lab, "/readyz")
    return holds_if(status == 200, f"/readyz: {status} {text.strip()[:80]}")  # noqa: PLR2004 - HTTP's


@check(
    "unknown-route",
    "A path that has no route is answered 404 by API Gateway itself.",
    relied="adapters/aws/stack/template.yaml (no function runs for what no route names)",
    means="Anybody can make the function run with any path.",
)
def _unknown_route(lab: Lab) -> Verdict:
    status, kind, text = _request(lab, "/" + lab.name("nowhere"))
    # Keyborn's own answers to errors are problem documents.
    ours = kind == "application/problem+json"
    return holds_if(status == 404 and not ours, f"{status} {kind} {text.strip()[:60]}")  # noqa: PLR2004 - HTTP's


@check(
    "oversize-body",
    "A body that is too large for Keyborn or for Lambda is answered 413, and never with a 5xx.",
    relied="http.guards.MAX_BODY, device.https (413 is not repeated)",
    means="A device that sends too much is told to come again, and does for ever.",
)
def _oversize_body(lab: Lab) -> Verdict:
    ours, _, text = _request(lab, "/v1/enroll", b"x" * (64 << 10))
    theirs, _, _ = _request(lab, "/v1/enroll", b"x" * _LARGE)
    # Who does not say who he is, is told so before the body is looked at.
    right = ours in {401, 413} and theirs == 413  # noqa: PLR2004 - HTTP's
    return holds_if(right, f"64 KiB: {ours} {text.strip()[:60]}; 7 MiB: {theirs}")


@check(
    "stage-limits",
    "API Gateway's stage has the limits of the template.",
    relied="adapters/aws/stack/template.yaml (Stage), service.quota",
    means="A flood of requests reaches the functions, and costs money.",
    remedy="Bring the stack up to date with: keyborn aws deploy",
)
def _stage_limits(lab: Lab) -> Verdict:
    if not lab.outputs.api_id:
        raise Undecided("the stack does not tell its API")
    stage = lab.ask("apigatewayv2", "GetStage", ApiId=lab.outputs.api_id, StageName="$default")
    limits = stage.get("DefaultRouteSettings", {})
    rate, burst = limits.get("ThrottlingRateLimit"), limits.get("ThrottlingBurstLimit")
    return holds_if(rate and burst, f"{rate} a second, {burst} at once")


@check(
    "stage-throttling",
    "Beyond the stage's limits API Gateway answers 429.",
    relied="device.https (429 without Retry-After is tried again with back-off)",
    means="Devices take the refusal for another one.",
    burst=True,
)
def _stage_throttling(lab: Lab) -> Verdict:
    most = min(_MOST_REQUESTS, lab.pace.burst * 5)
    statuses: Counter[int] = Counter()
    while statuses.total() < most and _TOO_MANY not in statuses and time.monotonic() < lab.until:
        statuses.update(lab.together(_THREADS * 2, lambda _: _request(lab, "/healthz")[0]))
    seen = ", ".join(f"{count} times {status}" for status, count in sorted(statuses.items()))
    if set(statuses) == {200}:
        return NotDecided(f"all of {statuses.total()} requests were answered")
    return holds_if(set(statuses) <= {200, _TOO_MANY}, seen)


@check(
    "endpoint",
    "The account's MQTT endpoint is the one that the stack tells devices.",
    relied="adapters/aws/stack/template.yaml (MqttEndpoint)",
    means="Devices are sent to a broker that does not know them.",
    remedy="A custom domain of AWS IoT differs by right. Else deploy with --mqtt-endpoint ''.",
)
def _endpoint(lab: Lab) -> Verdict:
    found = str(lab.ask("iot", "DescribeEndpoint", endpointType="iot:Data-ATS")["endpointAddress"])
    return holds_if(found == lab.outputs.mqtt_host, found)


@check(
    "clock",
    "This machine's clock and that of AWS are less than half a minute apart.",
    relied="service.tokens (until when a token is valid), the times in this report",
    means="Tokens that this machine makes are valid from another moment on than it says.",
    remedy="Set this machine's clock, for example with NTP.",
)
def _clock(lab: Lab) -> Verdict:
    skew = lab.skew()
    return holds_if(abs(skew) <= _SKEW, f"{abs(skew):.1f} s {'ahead' if skew > 0 else 'behind'}")


CHECKS: tuple[Check, ...] = (
    _clock,
    _endpoint,
    _door,
    _unknown_route,
    _oversize_body,
    _stage_limits,
    _stage_throttling,
    _function,
    _concurrency,
    _iot_quotas,
    _throttling,
    _enroll_role,
    _sweep_role,
)
