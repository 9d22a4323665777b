"""Every error of AWS has one leaf and proves something or nothing; calls are bounded, repeats are safe."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from botocore import exceptions as boto
from botocore.exceptions import ClientError

from keyborn.adapters.aws.calls import Expected, Patience, Rounds, Service, within
from keyborn.adapters.aws.errors import (
    code_of,
    is_passing,
    is_throttled,
    proves_nothing_done,
    reasons_of,
    translate,
)
from keyborn.domain.errors import (
    AwsConflict,
    AwsOutage,
    AwsQuotaReached,
    AwsRefused,
    AwsThrottled,
    Unavailable,
)
from keyborn.http.problems import answer_problem

QUICK = Patience(whole=0.2, first=0.001, longest=0.004)
URL = "https://example.com"


def refusal(code: str, status: int = 400, reasons: tuple[str, ...] = ()) -> ClientError:
    """What botocore raises for an answer of AWS."""
    answer: dict[str, Any] = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    if reasons:
        answer["CancellationReasons"] = [{"Code": one} for one in reasons]
    return ClientError(answer, "Some")  # type: ignore[arg-type, unused-ignore] # a plain dict does


def cancelled(*reasons: str) -> ClientError:
    return refusal("TransactionCanceledException", reasons=reasons)


THROTTLED = [
    refusal("ThrottlingException"),
    refusal("ThrottlingException", 429),
    refusal("TooManyRequestsException", 429),
    refusal("ProvisionedThroughputExceededException"),
    refusal("RequestLimitExceeded"),
    cancelled("None", "ThrottlingError"),
    cancelled("ProvisionedThroughputExceeded"),
]
CONFLICTS = [
    refusal("TransactionConflictException"),
    refusal("ConflictingResourceUpdateException", 409),
    cancelled("None", "TransactionConflict", "None"),
]
SILENCES = [
    boto.ReadTimeoutError(endpoint_url=URL),
    boto.ConnectionClosedError(endpoint_url=URL),
    boto.SSLError(endpoint_url=URL, error="cut"),
    boto.HTTPClientError(error=OSError()),
]
OUTAGES = [
    refusal("InternalServerError", 500),
    refusal("InternalFailureException", 500),
    refusal("ServiceUnavailableException", 503),
    refusal("Unknown", 502),
    *SILENCES,
]
UNREACHED = [
    boto.EndpointConnectionError(endpoint_url=URL),
    boto.ConnectTimeoutError(endpoint_url=URL),
    boto.ProxyConnectionError(proxy_url=URL),
]
IN_PROGRESS = refusal("TransactionInProgressException")
FOR_THE_OPERATOR = [
    refusal("AccessDeniedException", 403),
    refusal("UnrecognizedClientException"),
    refusal("ExpiredTokenException", 403),
    refusal("ResourceNotFoundException"),
    refusal("ValidationException"),
    refusal("UnauthorizedException", 401),
    cancelled("ValidationError"),
    boto.NoCredentialsError(),
    boto.NoRegionError(),
    boto.PartialCredentialsError(provider="env", cred_var="x"),
]
QUOTAS = [refusal("LimitExceededException", 410)]


def named(error: Exception) -> str:
    return " ".join([code_of(error), *(str(reason["Code"]) for reason in reasons_of(error))])


@pytest.mark.parametrize("error", THROTTLED, ids=named)
def test_throttling_passes_in_some_seconds_whatever_its_status(error: Exception) -> None:
    assert is_throttled(error)
    assert is_passing(error)
    leaves = [translate(error, "iot:CreateThing") for _ in range(200)]
    assert {type(leaf) for leaf in leaves} == {AwsThrottled}
    assert {leaf.retry_after for leaf in leaves} == {2, 3, 4, 5, 6}, "who failed together returns apart"


@pytest.mark.parametrize("error", [*CONFLICTS, IN_PROGRESS], ids=named)
def test_a_conflict_passes_in_a_second(error: Exception) -> None:
    assert is_passing(error)
    assert not is_throttled(error)
    leaf = translate(error, "dynamodb:PutItem")
    assert (type(leaf), leaf.retry_after) == (AwsConflict, 1)


@pytest.mark.parametrize("error", [*OUTAGES, *UNREACHED], ids=named)
def test_an_outage_passes_in_five_seconds(error: Exception) -> None:
    assert is_passing(error)
    leaf = translate(error, "dynamodb:PutItem")
    assert (type(leaf), leaf.retry_after) == (AwsOutage, 5)


@pytest.mark.parametrize("error", FOR_THE_OPERATOR, ids=named)
def test_what_does_not_pass_names_the_action_and_the_reason(error: Exception) -> None:
    assert not is_passing(error)
    leaf = translate(error, "iot:CreateThing")
    assert type(leaf) is AwsRefused
    assert f"iot:CreateThing ({code_of(error)})" in str(leaf)


@pytest.mark.parametrize("error", QUOTAS, ids=named)
def test_a_quota_of_the_account_is_not_a_throttling(error: Exception) -> None:
    assert not is_passing(error)
    assert type(translate(error, "iot:CreateThing")) is AwsQuotaReached


@pytest.mark.parametrize(
    "code",
    ["AccessDeniedException", "ThrottlingException", "LimitExceededException", "InternalFailureException"],
)
def test_nothing_of_the_request_is_in_the_sentence(code: str) -> None:
    answer = {"Error": {"Code": code, "Message": "arn:aws:iam::1:user/x may not lamp-1"}}
    leaf = translate(ClientError(answer, "CreateThing"), "iot:CreateThing")  # type: ignore[arg-type, unused-ignore] # as above
    assert "lamp-1" not in str(leaf)
    assert "arn:" not in str(leaf)


@pytest.mark.parametrize(
    ("errors", "status", "code"),
    [
        (THROTTLED, 429, "aws_throttled"),
        (CONFLICTS, 503, "aws_conflict"),
        (OUTAGES, 503, "aws_outage"),
        (QUOTAS, 503, "aws_quota"),
        (FOR_THE_OPERATOR, 503, "aws_refused"),
    ],
    ids=["throttled", "conflict", "outage", "quota", "refused"],
)
def test_each_kind_of_trouble_has_a_code_and_a_time_to_return(
    errors: list[Exception], status: int, code: str
) -> None:
    for error in errors:
        leaf = translate(error, "iot:CreateThing")
        answer = answer_problem(leaf)
        assert isinstance(leaf, Unavailable)
        assert (leaf.code, answer.status_code) == (code, status), named(error)
        assert int(answer.headers["retry-after"]) >= 1


@pytest.mark.parametrize("error", [*THROTTLED, *CONFLICTS, *UNREACHED, *FOR_THE_OPERATOR, *QUOTAS], ids=named)
def test_these_prove_that_nothing_was_done(error: Exception) -> None:
    assert proves_nothing_done(error)


@pytest.mark.parametrize("error", [*OUTAGES, IN_PROGRESS], ids=named)
def test_these_prove_nothing(error: Exception) -> None:
    assert not proves_nothing_done(error)


def test_a_failed_condition_outweighs_a_conflict_beside_it() -> None:
    """The item is known now: the operation looks again, instead of sending the same thing once more."""
    both = cancelled("TransactionConflict", "ConditionalCheckFailed")
    assert not is_passing(both)
    assert [reason["Code"] for reason in reasons_of(both)] == [
        "TransactionConflict",
        "ConditionalCheckFailed",
    ]
    assert reasons_of(refusal("ThrottlingException")) == ()


# ── calls ─────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Client:
    """Answers with what is next; notes what it was asked."""

    answers: list[object]
    asked: list[Mapping[str, object]] = field(default_factory=list)

    def get_v2_logging_options(self, **parameters: object) -> object:
        return self._next(parameters)

    def create_thing(self, **parameters: object) -> object:
        return self._next(parameters)

    def _next(self, parameters: Mapping[str, object]) -> object:
        self.asked.append(parameters)
        answer = self.answers.pop(0) if self.answers else {}
        if isinstance(answer, Exception):
            raise answer
        return answer


def service(client: object) -> Service:
    return Service(client, "iot", patience=QUICK)


def test_an_operation_goes_by_the_name_that_aws_gave_it() -> None:
    client = Client([{"thingArn": "arn"}])
    assert service(client).call("CreateThing", thingName="lamp-1") == {"thingArn": "arn"}
    assert client.asked == [{"thingName": "lamp-1"}]


def test_a_client_is_made_at_the_first_call_and_once() -> None:
    made: list[Client] = []

    def make() -> Client:
        made.append(Client([]))
        return made[-1]

    one = service(make)
    assert made == []
    for _ in range(3):
        one.call("CreateThing")
    assert len(made) == 1
    assert len(made[0].asked) == 3


@pytest.mark.parametrize("error", [*THROTTLED, *CONFLICTS, *OUTAGES, *UNREACHED], ids=named)
def test_what_passes_is_repeated(error: Exception) -> None:
    client = Client([error, error, {"done": True}])
    assert service(client).call("CreateThing", thingName="x") == {"done": True}
    assert client.asked == [{"thingName": "x"}] * 3


@pytest.mark.parametrize("error", [*FOR_THE_OPERATOR, *QUOTAS], ids=named)
def test_what_does_not_pass_is_not_repeated(error: Exception) -> None:
    client = Client([error])
    with pytest.raises((AwsRefused, AwsQuotaReached)):
        service(client).call("CreateThing")
    assert len(client.asked) == 1


@pytest.mark.parametrize("error", [*OUTAGES, IN_PROGRESS], ids=named)
def test_what_may_have_been_done_is_not_repeated_where_that_would_do_it_twice(error: Exception) -> None:
    client = Client([error])
    with pytest.raises((AwsOutage, AwsConflict)):
        service(client).call("CreateThing", repeatable=False)
    assert len(client.asked) == 1


@pytest.mark.parametrize("error", [*THROTTLED, *UNREACHED], ids=named)
def test_what_surely_was_not_done_is_repeated_even_there(error: Exception) -> None:
    client = Client([error, {"done": True}])
    assert service(client).call("CreateThing", repeatable=False) == {"done": True}


def test_who_expects_a_refusal_gets_it_as_it_is() -> None:
    client = Client([refusal("ResourceAlreadyExistsException", 409)])
    with pytest.raises(Expected) as found:
        service(client).call("CreateThing", expected={"ResourceAlreadyExistsException"})
    assert found.value.code == "ResourceAlreadyExistsException"


def test_an_expected_refusal_that_passes_is_repeated_first() -> None:
    client = Client([cancelled("TransactionConflict"), cancelled("ConditionalCheckFailed")])
    with pytest.raises(Expected) as found:
        service(client).call("CreateThing", expected={"TransactionCanceledException"})
    assert [reason["Code"] for reason in found.value.reasons] == ["ConditionalCheckFailed"]


def test_repeating_ends() -> None:
    class Endless(Client):
        def create_thing(self, **parameters: object) -> object:
            self.asked.append(parameters)
            raise THROTTLED[0]

    client = Endless([])
    with pytest.raises(AwsThrottled):
        service(client).call("CreateThing")
    assert len(client.asked) > 3


def test_an_error_of_our_own_is_not_swallowed() -> None:
    with pytest.raises(KeyError):
        service(Client([KeyError()])).call("CreateThing")


# ── pauses ────────────────────────────────────────────────────────────────────────────────────────────


def spans(patience: Patience, count: int) -> list[float]:
    rounds = Rounds(patience)
    return [span for _ in range(count) if (span := rounds.span()) is not None]


def test_pauses_are_jittered_and_bounded() -> None:
    patience = Patience(whole=1000, first=1, longest=8)
    many = [spans(patience, 6) for _ in range(200)]
    for number, most in enumerate([1, 2, 4, 8, 8, 8]):
        column = [row[number] for row in many]
        assert max(column) <= most
        assert min(column) < most / 4 < most * 3 / 4 < max(column), "full jitter: anything from nothing on"


def test_a_pause_that_would_outlast_the_patience_is_not_begun() -> None:
    rounds = Rounds(Patience(whole=0.0, first=1, longest=1))
    assert rounds.span() is None
    assert rounds.pause() is False


def test_the_earlier_of_two_deadlines_counts() -> None:
    patience = Patience(whole=1000, first=50, longest=50)
    with within(3600), within(0.0):
        assert spans(patience, 3) == []
    with within(0.0), within(3600):
        assert spans(patience, 3) == []
    with within(3600):
        assert len(spans(patience, 3)) == 3


def test_a_deadline_ends_with_its_block() -> None:
    with within(0.0):
        pass
    assert len(spans(Patience(whole=1000), 3)) == 3


@pytest.fixture(autouse=True)
def _nothing_lingers() -> Iterator[None]:
    """No test here takes long: what is bounded is bounded."""
    begun = time.monotonic()
    yield
    assert time.monotonic() - begun < 20
