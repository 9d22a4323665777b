"""A hundred at once claim one name, by every method: one gets it, and all others hear that it is taken."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from random import Random

import pytest

from keyborn.domain.jws import MEDIA_TYPE
from keyborn.http.lambda_handler import LambdaHandler
from support.figures import Figure
from support.lambda_events import Context
from support.takeover import ENROLL, Device, Yard
from support.takeover_ground import WAYS, Ground, Said, aws_ground, local_ground
from support.walks import FULL

CROWD, ROUNDS = (100, 50) if FULL else (20, 2)
INSTANCES = 10
"""Of the function; each answers one request at a time, so that many are under way at once."""
BUSY = frozenset({"overloaded", "queued", "registry_unavailable", "iot_unavailable"})
RETRIES = 5


def opened(kind: str, folder: Path) -> AbstractContextManager[Ground]:
    return aws_ground(folder, instances=INSTANCES) if kind == "aws" else local_ground(folder, kind)


@pytest.fixture(
    params=[
        pytest.param("memory", marks=pytest.mark.slow),
        pytest.param("sqlite", marks=pytest.mark.slow),
        pytest.param("aws", marks=pytest.mark.whole),
    ],
)
def ground(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ground]:
    with opened(request.param, tmp_path) as one:
        yield one


def claim(yard: Yard, device: Device, method: str, group: str = "line-refuse") -> dict[str, object]:
    """The request by which a device claims its name."""
    name, csr, post = device.name, device.csr, yard.ground.event
    json = "application/json"
    if method == "token":
        return post(ENROLL, yard.wish(name, csr, None), json, yard.token(name, group))
    if method == "pattern":
        return post(ENROLL, yard.wish(name, csr, None), json, yard.shared())
    if method == "oidc":
        return post(ENROLL, yard.wish(name, csr, group), json, yard.jwt(name))
    if method == "group-key":
        return post(ENROLL, yard.by_group_key(group, name, name, csr), MEDIA_TYPE)
    if method == "factory":
        made = yard.ground.maker.device(name=name)
        return post(ENROLL, yard.by_factory(made, name, csr, group), MEDIA_TYPE)
    if method == "registered":
        yard.register(group, name, device.hash)
    else:
        yard.approve(yard.bear(None, name, csr, group))
    return post(ENROLL, yard.wish(name, csr, group), json)


METHODS = ("token", "pattern", "oidc", "group-key", "factory", "registered", "ask")


def rush(ground: Ground, claims: list[dict[str, object]]) -> list[Said]:
    """All at once: as tasks of one process, or spread over the function's instances."""
    if ground.kind != "aws":
        return ground.run(_together(ground.handlers[0], claims))
    parts = [claims[number::INSTANCES] for number in range(INSTANCES)]
    with ThreadPoolExecutor(INSTANCES) as pool:
        done = pool.map(_in_turn, ground.handlers, parts)
        return [said for each in done for said in each]


async def _together(handler: LambdaHandler, claims: list[dict[str, object]]) -> list[Said]:
    answers = await asyncio.gather(*(handler._answer(one, 60) for one in claims))
    return [Said(one["statusCode"], one["body"]) for one in answers]


def _in_turn(handler: LambdaHandler, claims: list[dict[str, object]]) -> list[Said]:
    said = [handler(one, Context()) for one in claims]
    return [Said(one["statusCode"], one["body"]) for one in said]


def patiently(ground: Ground, claims: list[Callable[[], dict[str, object]]]) -> list[Said]:
    """All at once; whoever was told to come again does, with a new request, one after the other."""
    said = rush(ground, [one() for one in claims])
    for _ in range(RETRIES):
        for place, each in enumerate(said):
            if each.why in BUSY:
                [said[place]] = rush(ground, [claims[place]()])
    return said


@pytest.mark.timeout(1500)
def test_one_of_many_gets_the_name(ground: Ground, figure: Figure) -> None:
    answers: Counter[str] = Counter()
    winners: Counter[str] = Counter()
    for number in range(ROUNDS):
        yard = Yard(ground, Random(number))
        devices = [Device(f"sensor-{number}") for _ in range(CROWD)]
        methods = ["ask", *(METHODS[place % (len(METHODS) - 1)] for place in range(1, CROWD))]
        claims = [claim(yard, one, method) for one, method in zip(devices, methods, strict=True)]
        order = list(zip(devices, methods, claims, strict=True))
        yard.random.shuffle(order)
        said = rush(ground, [one for _, _, one in order])
        answers.update(each.why for each in said)
        [winner] = yard.holders(f"sensor-{number}")
        [won] = [each for each in said if each.given]
        assert f'"sensor-{number}"' in won.body
        winners.update(method for device, method, _ in order if device.hash == winner)
        assert {each.why for each in said} <= {"201", "thing_name_taken", *BUSY}
    told = ", ".join(f"{name} {count}" for name, count in winners.most_common())
    figure(f"{CROWD} claims of one name at once, {ROUNDS} rounds, {ground.kind}: one winner each ({told})")
    figure(f"… {dict(answers)}")


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("bound", "full"),
    [({"limit": 5}, "group_full"), ({"rate": "5/h"}, "group_rate")],
    ids=["limit", "rate"],
)
def test_what_a_group_is_bounded_to_is_not_exceeded_by_who_comes_at_once(
    ground: Ground, bound: dict[str, object], full: str
) -> None:
    ground.put("line-few", "refuse", WAYS, **bound)
    yard = Yard(ground, Random(1))
    methods = [METHODS[2 + place % 5] for place in range(CROWD)]
    devices = [Device(f"few-{place}") for place in range(CROWD)]
    order = zip(devices, methods, strict=True)
    said = patiently(ground, [partial(claim, yard, one, method, "line-few") for one, method in order])
    won = sum(bool(yard.holders(f"few-{place}")) for place in range(CROWD))
    assert (won, sum(each.given for each in said)) == (5, 5)
    assert {each.why for each in said} <= {"200", "201", full}


@pytest.mark.timeout(300)
def test_what_a_token_is_bounded_to_is_not_exceeded_by_who_comes_at_once(ground: Ground) -> None:
    yard = Yard(ground, Random(1))
    bearer = yard.token("*", "line-refuse", uses=3)
    devices = [Device(f"few-{place}") for place in range(CROWD)]
    wishes = [yard.wish(one.name, one.csr, None) for one in devices]
    said = patiently(
        ground, [partial(ground.event, ENROLL, one, "application/json", bearer) for one in wishes]
    )
    assert sum(bool(yard.holders(one.name)) for one in devices) == 3
    assert {each.why for each in said} <= {"200", "201", "token_exhausted"}
