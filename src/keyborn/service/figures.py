"""Every figure that a service tells of itself, and what each may be divided by.

The list is closed, and so is the set of values of each label: no thing's name, no token and no address is
ever one, whoever calls. Names follow Prometheus ("Metric and label naming"): base units, ``_total`` for
counters.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus

from keyborn.domain.certificate import CertificateStatus
from keyborn.domain.errors import KeybornError
from keyborn.domain.method import Method
from keyborn.domain.thing import ThingStatus
from keyborn.service.gate import NOTHING

DAYS_LEFT = (0, 7, 30, 90)
"""Within so many days ends what is told apart; 0: it has ended."""
OTHER = "other"
"""What stands for every value that is not on the list."""
_MS = 1_000_000
BOUNDS = tuple(
    int(each * _MS) for each in (1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000)
)
"""Upper bounds of a histogram's buckets, in nanoseconds, inclusive."""


class Kind(StrEnum):
    """What Prometheus calls a figure's type."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Label:
    """By what a figure is divided, and into what."""

    name: str
    values: frozenset[str]
    means: str
    """What the values are, for the reference."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure: its name, what it says, by what it is divided."""

    name: str
    kind: Kind
    says: str
    """One sentence, without a full stop."""
    labels: tuple[Label, ...] = ()
    bounds: tuple[int, ...] = ()


Readings = Mapping[str, Mapping[str, float]]
"""By figure, then by label values (a space between two): what it is now."""


def _codes(branch: type[KeybornError]) -> Iterator[str]:
    yield branch.code
    for child in branch.__subclasses__():
        yield from _codes(child)


CODES = frozenset(_codes(KeybornError)) | {
    status.phrase.lower().replace(" ", "_")
    for status in (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.BAD_REQUEST)
}
"""Of the error tree, and what the router says on its own."""
ISSUED, REPEATED, RENEWED, CONFIRMED = "issued", "repeated", "renewed", "confirmed"
GRANTED, REFUSED, WAITING, UNAVAILABLE = "granted", "refused", "waiting", "unavailable"
PROVE, RENEW, CONFIRM = "prove", "renew", "confirm"
ENROLL = "enroll"
OPERATOR = "operator"
PATHS = frozenset(
    {
        "/v1/enroll",
        "/getCertificate",
        "/v1/nonce",
        "/v1/renew",
        "/v1/renew/confirm",
        "/v1/roots",
        "/v1/trust-bundle",
        "/healthz",
        "/readyz",
        "/openapi.json",
    }
)
"""Routes of devices, which are told apart; those of operators are counted together."""

_METHOD = Label(
    "method", frozenset({*Method, NOTHING}), "how the caller proves itself; `nothing`: not at all"
)
_OUTCOME = Label(
    "outcome", CODES | {ISSUED, REPEATED}, "`issued`, `repeated`, or the code of the [error](errors.md)"
)
_RENEWED = Label(
    "outcome",
    CODES | {RENEWED, REPEATED, CONFIRMED},
    "`renewed`, `repeated`, `confirmed`, or the code of the [error](errors.md)",
)
_STEP = Label(
    "step", frozenset({PROVE, RENEW, CONFIRM}), "`prove`: the signature is refused; `renew`; `confirm`"
)
_RESULT = Label(
    "result",
    frozenset({GRANTED, REPEATED, REFUSED, WAITING, UNAVAILABLE}),
    "`granted`, `repeated`, `refused`, `waiting` (for a turn, or for a person), `unavailable`",
)
_ROUTE = Label("route", PATHS | {OPERATOR, OTHER}, "a route of devices, `operator`, or `other`")
_STATUS = Label("status", frozenset({"2xx", "3xx", "4xx", "5xx"}), "the class of the answer's status")
_CODE = Label("code", CODES, "the code of the [error](errors.md)")
_THING = Label("status", frozenset(ThingStatus), "where the thing stands")
_CERTIFICATE = Label("status", frozenset(CertificateStatus), "where the certificate stands")
_DAYS = Label(
    "days",
    frozenset(map(str, DAYS_LEFT)),
    "so many days are left at most; 0: it has expired. By the day, UTC",
)
_STATE = Label("state", frozenset({"connected", "waiting"}), "its client is there, or may come back to it")

_LINE = Label("line", frozenset({ENROLL, RENEW}), "enrolments and renewals wait apart")

ENROLLMENTS, ENROLLMENT_SECONDS = "keyborn_enrollments_total", "keyborn_enrollment_seconds"
RENEWALS, RENEWAL_SECONDS = "keyborn_renewals_total", "keyborn_renewal_seconds"
HTTP_SECONDS, HTTP_PROBLEMS = "keyborn_http_request_seconds", "keyborn_http_problems_total"

COUNTED = (
    Figure(
        ENROLLMENTS,
        Kind.COUNTER,
        "Enrolments that were answered, by how the caller proves itself and by how they ended",
        (_METHOD, _OUTCOME),
    ),
    Figure(
        ENROLLMENT_SECONDS,
        Kind.HISTOGRAM,
        "Seconds from the look at the credential to the decision's end",
        (_RESULT,),
        BOUNDS,
    ),
    Figure(RENEWALS, Kind.COUNTER, "Signed requests for renewal that were answered", (_STEP, _RENEWED)),
    Figure(
        RENEWAL_SECONDS,
        Kind.HISTOGRAM,
        "Seconds from the look at the signature to the renewal's end",
        (_RESULT,),
        BOUNDS,
    ),
    Figure(
        HTTP_SECONDS,
        Kind.HISTOGRAM,
        "Seconds from a request's headers to the end of its answer",
        (_ROUTE, _STATUS),
        BOUNDS,
    ),
    Figure(HTTP_PROBLEMS, Kind.COUNTER, "Answers that are problem documents, by their code", (_ROUTE, _CODE)),
)
"""What a ``Meter`` counts while the work is done."""


def _gauge(name: str, says: str, *labels: Label) -> Figure:
    return Figure(name, Kind.GAUGE, says, labels)


def _counter(name: str, says: str, *labels: Label) -> Figure:
    return Figure(name, Kind.COUNTER, says, labels)


READ = (
    _gauge("keyborn_http_connections", "Connections that are open on the HTTPS listener, handshake done"),
    _counter(
        "keyborn_http_connections_accepted_total", "TCP connections that the HTTPS listener has accepted"
    ),
    _counter(
        "keyborn_http_handshakes_total",
        "TLS handshakes that were finished there; of those accepted, the others failed, or are under way",
    ),
    _counter("keyborn_http_requests_total", "Requests that the HTTPS listener has answered"),
    _gauge("keyborn_admission_waiting", "Requests that are proved and wait for a slot", _LINE),
    _gauge("keyborn_registry_queue_depth", "Commands that wait for the registry's writer"),
    _counter("keyborn_registry_commands_total", "Commands that are on disk"),
    _counter("keyborn_registry_commits_total", "Commits: commands divided by these share a commit"),
    _counter("keyborn_registry_failures_total", "Batches of commands that could not be committed"),
    _gauge("keyborn_registry_largest_batch", "The most commands that ever shared a commit"),
    _gauge(
        "keyborn_registry_readable", "1 where the last count of things and certificates succeeded, else 0"
    ),
    _gauge("keyborn_things", "Devices and services in the registry", _THING),
    _gauge("keyborn_certificates", "Certificates in the registry", _CERTIFICATE),
    _gauge(
        "keyborn_certificates_expiring",
        "Active certificates with at most so many days left; each number includes those before it",
        _DAYS,
    ),
    _gauge("keyborn_broker_connections", "TCP connections of the broker, whatever they have reached"),
    _gauge("keyborn_broker_sessions", "Sessions of the broker", _STATE),
    _counter("keyborn_broker_admissions_total", "Clients that were admitted"),
    _counter("keyborn_broker_handshakes_failed_total", "Connections that ended before they had a handshake"),
    _counter("keyborn_broker_evictions_total", "Open sessions that were closed by an order or a renewal"),
    _counter("keyborn_broker_refusals_total", "What the broker has refused: connections, messages, filters"),
    _counter("process_cpu_seconds_total", "Seconds of processor time, user and system"),
    _gauge("process_resident_memory_bytes", "Resident memory"),
    _gauge("process_virtual_memory_bytes", "Virtual memory"),
    _gauge("process_open_fds", "Descriptors that are open"),
    _gauge("process_max_fds", "Descriptors that may be open"),
    _gauge("process_start_time_seconds", "When the process started, in seconds since 1970-01-01 UTC"),
)
"""What is read at the moment it is asked for."""

FIGURES = COUNTED + READ
