"""The gate and the conditions: what is shown becomes an applicant under one rule, or has its own refusal."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from ipaddress import ip_network

import pytest

from keyborn.domain import errors
from keyborn.domain.applicant import Applicant
from keyborn.domain.group import EnrollmentGroup, Rate, TakenRule
from keyborn.domain.jws_enroll import SignedEnrollment
from keyborn.domain.method import Method, Way
from keyborn.domain.names import GroupName, KeyHash, NameScope, ThingName
from keyborn.domain.token import TokenId
from keyborn.ports import Asked, Credential, Request
from keyborn.service.conditions import GroupConditions
from keyborn.service.gate import GroupGate
from keyborn.service.methods import Proven
from keyborn.service.methods.confirming import confirmed
from support.office import NOON, TurnedClock

HOME, AWAY = "192.0.2.7", "198.51.100.1"
JWT, TOKEN = "a.b.c", "a-secret"
LINE = GroupName("line-7")
SENSOR = ThingName("sensor-1")
HOUR = timedelta(hours=1)


def ways(*texts: str) -> tuple[Way, ...]:
    return tuple(Way(frozenset(Method(word) for word in text.split(" + "))) for text in texts)


def group(*texts: str, **facts: object) -> EnrollmentGroup:
    return replace(EnrollmentGroup(LINE, NameScope("sensor-*"), ways(*texts)), **facts)  # type: ignore[arg-type]


def signed(*, by_certificate: bool = False) -> SignedEnrollment:
    chain = (b"leaf",) if by_certificate else ()
    return SignedEnrollment("HS256", "nonce", "https://x/v1/enroll", (), b"", b"", None, chain)


def shows(
    bearer: str | None = None,
    *,
    signature: SignedEnrollment | None = None,
    name: object = SENSOR,
    under: object = None,
    source: str = HOME,
) -> Credential:
    return Credential(bearer, source, asked=Asked(name, "csr", under), signed=signature)


@dataclass
class Book:
    """One rule."""

    only: EnrollmentGroup

    async def rule(self, name: object) -> EnrollmentGroup:
        if name != self.only.name:
            raise errors.GroupUnknown(group=name)
        return self.only


@dataclass
class Holder:
    """Whoever shows ``TOKEN`` holds this token."""

    applicant: Applicant

    async def authenticate(self, credential: Credential) -> Applicant:
        if credential.bearer is None:
            raise errors.CredentialMissing
        if credential.bearer != TOKEN:
            raise errors.CredentialRefused
        return self.applicant


@dataclass
class Prover:
    """Proves what it is told to prove, and notes for which group it was asked."""

    proven: Proven
    asked: list[GroupName] = field(default_factory=list)

    async def prove(self, _credential: Credential, group: EnrollmentGroup) -> Proven:
        self.asked.append(group.name)
        return self.proven


class Refuser:
    """Proves nothing."""

    async def prove(self, _credential: Credential, _group: EnrollmentGroup) -> Proven:
        raise errors.CredentialRefused


def token(scope: str = "*", *, own: GroupName | None = LINE, may_replace: bool = False) -> Applicant:
    return Applicant(
        Method.TOKEN, TokenId("t1"), NameScope(scope), uses=5, may_replace=may_replace, group=own
    )


def exact(account: str = "f1", name: str = SENSOR, **more: object) -> Prover:
    return Prover(replace(Proven(TokenId(account), NameScope(name)), **more))  # type: ignore[arg-type]


def gate(
    rule: EnrollmentGroup,
    methods: Mapping[Method, Prover | Refuser] | None = None,
    held: Applicant | None = None,
) -> GroupGate:
    return GroupGate(
        tokens=Holder(held or token()), rules=Book(rule), methods=dict(methods or {}), clock=TurnedClock()
    )


# ── whose rule ────────────────────────────────────────────────────────────────────────────────────────


async def test_a_token_without_a_group_is_its_own_rule() -> None:
    plain = token(own=None)
    assert await gate(group("ask"), held=plain).authenticate(shows(TOKEN)) is plain


async def test_a_token_without_a_group_does_not_enter_one() -> None:
    with pytest.raises(errors.GroupDiffers):
        await gate(group("token"), held=token(own=None)).authenticate(shows(TOKEN, under=LINE))


async def test_a_token_says_its_group_by_itself() -> None:
    applicant = await gate(group("token")).authenticate(shows(TOKEN))
    assert applicant.terms is not None
    assert applicant.terms.group == LINE
    assert applicant.token == "t1"
    assert applicant.uses == 5


async def test_a_token_of_another_group_than_the_one_named_is_refused() -> None:
    with pytest.raises(errors.GroupDiffers):
        await gate(group("token")).authenticate(shows(TOKEN, under="line-8"))


async def test_whoever_shows_nothing_and_names_nothing_has_no_credential() -> None:
    with pytest.raises(errors.CredentialMissing):
        await gate(group("ask")).authenticate(shows())


async def test_whoever_signs_names_a_group() -> None:
    with pytest.raises(errors.GroupMissing):
        await gate(group("factory"), {Method.FACTORY: exact()}).authenticate(shows(signature=signed()))


@pytest.mark.parametrize("name", ["line-8", "", "LINE-7", 7, ["line-7"], "x" * 10_000, "line-7\n"])
async def test_another_group_is_unknown_whatever_it_is(name: object) -> None:
    with pytest.raises(errors.GroupUnknown) as refused:
        await gate(group("ask")).authenticate(shows(under=name))
    assert len(str(refused.value)) < 400 or name == "x" * 10_000


# ── what is shown is what one way asks for ────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("accepted", "shown"),
    [
        ("token", shows(under=LINE)),
        ("token", shows(JWT, under=LINE)),
        ("token", shows(TOKEN, signature=signed())),
        ("factory", shows(signature=signed(), under=LINE)),
        ("factory", shows(TOKEN)),
        ("factory + webhook", shows(under=LINE)),
        ("group-key + oidc", shows(JWT, under=LINE)),
        ("ask", shows(TOKEN)),
        ("registered", shows(JWT, under=LINE)),
    ],
)
async def test_more_or_less_than_a_way_asks_for_is_not_accepted(accepted: str, shown: Credential) -> None:
    methods = {each: exact() for each in (Method.FACTORY, Method.GROUP_KEY, Method.OIDC)}
    with pytest.raises(errors.MethodNotAccepted):
        await gate(group(accepted), methods).authenticate(shown)


async def test_a_bad_credential_is_not_passed_over_for_a_weaker_way() -> None:
    rule = group("factory", "ask")
    shown = shows(signature=signed(by_certificate=True), under=LINE)
    with pytest.raises(errors.CredentialRefused):
        await gate(rule, {Method.FACTORY: Refuser()}).authenticate(shown)


async def test_all_credentials_of_a_way_are_proved_and_the_narrowest_pays() -> None:
    factory = exact("f1", details={"factory": "f1"})
    rule = group("factory + token")
    applicant = await gate(rule, {Method.FACTORY: factory}).authenticate(
        shows(TOKEN, signature=signed(by_certificate=True))
    )
    assert factory.asked == [LINE]
    assert applicant.token == "t1"
    assert applicant.bound_to == SENSOR
    assert applicant.details == {"factory": "f1"}


async def test_one_of_two_that_fails_refuses() -> None:
    shown = shows(TOKEN, signature=signed(by_certificate=True))
    with pytest.raises(errors.CredentialRefused):
        await gate(group("factory + token"), {Method.FACTORY: Refuser()}).authenticate(shown)


async def test_two_that_prove_different_names_prove_neither() -> None:
    shown = shows(TOKEN, signature=signed(by_certificate=True))
    rule, held = group("factory + token"), token("sensor-2")
    with pytest.raises(errors.NameNotPermitted):
        await gate(rule, {Method.FACTORY: exact()}, held).authenticate(shown)


async def test_the_first_end_of_all_proofs_counts() -> None:
    soon = exact(expires_at=NOON + HOUR)
    held = replace(token(), expires_at=NOON + 2 * HOUR)
    shown = shows(TOKEN, signature=signed(by_certificate=True))
    applicant = await gate(group("factory + token"), {Method.FACTORY: soon}, held).authenticate(shown)
    assert applicant.expires_at == NOON + HOUR


# ── networks, window, names ───────────────────────────────────────────────────────────────────────────


async def test_a_good_credential_from_another_network_is_refused() -> None:
    rule = group("token", networks=(ip_network("192.0.2.0/24"),))
    await gate(rule).authenticate(shows(TOKEN))
    with pytest.raises(errors.GroupNetworkRefused):
        await gate(rule).authenticate(shows(TOKEN, source=AWAY))


async def test_a_bad_credential_from_another_network_hears_of_the_credential() -> None:
    """What a group's rule is, is for those who prove something."""
    rule = group("token", networks=(ip_network("192.0.2.0/24"),))
    with pytest.raises(errors.CredentialRefused):
        await gate(rule).authenticate(shows("another-secret", source=AWAY))


async def test_before_the_window_nobody_enrolls() -> None:
    with pytest.raises(errors.GroupNotOpen):
        await gate(group("token", opens=NOON + HOUR)).authenticate(shows(TOKEN))


async def test_after_the_window_a_proved_caller_is_left_to_the_claim() -> None:
    """It may be asking for the answer that it lost."""
    applicant = await gate(group("token", closes=NOON - HOUR)).authenticate(shows(TOKEN))
    assert applicant.terms is not None
    assert applicant.terms.closed(NOON)


async def test_after_the_window_nobody_else_gets_that_far() -> None:
    with pytest.raises(errors.GroupClosed):
        await gate(group("ask", closes=NOON - HOUR)).authenticate(shows(under=LINE))


@pytest.mark.parametrize("name", ["lamp-1", "sensor", "", 7, None, "SENSOR-1", ["sensor-1"]])
async def test_a_name_outside_the_group_is_refused_whatever_the_token_says(name: object) -> None:
    with pytest.raises((errors.NameNotInGroup, errors.InvalidThingName)):
        await gate(group("token")).authenticate(shows(TOKEN, name=name))


async def test_a_body_that_cannot_be_read_gets_nobody_past_the_rule() -> None:
    with pytest.raises(errors.MalformedRequest):
        await gate(group("token")).authenticate(replace(shows(TOKEN), asked=None))


async def test_a_name_outside_the_proof_is_refused_whatever_the_group_says() -> None:
    with pytest.raises(errors.NameNotPermitted):
        await gate(group("token"), held=token("sensor-2")).authenticate(shows(TOKEN))


# ── terms ─────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_terms_carry_the_rule_to_the_claim() -> None:
    rule = group(
        "token", limit=5, rate=Rate(2, HOUR), attributes={"line": "7"}, thing_type="sensor", lifetime=HOUR
    )
    terms = (await gate(rule).authenticate(shows(TOKEN))).terms
    assert terms is not None
    assert terms.account == "g:line-7"
    assert terms.limit == 5
    assert terms.rate is not None
    assert terms.rate.limit == 2
    assert terms.rate.ends_at == NOON + HOUR
    assert (terms.attributes, terms.thing_type, terms.lifetime) == ({"line": "7"}, "sensor", HOUR)


async def test_a_pattern_that_may_replace_may_not_because_another_proof_is_narrow() -> None:
    rule, held = group("token + factory"), token("*", may_replace=True)
    both = shows(TOKEN, signature=signed(by_certificate=True))
    applicant = await gate(rule, {Method.FACTORY: exact()}, held).authenticate(both)
    assert applicant.bound_to == SENSOR
    assert not applicant.may_replace
    own = token(SENSOR, may_replace=True)
    assert (await gate(rule, {Method.FACTORY: exact()}, own).authenticate(both)).may_replace


@pytest.mark.parametrize(("scope", "may"), [("*", False), (SENSOR, True)])
def test_what_is_confirmed_for_one_name_may_replace_if_it_might_before(scope: str, *, may: bool) -> None:
    request = Request(SENSOR, KeyHash("ab" * 32), HOME)
    narrowed = confirmed(
        token(scope, may_replace=True),
        request,
        group("token + ask"),
        method=Method.ASK,
        account=TokenId("p1"),
    )
    assert narrowed.bound_to == SENSOR
    assert narrowed.may_replace is may


@pytest.mark.parametrize(
    ("taken", "scope", "may"),
    [
        (TakenRule.REFUSE, "sensor-1", False),
        (TakenRule.PERSON, "sensor-1", False),
        (TakenRule.REPLACE, "sensor-1", True),
        (TakenRule.REPLACE, "sensor-*", False),
    ],
)
async def test_only_a_proof_of_just_this_name_may_replace_and_only_if_the_group_says_so(
    taken: TakenRule, scope: str, *, may: bool
) -> None:
    rule = group("factory", taken=taken)
    shown = shows(signature=signed(by_certificate=True), under=LINE)
    applicant = await gate(rule, {Method.FACTORY: exact(name=scope)}).authenticate(shown)
    assert applicant.may_replace is may


async def test_who_shows_nothing_is_nobody_until_a_condition_says_otherwise() -> None:
    applicant = await gate(group("ask", "registered"), held=token()).authenticate(shows(under=LINE))
    assert not applicant.is_proved
    assert not applicant.is_known
    assert applicant.token == "n:line-7"
    assert applicant.terms is not None
    assert [str(way) for way in applicant.terms.ways] == ["ask", "registered"]


# ── conditions ────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Asker:
    """Adds its word to the details, or refuses."""

    word: str
    refusal: errors.KeybornError | None = None
    asked: list[Request] = field(default_factory=list)

    async def met(self, applicant: Applicant, request: Request, _group: EnrollmentGroup) -> Applicant:
        self.asked.append(request)
        if self.refusal is not None:
            raise self.refusal
        return replace(applicant, is_proved=True, details={**applicant.details, self.word: "yes"})


WISH = Request(SENSOR, KeyHash("0" * 64), HOME)
UNKNOWN = errors.KeyNotRegistered(name=SENSOR)
WAITS = errors.AwaitsApproval(seconds=5, approval="A", words="b")


async def meet(rule: EnrollmentGroup, askers: Mapping[Method, Asker], wish: Request = WISH) -> Applicant:
    shown = shows(TOKEN) if Method.TOKEN in rule.ways[0].methods else shows(under=LINE)
    applicant = await gate(rule).authenticate(shown)
    return await GroupConditions(Book(rule), dict(askers)).met(applicant, wish)


async def test_without_terms_nothing_is_asked() -> None:
    plain = token(own=None)
    assert await GroupConditions(Book(group("ask")), {}).met(plain, WISH) is plain


async def test_conditions_are_asked_in_their_order_and_each_adds_what_it_knows() -> None:
    askers = {each: Asker(each.value) for each in (Method.WEBHOOK, Method.ASK, Method.REGISTERED)}
    applicant = await meet(group("webhook + ask + registered"), askers)
    assert list(applicant.details) == ["registered", "ask", "webhook", "method"]
    assert applicant.details["method"] == "registered + ask + webhook"
    assert applicant.is_proved


async def test_a_key_that_is_not_registered_may_still_ask() -> None:
    askers = {Method.REGISTERED: Asker("registered", UNKNOWN), Method.ASK: Asker("ask")}
    applicant = await meet(group("registered", "ask"), askers)
    assert applicant.details == {"ask": "yes", "method": "ask"}


async def test_where_no_way_is_left_the_first_refusal_is_told() -> None:
    askers = {Method.REGISTERED: Asker("registered", UNKNOWN)}
    with pytest.raises(errors.KeyNotRegistered):
        await meet(group("registered"), askers)


async def test_whoever_waits_for_a_person_is_not_sent_to_the_next_way_nor_to_the_webhook() -> None:
    webhook = Asker("webhook")
    with pytest.raises(errors.AwaitsApproval):
        await meet(
            group("ask + webhook", "webhook"), {Method.ASK: Asker("ask", WAITS), Method.WEBHOOK: webhook}
        )
    assert webhook.asked == []


async def test_a_webhook_that_refuses_has_the_last_word() -> None:
    askers = {Method.WEBHOOK: Asker("w", errors.WebhookRefused(reason="no")), Method.ASK: Asker("ask")}
    with pytest.raises(errors.WebhookRefused):
        await meet(group("webhook", "ask"), askers)


async def test_a_method_that_is_not_at_hand_admits_nobody() -> None:
    with pytest.raises(errors.MethodNotAccepted):
        await meet(group("webhook"), {})


async def test_an_attribute_that_the_group_does_not_leave_to_the_device_is_refused() -> None:
    rule = group("token", device_attributes=("serial",))
    await meet(rule, {}, replace(WISH, attributes={"serial": "1"}))
    with pytest.raises(errors.AttributeNotPermitted):
        await meet(rule, {}, replace(WISH, attributes={"line": "8"}))


async def test_a_taken_name_is_a_question_for_a_person_whatever_the_ways_are() -> None:
    ask = Asker("ask", WAITS)
    with pytest.raises(errors.AwaitsApproval):
        await meet(group("token", taken=TakenRule.PERSON), {Method.ASK: ask}, replace(WISH, taken=True))
    assert ask.asked[0].taken
