"""The evaluator against a naive one that was written from the rules alone: they must never disagree.

Documents come from a small grammar over a small alphabet, and most questions are made from one of the
document's own patterns, so that statements match, variables resolve and conditions hold often enough.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from typing import Any, TypeVar

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID
from hypothesis import HealthCheck, event, given, settings, strategies as st

from keyborn.domain.access import Action, Circumstances, ConnectAttribute
from keyborn.domain.access_policy.evaluate import rights_of
from keyborn.domain.access_policy.explain import Verdict, explain
from keyborn.domain.thing import ThingKind
from support.figures import Figure
from support.policy_case import ARN, CERTIFICATE, CLIENT, COMMON_NAME, THING, Who, attribute, badge, leaf_for
from support.policy_cases import cases
from support.policy_certificate import RICH, SAYS
from support.policy_reference import Context, context_of, permitted
from support.walks import examples

T = TypeVar("T")
Statement = dict[str, Any]
VARIABLES = [THING, CLIENT, attribute("s"), attribute("t"), COMMON_NAME, CERTIFICATE]
TYPES = {Action.CONNECT: "client", Action.SUBSCRIBE: "topicfilter"}
SOME = settings(deadline=None, max_examples=examples(500), suppress_health_check=[HealthCheck.too_slow])


class Tape:
    """Bytes that decide every choice of the grammar, in order; they end in zeros, so that less is simpler.

    One draw of Hypothesis instead of a hundred: thirty times as many questions in the same time.
    """

    def __init__(self, data: bytes) -> None:
        self._bytes = iter(data)

    def below(self, count: int) -> int:
        return next(self._bytes, 0) % count

    def pick(self, options: Sequence[T]) -> T:
        return options[self.below(len(options))]

    def several(self, options: Sequence[T], low: int, high: int) -> list[T]:
        return [self.pick(options) for _ in range(low + self.below(high - low + 1))]


TAPES = st.binary(min_size=300, max_size=300).map(Tape)


# ── who ───────────────────────────────────────────────────────────────────────────────────────────────

VALUES = ["a", "b", "ab", "A", "a/b", "", "*", "a*", "?", "$", "a+", "#", "{iot:ClientId}"]
CLIENTS = [None, None, None, "a", "b", "a*", "x/a", "$"]
KINDS = [ThingKind.DEVICE, ThingKind.DEVICE, ThingKind.SERVICE]
ASKS: list[tuple[ConnectAttribute, ...]] = [
    (), (), *((each,) for each in ConnectAttribute), tuple(ConnectAttribute)
]  # fmt: skip


def person(tape: Tape) -> Who:
    """Somebody with names and values from a small alphabet."""
    attributes = {name: tape.pick(VALUES) for name in "st" if tape.below(3)}
    return Who(
        tape.pick(["a", "b", "ab"]),
        tape.pick(KINDS),
        tuple(attributes.items()),
        client_id=tape.pick(CLIENTS),
        common_name=tape.pick([None, "a", "b", "a*"]),
    )


@cache
def certificate_keys(common_name: str) -> Mapping[str, Sequence[str]]:
    """What the condition keys of a certificate say of the one with this common name."""
    leaf = leaf_for(common_name).certificate
    (name,) = leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    said = {
        "CertificateId": [leaf.fingerprint(SHA256()).hex()],
        "Certificate.Subject.CommonName": [str(name.value)],
        "Certificate.Issuer.CommonName": ["test devices"],
        **(SAYS if common_name == RICH else {}),
    }
    return {f"iot:{key}": values for key, values in said.items()}


def context_for(who: Who, asks: frozenset[ConnectAttribute]) -> Context:
    return context_of(
        client_id=who.client,
        attributes=asks,
        thing=who.name if who.kind is ThingKind.DEVICE else None,
        thing_attributes=dict(who.attributes),
        certificate=certificate_keys(who.subject),
    )


# ── documents ─────────────────────────────────────────────────────────────────────────────────────────

PIECES = [*"aabbA/", *"*?+#$", "${*}", "${?}", "${$}", "*", "?", *VARIABLES, *VARIABLES]
LETTERS = [*"aabbA/+#$*?", "\n", "é"]
OPERATORS = [
    f"String{negated}{how}" for how in ("Equals", "EqualsIgnoreCase", "Like") for negated in ("", "Not")
]
SETS = ["ForAllValues:", "ForAnyValue:"]
TEXT_KEYS = [variable[2:-1] for variable in VARIABLES] + ["iot:Connection.Thing.ThingTypeName"]
TRUTHS = ["true", "true", "false", ["true", "false"]]


def pattern(tape: Tape) -> str:
    """A few characters, wildcards, escapes and variables."""
    return "".join(tape.several(PIECES, 1, 5))


def text(tape: Tape) -> str:
    """A few characters."""
    return "".join(tape.several(LETTERS, 0, 6))


def conditions(tape: Tape, action: Action) -> dict[str, dict[str, Any]]:
    """Nothing often; else one to three keys under one to three operators."""
    made: dict[str, dict[str, Any]] = {}
    if action is Action.CONNECT and tape.below(2):
        _add_asked(tape, made)
    for _ in range(tape.pick([0, 0, 0, 1, 1, 2])):
        tape.pick([_add_text, _add_text, _add_attached, _add_asked])(tape, made)
    return made


def _add_text(tape: Tape, made: dict[str, dict[str, Any]]) -> None:
    operator = tape.pick(["", "", *SETS]) + tape.pick(OPERATORS)
    values = [pattern(tape) for _ in range(tape.pick([1, 1, 2, 3]))]
    made.setdefault(operator, {})[tape.pick(TEXT_KEYS)] = values[0] if len(values) == 1 else values


def _add_attached(tape: Tape, made: dict[str, dict[str, Any]]) -> None:
    made.setdefault("Bool", {})["iot:Connection.Thing.IsAttached"] = tape.pick(TRUTHS)


def _add_asked(tape: Tape, made: dict[str, dict[str, Any]]) -> None:
    operator = tape.pick(SETS) + tape.pick(["StringEquals", "StringEquals", *OPERATORS])
    values = ["*", "Last*", "?*"] if operator.endswith("Like") else ["LastWill", "PersistentConnect"]
    wanted = values if tape.below(2) else tape.pick(values)
    made.setdefault(operator, {})["iot:ConnectAttributes"] = wanted


def resource(tape: Tape, action: Action) -> str:
    """Mostly of the action's own type."""
    shape = tape.below(12)
    if shape == 1:
        return tape.pick(["*", f"{ARN}*"])
    kind = tape.pick(["client", "topic", "topicfilter"]) if shape == 2 else TYPES.get(action, "topic")
    named = "*" if action is Action.CONNECT and tape.below(2) else pattern(tape)
    return f"{tape.pick([ARN, ARN, 'arn:aws:iot:*:*:'])}{kind}/{named}"


def statement(tape: Tape, effect: str | None = None) -> Statement:
    """Any statement, or one of that effect."""
    action = tape.pick([*Action, Action.CONNECT])
    actions: list[str | list[str]] = [action, action, [action], [action, "iot:Publish"], "iot:*", ["*"]]
    named = [resource(tape, action) for _ in range(tape.pick([1, 1, 2]))]
    made = {
        "Effect": effect or tape.pick(["Allow", "Allow", "Deny"]),
        "Action": tape.pick(actions),
        "Resource": named[0] if len(named) == 1 else named,
    }
    held = conditions(tape, action)
    return {**made, "Condition": held} if held else made


def text_of(document: Sequence[Statement]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": document})


# ── questions ─────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Question:
    """Who asks what under which documents."""

    who: Who
    asks: frozenset[ConnectAttribute]
    policies: tuple[tuple[Statement, ...], ...]
    action: Action
    resource: str

    @property
    def texts(self) -> list[str]:
        return [text_of(policy) for policy in self.policies]

    @property
    def statements(self) -> list[Statement]:
        return [statement for policy in self.policies for statement in policy]

    def with_statement(self, statement: Statement) -> "Question":
        """The same question under one more policy."""
        return replace(self, policies=(*self.policies, (statement,)))

    def expected(self) -> bool:
        return permitted(self.texts, context_for(self.who, self.asks), self.action, self.resource)

    def allowed(self) -> bool:
        rights = rights_of(badge(self.who, self.texts), Circumstances(self.who.client, self.asks))
        return rights.decide(self.action, self.resource).allowed

    def explained(self) -> bool:
        told = explain(
            badge(self.who, self.texts), Circumstances(self.who.client, self.asks), self.action, self.resource
        )
        return told.verdict is Verdict.ALLOWED


def filled_in(pattern: str, context: Context, tape: Tape) -> str:
    """A text that the pattern means: variables by their values, wildcards by something."""
    for escape in "*?$":
        pattern = pattern.replace(f"${{{escape}}}", HELD[escape])
    for variable in VARIABLES:
        value = context.get(variable[2:-1], ["a"])[0]
        pattern = pattern.replace(variable, "".join(HELD.get(each, each) for each in value))
    filled = (text(tape) if each == "*" else tape.pick(LETTERS) if each == "?" else each for each in pattern)
    return "".join(
        next((key for key, held in HELD.items() if held == each), each) for each in "".join(filled)
    )


HELD = {"*": "\0", "?": "\1", "$": "\2"}
"""Stand-ins for characters that are text already."""


def question(tape: Tape) -> Question:
    """Most are made from a pattern of the documents; the others from thin air."""
    who, asks = person(tape), frozenset(tape.pick(ASKS))
    policies = tuple(
        tuple(statement(tape) for _ in range(1 + tape.below(3))) for _ in range(tape.pick([1, 1, 2, 3, 0]))
    )
    action, resource = tape.pick([*Action]), text(tape)
    every = [each for policy in policies for each in policy]
    if every and tape.below(5):
        chosen = tape.pick(every)
        wanted = _listed(chosen["Action"])[0]
        action = Action(wanted) if wanted in set(Action) else action
        template = tape.pick(_listed(chosen["Resource"])).partition("/")[2]
        resource = filled_in(template, context_for(who, asks), tape)
    if action is Action.CONNECT and tape.below(3):
        resource = who.client
    return Question(who, asks, policies, action, resource)


QUESTIONS = TAPES.map(question)
ALLOWS = TAPES.map(lambda tape: statement(tape, "Allow"))
DENIES = TAPES.map(lambda tape: statement(tape, "Deny"))


def _listed(value: Any) -> list[Any]:  # noqa: ANN401 - JSON
    return value if isinstance(value, list) else [value]


MARKS = {
    "thing variable": THING,
    "attribute variable": "${iot:Connection.Thing.Attributes",
    "client variable": CLIENT,
    "common name": COMMON_NAME,
    "certificate id": CERTIFICATE,
    "escape": "${*}",
    "star": "*",
    "question mark": "?",
    "condition": '"Condition"',
    "negated": "StringNot",
    "like": "Like",
    "ignore case": "IgnoreCase",
    "attached": "IsAttached",
    "for all values": "ForAllValues:",
    "for any value": "ForAnyValue:",
    "connect attributes": "iot:ConnectAttributes",
    "deny": '"Deny"',
}
FEATURES = [*MARKS, *Action, "asks for something", "several policies", "a service", "another client id"]


def features(question: Question) -> set[str]:
    """What a question exercises, to see that each happens often."""
    texts = "\n".join(question.texts)
    more = {
        question.action: True,
        "asks for something": question.action is Action.CONNECT and bool(question.asks),
        "several policies": len(question.policies) > 1,
        "a service": question.who.kind is ThingKind.SERVICE,
        "another client id": question.who.client != question.who.name,
    }
    return {name for name, mark in MARKS.items() if mark in texts} | {name for name in more if more[name]}


# ── what must hold ────────────────────────────────────────────────────────────────────────────────────


def test_the_reference_gives_every_case_of_the_table_its_verdict() -> None:
    for case in cases():
        context = context_for(case.who, case.asks)
        resource = case.resource_for(context["iot:CertificateId"][0])
        assert permitted(case.policies, context, case.action, resource) is case.allowed, case.name


def test_evaluator_and_reference_never_disagree(figure: Figure) -> None:
    """And both verdicts, and every feature with each of them, come up often enough to mean something."""
    seen: Counter[tuple[str, bool]] = Counter()

    @settings(SOME, max_examples=3000)
    @given(QUESTIONS)
    def agree(question: Question) -> None:
        expected = question.expected()
        assert question.allowed() is expected
        event(f"{question.action} {'allowed' if expected else 'denied'}")
        seen.update((feature, expected) for feature in {"question", *features(question)})

    agree()
    allowed, denied = seen["question", True], seen["question", False]
    assert min(allowed, denied) >= 200
    rare = [key for key in product(FEATURES, (True, False)) if seen[key] < 15]
    assert rare == []
    figure(
        f"evaluator against the naive reference: {allowed + denied} random questions"
        f" ({allowed} allowed, {denied} denied), 0 disagreements"
    )


@pytest.mark.slow
@settings(SOME)
@given(QUESTIONS)
def test_the_explanation_comes_to_the_same_verdict(question: Question) -> None:
    assert question.explained() is question.allowed()


@pytest.mark.slow
@settings(SOME)
@given(QUESTIONS, DENIES)
def test_one_more_deny_never_allows_more(question: Question, statement: Statement) -> None:
    assert question.allowed() or not question.with_statement(statement).allowed()


@pytest.mark.slow
@settings(SOME)
@given(QUESTIONS, ALLOWS)
def test_one_more_allow_never_denies_more(question: Question, statement: Statement) -> None:
    assert question.with_statement(statement).allowed() or not question.allowed()


@pytest.mark.slow
@settings(SOME)
@given(QUESTIONS)
def test_without_an_allow_nothing_is_allowed(question: Question) -> None:
    denies = tuple(
        tuple({**statement, "Effect": "Deny"} for statement in policy) for policy in question.policies
    )
    assert not replace(question, policies=denies).allowed()


@pytest.mark.slow
@settings(SOME)
@given(QUESTIONS, st.randoms(use_true_random=False))
def test_order_and_repetition_mean_nothing(question: Question, dice: Any) -> None:  # noqa: ANN401 - random.Random
    shuffled = [*question.statements, *question.statements]
    dice.shuffle(shuffled)
    one = (tuple(shuffled),) if shuffled else ()
    assert replace(question, policies=one).allowed() is question.allowed()


@pytest.mark.slow
@settings(SOME)
@given(QUESTIONS, st.sampled_from([*ConnectAttribute]))
def test_asking_for_more_never_gets_more_out_of_an_unconditional_allow(
    question: Question, asked: ConnectAttribute
) -> None:
    """Where no statement has a condition, a will or a lasting session is never allowed."""
    bare = tuple(
        tuple({key: value for key, value in statement.items() if key != "Condition"} for statement in policy)
        for policy in question.policies
    )
    plain = replace(question, policies=bare, asks=frozenset())
    asking = replace(plain, asks=frozenset({asked}))
    assert plain.allowed() or not asking.allowed()
    if plain.action is Action.CONNECT:
        assert not asking.allowed()
