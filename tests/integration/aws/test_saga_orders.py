"""An order that comes in the middle of an enrollment: whatever the moment, it is what counts in the end.

The walk is enumerated by the code: the order is given before and after each call of an enrollment, and the
process goes on or dies there. A request to activate that AWS IoT carries out late is walked on its own.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from itertools import product

import pytest
from botocore.awsrequest import AWSPreparedRequest
from botocore.exceptions import ReadTimeoutError

from keyborn.domain.errors import EnrollmentInterrupted, ThingRevoked, Unavailable
from keyborn.domain.thing import ThingStatus
from support.aws_faults import ENDLESS, Killed
from support.aws_moments import Moment, Operator, inserted, moments_of
from support.aws_saga import IMPATIENT, LAMP, LEASE, Stage
from support.figures import Figure
from support.walks import FULL

HOUR = timedelta(hours=1)
ORDERS = (ThingStatus.REVOKED, ThingStatus.SUSPENDED)


@pytest.fixture
def stage(ground: Stage) -> Stage:
    """An account; each case begins it anew."""
    return ground


async def moments(stage: Stage) -> list[Moment]:
    """All there are."""
    await stage.prepare()
    async with stage.process() as process:
        with stage.dynamodb.listening() as to_table, stage.iot.listening() as to_iot:
            await process.enroll(stage.csr)
    return moments_of([*to_table, *to_iot])


async def assert_obeyed(stage: Stage, moment: Moment, status: ThingStatus, *, dies: bool) -> bool:
    """Whether the order came in time to mean anything."""
    await stage.prepare()
    served = False
    async with stage.process() as slow, stage.process() as other:
        operator = Operator(stage, other, status)
        with (
            inserted(stage, moment, operator.order, dies=dies),
            suppress(ThingRevoked, EnrollmentInterrupted, Killed),
        ):
            await slow.enroll(stage.csr)
            served = True
        if not operator.obeyed:
            assert len(stage.active()) == (0 if dies else 1)
            assert served or dies
            return False
        if not dies:
            assert stage.active() == [], "at once"
        for pause in (LEASE, HOUR):
            assert (await stage.settle(pause)).troubles == []
            assert stage.active() == []
        thing = await other.registry.thing(LAMP)
    assert thing is not None
    assert thing.status is status
    assert stage.statuses() <= {status.value.upper() if status is ThingStatus.REVOKED else "INACTIVE"}
    stage.assert_foreign_untouched()
    return True


@pytest.mark.slow
@pytest.mark.parametrize("status", ORDERS)
@pytest.mark.parametrize("dies", [False, True], ids=["goes on", "dies"])
async def test_an_order_before_or_after_any_call_of_an_enrollment_is_what_counts(
    stage: Stage,
    status: ThingStatus,
    dies: bool,  # noqa: FBT001 - a parameter of the walk
    figure: Figure,
) -> None:
    every = await moments(stage)
    walked = every if FULL else every[(2 * dies + (status is ThingStatus.REVOKED)) :: 5]
    obeyed = 0
    for moment in walked:
        try:
            obeyed += await assert_obeyed(stage, moment, status, dies=dies)
        except BaseException as error:
            error.add_note(str(moment))
            raise
    assert obeyed > len(walked) / 2
    word = "dies" if dies else "goes on"
    figure(
        f"AWS saga, {status.value} at {len(walked)} of {len(every)} moments, the process {word}: "
        f"{obeyed} obeyed, the others came before there was a device"
    )


# ── a request to activate that is carried out late ────────────────────────────────────────────────────

FATES: dict[str, tuple[int, type[BaseException]]] = {
    "its process has died": (ENDLESS, Killed),
    "its process has given up": (ENDLESS, ReadTimeoutError),
    "its process has asked again": (1, ReadTimeoutError),
}
"""How many of the requests to activate are still under way, and what their process knows of that."""


@contextmanager
def under_way(stage: Stage, fate: str) -> Iterator[None]:
    """Requests to activate get no answer."""
    times, ends = FATES[fate]
    numbers = iter(range(times))

    def lose(request: AWSPreparedRequest, **_: object) -> None:
        if "newStatus=ACTIVE" in request.url and next(numbers, None) is not None:
            raise ends if ends is Killed else ReadTimeoutError(endpoint_url=request.url)

    events = stage.iot.client.meta.events
    events.register_first("before-send.iot.UpdateCertificate", lose)
    try:
        yield
    finally:
        events.unregister("before-send.iot.UpdateCertificate", lose)


async def assert_not_late(stage: Stage, fate: str, status: ThingStatus, *, ordered_first: bool) -> None:
    await stage.prepare()
    async with stage.process(patience=IMPATIENT) as process, stage.process() as operator:
        with under_way(stage, fate), suppress(Unavailable, Killed):
            await process.enroll(stage.csr)
        (certificate,) = stage.certificates()
        if ordered_first:
            await operator.registry.set_status(LAMP, status, stage.event("order"))
            assert stage.active() == []
        stage.iot.client.update_certificate(certificateId=certificate, newStatus="ACTIVE")
        if not ordered_first:
            await operator.registry.set_status(LAMP, status, stage.event("order"))
            assert stage.active() == []
    assert (await stage.settle(LEASE)).troubles == []
    assert stage.certificates() == {certificate: "REVOKED" if status is ThingStatus.REVOKED else "INACTIVE"}


async def test_a_request_to_activate_that_is_carried_out_late_does_not_outlive_an_order(
    stage: Stage, figure: Figure
) -> None:
    cases = list(product(FATES, ORDERS, (True, False)))
    for fate, status, ordered_first in cases:
        try:
            await assert_not_late(stage, fate, status, ordered_first=ordered_first)
        except BaseException as error:
            error.add_note(f"{fate}, {status}, ordered first: {ordered_first}")
            raise
    figure(f"AWS saga, a request to activate is carried out late: {len(cases)} cases, the order counts")


@pytest.mark.parametrize("fate", FATES)
async def test_without_an_order_a_late_activation_of_what_is_not_complete_is_taken_back(
    stage: Stage, fate: str
) -> None:
    await stage.prepare()
    async with stage.process(patience=IMPATIENT) as process:
        with under_way(stage, fate), suppress(Unavailable, Killed):
            await process.enroll(stage.csr)
    (certificate,) = stage.certificates()
    complete = stage.active() == [certificate]
    stage.iot.client.update_certificate(certificateId=certificate, newStatus="ACTIVE")
    settled = await stage.settle(LEASE)
    assert (settled.rescued, settled.troubles) == (0 if complete else 1, [])
    assert stage.certificates() == {certificate: "ACTIVE" if complete else "INACTIVE"}
    async with stage.process() as process:
        assert (await process.enroll(stage.csr)).certificate.id == certificate
    stage.assert_enrolled(certificate)
