"""What lint promises of any document: it never fails, its corrections mend, it reads patterns soundly."""

import itertools
import json

import pytest
from hypothesis import given, settings, strategies as st

from keyborn.domain.access import Action, ConnectAttribute
from keyborn.domain.access_policy.document import AccessPolicy, PolicyDocument, PolicyName, Statement
from keyborn.domain.access_policy.evaluate import rights_of
from keyborn.domain.access_policy.lint import Severity, lint, refused
from keyborn.domain.access_policy.lint_shapes import covers, overlap, resource, tokens, topics_of, variables
from keyborn.domain.access_policy.lint_words import listed, write_statement
from keyborn.domain.access_policy.patterns import Bound, Wildcard, matcher, parse_template
from support.lint_stage import (
    ARN,
    ATTACHED,
    CLIENT,
    COMMON_NAME,
    NAME,
    SITE,
    TYPE,
    WILLS,
    allow,
    document,
    mended,
)
from support.policy_stage import NOW, badge, connected
from support.walks import examples

# ── documents ─────────────────────────────────────────────────────────────────────────────────────────

PARTS = ["*", "?", "+", "#", "a", "b", "/", "/", "-", "?x", "${?}", NAME, CLIENT, COMMON_NAME, SITE, TYPE]
names = st.lists(st.sampled_from(PARTS), min_size=1, max_size=5).map("".join)
arns = st.builds(
    "arn:aws:iot:{}:{}:{}/{}".format,
    st.sampled_from(["*", "*", "eu-west-1", "us-east-1"]),
    st.sampled_from(["*", "*", "123456789012", "210987654321"]),
    st.sampled_from(["client", "topic", "topicfilter"]),
    names,
)
resources = st.one_of(arns, arns, arns, st.sampled_from(["*", f"{ARN}*"]))
actions = st.sampled_from([*(each.value for each in Action), *(each.value for each in Action), "*", "iot:*"])
conditions = st.fixed_dictionaries(
    {},
    optional={
        "Bool": st.fixed_dictionaries(
            {"iot:Connection.Thing.IsAttached": st.sampled_from(["true", "false"])}
        ),
        "StringEquals": st.fixed_dictionaries({"iot:ClientId": st.sampled_from(["a", NAME])}),
        "StringLike": st.fixed_dictionaries({"iot:Connection.Thing.ThingTypeName": st.just("b*")}),
        "ForAllValues:StringLike": st.fixed_dictionaries({"iot:Connection.Thing.ThingName": st.just("a*")}),
        "ForAllValues:StringEquals": st.fixed_dictionaries(
            {"iot:ConnectAttributes": st.sampled_from(["LastWill", ["LastWill", "PersistentConnect"]])}
        ),
    },
)


@st.composite
def statements(draw: st.DrawFn) -> dict[str, object]:
    """A statement of traps."""
    written: dict[str, object] = {
        "Effect": draw(st.sampled_from(["Allow", "Allow", "Deny"])),
        "Action": draw(st.lists(actions, min_size=1, max_size=3)),
        "Resource": draw(st.lists(resources, min_size=1, max_size=3)),
    }
    condition = draw(conditions)
    return written | {"Condition": condition} if condition else written


documents = st.lists(statements(), min_size=1, max_size=4).map(lambda each: document(*each))

simple_arns = st.builds(
    "arn:aws:iot:*:*:{}/{}".format,
    st.sampled_from(["client", "topic", "topic", "topicfilter"]),
    st.sampled_from(["a", "b", "a*", "a/*", "*", f"a/{NAME}", NAME, f"{CLIENT}/*", f"{SITE}*", "?", "a/b"]),
)
few = st.lists(
    st.fixed_dictionaries(
        {
            "Effect": st.sampled_from(["Allow", "Allow", "Deny"]),
            "Action": st.lists(actions, min_size=1, max_size=2),
            "Resource": st.lists(simple_arns, min_size=1, max_size=2),
        },
        optional={"Condition": st.sampled_from([ATTACHED, WILLS])},
    ),
    min_size=2,
    max_size=4,
).map(lambda each: document(*each))
"""Documents with a small choice of words, so that statements meet."""


@given(documents)
@pytest.mark.slow
@settings(max_examples=examples(150), deadline=None)
def test_a_corrected_statement_parses_and_has_its_trap_no_more(written: PolicyDocument) -> None:
    for finding in lint(written):
        if finding.corrected is None:
            continue
        after = lint(mended(written, finding))
        assert (finding.code, finding.statement) not in {(each.code, each.statement) for each in after}


@given(documents)
@pytest.mark.slow
@settings(max_examples=examples(200), deadline=None)
def test_taking_the_errors_corrections_one_after_the_other_ends_without_errors(
    written: PolicyDocument,
) -> None:
    for _ in range(30):
        errors = [each for each in refused(written) if each.corrected is not None]
        if not errors:
            return
        written = mended(written, errors[0])
    raise AssertionError([each.code for each in refused(written)])


@given(documents)
@settings(deadline=None)
def test_every_finding_says_where_and_ends_in_a_sentence(written: PolicyDocument) -> None:
    for finding in lint(written):
        assert finding.sentence.endswith(".")
        assert finding.sentence.isprintable()
        if finding.statement is None:
            assert finding.where == "document"
        else:
            assert finding.where.startswith(f"statement {finding.statement + 1}")
            assert finding.statement < len(written.statements)


@given(documents)
@settings(deadline=None)
def test_what_put_refuses_is_what_lint_calls_an_error(written: PolicyDocument) -> None:
    assert refused(written) == tuple(each for each in lint(written) if each.severity is Severity.ERROR)


@given(documents)
@settings(deadline=None)
def test_a_statement_written_anew_is_the_same_statement(written: PolicyDocument) -> None:
    again = document(*(json.loads(write_statement(each)) for each in written.statements))
    assert again.statements == written.statements


PROBES = [*"ab+#", "a/b", "b/a", "a/", "lamp", "lamp/a", "a/lamp", "a-b", "", "a/+", "a/#", "lamp/#"]
CIRCUMSTANCES = [
    connected("lamp"),
    connected("a"),
    connected("a+b"),
    connected("lamp", ConnectAttribute.WILL),
    connected("lamp", ConnectAttribute.WILL, ConnectAttribute.PERSISTENT),
]


def decisions(*written: Statement) -> list[bool]:
    """What the evaluator says to every probe, on every connection."""
    kept = AccessPolicy(PolicyName("p"), PolicyDocument(written, ""), NOW)
    holder = badge(kept, attributes={"site": "b"})
    rights = [rights_of(holder, each) for each in CIRCUMSTANCES]
    return [each.decide(action, probe).allowed for each in rights for action in Action for probe in PROBES]


@given(few)
@pytest.mark.slow
@settings(max_examples=examples(300), deadline=None)
def test_a_statement_that_is_called_needless_changes_no_decision(written: PolicyDocument) -> None:
    for finding in lint(written):
        if finding.code in {"shadowed", "duplicate"}:
            others = [each for i, each in enumerate(written.statements) if i != finding.statement]
            assert decisions(*others) == decisions(*written.statements)


NEVER = {
    "client_id_never",
    "impossible_filter",
    "mqtt_wildcard_in_topic",
    "never_attached",
    "topic_for_topicfilter",
    "topicfilter_for_topic",
    "connect_on_topic",
}
TOPICS = [each for each in PROBES if not {"+", "#"} & set(each)]


@given(st.builds(allow, actions.filter(lambda each: "*" not in each), arns, conditions))
@pytest.mark.slow
@settings(max_examples=examples(300), deadline=None)
def test_a_statement_that_is_called_dead_allows_nothing(statement: dict[str, object]) -> None:
    """One action and one resource, so that the error is about all of it."""
    written = document(statement)
    if not NEVER & {each.code for each in refused(written)}:
        return
    kept = AccessPolicy(PolicyName("p"), written, NOW)
    for circumstances in CIRCUMSTANCES:
        rights = rights_of(badge(kept, attributes={"site": "b"}), circumstances)
        asked = {action: PROBES if action is Action.SUBSCRIBE else TOPICS for action in Action}
        asked[Action.CONNECT] = [circumstances.client_id]
        for action, probes in asked.items():
            assert not any(rights.decide(action, probe).allowed for probe in probes)


# ── patterns ──────────────────────────────────────────────────────────────────────────────────────────

patterns = st.text("ab/*?", max_size=6)
SHORT = ["".join(each) for size in range(5) for each in itertools.product("ab/", repeat=size)]


def takes(pattern: str, text: str) -> bool:
    """Whether the evaluator's own matcher takes ``text``."""
    bound: Bound = tuple(part for part in parse_template(pattern) if isinstance(part, str | Wildcard))
    return matcher([bound]).matches(text)


@given(patterns, patterns)
@pytest.mark.slow
@settings(max_examples=examples(300), deadline=None)
def test_what_is_covered_matches_nothing_more(wide: str, narrow: str) -> None:
    if covers(wide, narrow):
        assert all(takes(wide, text) for text in SHORT if takes(narrow, text))


@given(patterns, patterns)
@pytest.mark.slow
@settings(max_examples=examples(300), deadline=None)
def test_patterns_that_share_a_text_overlap(left: str, right: str) -> None:
    if any(takes(left, text) and takes(right, text) for text in SHORT):
        assert overlap(left, right)


@given(st.text("ab/*?", max_size=3), st.text("ab/*?", max_size=3))
@pytest.mark.slow
@settings(max_examples=examples(200), deadline=None)
def test_patterns_that_overlap_share_a_text(left: str, right: str) -> None:
    if overlap(left, right):
        longer = ("".join(each) for size in range(7) for each in itertools.product("ab/", repeat=size))
        assert any(takes(left, text) and takes(right, text) for text in longer)


@given(patterns)
@settings(deadline=None)
def test_a_pattern_covers_itself_and_overlaps_itself(pattern: str) -> None:
    assert covers(pattern, pattern)
    assert overlap(pattern, pattern)
    assert covers("*", pattern)


@pytest.mark.parametrize(
    ("wide", "narrow", "covered"),
    [
        ("a/*", "a/b/c", True),
        ("a/*", "a", False),
        ("a/*/c", "a/b/b/c", True),
        ("*", NAME, True),
        ("a/*", f"a/{NAME}/b", True),
        ("?", NAME, False),
        ("lamp", NAME, False),
        (f"a/{NAME}/*", f"a/{NAME}/b", True),
        (f"a/{NAME}", f"a/{CLIENT}", False),
        ("a?", "a*", False),
        ("a*", "a?", True),
        ("a**b", "a*b", True),
        ("", "", True),
        ("", "a", False),
        ("a", "", False),
    ],
)
def test_one_pattern_covers_another(wide: str, narrow: str, *, covered: bool) -> None:
    assert covers(wide, narrow) is covered


@pytest.mark.parametrize(
    ("left", "right", "shared"),
    [
        (f"a/{NAME}/b", "a/lamp/b", True),
        (f"a/{NAME}/b", "a/lamp/c", False),
        (f"a/{NAME}/b", f"a/{CLIENT}/b", True),
        ("a/*/b", "*/c/b", True),
        ("a/${*}", "a/b", False),
        ("a/${*}", "a/?", True),
        ("", "*", True),
        ("", "?", False),
    ],
)
def test_two_patterns_overlap_either_way_round(left: str, right: str, *, shared: bool) -> None:
    assert overlap(left, right) is shared
    assert overlap(right, left) is shared


def test_patterns_too_long_to_compare_give_the_answer_that_finds_nothing() -> None:
    long = "a*" * 200
    assert not covers(long, long)
    assert overlap(long, "b" * 400)


def test_long_hostile_patterns_are_compared_in_bounded_work() -> None:
    assert not overlap("*a" * 150 + "b", "*a" * 150 + "c")
    assert covers("*a" * 150 + "*", "a" * 300)


@pytest.mark.parametrize(
    ("written", "topics"),
    [
        ("a/b", ("a/b",)),
        ("a/+/b", ("a/*/b",)),
        ("a/#", ("a", "a/*")),
        ("#", ("*",)),
        ("+/a/#", ("*/a", "*/a/*")),
        ("a/*", ("a/*",)),
        (
            "a/${iot:Connection.Thing.Attributes[x#+]}/#",
            (
                "a/${iot:Connection.Thing.Attributes[x#+]}",
                "a/${iot:Connection.Thing.Attributes[x#+]}/*",
            ),
        ),
    ],
)
def test_the_topics_of_a_filter(written: str, topics: tuple[str, ...]) -> None:
    assert topics_of(written) == topics


def test_a_resource_is_read_in_parts() -> None:
    read = resource("arn:aws:iot:eu-west-1:123456789012:topic/a:b/c")
    assert (read.region, read.account, read.kind, read.name) == (
        "eu-west-1",
        "123456789012",
        "topic",
        "a:b/c",
    )
    assert read.named("topicfilter", "x") == "arn:aws:iot:eu-west-1:123456789012:topicfilter/x"
    assert read.brief == "'topic/a:b/c'"


@pytest.mark.parametrize("text", ["*", f"{ARN}*"])
def test_a_resource_of_every_kind_has_no_kind(text: str) -> None:
    assert (resource(text).kind, resource(text).name, resource(text).brief) == ("*", "*", repr(text))


def test_tokens_are_characters_and_whole_variables() -> None:
    assert tokens("a/${iot:ClientId}*") == ["a", "/", "${iot:ClientId}", "*"]
    assert variables([f"{NAME}/{CLIENT}", f"{CLIENT}${{*}}"]) == (
        "iot:Connection.Thing.ThingName",
        "iot:ClientId",
    )


def test_names_are_listed_as_people_do() -> None:
    assert listed(("a",)) == "a"
    assert listed(("a", "b")) == "a and b"
    assert listed(("a", "b", "c")) == "a, b and c"
