"""Faults in calls to AWS, put in at botocore's own hooks; and the list of the calls that were made.

``Faults(client)`` counts every call of that client. ``plan`` says what befalls which of the calls that come.
"""

import io
import json
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.exceptions import ConnectTimeoutError, ReadTimeoutError

ENDLESS = 10**6


class Fault(StrEnum):
    """What happens to one call."""

    THROTTLED = "throttled"
    CONFLICT = "conflict"
    """A transaction is cancelled since another one is under way; to a single call: throttled."""
    BROKEN = "500"
    UNREACHED = "no connection"
    UNSENT = "time-out before"
    """The call never arrives, which the caller cannot know."""
    UNHEARD = "time-out after success"
    BROKEN_LATE = "500 after success"
    KILLED = "killed after"
    KILLED_BEFORE = "killed before"


class Killed(BaseException):
    """The process ends here. What it had in memory is lost: go on with a new object."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call, by its number among all of its client since the last ``plan``."""

    number: int
    service: str
    operation: str


@dataclass(slots=True)
class Plan:
    """From the first call of these operations on, and for so many of them, this happens."""

    fault: Fault
    first: int = 0
    times: int = 1
    operations: Collection[str] = ()

    def meets(self, call: Call) -> bool:
        """Whether it befalls this call."""
        named = not self.operations or call.operation in self.operations
        return named and self.first <= call.number < self.first + self.times


@dataclass(slots=True)
class _Raw:
    """As much of urllib3's response as botocore reads."""

    body: io.BytesIO

    def read(self, *size: int) -> bytes:
        return self.body.read(*size)

    def stream(self, *_: object, **__: object) -> Iterator[bytes]:
        yield self.body.read()


@dataclass(slots=True)
class Faults:
    """The hooks on one client; ``calls`` is what it has called since the last ``plan``."""

    client: Any
    calls: list[Call] = field(default_factory=list)
    _plans: tuple[Plan, ...] = ()
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _thread: threading.local = field(default_factory=threading.local)

    def __post_init__(self) -> None:
        events = self.client.meta.events
        events.register_first("before-send", self._before)
        events.register_first("after-call", self._after)

    def plan(self, *plans: Plan) -> None:
        """Begin to count anew; what was planned before is forgotten."""
        with self._lock:
            self.calls = []
            self._plans = plans

    @contextmanager
    def planned(self, *plans: Plan) -> Iterator[None]:
        """The same for a while."""
        self.plan(*plans)
        try:
            yield
        finally:
            self.plan()

    @contextmanager
    def listening(self) -> Iterator[list[Call]]:
        """The calls that are made meanwhile; nothing befalls them."""
        self.plan()
        yield self.calls

    def _before(self, request: AWSPreparedRequest, event_name: str, **_: object) -> AWSResponse | None:
        service, operation = event_name.split(".")[1:]
        with self._lock:
            call = Call(len(self.calls), service, operation)
            self.calls.append(call)
            fault = next((plan.fault for plan in self._plans if plan.meets(call)), None)
        self._thread.fault = fault
        match fault:
            case Fault.UNREACHED:
                raise ConnectTimeoutError(endpoint_url=request.url)
            case Fault.UNSENT:
                raise ReadTimeoutError(endpoint_url=request.url)
            case Fault.KILLED_BEFORE:
                raise Killed
            case Fault.THROTTLED | Fault.CONFLICT | Fault.BROKEN:
                return refusal(request.url, call, fault)
            case _:
                return None

    def _after(self, http_response: AWSResponse, parsed: dict[str, Any], **_: object) -> None:
        match self._thread.fault:
            case Fault.UNHEARD:
                raise ReadTimeoutError(endpoint_url=http_response.url)
            case Fault.KILLED:
                raise Killed
            case Fault.BROKEN_LATE:
                http_response.status_code = 500
                parsed["Error"] = {"Code": "InternalServerError", "Message": "made up by a test"}
                parsed["ResponseMetadata"]["HTTPStatusCode"] = 500
            case _:
                pass


def refusal(url: str, call: Call, fault: Fault) -> AWSResponse:
    """What AWS answers when it does nothing."""
    status, code = (500, "InternalServerError") if fault is Fault.BROKEN else (400, "ThrottlingException")
    body: dict[str, object] = {"message": "made up by a test"}
    if fault is Fault.CONFLICT and call.operation.startswith("Transact"):
        code = "TransactionCanceledException"
        body["CancellationReasons"] = [{"Code": "None"}, {"Code": "TransactionConflict"}]
    headers = {"content-type": "application/json", "x-amzn-errortype": code}
    if call.service == "dynamodb":
        headers = {"content-type": "application/x-amz-json-1.0"}
        body["__type"] = f"com.amazonaws.dynamodb.v20120810#{code}"
    elif fault is Fault.BROKEN:
        headers["x-amzn-errortype"] = "InternalFailureException"
    return AWSResponse(url, status, headers, _Raw(io.BytesIO(json.dumps(body).encode())))
