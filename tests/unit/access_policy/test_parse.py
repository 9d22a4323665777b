"""Policy documents: what is read, and what is refused with a sentence about place and remedy."""

import json
from contextlib import suppress

import pytest
from hypothesis import given, strategies as st

from keyborn.domain.access_policy.conditions import OPERATORS
from keyborn.domain.access_policy.document import Condition, Effect, PolicyDocument, Statement
from keyborn.domain.access_policy.parse import MAX_BYTES, MAX_ENTRIES, MAX_STATEMENTS, parse_document
from keyborn.domain.errors import InvalidPolicy
from support.policy_stage import ARN, CLIENT_ID, THING_NAME, document, statement

SIMPLE = statement(Action="iot:Publish", Resource=f"{ARN}topic/a")


def refused(text: str) -> tuple[str, str]:
    """Where, and the detail."""
    with pytest.raises(InvalidPolicy) as caught:
        parse_document(text)
    detail = str(caught.value.facts["detail"])
    assert not detail.endswith((".", "?"))
    assert "\n" not in str(caught.value)
    return str(caught.value.facts["where"]), detail


def test_a_whole_document_becomes_values_as_written() -> None:
    text = document(
        statement(
            Sid="Own1",
            Action=["iot:Connect", "iot:*"],
            Resource=[f"{ARN}client/{THING_NAME}", "*"],
            Condition={
                "StringLike": {"iot:ClientId": ["a*", CLIENT_ID]},
                "Bool": {"iot:Connection.Thing.IsAttached": True},
                "ForAllValues:StringEquals": {"iot:ConnectAttributes": []},
            },
        ),
        statement("Deny"),
    )
    first, second = parse_document(text).statements
    assert first == Statement(
        effect=Effect.ALLOW,
        actions=("iot:Connect", "iot:*"),
        resources=(f"{ARN}client/{THING_NAME}", "*"),
        conditions=(
            Condition("StringLike", "iot:ClientId", ("a*", CLIENT_ID)),
            Condition("Bool", "iot:Connection.Thing.IsAttached", ("true",)),
            Condition("ForAllValues:StringEquals", "iot:ConnectAttributes", ()),
        ),
        sid="Own1",
    )
    assert second == Statement(Effect.DENY, ("*",), ("*",))


def test_the_text_is_kept_for_showing_it_again() -> None:
    text = "\n " + document(SIMPLE) + "\n"
    assert parse_document(text).text == text


def test_one_statement_may_stand_without_a_list() -> None:
    text = json.dumps({"Version": "2012-10-17", "Statement": SIMPLE})
    assert len(parse_document(text).statements) == 1


@pytest.mark.parametrize(
    "resource",
    [
        "*",
        "arn:aws:iot:*:*:*",
        "arn:aws:iot:us-east-1:123456789012:*",
        "arn:aws-cn:iot:cn-north-1:*:topic/a",
        "arn:aws-us-gov:iot:us-gov-west-1:123456789012:client/*",
        f"{ARN}topic/",
        f"{ARN}topic/$aws/things/{THING_NAME}/shadow/*",
        f"{ARN}topicfilter/a/+/b/#",
        f"{ARN}topic/${{*}}${{?}}${{$}}$",
        f"{ARN}topic/${{iot:Connection.Thing.Attributes[a.b,c@d/e:f#g-h_1]}}",
        f"{ARN}topic/${{iot:Certificate.Subject.Country.1}}/${{iot:CertificateId}}",
        f"{ARN}topic/grün/\n\t/日本",
    ],
)
def test_resources_that_are_read(resource: str) -> None:
    assert parse_document(document(statement(Resource=resource))).statements[0].resources == (resource,)


@pytest.mark.parametrize(
    "operator", [name for name in OPERATORS if name != "Bool"], ids=lambda name: name.replace(":", "-")
)
def test_every_string_operator_is_read(operator: str) -> None:
    read = parse_document(document(statement(Condition={operator: {"iot:ClientId": "a"}})))
    assert read.statements[0].conditions == (Condition(operator, "iot:ClientId", ("a",)),)


def test_the_size_that_aws_takes_is_not_a_matter_of_reading() -> None:
    topics = [f"{ARN}topic/{number}" for number in range(100)]
    assert len(parse_document(document(statement(Resource=topics))).statements[0].resources) == 100


@pytest.mark.parametrize(
    ("text", "where", "detail"),
    [
        ("", "line 1, column 1", "not JSON"),
        ("{", "line 1, column 2", "not JSON"),
        ('{"Version": "2012-10-17",\n "Statement": [}', "line 2, column 16", "not JSON"),
        ("{} {}", "line 1, column 4", "not JSON"),
        ("\ufeff{}", "line 1, column 1", "not JSON"),
        ("{'a': 1}", "line 1, column 2", "not JSON"),
        ('{"a": "\n"}', "line 1, column 8", "not JSON"),
        ("NaN", "the document", "NaN is not JSON"),
        ('{"Version": -Infinity}', "the document", "-Infinity is not JSON"),
        ("null", "the document", "it is null, not an object"),
        ("[]", "the document", "it is a list, not an object"),
        ('"x"', "the document", "it is a string, not an object"),
        ("true", "the document", "it is true or false, not an object"),
        ("9" * 5000, "the document", "it is a number, not an object"),
        ("1e999999", "the document", "it is a number, not an object"),
        ("[" * 60_000, "the document", "nested too deeply"),
        ('{"a":' * 12_000, "the document", "nested too deeply"),
        ('{"Version": "2012-10-17", "Version": "2012-10-17"}', "the document", "'Version' stands twice"),
        ("x" * (MAX_BYTES + 1), "the document", "more than 65536 bytes"),
        ('"' + "ä" * (MAX_BYTES // 2) + '"', "the document", "more than 65536 bytes"),
    ],
    ids=range(20),
)
def test_what_is_not_one_json_object_is_refused(text: str, where: str, detail: str) -> None:
    place, sentence = refused(text)
    assert place == where
    assert detail in sentence


@pytest.mark.parametrize(
    ("members", "where", "detail"),
    [
        ({"Statement": SIMPLE}, "Version", '"2012-10-17"'),
        ({"Version": "2008-10-17", "Statement": SIMPLE}, "Version", "variables for plain text"),
        ({"Version": 20121017, "Statement": SIMPLE}, "Version", '"2012-10-17"'),
        ({"Version": "2012-10-17"}, "the document", "no Statement"),
        ({"Version": "2012-10-17", "Statement": []}, "Statement", "0 statements"),
        ({"Version": "2012-10-17", "Statement": "x"}, "statement 1", "a string, not an object"),
        ({"Version": "2012-10-17", "Statement": [SIMPLE, []]}, "statement 2", "a list, not an object"),
        ({"Version": "2012-10-17", "Statement": SIMPLE, "Id": "x"}, "the document", "leave it out"),
        ({"Version": "2012-10-17", "Statements": SIMPLE}, "the document", "perhaps Statement is meant"),
        ({"version": "2012-10-17", "Statement": SIMPLE}, "the document", "perhaps Version is meant"),
        ({"Version": "2012-10-17", "Statement": SIMPLE, "zzz": 1}, "the document", "'zzz' is not known here"),
    ],
)
def test_what_stands_around_the_statements(members: dict[str, object], where: str, detail: str) -> None:
    place, sentence = refused(json.dumps(members))
    assert place == where
    assert detail in sentence


@pytest.mark.parametrize(
    ("change", "where", "detail"),
    [
        ({"Effect": None}, "", "no Effect"),
        ({"Action": None}, "", "no Action"),
        ({"Resource": None}, "", "no Resource"),
        ({"Effect": "allow"}, ", Effect", "Allow or Deny"),
        ({"Effect": ["Allow"]}, ", Effect", "Allow or Deny"),
        ({"Effect": True}, ", Effect", "Allow or Deny"),
        ({"Sid": "own topics"}, ", Sid", "letters and digits"),
        ({"Sid": ""}, ", Sid", "letters and digits"),
        ({"Sid": "ä"}, ", Sid", "letters and digits"),
        ({"Sid": "a\n"}, ", Sid", "letters and digits"),
        ({"Sid": 7}, ", Sid", "letters and digits"),
        ({"NotAction": "iot:Connect"}, "", "list the actions in Action"),
        ({"NotResource": "*"}, "", "list the resources in Resource"),
        ({"Principal": "*"}, "", "attach the policy"),
        ({"NotPrincipal": "*"}, "", "attach the policy"),
        ({"action": "*"}, "", "perhaps Action is meant"),
        ({"Conditions": {}}, "", "perhaps Condition is meant"),
        ({"Action": []}, ", Action", "the list is empty"),
        ({"Action": [["*"]]}, ", Action", "a list where a string belongs"),
        ({"Action": {"a": "b"}}, ", Action", "an object where a string belongs"),
        ({"Action": 5}, ", Action", "a number where a string belongs"),
        ({"Action": ["*", True]}, ", Action", "true or false where a string belongs"),
        ({"Action": ["*"] * (MAX_ENTRIES + 1)}, ", Action", "more than 500"),
        ({"Action": "iot:publish"}, ", Action", "perhaps iot:Publish is meant"),
        ({"Action": "Publish"}, ", Action", "perhaps iot:Publish is meant"),
        ({"Action": "iot:Suscribe"}, ", Action", "perhaps iot:Subscribe is meant"),
        ({"Action": "iot:Pub*"}, ", Action", "wildcard; write iot:* or each action"),
        ({"Action": "i?t:Publish"}, ", Action", "wildcard"),
        ({"Action": "s3:GetObject"}, ", Action", "iot:Connect, iot:Publish, iot:Receive, iot:RetainPublish"),
        ({"Action": "iot:GetThingShadow"}, ", Action", "not an action that the broker decides about"),
        ({"Action": ""}, ", Action", "not an action"),
        ({"Action": "x" * 60_000}, ", Action", "not an action"),
        ({"Resource": []}, ", Resource", "the list is empty"),
        ({"Resource": None, "Condition": {}}, "", "no Resource"),
        ({"Resource": "topic/a"}, ", Resource", "write arn:aws:iot:REGION:ACCOUNT:topic/…"),
        ({"Resource": ""}, ", Resource", "neither * nor an ARN"),
        ({"Resource": "**"}, ", Resource", "neither * nor an ARN"),
        ({"Resource": "arn:aws:iot:*"}, ", Resource", "neither * nor an ARN"),
        ({"Resource": "ARN:aws:iot:*:*:topic/a"}, ", Resource", "neither * nor an ARN"),
        ({"Resource": "arn:*:iot:*:*:topic/a"}, ", Resource", "aws, aws-cn, aws-us-gov"),
        ({"Resource": "arn:aws:s3:*:*:topic/a"}, ", Resource", "the service 's3' is not iot"),
        ({"Resource": "arn:aws:iot::*:topic/a"}, ", Resource", "the region ''"),
        ({"Resource": "arn:aws:iot:eu-*:*:topic/a"}, ", Resource", "the region 'eu-*'"),
        ({"Resource": "arn:aws:iot:*:12345678901:topic/a"}, ", Resource", "twelve digits"),
        ({"Resource": "arn:aws:iot:*:${iot:ClientId}:topic/a"}, ", Resource", "twelve digits"),
        ({"Resource": "arn:aws:iot:*:١٢٣٤٥٦٧٨٩٠١٢:topic/a"}, ", Resource", "twelve digits"),
        ({"Resource": f"{ARN}topics/a"}, ", Resource", "perhaps topic is meant"),
        ({"Resource": f"{ARN}Topic/a"}, ", Resource", "perhaps topic is meant"),
        ({"Resource": f"{ARN}topicFilter/a"}, ", Resource", "perhaps topicfilter is meant"),
        ({"Resource": f"{ARN}thing/a"}, ", Resource", "use client/, topic/ or topicfilter/"),
        ({"Resource": f"{ARN}topic"}, ", Resource", "after topic comes /"),
        ({"Resource": f"{ARN}topic*"}, ", Resource", "perhaps topic is meant"),
        ({"Resource": f"{ARN}*/a"}, ", Resource", "not a kind of resource"),
        ({"Resource": f"{ARN}${{iot:ClientId}}/a"}, ", Resource", "not a kind of resource"),
        ({"Resource": f"{ARN}topic/${{iot:ClientId"}, ", Resource", "'${iot:ClientId' is not closed with }"),
        ({"Resource": f"{ARN}topic/${{"}, ", Resource", "not closed"),
        ({"Resource": f"{ARN}topic/" + "${" * 20_000}, ", Resource", "not closed"),
        ({"Resource": f"{ARN}topic/${{}}"}, ", Resource", "'' is not known here"),
        ({"Resource": f"{ARN}topic/${{iot:Clientid}}"}, ", Resource", "perhaps iot:ClientId is meant"),
        ({"Resource": f"{ARN}topic/${{ iot:ClientId }}"}, ", Resource", "perhaps iot:ClientId is meant"),
        ({"Resource": f"{ARN}topic/${{aws:SourceIp}}"}, ", Resource", "aws:SourceIp is not known here"),
        ({"Resource": f"{ARN}topic/${{iot:DomainName}}"}, ", Resource", "iot:DomainName is not known here"),
        ({"Resource": f"{ARN}topic/${{aws:username}}"}, ", Resource", "is not known here"),
        ({"Resource": f"{ARN}topic/${{iot:ClientId, 'x'}}"}, ", Resource", "is not known here"),
        ({"Resource": f"{ARN}topic/${{iot:ConnectAttributes}}"}, ", Resource", "is a list"),
        ({"Resource": f"{ARN}topic/${{iot:Certificate.Subject.Country.List}}"}, ", Resource", "is a list"),
        ({"Resource": f"{ARN}topic/${{iot:Certificate.Subject.Country.5}}"}, ", Resource", "not known"),
        ({"Resource": f"{ARN}topic/${{iot:Connection.Thing.IsAttached}}"}, ", Resource", "under Bool"),
        ({"Resource": f"{ARN}topic/${{iot:Connection.Thing.Attributes}}"}, ", Resource", "Attributes[name]"),
        ({"Resource": f"{ARN}topic/${{iot:Connection.Thing.Attributes[]}}"}, ", Resource", "attribute name"),
        (
            {"Resource": f"{ARN}topic/${{iot:Connection.Thing.Attributes[{'x' * 129}]}}"},
            ", Resource",
            "attribute name",
        ),
        ({"Resource": "\ud800"}, ", Resource", "half of a surrogate pair"),
    ],
)
def test_a_statement_that_cannot_be_meant_is_refused(
    change: dict[str, object], where: str, detail: str
) -> None:
    place, sentence = refused(document(SIMPLE, statement(**change)))
    assert place == f"statement 2{where}"
    assert detail in sentence


@pytest.mark.parametrize(
    ("condition", "where", "detail"),
    [
        ({}, "", "it is empty"),
        ([], "", "a list, not an object"),
        (None, "", "null, not an object"),
        ({"StringEquals": {}}, " 'StringEquals'", "it is empty"),
        ({"StringEquals": "x"}, " 'StringEquals'", "a string, not an object"),
        ({"StringEqual": {"iot:ClientId": "a"}}, "", "perhaps StringEquals is meant"),
        ({"stringlike": {"iot:ClientId": "a"}}, "", "perhaps StringLike is meant"),
        ({"StringEqualsIfExists": {"iot:ClientId": "a"}}, "", "without IfExists"),
        ({"Null": {"iot:ClientId": "true"}}, "", "'Null' is not an operator"),
        ({"NumericEquals": {"iot:ClientId": "1"}}, "", "is not an operator"),
        ({"ForAllValues:Bool": {"iot:Connection.Thing.IsAttached": "true"}}, "", "is not an operator"),
        ({"ForSomeValues:StringEquals": {"iot:ClientId": "a"}}, "", "perhaps For"),
        ({"StringEquals": {"iot:clientid": "a"}}, " StringEquals", "perhaps iot:ClientId is meant"),
        ({"StringEquals": {"aws:SourceIp": "10.0.0.1"}}, " StringEquals", "not known here"),
        ({"StringEquals": {"${iot:ClientId}": "a"}}, " StringEquals", "not known here"),
        ({"StringEquals": {"iot:ClientId": []}}, " StringEquals", "only ForAllValues: can mean"),
        ({"ForAnyValue:StringEquals": {"iot:ConnectAttributes": []}}, " ForAnyValue:StringEquals", "empty"),
        ({"StringEquals": {"iot:ClientId": 5}}, " StringEquals", "a number where a string belongs"),
        ({"StringEquals": {"iot:ClientId": True}}, " StringEquals", "true or false where a string"),
        ({"StringEquals": {"iot:ClientId": None}}, " StringEquals", "null where a string belongs"),
        ({"StringEquals": {"iot:ClientId": ["a"] * 501}}, " StringEquals", "more than 500"),
        ({"StringEquals": {"iot:ClientId": "${iot:Client"}}, " StringEquals", "not closed"),
        ({"StringEquals": {"iot:ClientId": "${x}"}}, " StringEquals", "not known here"),
        ({"Bool": {"iot:ClientId": "true"}}, " Bool", "use StringEquals or StringLike"),
        ({"Bool": {"iot:Connection.Thing.IsAttached": "True"}}, " Bool", "it has true and false"),
        ({"Bool": {"iot:Connection.Thing.IsAttached": "${iot:ClientId}"}}, " Bool", "it has true and false"),
        ({"Bool": {"iot:Connection.Thing.IsAttached": 1}}, " Bool", "a number where a string belongs"),
        ({"StringEquals": {"iot:Connection.Thing.IsAttached": "true"}}, " StringEquals", "use Bool"),
        (
            {"StringEquals": {"iot:ConnectAttributes": "LastWill"}},
            " StringEquals",
            "ForAllValues:StringEquals or ForAnyValue:StringEquals",
        ),
        (
            {"StringLike": {"iot:Certificate.Subject.Country.List": "D*"}},
            " StringLike",
            "ForAllValues:StringLike",
        ),
        (
            {"ForAllValues:StringEquals": {"iot:ConnectAttributes": ["LastWill", "Persistent"]}},
            " ForAllValues:StringEquals",
            "it has LastWill and PersistentConnect",
        ),
        (
            {"ForAllValues:StringEquals": {"iot:ConnectAttributes": "*"}},
            " ForAllValues:StringEquals",
            "it has LastWill and PersistentConnect",
        ),
        (
            {"ForAllValues:StringEquals": {"iot:ConnectAttributes": "Last${iot:ClientId}Will"}},
            " ForAllValues:StringEquals",
            "it has LastWill and PersistentConnect",
        ),
    ],
)
def test_a_condition_that_cannot_be_meant_is_refused(condition: object, where: str, detail: str) -> None:
    whole = statement()
    whole["Condition"] = condition
    place, sentence = refused(document(SIMPLE, whole))
    assert place == f"statement 2, Condition{where}"
    assert detail in sentence


@pytest.mark.parametrize(
    ("operator", "value"),
    [
        ("ForAllValues:StringLike", "*"),
        ("ForAnyValue:StringLike", "Last*"),
        ("ForAnyValue:StringEqualsIgnoreCase", "lastwill"),
    ],
)
def test_a_value_that_can_match_a_connect_attribute_is_read(operator: str, value: str) -> None:
    assert parse_document(document(statement(Condition={operator: {"iot:ConnectAttributes": value}})))


def test_a_sid_stands_once_in_a_document() -> None:
    where, detail = refused(document(statement(Sid="A"), statement(Sid="a"), statement(Sid="A")))
    assert (where, detail) == ("statement 3, Sid", "statement 1 has the same one; choose another")


def test_a_duplicate_key_is_refused_wherever_it_stands() -> None:
    text = document(statement(Condition={"StringEquals": {"iot:ClientId": "a"}}))
    where, detail = refused(
        text.replace('{"iot:ClientId": "a"}', '{"iot:ClientId": "a", "iot:ClientId": "b"}')
    )
    assert (where, detail) == (
        "the document",
        "'iot:ClientId' stands twice in one object, and only one would count",
    )


def test_too_many_statements_are_refused() -> None:
    assert len(parse_document(document(*[SIMPLE] * MAX_STATEMENTS)).statements) == MAX_STATEMENTS
    assert refused(document(*[SIMPLE] * (MAX_STATEMENTS + 1)))[0] == "Statement"


def test_too_many_conditions_of_one_statement_are_refused() -> None:
    keys = {f"iot:Connection.Thing.Attributes[{number}]": "x" for number in range(MAX_ENTRIES + 1)}
    where, detail = refused(document(statement(Condition={"StringEquals": keys})))
    assert (where, detail) == ("statement 1, Condition", "it has 501 keys, more than 500")


def test_what_a_refusal_shows_of_the_document_is_ascii_and_short() -> None:
    _, detail = refused(document(statement(Action="\x1b[31m" + "é" * 5000)))
    assert detail.isascii() or "…" in detail
    assert "\x1b" not in detail
    assert len(detail) < 700


@given(st.text(max_size=200) | st.text('{}[]":, VersionStatement0127-', max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(InvalidPolicy):
        assert isinstance(parse_document(text), PolicyDocument)


words = st.sampled_from(
    ["Allow", "Deny", "*", "iot:*", "iot:Publish", f"{ARN}topic/a", f"{ARN}client/{THING_NAME}", "x", ""]
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | words,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["StringEquals", "Bool", "iot:ClientId", "iot:Connection.Thing.IsAttached", "Action"]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)
members = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(("Sid", "Effect", "Action", "Resource", "Condition", "Other"), json_values),
)


@given(st.lists(members, max_size=3))
def test_any_json_is_read_or_refused(statements: list[dict[str, object]]) -> None:
    try:
        read = parse_document(document(*statements))
    except InvalidPolicy:
        return
    assert len(read.statements) == len(statements)
    assert all(each.actions and each.resources for each in read.statements)
