"""Whose turn it is: a quota is asked for each caller that was proved, and pays only for certificates."""

from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from keyborn.domain.applicant import Applicant
from keyborn.domain.errors import CredentialRefused, CsrMalformed, NameNotPermitted, Queued, TokenExhausted
from keyborn.domain.names import ThingName
from keyborn.domain.quota import place_name
from keyborn.domain.token import TokenId, encode_secret
from keyborn.ports import Credential
from keyborn.service.authenticate import TokenAuthenticator
from keyborn.service.enroll import Enrollment, EnrollmentRequest, RegistrationAuthority
from keyborn.service.tokens import FreshToken
from support.csr_make import make_csr
from support.office import SOURCE, OfficeWorld
from support.turns import Leases, Quota


@dataclass
class Late:
    """Finds every token withdrawn that it is told of, or that it is asked about when it is ``over``."""

    over: bool = False
    asked: list[TokenId] = field(default_factory=list)
    ended: list[TokenId] = field(default_factory=list)

    async def confirm(self, applicant: Applicant) -> None:
        self.asked.append(applicant.token)
        if self.over:
            raise CredentialRefused

    def end(self, token: TokenId) -> None:
        self.ended.append(token)


class Door:
    """An authority under a quota."""

    def __init__(self, folder: Path) -> None:
        self.world = OfficeWorld(folder)
        self.quota = Quota()
        self.leases = Leases()
        self.late = Late()
        self.authority: RegistrationAuthority = self.world.build(
            TokenAuthenticator(self.world.registry),
            quota=self.quota,
            leases=self.leases,
            late=self.late,
        )

    async def enroll(self, name: object, csr: object, token: FreshToken) -> Enrollment:
        credential = Credential(encode_secret(token.code.secret), SOURCE)
        return await self.world.present(credential, name, csr, authority=self.authority)


@pytest.fixture
def door(tmp_path: Path) -> Door:
    return Door(tmp_path)


async def test_a_new_certificate_takes_a_turn_that_is_demanded_after_the_claim(door: Door) -> None:
    token = await door.world.token("sensor-1")
    await door.enroll("sensor-1", make_csr("sensor-1")[1], token)
    assert door.quota.asked == [place_name(token.token.id, "sensor-1"), "meanwhile", "demand"]
    assert door.leases.given_up == []


async def test_who_claimed_before_its_turn_gets_nothing_signed_and_keeps_its_claim(door: Door) -> None:
    door.quota.late = True
    token, (_, csr) = await door.world.token("sensor-1"), make_csr("sensor-1")
    before = await door.world.outcomes()
    for _ in range(150):
        with pytest.raises(Queued):
            await door.enroll("sensor-1", csr, token)
    assert door.quota.asked[-2:] == ["demand", "back"]
    assert await door.world.registry.certificates(ThingName("sensor-1")) == []
    assert {one.thing for one in door.leases.given_up} == {"sensor-1"}
    assert len({one.id for one in door.leases.given_up}) == 1, "the same claim each time"
    assert await door.world.outcomes() == before, "a turn that is yet to come is no decision"
    door.quota.late = False
    await door.enroll("sensor-1", csr, token)


async def test_of_a_token_that_only_the_claim_finds_withdrawn_others_are_told(door: Door) -> None:
    """The caller was authenticated a moment before."""
    token, (_, csr) = await door.world.token("sensor-1"), make_csr("sensor-1")
    credential = Credential(encode_secret(token.code.secret), SOURCE)
    applicant = await door.authority.authenticate(credential)
    await door.world.tokens.withdraw(token.token.id)
    with pytest.raises(CredentialRefused):
        await door.authority.enroll(applicant, EnrollmentRequest("sensor-1", csr, SOURCE))
    assert door.late.ended == [token.token.id]
    assert door.late.asked == []


async def test_where_no_claim_asks_whether_the_token_stands_that_is_asked_before_the_answer(
    door: Door,
) -> None:
    """A request that cannot be read, a name that the token is not for, a place in the line."""
    token = await door.world.token("sensor-1")
    with pytest.raises(CsrMalformed):
        await door.enroll("sensor-1", "no request", token)
    assert door.late.asked == [token.token.id]
    door.late.over = True
    with pytest.raises(CredentialRefused):
        await door.enroll("sensor-1", "no request", token)
    assert door.late.ended == [token.token.id]
    door.quota.closed = True
    with pytest.raises(CredentialRefused):
        await door.enroll("sensor-1", make_csr("sensor-1")[1], token)
    assert (await door.world.outcomes())[-1] == "credential_refused"


async def test_a_stranger_is_refused_before_the_quota_is_asked(door: Door) -> None:
    token = await door.world.token("sensor-1")
    await door.world.tokens.withdraw(token.token.id)
    with pytest.raises(CredentialRefused):
        await door.enroll("sensor-1", make_csr("sensor-1")[1], token)
    assert door.quota.asked == []


async def test_a_repeated_answer_gives_its_turn_back(door: Door) -> None:
    token, (_, csr) = await door.world.token("sensor-1"), make_csr("sensor-1")
    await door.enroll("sensor-1", csr, token)
    door.quota.asked.clear()
    assert (await door.enroll("sensor-1", csr, token)).repeated
    assert door.quota.asked[-1] == "back"


async def test_whatever_is_refused_gives_its_turn_back(door: Door) -> None:
    token, (_, csr) = await door.world.token("sensor-1"), make_csr("sensor-1")
    with pytest.raises(CsrMalformed):
        await door.enroll("sensor-1", "no request", token)
    assert door.quota.asked[-1] == "back"
    with pytest.raises(NameNotPermitted):
        await door.enroll("sensor-2", make_csr("sensor-2")[1], token)
    assert door.quota.asked[-1] == "back"
    await door.enroll("sensor-1", csr, token)
    assert door.quota.asked[-1] != "back"
    used = await door.world.token("*")
    await door.enroll("sensor-3", make_csr("sensor-3")[1], used)
    with pytest.raises(TokenExhausted):
        await door.enroll("sensor-4", make_csr("sensor-4")[1], used)
    assert door.quota.asked[-1] == "back"


async def test_who_is_sent_away_has_taken_nothing_and_is_no_failure(door: Door) -> None:
    door.quota.closed = True
    token, (_, csr) = await door.world.token("sensor-1"), make_csr("sensor-1")
    before = await door.world.outcomes()
    for _ in range(150):
        with pytest.raises(Queued):
            await door.enroll("sensor-1", csr, token)
    assert set(door.quota.asked) == {place_name(token.token.id, "sensor-1")}, "the same place each time"
    assert await door.world.outcomes() == before, "a turn that is yet to come is no decision"
    door.quota.closed = False
    await door.enroll("sensor-1", csr, token)


async def test_who_is_sent_away_is_sent_before_its_request_is_parsed(door: Door) -> None:
    door.quota.closed = True
    token = await door.world.token("sensor-1")
    with pytest.raises(Queued):
        await door.enroll(["no", "name"], "no request", token)


async def test_a_token_has_one_place_for_all_names_that_it_is_not_good_for(door: Door) -> None:
    """Else whoever has one device's token, spent or expired, fills the line with names that nobody has."""
    door.quota.closed = True
    token = await door.world.token("sensor-*")
    for name in ("x1", "x2", "sensor-" + "9" * 64, "Sensor-1", "", None, ["sensor-1"], "x" * 9999):
        with pytest.raises(Queued):
            await door.enroll(name, "any", token)
    assert len(set(door.quota.asked)) == 1
    for name in ("sensor-1", "sensor-2"):
        with pytest.raises(Queued):
            await door.enroll(name, "any", token)
    assert len(set(door.quota.asked)) == 3


async def test_an_expired_token_has_one_place_for_all_its_names(door: Door) -> None:
    """It enrolls nobody any more; what it gave before is repeated from that place, too."""
    token, (_, csr) = await door.world.token("sensor-*", uses=None), make_csr("sensor-0")
    given = await door.enroll("sensor-0", csr, token)
    door.world.clock.turn(timedelta(hours=1))
    assert (await door.enroll("sensor-0", csr, token)).certificate == given.certificate

    door.quota.asked.clear()
    door.quota.closed = True
    for name in ("sensor-0", "sensor-1", "sensor-2", "other"):
        with pytest.raises(Queued):
            await door.enroll(name, "any", token)
    assert len(set(door.quota.asked)) == 1


async def test_two_tokens_for_one_name_have_two_places(door: Door) -> None:
    door.quota.closed = True
    tokens = [await door.world.token("*") for _ in range(2)]
    for token in tokens:
        with pytest.raises(Queued):
            await door.enroll("sensor-1", "any", token)
    assert len(set(door.quota.asked)) == 2
