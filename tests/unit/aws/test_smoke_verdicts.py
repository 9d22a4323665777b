"""What each check says of an AWS that is otherwise than Keyborn assumes; the stand-in shows the rest."""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from support.smoke_world import (
    OUTPUTS,
    Answer,
    Authority,
    World,
    after,
    always,
    refused,
    refusing,
    silent,
    try_check,
)

LEAF = (x509.BasicConstraints(ca=False, path_length=None), True)
GONE = refusing("ResourceNotFoundException", 404)
THERE = refusing("ResourceAlreadyExistsException", 409)


def verdict(name: str, folder: Path, **answers: Any) -> tuple[str, str]:  # noqa: ANN401 - answers
    found = try_check(name, World(**answers), folder)
    return found.word, found.seen


# ── certificates ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "authority", "word", "seen"),
    [
        ("certificate-id", Authority(), "holds", "id "),
        ("certificate-id", Authority(id="f" * 64), "differs", "id ffffffffffff…"),
        (
            "certificate-dates",
            Authority(),
            "holds",
            "from 120 s before the answer until 2049-12-31T23:59:59Z",
        ),
        ("certificate-dates", Authority(begin=timedelta(0)), "differs", "from 0 s before"),
        ("certificate-dates", Authority(begin=timedelta(hours=-1)), "differs", "from 3600 s before"),
        (
            "certificate-dates",
            Authority(end=datetime(2030, 1, 1, tzinfo=UTC)),
            "differs",
            "until 2030-01-01T00:00:00Z",
        ),
        ("certificate-subject", Authority(), "holds", "CN=…-specimen, the same key"),
        (
            "certificate-subject",
            Authority(subject=x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "AWS IoT Certificate")])),
            "differs",
            "CN=AWS IoT Certificate, the same key",
        ),
        ("certificate-extensions", Authority(), "holds", "basicConstraints (critical), keyUsage (critical)"),
        ("certificate-extensions", Authority(extensions=()), "differs", "keyUsage (critical)"),
        ("certificate-extensions", Authority(usage=False), "differs", "basicConstraints (critical)"),
        (
            "certificate-extensions",
            Authority(extensions=(LEAF, (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False))),
            "differs",
            "extendedKeyUsage",
        ),
        (
            "certificate-extensions",
            Authority(extensions=((x509.BasicConstraints(ca=True, path_length=None), True),)),
            "differs",
            "basicConstraints",
        ),
        ("csr-repeat", Authority(), "holds", "another certificate"),
        ("csr-repeat", Authority(cache=True), "differs", "the same certificate"),
    ],
)
def test_a_certificate_is_compared_with_what_is_assumed_of_it(
    tmp_path: Path, name: str, authority: Authority, word: str, seen: str
) -> None:
    found = verdict(name, tmp_path, iot_CreateCertificateFromCsr=authority)
    assert found[0] == word
    assert seen in found[1]


@pytest.mark.parametrize(("status", "word"), [("INACTIVE", "holds"), ("ACTIVE", "differs")])
def test_a_certificate_that_is_born_active_differs(tmp_path: Path, status: str, word: str) -> None:
    described = always(certificateDescription={"status": status})
    assert verdict("certificate-inactive", tmp_path, iot_DescribeCertificate=described) == (
        word,
        f"status {status}",
    )


def test_a_status_that_cannot_be_repeated_differs(tmp_path: Path) -> None:
    update = after(3, always(), refusing("CertificateStateException", 406))
    assert verdict("status-repeat", tmp_path, iot_UpdateCertificate=update) == (
        "differs",
        "INACTIVE refused with CertificateStateException (HTTP 406)",
    )


@pytest.mark.parametrize(
    ("update", "seen"),
    [
        (always(), "accepted"),
        (
            after(1, always(), refusing("CertificateStateException", 406)),
            "refused with CertificateStateException (HTTP 406)",
        ),
    ],
)
def test_whether_a_revoked_certificate_can_be_activated_is_told_and_either_is_right(
    tmp_path: Path, update: Answer, seen: str
) -> None:
    world = World(iot_UpdateCertificate=update)
    found = try_check("revoked-to-active", world, tmp_path)
    assert (found.word, found.seen) == ("holds", seen)
    last = world.called("iot_UpdateCertificate")[-1]["newStatus"]
    assert last == ("REVOKED" if seen == "accepted" else "ACTIVE")


@pytest.mark.parametrize(
    ("answers", "word", "seen"),
    [
        (
            {"iot_UpdateCertificate": GONE, "iot_DeleteCertificate": GONE},
            "holds",
            "ResourceNotFoundException (HTTP 404), ResourceNotFoundException (HTTP 404)",
        ),
        ({"iot_UpdateCertificate": GONE}, "differs", "ResourceNotFoundException (HTTP 404), accepted"),
        (
            {"iot_UpdateCertificate": refusing("InvalidRequestException"), "iot_DeleteCertificate": GONE},
            "differs",
            "InvalidRequestException (HTTP 400), ResourceNotFoundException (HTTP 404)",
        ),
    ],
)
def test_another_error_for_a_certificate_that_is_not_there_differs(
    tmp_path: Path, answers: Mapping[str, Any], word: str, seen: str
) -> None:
    assert verdict("certificate-missing", tmp_path, **answers) == (word, seen)


@pytest.mark.parametrize(
    ("delete", "word"), [(always(), "differs"), (refusing("CertificateStateException", 406), "holds")]
)
def test_an_active_certificate_that_can_be_deleted_differs(tmp_path: Path, delete: Answer, word: str) -> None:
    assert verdict("delete-active", tmp_path, iot_DeleteCertificate=delete)[0] == word


def listing(*, newest_first: bool, after_calls: int = 0) -> dict[str, Any]:
    """AWS IoT with two older certificates; the new one is listed from a later call on."""
    authority, calls = Authority(), []

    def _list(**_: object) -> Mapping[str, Any]:
        calls.append(1)
        begun = datetime(2026, 1, 1, tzinfo=UTC)
        known = [{"certificateId": f"{one}" * 64, "creationDate": begun + timedelta(one)} for one in (1, 2)]
        if len(calls) > after_calls:
            new = [one["certificateId"] for one in authority.made.values()]
            known += [{"certificateId": one, "creationDate": begun + timedelta(9)} for one in new]
        return {"certificates": known[::-1] if newest_first else known}

    return {"iot_CreateCertificateFromCsr": authority, "iot_ListCertificates": _list}


def test_a_list_in_another_order_differs(tmp_path: Path) -> None:
    assert verdict("list-newest-first", tmp_path, **listing(newest_first=True))[0] == "holds"
    word, seen = verdict("list-newest-first", tmp_path, **listing(newest_first=False))
    assert (word, seen.split(", ")[1]) == ("differs", "in no such order")


@pytest.mark.parametrize(
    ("before", "word", "seen"),
    [(0, "holds", "0.0 s after the answer"), (4, "holds", "4.0 s before"), (9, "differs", "9.0 s before")],
)
def test_a_certificate_that_is_dated_long_before_its_request_differs(
    tmp_path: Path, before: int, word: str, seen: str
) -> None:
    authority = Authority()

    def _list(**_: object) -> Mapping[str, Any]:
        (one,) = authority.made.values()
        made = parsedate_to_datetime(one["ResponseMetadata"]["HTTPHeaders"]["date"])
        return {
            "certificates": [
                {"certificateId": one["certificateId"], "creationDate": made - timedelta(seconds=before)}
            ]
        }

    found = verdict("list-date", tmp_path, iot_CreateCertificateFromCsr=authority, iot_ListCertificates=_list)
    assert found[0] == word
    assert found[1].startswith(seen)


def test_without_a_date_nothing_is_decided_about_it(tmp_path: Path) -> None:
    nothing = always(certificates=[])
    assert verdict("list-date", tmp_path, iot_ListCertificates=nothing)[0] == "not decided"


def test_a_certificate_that_is_not_listed_in_time_differs(tmp_path: Path) -> None:
    found = verdict("list-newest-first", tmp_path, **listing(newest_first=True, after_calls=99))
    assert found == ("differs", "not on the first page of 2 after 0.05 s")


# ── things ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "answers", "word", "seen"),
    [
        ("thing-repeat", {}, "holds", "accepted"),
        ("thing-repeat", {"iot_CreateThing": after(1, always(), THERE)}, "differs", "(HTTP 409)"),
        ("thing-differs", {}, "differs", "accepted"),
        ("thing-differs", {"iot_CreateThing": after(1, always(), THERE)}, "holds", "(HTTP 409)"),
        (
            "thing-differs",
            {"iot_CreateThing": after(1, always(), refusing("ConflictException", 409))},
            "differs",
            "ConflictException (HTTP 409)",
        ),
        ("thing-type-differs", {}, "differs", "accepted"),
        ("thing-type-differs", {"iot_CreateThing": after(1, always(), THERE)}, "holds", "(HTTP 409)"),
        ("thing-attributes", {}, "differs", "fifty with the type, and four without"),
        (
            "thing-attributes",
            {"iot_CreateThing": after(1, always(), refusing("InvalidRequestException"))},
            "holds",
            "fifty with the type; four without: InvalidRequestException (HTTP 400)",
        ),
        (
            "thing-attributes",
            {"iot_CreateThing": refusing("InvalidRequestException")},
            "differs",
            "CreateThing was refused with InvalidRequestException (HTTP 400): no",
        ),
        (
            "thing-update",
            {"iot_DescribeThing": always(version=1, attributes={"keyborn.group": "b", "rack": "9"})},
            "holds",
            "",
        ),
        (
            "thing-update",
            {
                "iot_DescribeThing": always(
                    version=1, attributes={"keyborn.group": "b", "rack": "9", "site": "a"}
                )
            },
            "differs",
            "keyborn.group, rack, site",
        ),
        ("thing-update-version", {}, "differs", "it was updated"),
        (
            "thing-update-version",
            {"iot_UpdateThing": refusing("VersionConflictException", 409)},
            "holds",
            "VersionConflictException (HTTP 409)",
        ),
        ("attach-thing-repeat", {}, "holds", "accepted"),
        (
            "attach-thing-repeat",
            {"iot_AttachThingPrincipal": after(1, always(), refusing("InvalidRequestException"))},
            "differs",
            "InvalidRequestException",
        ),
        ("exclusive-thing", {}, "differs", "exclusively: accepted; plainly: accepted"),
        (
            "exclusive-thing",
            {"iot_AttachThingPrincipal": after(1, always(), refusing("InvalidRequestException"))},
            "holds",
            "exclusively: InvalidRequestException (HTTP 400); plainly: InvalidRequestException (HTTP 400)",
        ),
        (
            "exclusive-thing",
            {
                "iot_AttachThingPrincipal": lambda **given: (
                    refusing("InvalidRequestException")()
                    if given["thingName"].endswith("second") and "thingPrincipalType" in given
                    else {}
                )
            },
            "differs",
            "exclusively: InvalidRequestException (HTTP 400); plainly: accepted",
        ),
        ("delete-attached", {}, "differs", "certificate: accepted; thing: accepted"),
        (
            "delete-attached",
            {
                "iot_DeleteCertificate": refusing("DeleteConflictException", 409),
                "iot_DeleteThing": refusing("InvalidRequestException"),
            },
            "holds",
            "certificate: DeleteConflictException (HTTP 409); thing: InvalidRequestException (HTTP 400)",
        ),
        ("detach-thing-repeat", {}, "holds", "accepted"),
        (
            "detach-thing-repeat",
            {"iot_DetachThingPrincipal": after(1, always(), GONE)},
            "holds",
            "ResourceNotFoundException",
        ),
        (
            "detach-thing-repeat",
            {"iot_DetachThingPrincipal": after(1, always(), refusing("InvalidRequestException"))},
            "differs",
            "InvalidRequestException",
        ),
        (
            "delete-thing-late",
            {"iot_DeleteThing": after(1, refusing("InvalidRequestException"), always())},
            "holds",
            ", until then InvalidRequestException (HTTP 400)",
        ),
        ("delete-thing-late", {}, "holds", ", at once"),
        (
            "delete-thing-late",
            {"iot_DeleteThing": refusing("InvalidRequestException")},
            "differs",
            "not deleted after",
        ),
        ("delete-thing-missing", {}, "holds", "accepted"),
        (
            "delete-thing-missing",
            {"iot_DeleteThing": GONE},
            "differs",
            "ResourceNotFoundException (HTTP 404)",
        ),
        ("delete-thing-version", {}, "differs", "it was deleted"),
        (
            "delete-thing-version",
            {"iot_DeleteThing": refusing("VersionConflictException", 409)},
            "holds",
            "VersionConflictException (HTTP 409)",
        ),
    ],
)
def test_things_that_behave_otherwise_are_told(
    tmp_path: Path, name: str, answers: Mapping[str, Any], word: str, seen: str
) -> None:
    found = verdict(name, tmp_path, **answers)
    assert found[0] == word, found
    assert seen in found[1]


# ── policies ──────────────────────────────────────────────────────────────────────────────────────────


def texts(change: Callable[[str], str] = str) -> dict[str, Any]:
    """AWS IoT that keeps policies; ``change`` is what it makes of a text."""
    kept: dict[str, str] = {}

    def _create(policyName: str, policyDocument: str) -> Mapping[str, Any]:  # noqa: N803 - AWS's names
        kept[policyName] = change(policyDocument)
        return {}

    def _get(policyName: str) -> Mapping[str, Any]:  # noqa: N803 - as above
        return {"policyDocument": kept[policyName]}

    return {"iot_CreatePolicy": _create, "iot_GetPolicy": _get}


LIMIT = refusing("LimitExceededException", 410)
VERSIONS = refusing("VersionsLimitExceededException", 409)


@pytest.mark.parametrize(
    ("name", "answers", "word", "seen"),
    [
        ("policy-repeat", {}, "differs", "accepted"),
        ("policy-repeat", {"iot_CreatePolicy": after(1, always(), THERE)}, "holds", "(HTTP 409)"),
        ("policy-text", texts(), "holds", "the same text"),
        ("policy-text", texts(lambda text: text.replace("\n", "")), "differs", "another text"),
        ("policy-length", {}, "differs", "characters were accepted"),
        (
            "policy-length",
            {"iot_CreatePolicy": refusing("MalformedPolicyException")},
            "holds",
            "MalformedPolicyException (HTTP 400)",
        ),
        ("policy-versions", {}, "differs", "6 versions were accepted"),
        (
            "policy-versions",
            {"iot_CreatePolicyVersion": after(4, always(), VERSIONS)},
            "holds",
            "version 6: VersionsLimitExceededException (HTTP 409)",
        ),
        (
            "policy-versions",
            {"iot_CreatePolicyVersion": after(3, always(), VERSIONS)},
            "differs",
            "version 5: VersionsLimitExceededException (HTTP 409)",
        ),
        (
            "policy-versions",
            {"iot_CreatePolicyVersion": after(4, always(), LIMIT)},
            "differs",
            "version 6: Limit",
        ),
        ("attach-policy-repeat", {}, "holds", "attach: accepted; detach: accepted"),
        (
            "attach-policy-repeat",
            {"iot_DetachPolicy": after(1, always(), GONE)},
            "holds",
            "detach: ResourceNot",
        ),
        (
            "attach-policy-repeat",
            {"iot_AttachPolicy": after(1, always(), THERE)},
            "differs",
            "attach: Resource",
        ),
        (
            "attach-policy-repeat",
            {"iot_DetachPolicy": after(1, always(), THERE)},
            "differs",
            "detach: ResourceAl",
        ),
        ("attach-policy-missing", {}, "differs", "accepted"),
        ("attach-policy-missing", {"iot_AttachPolicy": GONE}, "holds", "ResourceNotFoundException"),
        ("policies-per-certificate", {}, "differs", "11 were accepted"),
        (
            "policies-per-certificate",
            {"iot_AttachPolicy": after(10, always(), LIMIT)},
            "holds",
            "number 11: LimitExceededException (HTTP 410)",
        ),
        (
            "policies-per-certificate",
            {"iot_AttachPolicy": after(5, always(), LIMIT)},
            "differs",
            "number 6: Limit",
        ),
        (
            "policies-per-certificate",
            {"iot_AttachPolicy": after(10, always(), THERE)},
            "differs",
            "number 11: Res",
        ),
    ],
)
def test_policies_that_behave_otherwise_are_told(
    tmp_path: Path, name: str, answers: Mapping[str, Any], word: str, seen: str
) -> None:
    found = verdict(name, tmp_path, **answers)
    assert found[0] == word, found
    assert seen in found[1]


def test_the_long_policy_is_long_even_without_its_white_space(tmp_path: Path) -> None:
    world = World()
    try_check("policy-length", world, tmp_path)
    (given,) = world.called("iot_CreatePolicy")
    assert 2048 < len(re.sub(r"\s", "", given["policyDocument"])) < 2200


# ── the table ─────────────────────────────────────────────────────────────────────────────────────────

OPEN = always(Table={"TableStatus": "ACTIVE"})
CANCELLED = "TransactionCanceledException"


def cancelled(*reasons: Mapping[str, Any]) -> Answer:
    def _cancel(**_: object) -> Mapping[str, Any]:
        raise refused(CANCELLED, CancellationReasons=list(reasons))

    return _cancel


def lost(value: str) -> Mapping[str, Any]:
    return {"Code": "ConditionalCheckFailed", "Item": {"value": {"S": value}}}


NONE = {"Code": "None"}
CONFLICT = {"Code": "TransactionConflict"}
THROTTLED = {"Code": "ThrottlingError"}


@pytest.mark.parametrize(
    ("name", "transact", "word", "seen"),
    [
        ("cancelled-hands-back", cancelled(lost("a"), NONE, lost("b")), "holds", "handed back: a, None, b"),
        (
            "cancelled-hands-back",
            cancelled({"Code": "ConditionalCheckFailed"}, NONE, NONE),
            "differs",
            "handed back: ConditionalCheckFailed, None, None",
        ),
        ("cancelled-hands-back", always(), "differs", "it was not cancelled"),
        ("request-token", always(), "differs", "the repeat succeeds; another one: accepted"),
        (
            "request-token",
            after(2, always(), refusing("IdempotentParameterMismatchException")),
            "holds",
            "another one: IdempotentParameterMismatchException (HTTP 400)",
        ),
        ("request-token", after(1, always(), cancelled(lost("1"))), "differs", "the repeat was cancelled"),
        ("write-conflicts", always(), "not decided", "none of 40 met another one"),
        (
            "write-conflicts",
            after(30, always(), cancelled(CONFLICT, NONE)),
            "holds",
            "10 TransactionConflict, 30 written",
        ),
        (
            "write-conflicts",
            after(30, always(), cancelled(THROTTLED, NONE)),
            "differs",
            "10 ThrottlingError, 30 written",
        ),
        ("check-conflicts", always(), "holds", "8 at once: 40 written"),
        (
            "check-conflicts",
            after(30, always(), cancelled(CONFLICT, NONE)),
            "holds",
            "10 TransactionConflict",
        ),
        (
            "check-conflicts",
            after(10, always(), cancelled(CONFLICT, NONE)),
            "differs",
            "30 TransactionConflict, 10 written",
        ),
        ("transaction-limit", always(), "differs", "100: accepted; 101: accepted"),
        (
            "transaction-limit",
            refusing("ValidationException"),
            "differs",
            "100: ValidationException (HTTP 400); 101: ",
        ),
        (
            "transaction-limit",
            after(1, always(), refusing("ValidationException")),
            "holds",
            "100: accepted; 101: Valid",
        ),
    ],
)
def test_transactions_that_behave_otherwise_are_told(
    tmp_path: Path, name: str, transact: Answer, word: str, seen: str
) -> None:
    found = verdict(name, tmp_path, dynamodb_DescribeTable=OPEN, dynamodb_TransactWriteItems=transact)
    assert found[0] == word, found
    assert seen in found[1]


def test_items_that_are_lost_or_too_large_are_told(tmp_path: Path) -> None:
    assert verdict("item-limit", tmp_path, dynamodb_DescribeTable=OPEN) == ("differs", "accepted")
    full = refusing("ValidationException")
    assert verdict("item-limit", tmp_path, dynamodb_DescribeTable=OPEN, dynamodb_PutItem=full)[0] == "holds"
    found = verdict("consistent-read", tmp_path, dynamodb_DescribeTable=OPEN)
    assert found == ("differs", "not found at the 1. time")
    there = always(Item={})
    read = {"dynamodb_DescribeTable": OPEN, "dynamodb_GetItem": there}
    assert verdict("consistent-read", tmp_path, **read) == ("holds", "found 5 times")


# ── the stack ─────────────────────────────────────────────────────────────────────────────────────────


def decide(**decisions: str) -> Answer:
    """IAM's simulator; what is not named is allowed, what a role should not do is not."""
    denied = {"iot:CreatePolicy", "iot:Publish"}

    def _simulate(ActionNames: list[str], PolicySourceArn: str, **_: object) -> Mapping[str, Any]:  # noqa: N803 - AWS's
        action = ActionNames[0]
        enroll = "EnrollRole" in PolicySourceArn
        not_its = {"iot:DeleteCertificate", "iot:DeleteThing"} if enroll else {"iot:CreateCertificateFromCsr"}
        usual = "implicitDeny" if action in denied | not_its else "allowed"
        return {"EvaluationResults": [{"EvalDecision": decisions.get(action.partition(":")[2], usual)}]}

    return _simulate


@pytest.mark.parametrize(
    ("name", "decisions", "word", "seen"),
    [
        ("enroll-role", {}, "holds", "6 allowed, 4 denied"),
        ("enroll-role", {"AttachPolicy": "implicitDeny"}, "differs", "iot:AttachPolicy implicitDeny"),
        ("enroll-role", {"DeleteThing": "allowed"}, "differs", "iot:DeleteThing allowed"),
        (
            "enroll-role",
            {"UpdateCertificate": "explicitDeny", "Publish": "allowed"},
            "differs",
            "iot:UpdateCertificate explicitDeny; iot:Publish allowed",
        ),
        ("sweep-role", {}, "holds", "5 allowed, 3 denied"),
        ("sweep-role", {"DeleteConnection": "implicitDeny"}, "differs", "iot:DeleteConnection implicitDeny"),
    ],
)
def test_roles_that_may_less_or_more_are_told(
    tmp_path: Path, name: str, decisions: Mapping[str, str], word: str, seen: str
) -> None:
    assert verdict(name, tmp_path, iam_SimulatePrincipalPolicy=decide(**decisions)) == (word, seen)


def quota(name: str, value: float) -> dict[str, Any]:
    return {"QuotaName": name, "Value": value}


def test_the_smallest_quota_of_an_enrolment_decides(tmp_path: Path) -> None:
    rows = [
        quota("Maximum UpdateCertificate requests per second", 10.0),
        quota("CreateThing API TPS", 100.0),
        quota("Fleet provisioning CreateThing MQTT API TPS", 1.0),
        quota("Something else", 1.0),
    ]
    enough = always(Quotas=rows)
    assert verdict("iot-quotas", tmp_path, service_quotas_ListServiceQuotas=enough) == (
        "holds",
        "CreateThing 100, UpdateCertificate 10; the stack admits 9.8 a second",
    )
    less = always(Quotas=[*rows, quota("AttachPolicy requests", 5.0)])
    assert verdict("iot-quotas", tmp_path, service_quotas_ListServiceQuotas=less)[0] == "differs"


def test_quotas_are_read_page_by_page_and_may_say_nothing(tmp_path: Path) -> None:
    pages = after(1, always(Quotas=[], NextToken="2"), always(Quotas=[quota("CreateThing", 50.0)]))
    world = World(service_quotas_ListServiceQuotas=pages)
    assert try_check("iot-quotas", world, tmp_path).seen.startswith("CreateThing 50;")
    assert [one.get("NextToken") for one in world.called("service_quotas_ListServiceQuotas")] == [None, "2"]
    nothing = always(Quotas=[quota("Rules per account", 1000.0)])
    assert verdict("iot-quotas", tmp_path, service_quotas_ListServiceQuotas=nothing)[0] == "not decided"


@pytest.mark.parametrize(
    ("limit", "word", "seen"),
    [
        (
            {"ConcurrentExecutions": 1000, "UnreservedConcurrentExecutions": 900},
            "holds",
            "900 not reserved, of 1000",
        ),
        ({"ConcurrentExecutions": 10}, "differs", "10 not reserved, of 10"),
        ({"ConcurrentExecutions": 1000, "UnreservedConcurrentExecutions": 99}, "differs", "99 not reserved"),
    ],
)
def test_an_account_with_few_functions_at_once_differs(
    tmp_path: Path, limit: Mapping[str, int], word: str, seen: str
) -> None:
    found = verdict("concurrency", tmp_path, lambda_GetAccountSettings=always(AccountLimit=limit))
    assert found[0] == word
    assert seen in found[1]


@pytest.mark.parametrize(
    ("seconds", "runtime", "word"),
    [(15, "python3.13", "holds"), (60, "python3.13", "differs"), (15, "python3.9", "differs")],
)
def test_a_function_that_was_changed_differs(tmp_path: Path, seconds: int, runtime: str, word: str) -> None:
    found = always(Timeout=seconds, Runtime=runtime, MemorySize=512, Architectures=["arm64"])
    assert verdict("function", tmp_path, lambda_GetFunctionConfiguration=found) == (
        word,
        f"{runtime}, arm64, 512 MB, {seconds} s",
    )


@pytest.mark.parametrize(
    ("describe", "word", "seen"),
    [
        (always(), "not decided", "all of 16 calls were answered"),
        (
            after(10, always(), refusing("ThrottlingException", 429)),
            "holds",
            "6 ThrottlingException (HTTP 429), 10 answered",
        ),
        (after(10, always(), refusing("SlowDown", 503)), "differs", "6 SlowDown (HTTP 503), 10 answered"),
    ],
)
def test_an_unknown_word_for_throttling_differs(
    tmp_path: Path, describe: Answer, word: str, seen: str
) -> None:
    assert verdict("throttling", tmp_path, iot_DescribeEndpoint=describe) == (word, seen)


def test_a_stage_without_limits_differs(tmp_path: Path) -> None:
    limits = {"ThrottlingRateLimit": 200.0, "ThrottlingBurstLimit": 400}
    found = verdict("stage-limits", tmp_path, apigatewayv2_GetStage=always(DefaultRouteSettings=limits))
    assert found == ("holds", "200.0 a second, 400 at once")
    assert verdict("stage-limits", tmp_path) == ("differs", "None a second, None at once")


def test_another_endpoint_differs(tmp_path: Path) -> None:
    same = always(endpointAddress=OUTPUTS.mqtt_host)
    assert verdict("endpoint", tmp_path, iot_DescribeEndpoint=same)[0] == "holds"
    other = always(endpointAddress="other.example")
    assert verdict("endpoint", tmp_path, iot_DescribeEndpoint=other) == ("differs", "other.example")


@pytest.mark.parametrize(("ahead", "word"), [(0, "holds"), (20, "holds"), (90, "differs"), (-300, "differs")])
def test_a_clock_that_is_wrong_differs(tmp_path: Path, ahead: int, word: str) -> None:
    now = format_datetime(datetime.now(UTC) - timedelta(seconds=ahead), usegmt=True)
    answer = always(ResponseMetadata={"HTTPHeaders": {"date": now}})
    found = verdict("clock", tmp_path, sts_GetCallerIdentity=answer)
    assert found[0] == word, found


def test_a_clock_cannot_be_compared_with_an_answer_without_a_date(tmp_path: Path) -> None:
    answer = always(ResponseMetadata={"HTTPHeaders": {}})
    found = verdict("clock", tmp_path, sts_GetCallerIdentity=answer)
    assert found == ("not decided", "the answer has no date")


@pytest.mark.parametrize(
    ("name", "less", "why"),
    [
        ("enroll-role", {"enroll_role": ""}, "the stack does not tell its roles"),
        ("function", {"enroll_function": ""}, "the stack does not tell its functions"),
        ("stage-limits", {"api_id": ""}, "the stack does not tell its API"),
        ("connect-443", {"mqtt_port": 8884}, "the stack's broker is on port 8884: it has no second one"),
    ],
)
def test_a_stack_that_does_not_say_it_leaves_a_check_undecided(
    tmp_path: Path, name: str, less: Mapping[str, Any], why: str
) -> None:
    found = try_check(name, World(), tmp_path, outputs=replace(OUTPUTS, **less))
    assert (found.word, found.seen) == ("not decided", why)


# ── what no check can help ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (refusing("AccessDeniedException", 403), "these credentials may not call iot:DescribeEndpoint"),
        (refusing("ExpiredTokenException", 403), "these credentials may not call iot:DescribeEndpoint"),
        (silent, "iot gave no answer (ReadTimeoutError)"),
        (refusing("UnknownOperationException", 404), "iot does not know the call DescribeEndpoint"),
        (refusing("404", 404), "iot does not know the call DescribeEndpoint"),
    ],
)
def test_where_nothing_can_be_asked_nothing_is_decided(tmp_path: Path, answer: Answer, why: str) -> None:
    assert verdict("endpoint", tmp_path, iot_DescribeEndpoint=answer) == ("not decided", why)


def test_an_unexpected_refusal_differs_and_says_what_it_means(tmp_path: Path) -> None:
    world = World(iot_DescribeEndpoint=refusing("InvalidRequestException", message="not\nso"))
    found = try_check("endpoint", world, tmp_path)
    assert found.word == "differs"
    assert found.seen.startswith("DescribeEndpoint was refused with InvalidRequestException (HTTP 400)")
    assert found.means == "A call that Keyborn relies on is refused."


def test_a_throttled_call_is_tried_again(tmp_path: Path) -> None:
    busy = after(1, refusing("ThrottlingException", 429), always(endpointAddress=OUTPUTS.mqtt_host))
    assert verdict("endpoint", tmp_path, iot_DescribeEndpoint=busy)[0] == "holds"
