"""The application of devices, composed of ports: alike in a service of one process, and in a worker."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from keyborn.adapters.broker.tls import AWS_ALPN
from keyborn.adapters.outbound import HttpsOutbound
from keyborn.domain.token import TokenId
from keyborn.http.app import Service
from keyborn.http.bodies import BrokerAddress, MqttFallback
from keyborn.ports import (
    Authenticator,
    CertificateAuthority,
    Clock,
    Entropy,
    GroupingRegistry,
    Nonces,
    Sessions,
    StrangerBook,
    TrustReports,
)
from keyborn.service.admission import SLOTS, Admission, FailureBudget, LateRefusals
from keyborn.service.authenticate import OpenEnrollment, TokenAuthenticator
from keyborn.service.counting import CountingRegistration, CountingRenewal
from keyborn.service.enroll import RegistrationAuthority
from keyborn.service.figures import ENROLL, RENEW
from keyborn.service.lifetimes import GroupLifetimes
from keyborn.service.meter import Meter
from keyborn.service.readiness import Readiness
from keyborn.service.renew import RenewalAuthority, RenewalPorts
from keyborn.service.saga import StepListener, ignore
from keyborn.settings import ServerSettings
from keyborn.wiring.methods import Around, every_method

_LEAST_SLOTS, _LEAST_WAITING, _LEAST_BURST = 8, 64, 10
"""What one of many workers has at least: a device's own retries must fit in."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where devices are told to connect, and under which URL the service is known."""

    url: Callable[[], str]
    broker: tuple[str, int]
    fallback: int | None = None
    """The broker's second port, where devices are told of one."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What requests of devices need of the world."""

    registry: GroupingRegistry
    reports: TrustReports
    authority: CertificateAuthority
    nonces: Nonces
    sessions: Sessions
    clock: Clock
    entropy: Entropy
    prove_writable: Callable[[datetime], Awaitable[None]]
    late: LateRefusals
    meter: Meter
    lines: Mapping[str, Admission]
    """Where enrolments and renewals wait: of ``new_lines``."""
    shared_token: TokenId | None = None
    """Of open enrolment; None: everybody shows something."""
    share: int = 1
    """Of how many processes this is one: what bounds the service, is divided."""
    enroll_strangers: StrangerBook | None = None
    renew_strangers: StrangerBook | None = None
    """Where strangers are counted, if not here."""
    on_step: StepListener = ignore


def build_service(parts: Parts, settings: ServerSettings, place: Place) -> Service:
    """What ``http.app.build_app`` needs."""
    broker = BrokerAddress(
        endpoint=place.broker[0],
        port=place.broker[1],
        topic_prefix=settings.topic_prefix,
        roots_pem=parts.authority.roots_pem,
        chain_pem=parts.authority.chain_pem,
        fallback=None if place.fallback is None else MqttFallback(place.fallback, AWS_ALPN),
    )
    ready = Readiness(parts.prove_writable, parts.clock).check
    registration = _registration(parts, settings)
    return Service(registration, broker, ready, _renewal(parts, settings), place.url, parts.nonces)


def _registration(parts: Parts, settings: ServerSettings) -> RegistrationAuthority:
    around = Around(parts.clock, parts.nonces, HttpsOutbound())
    gate, conditions = every_method(parts.registry, _tokens(parts), around)
    return CountingRegistration(
        parts.meter,
        authenticator=gate,
        enrollments=parts.registry,
        authority=parts.authority,
        audit=parts.registry,
        clock=parts.clock,
        entropy=parts.entropy,
        profile=settings.profile,
        reserved_names=settings.reserved_names,
        admission=parts.lines[ENROLL],
        refusals=_budget(parts.share, 100, 60),
        conditions=conditions,
        slow=parts.late,
        strangers=parts.enroll_strangers,
        on_step=parts.on_step,
    )


def _renewal(parts: Parts, settings: ServerSettings) -> RenewalAuthority:
    """Renewals have slots of their own: a crowd of newcomers keeps no device from renewing."""
    registry = parts.registry
    return CountingRenewal(
        parts.meter,
        RenewalPorts(registry, registry, registry, registry, parts.reports),
        authority=parts.authority,
        nonces=parts.nonces,
        clock=parts.clock,
        entropy=parts.entropy,
        profile=settings.profile,
        sessions=parts.sessions,
        admission=parts.lines[RENEW],
        refusals=_budget(parts.share, 60, 1),
        pace=_budget(parts.share, 60, 1),
        lifetimes=GroupLifetimes(registry, registry),
        late=parts.late,
        strangers=parts.renew_strangers,
        on_step=parts.on_step,
    )


def _tokens(parts: Parts) -> Authenticator:
    tokens = TokenAuthenticator(parts.registry)
    if parts.shared_token is None:
        return tokens
    return OpenEnrollment(parts.registry, parts.shared_token, tokens)


def new_lines(share: int = 1) -> dict[str, Admission]:
    """Where requests wait in one of ``share`` processes, by ``keyborn_admission_waiting``'s label."""
    slots, waiting = max(_LEAST_SLOTS, SLOTS // share), max(_LEAST_WAITING, 2000 // share)
    return {each: Admission(slots=slots, waiting=waiting) for each in (ENROLL, RENEW)}


def crowded(lines: Mapping[str, Admission]) -> bool:
    """Whether so many stand in ``lines`` that whoever comes now would only stand behind them."""
    return any(each.is_crowded for each in lines.values())


def _budget(share: int, burst: int, per_minute: float) -> FailureBudget:
    return FailureBudget(burst=max(_LEAST_BURST, burst // share), per_minute=per_minute / share)
