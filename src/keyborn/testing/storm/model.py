"""The account in small: what throttles, what takes time, and how large the fleet is."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from keyborn.domain.quota import IOT_QUOTAS, Pacing, pacing_under


@dataclass(frozen=True, slots=True)
class Account:
    """Limits of one account in one region, and times in seconds. Defaults: a fresh account."""

    quotas: Mapping[str, float] = field(default_factory=lambda: IOT_QUOTAS)
    """Calls a second of AWS IoT; each may burst to what one second allows."""
    api_rate: float = 10_000
    api_burst: float = 5_000
    """Requests a second to HTTP APIs (API Gateway quotas): beyond, 429 without Retry-After."""
    concurrency: int = 1000
    """Instances of functions at once (Lambda quotas): beyond, 503 without Retry-After."""
    item_writes: float = 1000
    """Writes a second of one DynamoDB item (Developer Guide, "Best practices … partition keys")."""
    cold_start: float = 0.6
    answer: float = 0.010
    """The function's own work for one request: authentication, which it remembers, and the answer."""
    table_call: float = 0.005
    steps: tuple[tuple[float, tuple[str, ...]], ...] = (
        (0.02, ("CreateCertificateFromCsr", "CreateThing")),
        (0.15, ("AttachPolicy", "AttachThingPrincipal", "UpdateCertificate")),
        (0.10, ()),
    )
    """An enrolment: pause before, and what is called then; the last is the commit and the answer."""
    idle: float = 300.0
    """How long an unused instance lives."""
    lifetime: float = 7200.0
    """How long any instance lives."""


@dataclass(frozen=True, slots=True)
class Storm:
    """Who comes and when."""

    devices: int
    seed: int = 1
    within: float = 2.0
    """All power on within so many seconds."""
    lost: float = 0.0
    """The share of devices that go away for good at their first refusal."""
    trickle: float = 0.0
    """Newcomers a second, beside the storm, until it would be over."""
    pacing: Pacing | None = None
    """None: what the service takes under the account's quotas."""
    account: Account = field(default_factory=Account)

    @property
    def effective(self) -> Pacing:
        """The pacing in force."""
        return self.pacing or pacing_under(self.account.quotas)

    @property
    def binding(self) -> float:
        """The least quota, enrolments a second."""
        return min(self.account.quotas.values())

    @property
    def ideal(self) -> float:
        """Seconds in which the binding quota alone would let all of them through."""
        return self.devices / self.binding
