"""An order that comes in the middle of a renewal: whatever the moment, it is what counts in the end.

Walked by the code: the order is given before and after each call of a renewal and its confirmation, and the
process goes on or dies there. Predecessor and successor are both of a thing that may not be there.
"""

from contextlib import suppress
from datetime import timedelta

import pytest

from keyborn.domain.errors import BadNonce, EnrollmentInterrupted, ThingRevoked
from keyborn.domain.thing import ThingStatus
from support.aws_faults import Killed
from support.aws_moments import Moment, Operator, inserted, moments_of
from support.aws_saga import LAMP, LEASE, Process, Stage
from support.figures import Figure
from support.signing import NextKey, Signer
from support.walks import FULL

SHARE = 1 if FULL else 9
HOUR = timedelta(hours=1)
ORDERS = (ThingStatus.REVOKED, ThingStatus.SUSPENDED)


@pytest.fixture
def stage(ground: Stage) -> Stage:
    """An account; each case begins it anew."""
    return ground


async def go_over(process: Process, signer: Signer, following: NextKey) -> None:
    """All that a device asks for to have another key."""
    renewed = (await process.renew(signer, following)).certificate
    await process.confirm(following.with_certificate(renewed.id))


async def begin(stage: Stage) -> tuple[Signer, NextKey]:
    await stage.prepare()
    signer = await stage.device()
    return signer, signer.next_key()


async def moments(stage: Stage) -> list[Moment]:
    signer, following = await begin(stage)
    async with stage.process() as process:
        with stage.dynamodb.listening() as to_table, stage.iot.listening() as to_iot:
            await go_over(process, signer, following)
    return moments_of([*to_table, *to_iot])


async def assert_obeyed(stage: Stage, moment: Moment, status: ThingStatus, *, dies: bool) -> None:
    signer, following = await begin(stage)
    async with stage.process() as slow, stage.process() as other:
        operator = Operator(stage, other, status)
        with (
            inserted(stage, moment, operator.order, dies=dies),
            suppress(ThingRevoked, EnrollmentInterrupted, BadNonce, Killed),
        ):
            await go_over(slow, signer, following)
        if not dies:
            assert stage.active() == [], "at once"
        for pause in (LEASE, HOUR):
            assert (await stage.settle(pause)).troubles == []
            assert stage.active() == []
        thing = await other.registry.thing(LAMP)
    assert thing is not None
    assert thing.status is status
    stage.assert_foreign_untouched()


@pytest.mark.slow
@pytest.mark.parametrize("status", ORDERS)
@pytest.mark.parametrize("dies", [False, True], ids=["goes on", "dies"])
async def test_an_order_before_or_after_any_call_of_a_renewal_is_what_counts(
    stage: Stage,
    status: ThingStatus,
    dies: bool,  # noqa: FBT001 - a parameter of the walk
    figure: Figure,
) -> None:
    every = await moments(stage)
    walked = every[(2 * dies + (status is ThingStatus.REVOKED)) % SHARE :: SHARE]
    for moment in walked:
        try:
            await assert_obeyed(stage, moment, status, dies=dies)
        except BaseException as error:
            error.add_note(str(moment))
            raise
    word = "dies" if dies else "goes on"
    figure(
        f"AWS renewal, {status.value} at {len(walked)} of {len(every)} moments, the process {word}: obeyed"
    )


async def test_a_late_activation_does_not_outlive_the_end_of_a_successor(stage: Stage) -> None:
    """AWS may carry out a request minutes later; by then another key has taken the successor's place."""
    signer, following = await begin(stage)
    async with stage.process() as process:
        gone = (await process.renew(signer, following)).certificate
        kept = (await process.renew(signer, signer.next_key())).certificate
    assert gone.id not in stage.active()
    stage.iot.client.update_certificate(certificateId=gone.id, newStatus="ACTIVE")
    assert (await stage.settle(LEASE)).troubles == []
    assert set(stage.certificates()) == {signer.certificate_id, kept.id}
