"""A device and its clone, both with the one key, renew at once: whatever the moment, one of them is left.

Walked by the code: the clone renews, and confirms or not, before and after each call that the device's own
renewal and confirmation make, and the device's process goes on or dies there.
"""

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field

import pytest

from keyborn.domain.certificate import CertificateStatus
from keyborn.domain.errors import KeybornError
from support.aws_faults import Killed
from support.aws_moments import Moment, inserted, moments_of
from support.aws_saga import LAMP, LEASE, Process, Stage
from support.figures import Figure
from support.signing import NextKey, Signer
from support.walks import FULL

SHARE = 1 if FULL else 36


@pytest.fixture
def stage(ground: Stage) -> Stage:
    """An account; each case begins it anew."""
    return ground


@dataclass
class Holder:
    """One of the two: what it asked for, and how far it came."""

    first: Signer
    following: NextKey = field(init=False)
    got: Signer | None = None
    confirmed: bool = False
    refused: str = ""

    def __post_init__(self) -> None:
        self.following = self.first.next_key()

    async def go(self, process: Process, *, confirms: bool = True) -> None:
        """Renew, and confirm; a refusal is remembered."""
        try:
            given = (await process.renew(self.first, self.following)).certificate
            self.got = self.following.with_certificate(given.id)
            if confirms:
                await process.confirm(self.got)
                self.confirmed = True
        except KeybornError as wrong:
            self.refused = wrong.code


async def moments(stage: Stage) -> list[Moment]:
    await stage.prepare()
    device = Holder(await stage.device())
    async with stage.process() as process:
        with stage.dynamodb.listening() as to_table, stage.iot.listening() as to_iot:
            await device.go(process)
    assert device.confirmed
    return moments_of([*to_table, *to_iot])


async def meet(stage: Stage, moment: Moment, *, confirms: bool, dies: bool) -> str:
    """How it ended, for a figure."""
    await stage.prepare()
    signer = await stage.device()
    device, clone = Holder(signer), Holder(signer)
    async with stage.process() as slow, stage.process() as other:

        async def rival() -> None:
            await clone.go(other, confirms=confirms)

        with inserted(stage, moment, rival, dies=dies), suppress(Killed):
            await device.go(slow)
        assert (await stage.settle(LEASE)).troubles == []
        held = await other.registry.certificates(LAMP)
    active = set(stage.active())
    assert active == {one.id for one in held if one.status is CertificateStatus.ACTIVE}, "as the table says"
    winners = {one.got.certificate_id for one in (device, clone) if one.got and one.confirmed}
    if winners:
        assert active == winners, "one has won, and nothing else is good any more"
    elif signer.certificate_id in active:
        assert len(active) <= 2, "the predecessor, and one successor at most"
    else:
        assert dies, "it confirmed, and nobody lived to tell it"
        assert device.got is not None
        assert active == {device.got.certificate_id}
    stage.assert_foreign_untouched()
    return "the device" if device.confirmed else "the clone" if clone.confirmed else "nobody yet"


@pytest.mark.slow
@pytest.mark.parametrize("confirms", [False, True], ids=["asks", "confirms"])
@pytest.mark.parametrize("dies", [False, True], ids=["goes on", "dies"])
async def test_of_a_device_and_its_clone_one_is_left(
    stage: Stage,
    figure: Figure,
    *,
    confirms: bool,
    dies: bool,
) -> None:
    every = await moments(stage)
    walked = every[9 * (2 * dies + confirms) % SHARE :: SHARE]
    ends: Counter[str] = Counter()
    for moment in walked:
        try:
            ends[await meet(stage, moment, confirms=confirms, dies=dies)] += 1
        except BaseException as error:
            error.add_note(str(moment))
            raise
    told = ", ".join(f"{who} {count}" for who, count in ends.items())
    figure(f"AWS renewal, a clone at {len(walked)} of {len(every)} moments, who has won: {told}")
