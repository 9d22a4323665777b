"""The one map from what AWS calls throw to the error tree, and what an error proves about the call.

Codes: AWS IoT API Reference and DynamoDB Developer Guide, "Common errors" and "Error handling". AWS IoT says
that it throttles with ThrottlingException and status 400, so the status alone decides nothing.
"""

from collections.abc import Mapping, Sequence
from secrets import SystemRandom
from typing import Any

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,  # noqa: A004 - botocore's own, which is not the built-in one
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    ProxyConnectionError,
)

from keyborn.domain.errors import (
    AwsConflict,
    AwsOutage,
    AwsQuotaReached,
    AwsRefused,
    AwsThrottled,
    Unavailable,
)

THROTTLED = frozenset(
    {
        "ProvisionedThroughputExceeded",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "Throttling",
        "ThrottledException",
        "ThrottlingError",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
"""Too many calls for now; reasons of a cancelled transaction among them."""
CONFLICTS = frozenset(
    {
        "ConflictingResourceUpdateException",
        "TransactionConflict",
        "TransactionConflictException",
        "TransactionInProgressException",
    }
)
"""Somebody else was at the same thing at the same moment."""
OUTAGES = frozenset(
    {
        "InternalError",
        "InternalFailure",
        "InternalFailureException",
        "InternalServerError",
        "ServiceUnavailable",
        "ServiceUnavailableException",
    }
)
QUOTAS = frozenset({"LimitExceededException", "ItemCollectionSizeLimitExceededException"})
CANCELLED = "TransactionCanceledException"
CONDITION_FAILED = "ConditionalCheckFailed"

_SERVER_ERROR = 500
_AFTER_THROTTLING, _AFTER_CONFLICT, _AFTER_OUTAGE = (2, 6), 1, 5
"""Seconds after which a device shall come again; after throttling, anything between the two."""
_random = SystemRandom()
_NETWORK = (HTTPClientError, ConnectionError)
_BEFORE_SENDING = (EndpointConnectionError, ConnectTimeoutError, ProxyConnectionError)


def code_of(error: BaseException) -> str:
    """What AWS calls the error; for one that no answer came to, its class's name."""
    if isinstance(error, ClientError):
        return str(error.response.get("Error", {}).get("Code", "Unknown"))
    return type(error).__name__


def reasons_of(error: BaseException) -> Sequence[Mapping[str, Any]]:
    """Why a transaction was cancelled, one reason for each of its items; empty for anything else."""
    if isinstance(error, ClientError) and code_of(error) == CANCELLED:
        reasons: Sequence[Mapping[str, Any]] = error.response.get("CancellationReasons", [])
        return reasons
    return ()


def is_throttled(error: BaseException) -> bool:
    """Whether AWS took the call for one too many."""
    return bool(_words(error) & THROTTLED)


def is_passing(error: BaseException) -> bool:
    """Whether the very same call may succeed a moment later: throttled, in conflict, an outage, no answer."""
    words = _words(error)
    if isinstance(error, ClientError):
        return bool(words & (THROTTLED | CONFLICTS | OUTAGES)) or _status(error) >= _SERVER_ERROR
    return isinstance(error, _NETWORK)


def proves_nothing_done(error: BaseException) -> bool:
    """Whether the call surely had no effect. A time-out, a lost connection or a 5xx proves nothing."""
    if isinstance(error, ClientError):
        failed_inside = _status(error) >= _SERVER_ERROR or bool(_words(error) & OUTAGES)
        return not failed_inside and code_of(error) != "TransactionInProgressException"
    return isinstance(error, _BEFORE_SENDING) or not isinstance(error, _NETWORK)


def translate(error: BaseException, action: str) -> Unavailable:
    """The leaf of the tree for an error of ``action`` (``dynamodb:GetItem``), with no part of the request.

    What passes is AwsThrottled, AwsConflict or AwsOutage; what an operator must mend is AwsQuotaReached or
    AwsRefused. Who is throttled together shall not return together: the seconds are drawn.
    """
    if is_throttled(error):
        return AwsThrottled(action=action, seconds=_random.randint(*_AFTER_THROTTLING))
    if _words(error) & CONFLICTS:
        return AwsConflict(action=action, seconds=_AFTER_CONFLICT)
    if is_passing(error):
        return AwsOutage(action=action, seconds=_AFTER_OUTAGE)
    if code_of(error) in QUOTAS:
        return AwsQuotaReached(action=action)
    return AwsRefused(action=action, reason=code_of(error))


def in_short(trouble: Unavailable) -> str:
    """A trouble's code, and the call that it was about if it names one; for logs."""
    action = trouble.facts.get("action")
    return trouble.code if action is None else f"{trouble.code} ({action})"


AWS_ERRORS = (ClientError, BotoCoreError)
"""Everything that a botocore client raises about a call."""


def _words(error: BaseException) -> frozenset[str]:
    """The error's code; for a cancelled transaction its reasons, unless a condition failed among them."""
    reasons = frozenset(str(reason.get("Code")) for reason in reasons_of(error)) - {"None"}
    if CONDITION_FAILED in reasons:
        return frozenset({CONDITION_FAILED})
    return reasons or frozenset({code_of(error)})


def _status(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
