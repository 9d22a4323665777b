"""Explanations: they agree with the decision, and say of each statement why."""

import pytest
from hypothesis import given, strategies as st

from keyborn.domain.access import Action, ConnectAttribute
from keyborn.domain.access_policy.document import AccessPolicy, Effect
from keyborn.domain.access_policy.evaluate import rights_of
from keyborn.domain.access_policy.explain import Explanation, StatementNote, VariableNote, Verdict, explain
from keyborn.domain.thing import ThingKind
from support.policy_stage import ARN, CLIENT_ID, THING_NAME, badge, connected, policy, statement

WILL = ConnectAttribute.WILL
OWN = policy(
    statement(Sid="Enter", Action="iot:Connect", Resource=f"{ARN}client/{THING_NAME}"),
    statement(Sid="Own", Action=["iot:Publish", "iot:Receive"], Resource=f"{ARN}topic/things/{THING_NAME}/*"),
    name="own",
)


def published(*policies: AccessPolicy, topic: str = "a", client_id: str = "lamp") -> Explanation:
    return explain(badge(*policies), connected(client_id), Action.PUBLISH, topic)


def lines(explanation: Explanation) -> list[str]:
    return [note.line for note in explanation.statements]


def test_allowed_by_a_statement() -> None:
    said = published(OWN, topic="things/lamp/x")
    deciding = StatementNote(
        OWN.name, 2, "Own", Effect.ALLOW, matched=True, line="topic/things/lamp/* matches"
    )
    assert said == Explanation(
        verdict=Verdict.ALLOWED,
        reason="own statement 2 (Own)",
        deciding=deciding,
        variables=(VariableNote("iot:Connection.Thing.ThingName", "lamp", None),),
        statements=(
            StatementNote(OWN.name, 1, "Enter", Effect.ALLOW, matched=False, line="it is about iot:Connect"),
            deciding,
        ),
    )
    assert said.allowed


def test_denied_by_default_with_the_reason_of_every_statement() -> None:
    said = published(OWN, topic="things/bulb/x")
    assert (said.verdict, said.deciding, said.allowed) == (Verdict.DENIED_BY_DEFAULT, None, False)
    assert said.reason == "no statement of own allows it"
    assert lines(said) == ["it is about iot:Connect", "topic/things/lamp/* does not match"]


def test_denied_by_the_first_deny_though_an_allow_matches_before() -> None:
    denies = policy(statement("Deny", Resource=f"{ARN}topic/a"), statement("Deny"), name="narrow")
    said = published(policy(statement()), denies)
    assert said.verdict is Verdict.DENIED_BY_STATEMENT
    assert said.deciding == said.statements[1]
    assert said.reason == "denied by narrow statement 1"
    assert [note.matched for note in said.statements] == [True, True, True]


def test_without_policies() -> None:
    said = published()
    assert said == Explanation(Verdict.DENIED_BY_DEFAULT, "it has no policy", None, (), ())


def test_a_variable_that_does_not_resolve_is_shown_as_written() -> None:
    said = published(OWN, topic="things/lamp/x", client_id="other")
    reason = "the client id is not the thing name"
    assert said.variables == (VariableNote("iot:Connection.Thing.ThingName", None, reason),)
    assert lines(said)[1] == f"topic/things/{THING_NAME}/* matches nothing: {reason}"


@pytest.mark.parametrize(
    ("kind", "client_id", "room", "reason"),
    [
        (ThingKind.SERVICE, "lamp", "x", "a service has no thing"),
        (ThingKind.DEVICE, "other", "x", "the client id is not the thing name"),
        (ThingKind.DEVICE, "lamp", "a+b", "its value holds +"),
        (ThingKind.DEVICE, "lamp", None, "no such attribute"),
    ],
)
def test_why_a_variable_does_not_resolve(
    kind: ThingKind, client_id: str, room: str | None, reason: str
) -> None:
    name = "iot:Connection.Thing.Attributes[room]"
    held = policy(statement(Resource=f"{ARN}topic/${{{name}}}"))
    who = badge(held, kind=kind, attributes={} if room is None else {"room": room})
    said = explain(who, connected(client_id), Action.PUBLISH, "x")
    assert said.variables == (VariableNote(name, None, reason),)


def test_variables_are_listed_once_in_the_order_of_their_use() -> None:
    held = policy(
        statement(Resource=[f"{ARN}topic/{CLIENT_ID}/{THING_NAME}", f"{ARN}topic/{CLIENT_ID}"]),
        statement(Condition={"StringEquals": {"iot:ClientId": "${iot:CertificateId}"}}),
    )
    names = [note.name for note in published(held).variables]
    assert names == ["iot:ClientId", "iot:Connection.Thing.ThingName", "iot:CertificateId"]


def test_each_resource_says_why_it_does_not_match() -> None:
    held = policy(statement(Resource=[f"{ARN}topicfilter/a", f"{ARN}topic/{CLIENT_ID}", f"{ARN}topic/b?"]))
    assert lines(published(held)) == [
        (
            "topicfilter/a is not about iot:Publish, whose resources are topic/…; "
            "topic/lamp does not match; topic/b? does not match"
        )
    ]


def test_a_line_names_eight_resources_at_most() -> None:
    [line] = lines(published(policy(statement(Resource=[f"{ARN}topic/{number}" for number in range(20)]))))
    assert line.startswith("topic/0 does not match; topic/1 does not match; ")
    assert line.endswith("topic/7 does not match; nor does any of 12 more")


def test_the_resource_that_matches_is_the_one_that_is_named() -> None:
    held = policy(statement(Resource=[f"{ARN}topic/b", f"{ARN}client/*", f"{ARN}topic/*", "*"]))
    assert lines(published(held)) == ["topic/* matches"]
    assert lines(published(policy(statement()))) == ["* matches"]


@pytest.mark.parametrize(
    ("condition", "line"),
    [
        (
            {"StringEquals": {"iot:ClientId": ["a", "b"]}},
            "StringEquals iot:ClientId a or b, and it is lamp",
        ),
        (
            {"Bool": {"iot:Connection.Thing.IsAttached": "false"}},
            "Bool iot:Connection.Thing.IsAttached false, and it is true",
        ),
        (
            {"StringLike": {"iot:Connection.Thing.ThingTypeName": "x*"}},
            "StringLike iot:Connection.Thing.ThingTypeName x*, and there is none: things have no type here",
        ),
        (
            {"StringLike": {"iot:ClientId": "l*"}, "StringNotEquals": {"iot:ClientId": "lamp"}},
            "StringNotEquals iot:ClientId lamp, and it is lamp",
        ),
        (
            {"ForAnyValue:StringEquals": {"iot:ConnectAttributes": "LastWill"}},
            (
                "ForAnyValue:StringEquals iot:ConnectAttributes LastWill, and there is none:"
                " the client asks for no will and no persistent session"
            ),
        ),
    ],
)
def test_the_first_condition_that_fails_is_named_with_what_there_is(
    condition: dict[str, object], line: str
) -> None:
    said = published(policy(statement(Condition=condition)))
    assert lines(said) == [f"its condition does not hold: {line}"]


def test_an_allow_that_does_not_speak_of_the_will() -> None:
    empty: dict[str, dict[str, list[str]]] = {"ForAllValues:StringEquals": {"iot:ConnectAttributes": []}}
    held = policy(statement(), statement(Condition=empty))
    said = explain(badge(held), connected("lamp", WILL), Action.CONNECT, "lamp")
    assert lines(said) == [
        "the client asks for LastWill, and it has no condition on iot:ConnectAttributes",
        (
            "its condition does not hold: ForAllValues:StringEquals iot:ConnectAttributes nothing,"
            " and it is LastWill"
        ),
    ]


names = st.sampled_from(["lamp", "other", "a*"])
resources = st.sampled_from(
    [
        "*",
        f"{ARN}topic/*",
        f"{ARN}topic/a?",
        f"{ARN}topic/{THING_NAME}",
        f"{ARN}topicfilter/{CLIENT_ID}*",
        f"{ARN}client/{THING_NAME}",
        f"{ARN}client/{CLIENT_ID}",
        f"{ARN}topic/${{iot:Connection.Thing.Attributes[room]}}",
    ]
)
conditions = st.sampled_from(
    [
        None,
        {"Bool": {"iot:Connection.Thing.IsAttached": "true"}},
        {"StringNotEquals": {"iot:ClientId": THING_NAME}},
        {"StringLike": {"iot:Connection.Thing.Attributes[room]": ["a*", CLIENT_ID]}},
        {"ForAllValues:StringEquals": {"iot:ConnectAttributes": ["LastWill"]}},
        {"ForAnyValue:StringNotEquals": {"iot:ConnectAttributes": ["LastWill"]}},
    ]
)
statements = st.builds(
    lambda effect, actions, written, condition: statement(
        effect, Action=actions, Resource=written, Condition=condition
    ),
    st.sampled_from(["Allow", "Allow", "Deny"]),
    st.lists(st.sampled_from([*Action, "*", "iot:*"]), min_size=1, max_size=3),
    st.lists(resources, min_size=1, max_size=3),
    conditions,
)
policies = st.lists(
    st.builds(
        lambda name, held: policy(*held, name=name), names, st.lists(statements, min_size=1, max_size=3)
    ),
    max_size=3,
)


@given(
    held=policies,
    client_id=names,
    kind=st.sampled_from(ThingKind),
    attributes=st.sampled_from([{}, {"room": "ab"}, {"room": "a#"}]),
    asked=st.sets(st.sampled_from(ConnectAttribute)),
    action=st.sampled_from(Action),
    resource=st.sampled_from(["", "a", "ab", "lamp", "other", "lamp/x", "a*"]),
)
def test_an_explanation_is_the_decision_s(
    *,
    held: list[AccessPolicy],
    client_id: str,
    kind: ThingKind,
    attributes: dict[str, str],
    asked: set[ConnectAttribute],
    action: Action,
    resource: str,
) -> None:
    who = badge(*held, kind=kind, attributes=attributes)
    here = connected(client_id, *asked)
    ruling = rights_of(who, here).decide(action, resource)
    said = explain(who, here, action, resource)
    assert (said.allowed, said.reason) == (ruling.allowed, ruling.reason)
    assert len(said.statements) == sum(len(each.document.statements) for each in held)
    matched = [note for note in said.statements if note.matched]
    assert said.deciding in matched if matched else said.deciding is None
    assert all("\n" not in note.line and note.line for note in said.statements)
