"""An enrolment that is called off, in line or in the middle, leaves nothing half done."""

import asyncio
from collections.abc import Callable

import pytest

from keyborn.adapters.system import SystemEntropy
from keyborn.domain.certificate import CertificateStatus
from keyborn.domain.token import encode_secret
from keyborn.ports import Credential
from keyborn.service import errands
from keyborn.service.admission import Admission
from keyborn.service.authenticate import TokenAuthenticator
from keyborn.service.enroll import Enrollment, RegistrationAuthority
from keyborn.service.saga import SagaStep, StepListener, ignore
from keyborn.service.tokens import FreshToken
from support.csr_make import make_csr
from support.office import SOURCE, OfficeWorld


def authority(
    world: OfficeWorld, admission: Admission, on_step: StepListener = ignore
) -> RegistrationAuthority:
    return RegistrationAuthority(
        authenticator=TokenAuthenticator(world.registry),
        enrollments=world.registry,
        authority=world.ca,
        audit=world.registry,
        clock=world.clock,
        entropy=SystemEntropy(),
        admission=admission,
        on_step=on_step,
    )


async def enroll(
    world: OfficeWorld, by: RegistrationAuthority, csr: str, token: FreshToken, errand: errands.Errand
) -> Enrollment:
    errands.current.set(errand)
    shown = Credential(encode_secret(token.code.secret), SOURCE)
    return await world.present(shown, "sensor-1", csr, authority=by)


async def until(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not what():  # noqa: ASYNC110 - whatever it is
            await asyncio.sleep(0)


async def test_who_is_called_off_in_line_was_never_there(world: OfficeWorld) -> None:
    admission, errand = Admission(slots=1), errands.Errand()
    by, (_, csr), token = authority(world, admission), make_csr("sensor-1"), await world.token("sensor-1")
    noted = len(await world.registry.records(after=0, limit=100))
    async with admission.slot():
        task = asyncio.create_task(enroll(world, by, csr, token, errand))
        await until(lambda: errand.in_line)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert list(await world.registry.things(limit=10)) == []
    assert len(await world.registry.records(after=0, limit=100)) == noted
    assert not (await enroll(world, by, csr, token, errand)).repeated, "the token is as good as before"


async def test_nobody_may_call_off_what_has_begun(world: OfficeWorld) -> None:
    seen: list[bool] = []
    errand = errands.Errand()
    by = authority(world, Admission(slots=1), lambda _step: seen.append(errand.in_line))
    await enroll(world, by, make_csr("sensor-1")[1], await world.token("sensor-1"), errand)
    assert seen == [False] * len(SagaStep)


@pytest.mark.parametrize("step", [step for step in SagaStep if step is not SagaStep.AUTHENTICATED])
async def test_one_that_is_cancelled_in_the_middle_is_finished_by_the_same_request(
    world: OfficeWorld, step: SagaStep
) -> None:
    """What a stop does to those who are not done within its grace."""

    def cancelling(reached: SagaStep) -> None:
        if reached is step:
            raise asyncio.CancelledError

    (_, csr), token = make_csr("sensor-1"), await world.token("sensor-1")
    errand, admission = errands.Errand(), Admission(slots=1)
    with pytest.raises(asyncio.CancelledError):
        await enroll(world, authority(world, admission, cancelling), csr, token, errand)
    outcome = await enroll(world, authority(world, admission), csr, token, errand)
    assert outcome.certificate.status is CertificateStatus.ACTIVE
    kept = await world.registry.certificates(outcome.certificate.thing)
    assert [each.status for each in kept].count(CertificateStatus.ACTIVE) == 1


async def test_without_an_edge_nobody_calls_anything_off() -> None:
    with errands.standing_in_line():
        assert errands.current.get() is None
