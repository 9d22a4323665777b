"""A claim on credit that had to come again: nothing was signed, and nobody has anything to look for."""

from dataclasses import dataclass
from datetime import timedelta

import pytest

from keyborn.adapters.aws.registry import LEASE
from keyborn.domain.errors import Queued, Unavailable
from keyborn.service.quota import Confirm
from keyborn.service.sweep import HORIZON
from support.aws_faults import ENDLESS, Fault, Plan
from support.aws_saga import IMPATIENT, Process, Stage
from support.csr_make import make_csr


@dataclass
class OnCredit:
    """Lets everybody claim, and nobody have anything signed."""

    async def admit(self, who: str, confirm: Confirm) -> "OnCredit":
        return self

    async def meanwhile(self) -> None:
        """No slot is spare."""

    async def demand(self) -> None:
        raise Queued(seconds=60)

    def give_back(self) -> None:
        """There is nothing to give."""


@pytest.fixture
async def stage(ground: Stage) -> Stage:
    """An account with the service, and nobody enrolled."""
    await ground.prepare()
    return ground


async def sent_away(stage: Stage, one: Process, name: str) -> str:
    """The CSR of a device that claimed, and has to come again."""
    csr = make_csr(name)[1]
    stage.dynamodb.plan()
    with pytest.raises(Queued):
        await one.enroll(csr, name=name)
    return csr


async def test_the_sweeper_looks_for_nothing_and_any_process_goes_on(stage: Stage) -> None:
    async with stage.process(quota=OnCredit()) as one:
        csrs = [await sent_away(stage, one, f"d-{number}") for number in range(3)]
    assert [call.operation for call in stage.dynamodb.calls] == ["TransactWriteItems"] * 2
    stage.iot.plan()
    settled = await stage.settle(LEASE + timedelta(seconds=1))
    assert (settled.rescued, settled.strays, settled.troubles) == (0, 0, [])
    assert stage.iot.calls == []
    async with stage.process() as other:
        assert list(await other.registry.dirt()) == []
        given = [await other.enroll(csr, name=f"d-{number}") for number, csr in enumerate(csrs)]
        assert list(await other.registry.dirt()) == []
    assert sorted(stage.active()) == sorted(one.certificate.id for one in given)


async def test_it_may_go_on_at_once(stage: Stage) -> None:
    async with stage.process(quota=OnCredit()) as one:
        csr = await sent_away(stage, one, "d-1")
    async with stage.process() as other:
        assert (await other.enroll(csr, name="d-1")).repeated


async def test_what_an_attempt_before_it_may_have_left_is_still_looked_for(stage: Stage) -> None:
    """The first attempt was signed a certificate and never heard of it; the second one claims on credit."""
    lost = Plan(Fault.UNHEARD, times=ENDLESS, operations=["CreateCertificateFromCsr"])
    csr = make_csr("d-1")[1]
    async with stage.process(patience=IMPATIENT) as one:
        with stage.iot.planned(lost), pytest.raises(Unavailable):
            await one.enroll(csr, name="d-1")
    assert stage.certificates()
    async with stage.process(quota=OnCredit()) as one:
        with pytest.raises(Queued):
            await one.enroll(csr, name="d-1")
    await stage.settle(LEASE + timedelta(minutes=6))
    assert stage.certificates() == {}


async def test_who_never_returns_has_its_claim_dropped(stage: Stage) -> None:
    async with stage.process(quota=OnCredit()) as one:
        await sent_away(stage, one, "d-1")
    assert (await stage.settle(HORIZON + timedelta(minutes=1))).dropped == 1
    async with stage.process() as other:
        assert list(await other.registry.things()) == []
