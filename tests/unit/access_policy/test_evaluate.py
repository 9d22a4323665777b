"""The decision: default deny, explicit deny wins, and which statement the reason names."""

import pytest

from keyborn.domain.access import Action, Circumstances, ConnectAttribute, Rights, RightsOf, Ruling
from keyborn.domain.access_policy.document import AccessPolicy
from keyborn.domain.access_policy.evaluate import rights_of
from keyborn.domain.thing import ThingKind
from support.policy_stage import ARN, CLIENT_ID, THING_NAME, badge, connected, policy, statement

WILL, PERSISTENT = ConnectAttribute.WILL, ConnectAttribute.PERSISTENT
ALL = statement()


def rights(*policies: AccessPolicy, here: Circumstances | None = None) -> Rights:
    return rights_of(badge(*policies), here or connected())


def publishes(*policies: AccessPolicy, topic: str = "a/b", here: Circumstances | None = None) -> Ruling:
    return rights(*policies, here=here).decide(Action.PUBLISH, topic)


def allowed(ruling: Ruling) -> bool:
    return ruling.allowed


def test_it_is_what_the_services_take() -> None:
    made: RightsOf = rights_of
    assert made(badge(), connected()).decide(Action.PUBLISH, "a").allowed is False


@pytest.mark.parametrize("action", Action)
def test_no_policy_at_all_denies_everything(action: Action) -> None:
    assert rights().decide(action, "lamp") == Ruling(allowed=False, reason="it has no policy")


@pytest.mark.parametrize("action", Action)
@pytest.mark.parametrize("resource", ["", "a", "a/b", "+/#", "$aws/x", "\n", "é"])
def test_a_star_of_everything_allows_everything(action: Action, resource: str) -> None:
    assert rights(policy(ALL)).decide(action, resource) == Ruling(allowed=True, reason="p statement 1")


@pytest.mark.parametrize("written", Action)
@pytest.mark.parametrize("asked", Action)
def test_an_action_allows_itself_alone(written: Action, asked: Action) -> None:
    assert rights(policy(statement(Action=written))).decide(asked, "lamp").allowed is (written is asked)


@pytest.mark.parametrize(
    ("kind", "actions"),
    [
        ("client", {Action.CONNECT}),
        ("topic", {Action.PUBLISH, Action.RECEIVE, Action.RETAIN}),
        ("topicfilter", {Action.SUBSCRIBE}),
    ],
)
def test_a_kind_of_resource_is_for_its_actions(kind: str, actions: set[Action]) -> None:
    """``topic/*`` does not reach filters, though a star crosses levels."""
    held = rights(policy(statement(Resource=f"{ARN}{kind}/*")))
    assert {action for action in Action if held.decide(action, "lamp").allowed} == actions


def test_the_star_of_a_whole_arn_reaches_every_kind() -> None:
    held = rights(policy(statement(Resource="arn:aws:iot:*:*:*")))
    assert all(held.decide(action, "lamp").allowed for action in Action)


@pytest.mark.parametrize("arn", ["arn:aws:iot:*:*:", "arn:aws-cn:iot:cn-north-1:000000000000:", ARN])
def test_region_and_account_are_not_compared(arn: str) -> None:
    assert allowed(publishes(policy(statement(Resource=f"{arn}topic/a/b"))))


@pytest.mark.parametrize("order", [("Allow", "Deny"), ("Deny", "Allow"), ("Deny", "Deny")])
def test_a_deny_wins_wherever_it_stands(order: tuple[str, str]) -> None:
    first, second = (statement(effect) for effect in order)
    place = order.index("Deny") + 1
    assert publishes(policy(first, second)) == Ruling(False, f"denied by p statement {place}")  # noqa: FBT003 - the value itself
    apart = publishes(policy(first, name="first"), policy(second, name="second"))
    assert apart.allowed is False
    assert apart.reason == f"denied by {['first', 'second'][place - 1]} statement 1"


def test_a_deny_reaches_as_far_as_it_matches() -> None:
    held = policy(ALL, statement("Deny", Action="iot:Publish", Resource=f"{ARN}topic/a/*"))
    assert not allowed(publishes(held, topic="a/b"))
    assert allowed(publishes(held, topic="b/a"))
    assert allowed(rights(held).decide(Action.RECEIVE, "a/b"))


def test_the_first_statement_that_matches_is_named_with_its_sid() -> None:
    held = policy(
        statement(Resource=f"{ARN}topic/x"),
        statement(Sid="OwnTopics", Resource=f"{ARN}topic/a/*"),
        ALL,
        name="keyborn-default",
    )
    assert publishes(held).reason == "keyborn-default statement 2 (OwnTopics)"
    narrow = policy(statement("Deny", Sid="Never"), name="narrow")
    assert publishes(held, narrow).reason == "denied by narrow statement 1 (Never)"


@pytest.mark.parametrize(
    ("count", "reason"),
    [
        (1, "no statement of p0 allows it"),
        (3, "no statement of p0, p1, p2 allows it"),
        (4, "no statement of its 4 policies allows it"),
        (10, "no statement of its 10 policies allows it"),
    ],
)
def test_where_nothing_matches_the_reason_names_the_policies(count: int, reason: str) -> None:
    held = [policy(statement(Action="iot:Connect"), name=f"p{number}") for number in range(count)]
    assert publishes(*held) == Ruling(allowed=False, reason=reason)


def test_every_policy_counts() -> None:
    held = [policy(statement(Resource=f"{ARN}topic/{name}"), name=name) for name in ("one", "two")]
    assert publishes(*held, topic="two").reason == "two statement 1"
    assert not allowed(publishes(*held, topic="three"))


@pytest.mark.parametrize(
    ("resource", "topic", "expected"),
    [
        (f"topic/things/{THING_NAME}/*", "things/lamp/a/b", True),
        (f"topic/things/{THING_NAME}/*", "things/lamp/", True),
        (f"topic/things/{THING_NAME}/*", "things/lamp", False),
        (f"topic/things/{THING_NAME}/*", "things/lamp2/a", False),
        (f"topic/things/{THING_NAME}/*", "things/Lamp/a", False),
        ("topic/${iot:Connection.Thing.Attributes[room]}", "kitchen", True),
        ("topic/${iot:Connection.Thing.Attributes[floor]}", "", False),
        (
            "topic/${iot:Connection.Thing.Attributes[floor]}",
            "${iot:Connection.Thing.Attributes[floor]}",
            False,
        ),
        ("topic/*${iot:Connection.Thing.ThingTypeName}", "anything", False),
        ("topic/${iot:CertificateId}/x", "ab" * 32 + "/x", True),
        ("topic/${*}", "*", True),
        ("topic/${*}", "x", False),
        ("topic/a/+/#", "a/+/#", True),
        ("topic/a/+/#", "a/b/c", False),
        ("topic/$aws/things/*", "$aws/things/lamp/shadow", True),
        ("topic/", "", True),
        ("topic/", "a", False),
        ("topic/?", "/", True),
        ("topic/?", "", False),
    ],
)
def test_resources_with_the_values_of_the_connection(resource: str, topic: str, *, expected: bool) -> None:
    who = badge(policy(statement(Resource=ARN + resource)), attributes={"room": "kitchen"})
    assert rights_of(who, connected()).decide(Action.PUBLISH, topic).allowed is expected


@pytest.mark.parametrize("value", ["*", "?", "a*", "+", "#", "$aws"])
def test_a_value_never_brings_a_wildcard_in(value: str) -> None:
    who = badge(policy(statement(Resource=f"{ARN}topic/{CLIENT_ID}/x")), name="lamp")
    held = rights_of(who, connected(value))
    assert not held.decide(Action.PUBLISH, "lamp/x").allowed
    assert not held.decide(Action.PUBLISH, f"{value}/x").allowed


def test_a_thing_named_like_a_regex_is_text() -> None:
    who = badge(policy(statement(Resource=f"{ARN}topic/*/{THING_NAME}/*x")), name="a-b:c_d")
    held = rights_of(who, connected("a-b:c_d"))
    assert held.decide(Action.PUBLISH, "1/a-b:c_d/2x").allowed
    assert not held.decide(Action.PUBLISH, "1/a:c_d/2x").allowed


def test_a_deny_with_a_variable_that_does_not_resolve_denies_nothing() -> None:
    """As on AWS; lint warns about it."""
    held = policy(ALL, statement("Deny", Resource=f"{ARN}topic/{THING_NAME}/*"))
    assert not allowed(publishes(held, topic="lamp/a"))
    assert allowed(publishes(held, topic="lamp/a", here=connected("other")))


def test_one_resource_that_does_not_resolve_leaves_the_others() -> None:
    held = policy(
        statement(Resource=[f"{ARN}topic/${{iot:Connection.Thing.ThingTypeName}}", f"{ARN}topic/a"])
    )
    assert allowed(publishes(held, topic="a"))


def test_a_client_id_that_is_not_the_thing_name_cannot_connect_as_the_thing() -> None:
    held = policy(statement(Resource=f"{ARN}client/{THING_NAME}"))
    assert rights(held).decide(Action.CONNECT, "lamp").allowed
    assert not rights(held, here=connected("other")).decide(Action.CONNECT, "other").allowed
    assert not rights(held, here=connected("other")).decide(Action.CONNECT, "lamp").allowed


@pytest.mark.parametrize("client_id", ["", "lamp", "anything/at all"])
def test_the_client_s_own_id_is_as_wide_as_a_star(client_id: str) -> None:
    for resource in (f"{ARN}client/{CLIENT_ID}", f"{ARN}client/*"):
        held = rights(policy(statement(Resource=resource)), here=connected(client_id))
        assert held.decide(Action.CONNECT, client_id).allowed


def test_a_service_writes_its_own_name() -> None:
    own = policy(statement(Resource=f"{ARN}client/watch"), statement(Resource=f"{ARN}client/{THING_NAME}"))
    who = badge(own, name="watch", kind=ThingKind.SERVICE)
    assert rights_of(who, connected("watch")).decide(Action.CONNECT, "watch").reason == "p statement 1"


def test_all_conditions_of_a_statement_must_hold() -> None:
    both = statement(
        Condition={
            "StringEquals": {
                "iot:Connection.Thing.Attributes[room]": "kitchen",
                "iot:Connection.Thing.ThingName": "lamp",
            },
            "StringLike": {"iot:ClientId": "l*"},
        }
    )
    held = policy(both)
    for attributes, expected in ({"room": "kitchen"}, True), ({"room": "hall"}, False), ({}, False):
        who = badge(held, attributes=attributes)
        assert rights_of(who, connected()).decide(Action.PUBLISH, "a").allowed is expected


def test_a_deny_of_the_unattached() -> None:
    unattached = {"Bool": {"iot:Connection.Thing.IsAttached": "false"}}
    held = policy(ALL, statement("Deny", Condition=unattached))
    assert rights(held).decide(Action.CONNECT, "lamp").allowed
    other = rights(held, here=connected("other")).decide(Action.CONNECT, "other")
    assert other == Ruling(allowed=False, reason="denied by p statement 2")


def asking(operator: str, *values: str, effect: str = "Allow") -> dict[str, object]:
    return statement(effect, Condition={operator: {"iot:ConnectAttributes": list(values)}})


@pytest.mark.parametrize(
    ("statements", "plain", "will", "both"),
    [
        ([ALL], True, False, False),
        ([asking("ForAllValues:StringEquals")], True, False, False),
        ([asking("ForAllValues:StringEquals", "LastWill")], True, True, False),
        ([asking("ForAllValues:StringEquals", "LastWill", "PersistentConnect")], True, True, True),
        ([asking("ForAllValues:StringNotEquals", "PersistentConnect")], True, True, False),
        ([asking("ForAnyValue:StringEquals", "LastWill")], False, True, True),
        ([ALL, asking("ForAnyValue:StringEquals", "LastWill")], True, True, True),
        ([ALL, asking("ForAnyValue:StringEquals", "PersistentConnect", effect="Deny")], True, False, False),
        (
            [
                asking("ForAllValues:StringLike", "*"),
                asking("ForAnyValue:StringEquals", "PersistentConnect", effect="Deny"),
            ],
            True,
            True,
            False,
        ),
        (
            [asking("ForAllValues:StringLike", "*"), asking("ForAllValues:StringEquals", effect="Deny")],
            False,
            True,
            True,
        ),
        ([asking("ForAllValues:StringLike", "*"), statement("Deny")], False, False, False),
    ],
)
def test_a_will_or_a_persistent_session_needs_an_allow_that_speaks_of_it(
    statements: list[object], *, plain: bool, will: bool, both: bool
) -> None:
    def connects(*asked: ConnectAttribute) -> bool:
        held = rights(policy(*statements), here=connected("lamp", *asked))
        return held.decide(Action.CONNECT, "lamp").allowed

    assert (connects(), connects(WILL), connects(WILL, PERSISTENT)) == (plain, will, both)


def test_what_a_connect_asks_for_does_not_bind_allows_of_other_actions() -> None:
    held = policy(statement(Action="iot:Publish"))
    assert allowed(publishes(held, here=connected("lamp", WILL, PERSISTENT)))


def test_the_reason_says_what_the_connect_asked_for() -> None:
    held = rights(policy(ALL), here=connected("lamp", WILL, PERSISTENT))
    expected = "no statement of p allows it with LastWill and PersistentConnect"
    assert held.decide(Action.CONNECT, "lamp").reason == expected


@pytest.mark.parametrize("resource", ["\0", "\ud800", "a" * 70_000, "${iot:ClientId}", "/" * 1000])
def test_no_resource_makes_it_raise(resource: str) -> None:
    held = rights(policy(statement(Resource=[f"{ARN}topic/a*b?*c", f"{ARN}topic/{CLIENT_ID}"])))
    assert not held.decide(Action.PUBLISH, resource).allowed


def test_a_large_document_is_bound_and_decides() -> None:
    topics = [f"{ARN}topic/{number}/*/{CLIENT_ID}" for number in range(450)]
    held = rights(policy(*[statement(Sid=f"s{number}", Resource=topics) for number in range(2)]))
    assert held.decide(Action.PUBLISH, "449/x/lamp").reason == "p statement 1 (s0)"
    assert not held.decide(Action.PUBLISH, "450/x/lamp").allowed
