"""The two authorities, counting how each request ends and how long that takes.

What is counted is what they return and raise; they decide as ever.
"""

from asyncio import CancelledError
from collections.abc import Collection
from contextvars import ContextVar
from time import perf_counter_ns
from typing import Any

from keyborn.domain.applicant import Applicant
from keyborn.domain.certificate import Certificate
from keyborn.domain.errors import AwaitsApproval, KeybornError, Queued, Unavailable
from keyborn.ports import Credential
from keyborn.service import figures
from keyborn.service.enroll import Enrollment, EnrollmentRequest, RegistrationAuthority
from keyborn.service.gate import shown_method
from keyborn.service.meter import Meter
from keyborn.service.renew import RenewalAuthority, RenewalPorts, SignedCaller

_INTERNAL = KeybornError.code
_began: ContextVar[int] = ContextVar("keyborn_began")
"""When the look at what a request shows began; it is decided in the context in which it was proved."""


class CountingRegistration(RegistrationAuthority):
    """A registration authority that counts."""

    def __init__(self, meter: Meter, **parts: Any) -> None:  # noqa: ANN401 - those of RegistrationAuthority
        super().__init__(**parts)
        self._meter = meter

    async def authenticate(self, credential: Credential) -> Applicant:
        """See ``RegistrationAuthority.authenticate``; a caller that proves nothing has been answered."""
        began = perf_counter_ns()
        _began.set(began)
        try:
            return await super().authenticate(credential)
        except BaseException as error:
            self._counted(shown_method(credential), began, *_ended(error))
            raise

    async def enroll(self, applicant: Applicant, request: EnrollmentRequest) -> Enrollment:
        """See ``RegistrationAuthority.enroll``."""
        began = _began.get(0) or perf_counter_ns()
        try:
            done = await super().enroll(applicant, request)
        except BaseException as error:
            self._counted(applicant.method, began, *_ended(error))
            raise
        repeated = (figures.REPEATED, figures.REPEATED)
        self._counted(
            applicant.method, began, *(repeated if done.repeated else (figures.ISSUED, figures.GRANTED))
        )
        return done

    def _counted(self, method: str, began: int, outcome: str, result: str) -> None:
        self._meter.count(figures.ENROLLMENTS, method, outcome)
        self._meter.observe(perf_counter_ns() - began, figures.ENROLLMENT_SECONDS, result)


class CountingRenewal(RenewalAuthority):
    """A renewal authority that counts."""

    def __init__(self, meter: Meter, ports: RenewalPorts, **parts: Any) -> None:  # noqa: ANN401 - RenewalAuthority's
        super().__init__(ports, **parts)
        self._meter = meter

    async def authenticate(self, body: bytes, addresses: Collection[str], source: str) -> SignedCaller:
        """See ``RenewalAuthority.authenticate``; refusals of what is signed for roots count, too."""
        began = perf_counter_ns()
        _began.set(began)
        try:
            return await super().authenticate(body, addresses, source)
        except BaseException as error:
            self._counted(figures.PROVE, began, *_ended(error))
            raise

    async def renew(self, caller: SignedCaller, csr: object) -> Enrollment:
        """See ``RenewalAuthority.renew``."""
        began = _began.get(0) or perf_counter_ns()
        try:
            done = await super().renew(caller, csr)
        except BaseException as error:
            self._counted(figures.RENEW, began, *_ended(error))
            raise
        repeated = (figures.REPEATED, figures.REPEATED)
        self._counted(
            figures.RENEW, began, *(repeated if done.repeated else (figures.RENEWED, figures.GRANTED))
        )
        return done

    async def confirm(self, caller: SignedCaller) -> Certificate:
        """See ``RenewalAuthority.confirm``."""
        began = _began.get(0) or perf_counter_ns()
        try:
            done = await super().confirm(caller)
        except BaseException as error:
            self._counted(figures.CONFIRM, began, *_ended(error))
            raise
        self._counted(figures.CONFIRM, began, figures.CONFIRMED, figures.GRANTED)
        return done

    def _counted(self, step: str, began: int, outcome: str, result: str) -> None:
        self._meter.count(figures.RENEWALS, step, outcome)
        self._meter.observe(perf_counter_ns() - began, figures.RENEWAL_SECONDS, result)


def _ended(error: BaseException) -> tuple[str, str]:
    """Outcome and kind of result of a request that raised; what is no error of ours is ``internal``.

    One that was cancelled, because the service stops, is answered by nobody.
    """
    if isinstance(error, CancelledError):
        return Unavailable.code, figures.UNAVAILABLE
    if not isinstance(error, KeybornError):
        return _INTERNAL, figures.UNAVAILABLE
    if isinstance(error, Queued | AwaitsApproval):
        return error.code, figures.WAITING
    return error.code, figures.UNAVAILABLE if isinstance(error, Unavailable) else figures.REFUSED
