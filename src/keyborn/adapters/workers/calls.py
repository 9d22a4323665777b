"""The closed list of calls between a worker and the core: what is not here, nobody can ask for.

Each has a number, its place in the list: core and workers are started from one installation, so nothing older
or newer is ever at the other end. Methods are those of the ports, under the ports' contracts.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from keyborn.adapters.workers.forms import Form, OneOf
from keyborn.domain.approval import Approval
from keyborn.domain.audit import AuditEvent
from keyborn.domain.certificate import Certificate
from keyborn.domain.enrollment import Attempt, Granted, Issue, Repeat
from keyborn.domain.intent import Intent, IntentId
from keyborn.domain.names import CertificateId, ThingName
from keyborn.domain.renewal import Confirmation, RenewalAttempt
from keyborn.domain.roots import RootSet
from keyborn.domain.token import TokenId
from keyborn.ports.forwarding import ForwardedCall, ForwardedStep


@dataclass(frozen=True, slots=True)
class Published:
    """What everybody may know of the authority, and what its listeners trust."""

    roots_pem: str
    """See ``CertificateAuthority.roots_pem``."""
    intermediates: tuple[str, ...]
    """Those that issue to devices, PEM; the one that issues now first."""
    client_ca_pem: str


@dataclass(frozen=True, slots=True)
class Orders:
    """What a worker is told when it begins. There is no private key in it, and no passphrase."""

    data: str
    """The data folder."""
    settings: str
    """As of ``server.toml``."""
    url: str
    """Of the service, as enrolment codes tell it."""
    broker: tuple[str, int]
    """Where devices are told to connect."""
    fallback: int | None
    """The broker's second port, where devices are told of one."""
    published: Published
    share: int
    """Of how many workers this is one."""
    shared_token: TokenId | None = None
    """Of open enrolment."""
    verbose: bool = False
    log_format: str = "text"
    access_log: bool = False
    plain: int = 0
    """How many of the listening sockets, the last ones, are without TLS and for proxies."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a worker has counted since it began."""

    snapshot: dict[str, dict[str, list[int]]]
    """Of its meter (``service.meter.Snapshot``)."""
    readings: dict[str, dict[str, float]]
    """Of its listeners and lines, as ``service.figures.Readings``; those of several are added up."""


@dataclass(frozen=True, slots=True)
class Stranger:
    """A caller who proved nothing, as ``service.strangers`` counts and records it."""

    door: str
    """``enroll`` or ``renew``: each has budgets of its own."""
    action: str
    source: str
    refusal: str
    """The class of what it was told."""
    subject: str = ""
    why: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Call:
    """One call: its place in its list, what it takes and what it gives."""

    number: int
    name: str
    takes: Form[Any]
    gives: Form[Any]


def _numbered(*calls: tuple[str, Any, Form[Any]]) -> tuple[Call, ...]:
    return tuple(Call(number, name, Form(takes), gives) for number, (name, takes, gives) in enumerate(calls))


_NOTHING: Form[None] = Form(None)
_CERTIFICATE: Form[Certificate] = Form(Certificate)
_VERDICT: Form[Issue | Repeat] = OneOf((Issue, Repeat))
_STEP: Form[ForwardedStep] = Form(ForwardedStep)

OF_CORE = _numbered(
    ("hello", tuple[()], Form(Orders)),
    ("ready", tuple[()], _NOTHING),
    ("issue", tuple[IntentId, bytes, str], Form(bytes)),
    ("store", tuple[Intent, Certificate], _CERTIFICATE),
    ("activate", tuple[IntentId, AuditEvent], _CERTIFICATE),
    ("renew", tuple[RenewalAttempt], _VERDICT),
    ("confirm", tuple[Confirmation], _CERTIFICATE),
    ("review", tuple[frozenset[ThingName]], _NOTHING),
    ("note_roots", tuple[CertificateId, RootSet, datetime], _NOTHING),
    ("append", tuple[AuditEvent], _NOTHING),
    ("ask", tuple[Approval, int, AuditEvent], Form(Approval)),
    ("issue_nonce", tuple[()], Form(str)),
    ("spend_nonce", tuple[str], _NOTHING),
    ("prove_writable", tuple[datetime], _NOTHING),
    ("stranger_refused", tuple[Stranger], _NOTHING),
    ("stranger_failed", tuple[str, str], _NOTHING),
    ("stranger_troubled", tuple[str, AuditEvent], _NOTHING),
    ("forward_open", tuple[ForwardedCall], _STEP),
    ("forward_on", tuple[int, bytes, bool], _STEP),
    ("forward_close", tuple[int], _NOTHING),
)
"""What a worker may ask of the core."""

OF_CLAIMS = _numbered(("claim", tuple[Attempt], Form(Granted)))
"""What a worker may ask on its second line, which leads to the registry's writer: of a new certificate with
its request, and so it is granted or refused."""

OF_WORKER = _numbered(
    ("adopt", tuple[Published], _NOTHING),
    ("figures", tuple[()], Form(Told)),
    ("alive", tuple[()], _NOTHING),
    ("end", tuple[float], _NOTHING),
)
"""What the core may ask of a worker."""

BY_NAME: Mapping[str, Call] = {call.name: call for call in (*OF_CORE, *OF_CLAIMS, *OF_WORKER)}
