"""A registration authority for tests: real rules and authority, memory registry, a clock to turn."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from keyborn.adapters.ca import EmbeddedAuthority, open_authority
from keyborn.adapters.memory import MemoryRegistry
from keyborn.adapters.system import SystemEntropy
from keyborn.domain.certificate import Certificate, CertificateStatus
from keyborn.domain.names import NameScope, ThingName
from keyborn.domain.token import encode_secret
from keyborn.ports import Authenticator, Credential, Leases, Registry, Sessions
from keyborn.service.admission import FailureBudget
from keyborn.service.authenticate import TokenAuthenticator
from keyborn.service.enroll import Enrollment, EnrollmentRequest, RegistrationAuthority
from keyborn.service.policies import PolicyOffice
from keyborn.service.quota import Quota
from keyborn.service.saga import SagaStep
from keyborn.service.sealing import LateProof, RandomSecrets
from keyborn.service.things import ThingOffice
from keyborn.service.tokens import FreshToken, TokenOffice, TokenWish
from support.csr_make import make_csr

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
SOURCE = "192.0.2.7"


class TurnedClock:
    """A clock that a test turns."""

    def __init__(self, now: datetime = NOON) -> None:
        self._now = now

    def now(self) -> datetime:
        return self._now

    def turn(self, by: timedelta) -> None:
        self._now += by


class OfficeWorld:
    """One authority with everything a test may want to look at."""

    def __init__(self, folder: Path, registry: Registry | None = None) -> None:
        self.clock = TurnedClock()
        self.registry: Registry = registry or MemoryRegistry()
        self.ca: EmbeddedAuthority = open_authority(folder / "ca", clock=self.clock, entropy=SystemEntropy())
        self.steps: list[SagaStep] = []
        self.crash_at: SagaStep | None = None
        self.failures = FailureBudget(burst=5)
        self.tokens = TokenOffice(
            tokens=self.registry,
            listing=self.registry,
            clock=self.clock,
            secrets=RandomSecrets(SystemEntropy()),
            trust=lambda: ("https://localhost:8443", self.ca.root_fingerprint()),
        )
        self.authority = self.build(TokenAuthenticator(self.registry))

    def build(
        self,
        authenticator: Authenticator,
        *,
        quota: Quota | None = None,
        leases: Leases | None = None,
        late: LateProof | None = None,
    ) -> RegistrationAuthority:
        return RegistrationAuthority(
            authenticator=authenticator,
            enrollments=self.registry,
            authority=self.ca,
            audit=self.registry,
            clock=self.clock,
            entropy=SystemEntropy(),
            reserved_names=frozenset({"localhost"}),
            failures=self.failures,
            quota=quota,
            leases=leases,
            late=late,
            on_step=self._on_step,
        )

    def policies(self, sessions: Sessions | None = None) -> PolicyOffice:
        """The use cases of policies over this registry."""
        registry = self.registry
        return PolicyOffice(
            policies=registry,
            listing=registry,
            use=registry,
            fleet=registry,
            directory=registry,
            sessions=sessions,
            clock=self.clock,
        )

    def things(self, sessions: Sessions | None = None) -> ThingOffice:
        """The use cases of orders over this registry."""
        registry = self.registry
        return ThingOffice(
            fleet=registry, directory=registry, lifecycle=registry, sessions=sessions, clock=self.clock
        )

    def _on_step(self, step: SagaStep) -> None:
        self.steps.append(step)
        if step is self.crash_at:
            raise Crash(step)

    async def token(self, pattern: str = "*", *, uses: int | None = 1, replace: bool = False) -> FreshToken:
        return await self.tokens.create(TokenWish(NameScope(pattern), uses, timedelta(hours=1), replace))

    async def enroll(
        self, name: object, csr: object, token: FreshToken | None, *, generic: bool = False
    ) -> Enrollment:
        bearer = encode_secret(token.code.secret) if token else None
        return await self.present(Credential(bearer, SOURCE), name, csr, generic=generic)

    async def present(
        self,
        credential: Credential,
        name: object,
        csr: object,
        attributes: Mapping[str, str] | None = None,
        *,
        generic: bool = False,
        authority: RegistrationAuthority | None = None,
    ) -> Enrollment:
        """Authenticate, then enroll: what a door does."""
        authority = authority or self.authority
        applicant = await authority.authenticate(credential)
        request = EnrollmentRequest(name, csr, credential.source, attributes, generic)
        return await authority.enroll(applicant, request)

    async def enrolled(self, name: str) -> tuple[str, FreshToken, Certificate]:
        """A thing that has its certificate: its request, its token, the certificate."""
        token, (_, csr) = await self.token(name), make_csr(name)
        return csr, token, (await self.enroll(name, csr, token)).certificate

    async def active(self, name: str) -> list[Certificate]:
        held = await self.registry.certificates(ThingName(name))
        return [certificate for certificate in held if certificate.status is CertificateStatus.ACTIVE]

    async def outcomes(self) -> list[str]:
        return [record.event.outcome for record in await self.registry.records()]


class Crash(BaseException):
    """The process died at this step."""


def folder(path: Path) -> Path:
    """A private folder."""
    made = path / "authority"
    made.mkdir(mode=0o700, exist_ok=True)
    made.chmod(0o700)
    return made
