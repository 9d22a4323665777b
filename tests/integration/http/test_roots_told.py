"""Which roots devices believe, over real HTTPS and in the operator's office."""

import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from keyborn.domain.names import ThingName
from keyborn.domain.roots import RootSet, root_set
from keyborn.domain.thing import ThingStatus
from keyborn.service.roots import RootNames, RootsOffice, RootsPorts
from support.renewal_stage import CONFIRM, RENEW, RenewalStage, renewal_stage
from support.roots_office import StillRoots

ROOTS = "/v1/roots"
OTHER = "0" * 64


@pytest_asyncio.fixture
async def stage(tmp_path: Path) -> AsyncIterator[RenewalStage]:
    async with renewal_stage(tmp_path) as made:
        yield made


def newest(stage: RenewalStage) -> RootSet:
    return root_set([ssl.PEM_cert_to_DER_cert(stage.ca.roots_pem())])


async def believed(stage: RenewalStage, name: str) -> str | None:
    return (await stage.registry.belief(ThingName(name))).roots


async def test_a_device_tells_and_the_registry_keeps_it(stage: RenewalStage) -> None:
    signer = await stage.device("lamp")
    answer = await stage.signed(ROOTS, signer, {"roots": newest(stage)})
    assert (answer.status, answer.json) == (200, {"roots": newest(stage)})
    assert len(answer.headers["replay-nonce"]) == 54
    assert await believed(stage, "lamp") == newest(stage)


@pytest.mark.parametrize(
    "payload", [{}, {"roots": None}, {"roots": "A" * 64}, {"roots": OTHER + "\n"}, {"roots": 1},
                {"roots": OTHER, "more": 1}, b"[]", b"\xff"]
)  # fmt: skip
async def test_nothing_else_is_taken_for_a_digest(stage: RenewalStage, payload: object) -> None:
    signer = await stage.device("lamp")
    answer = await stage.signed(ROOTS, signer, payload)
    assert (answer.status, answer.json["code"]) == (400, "jws_malformed")
    assert await believed(stage, "lamp") is None


async def test_who_is_suspended_is_not_heard(stage: RenewalStage) -> None:
    signer = await stage.device("lamp")
    await stage.order("lamp", ThingStatus.SUSPENDED)
    answer = await stage.signed(ROOTS, signer, {"roots": OTHER})
    assert (answer.status, answer.json["code"]) == (403, "thing_revoked")
    assert await believed(stage, "lamp") is None


async def test_a_request_for_another_route_is_no_report(stage: RenewalStage) -> None:
    signer = await stage.device("lamp")
    body = signer.body(stage.url + CONFIRM, await stage.nonce(), {"roots": OTHER})
    assert (await stage.send(ROOTS, body)).status == 401


async def test_a_renewal_and_its_confirmation_may_tell_it_in_passing(stage: RenewalStage) -> None:
    signer = await stage.device("lamp")
    following = signer.next_key()
    answer = await stage.signed(RENEW, signer, following.wish | {"roots": OTHER})
    assert answer.status == 201
    assert await believed(stage, "lamp") == OTHER
    second = following.with_certificate(answer.json["certificateId"])
    assert (await stage.signed(CONFIRM, second, {"roots": newest(stage)})).status == 200
    assert await believed(stage, "lamp") == newest(stage)


async def test_the_office_counts_things_and_names_who_lacks_the_newest(stage: RenewalStage) -> None:
    registry, names = stage.registry, RootNames(newest(stage), "Root")
    office = RootsOffice(RootsPorts(registry, registry, StillRoots(), registry, stage.clock, lambda: names))
    told = {"a": newest(stage), "b": OTHER, "d": newest(stage)}
    for name in "abcd":
        signer = await stage.device(name)
        if name in told:
            await stage.signed(ROOTS, signer, {"roots": told[name]})
    report = await office.report()
    assert report.sets == [(newest(stage), 2), (OTHER, 1), (None, 1)]
    assert (report.names.newest, report.lacking) == (newest(stage), 2)
    assert [one.thing for one in await office.lacking()] == ["b", "c"]
    assert [one.thing for one in await office.lacking(after="b")] == ["c"]
    assert office.is_newest(await office.of(ThingName("a")))
