"""Backend services: invited with a policy, enrolled as devices are, kept apart from them."""

import pytest

from keyborn.domain.access import Circumstances
from keyborn.domain.access_policy.document import PolicyName
from keyborn.domain.errors import (
    InvalidPolicy,
    InvalidThingName,
    KindMismatch,
    NameNotPermitted,
    NotFound,
    PolicyInUse,
    ReservedThingName,
    ThingNameTaken,
    TokenExhausted,
)
from keyborn.domain.names import ThingName
from keyborn.domain.thing import ThingKind
from keyborn.policies import watch_policy
from keyborn.service.policies import PolicyOffice
from keyborn.service.services import ServiceOffice
from support.csr_make import make_csr
from support.office import OfficeWorld
from support.talker import service_policy

DOCUMENT = service_policy("dashboard", ["Subscribe topicfilter/certtest/*", "Receive topic/certtest/*"])


@pytest.fixture
def policies(world: OfficeWorld) -> PolicyOffice:
    return world.policies()


@pytest.fixture
def office(world: OfficeWorld, policies: PolicyOffice) -> ServiceOffice:
    reserved = frozenset({"localhost"})
    return ServiceOffice(fleet=world.registry, policies=policies, tokens=world.tokens, reserved=reserved)


async def test_a_service_enrols_as_a_device_does_and_gets_just_its_policy(
    world: OfficeWorld, office: ServiceOffice
) -> None:
    invited = await office.invite("dashboard", DOCUMENT)
    enrolled = await world.enroll("dashboard", make_csr("dashboard")[1], invited.token)
    badge = await world.registry.badge(enrolled.certificate.id)
    assert badge is not None
    assert badge.thing.kind is ThingKind.SERVICE
    assert [each.name for each in badge.policies] == ["service-dashboard"]
    assert [each.name for each in await office.page()] == ["dashboard"]
    assert not await world.registry.things(), "it is in no list of devices"
    assert (await office.show("dashboard")).kind is ThingKind.SERVICE


async def test_its_code_is_for_one_name_one_key_once(world: OfficeWorld, office: ServiceOffice) -> None:
    invited = await office.invite("dashboard", DOCUMENT)
    with pytest.raises(NameNotPermitted):
        await world.enroll("other", make_csr("other")[1], invited.token)
    await world.enroll("dashboard", make_csr("dashboard")[1], invited.token)
    with pytest.raises((TokenExhausted, ThingNameTaken)):
        await world.enroll("dashboard", make_csr("dashboard")[1], invited.token)


async def test_devices_and_services_do_not_take_each_other_s_names(
    world: OfficeWorld, office: ServiceOffice
) -> None:
    await world.enrolled("sensor")
    with pytest.raises(KindMismatch):
        await office.invite("sensor", DOCUMENT)
    invited = await office.invite("dashboard", DOCUMENT)
    await world.enroll("dashboard", make_csr("dashboard")[1], invited.token)
    for replace in (False, True):
        token = await world.token("dashboard", replace=replace)
        with pytest.raises(ThingNameTaken):
            await world.enroll("dashboard", make_csr("dashboard")[1], token)


async def test_a_race_for_a_name_between_kinds_has_one_winner(
    world: OfficeWorld, office: ServiceOffice
) -> None:
    invited = await office.invite("late", DOCUMENT)
    await world.enrolled("late")
    with pytest.raises(ThingNameTaken):
        await world.enroll("late", make_csr("late")[1], invited.token)


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("", InvalidThingName),
        ("a b", InvalidThingName),
        ("x" * 65, InvalidThingName),
        ("keyborn-watch", ReservedThingName),
        ("localhost", ReservedThingName),
    ],
)
async def test_names_that_no_service_may_have(
    world: OfficeWorld, office: ServiceOffice, name: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await office.invite(name, DOCUMENT)
    assert not await world.registry.policies()
    assert not await world.registry.tokens()


async def test_a_wrong_policy_makes_no_token(world: OfficeWorld, office: ServiceOffice) -> None:
    with pytest.raises(InvalidPolicy):
        await office.invite("dashboard", "{}")
    assert not await world.registry.tokens()


async def test_keyborn_s_own_service_has_a_reserved_name_that_no_other_token_can_claim(
    world: OfficeWorld, office: ServiceOffice
) -> None:
    invited = await office.invite("keyborn-watch", watch_policy(), own=True)
    with pytest.raises(ReservedThingName):
        await world.enroll("keyborn-watch", make_csr("keyborn-watch")[1], await world.token())
    enrolled = await world.enroll("keyborn-watch", make_csr("keyborn-watch")[1], invited.token)
    badge = await world.registry.badge(enrolled.certificate.id)
    assert badge is not None

    from keyborn.domain.access import Action
    from keyborn.domain.access_policy.evaluate import rights_of

    rights = rights_of(badge, Circumstances("keyborn-watch-7"))
    assert rights.decide(Action.CONNECT, "keyborn-watch-7").allowed
    assert rights.decide(Action.RECEIVE, "any/topic").allowed
    assert not rights.decide(Action.PUBLISH, "any/topic").allowed


async def test_the_policy_of_an_invitation_that_may_still_be_used_stays(
    world: OfficeWorld, office: ServiceOffice, policies: PolicyOffice
) -> None:
    invited = await office.invite("dashboard", DOCUMENT)
    with pytest.raises(PolicyInUse):
        await policies.remove("service-dashboard")
    await world.tokens.withdraw(invited.token.token.id)
    await policies.remove("service-dashboard")
    assert await world.registry.policy(PolicyName("service-dashboard")) is None


async def test_inviting_again_changes_the_policy_and_not_the_identity(
    world: OfficeWorld, office: ServiceOffice
) -> None:
    invited = await office.invite("dashboard", DOCUMENT)
    first = await world.enroll("dashboard", make_csr("dashboard")[1], invited.token)
    wider = service_policy("dashboard", ["Publish topic/certtest/*"])
    again = await office.invite("dashboard", wider)
    assert again.policy.policy.version == 2
    assert [each.id for each in await world.active("dashboard")] == [first.certificate.id]


async def test_asking_for_a_device_as_a_service_says_what_it_is(
    world: OfficeWorld, office: ServiceOffice
) -> None:
    await world.enrolled("sensor")
    with pytest.raises(KindMismatch):
        await office.show("sensor")
    with pytest.raises(NotFound):
        await office.show("nobody")
    assert await world.registry.thing(ThingName("sensor"))


async def test_who_meets_a_taken_name_is_told_what_helps(world: OfficeWorld, office: ServiceOffice) -> None:
    invited = await office.invite("dashboard", DOCUMENT)
    await world.enroll("dashboard", make_csr("dashboard")[1], invited.token)
    again = await office.invite("dashboard", DOCUMENT)
    with pytest.raises(ThingNameTaken, match="keyborn service add dashboard --policy FILE --replace"):
        await world.enroll("dashboard", make_csr("dashboard")[1], again.token)
    device = await world.token("dashboard", replace=True)
    with pytest.raises(ThingNameTaken, match=r"belongs to a service\. Choose another name\.$"):
        await world.enroll("dashboard", make_csr("dashboard")[1], device)
