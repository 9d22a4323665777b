"""Every trap is found, at its place, with what to write instead; and what is in order is left alone."""

import json
from collections import Counter

import pytest

from keyborn.domain.access_policy import lint_dead, lint_holding, lint_whole, lint_width
from keyborn.domain.access_policy.document import MAX_DOCUMENT
from keyborn.domain.access_policy.lint import RULES, Severity, lint, refused, size
from keyborn.domain.access_policy.parse import parse_document
from support.lint_stage import (
    ARN,
    ATTACHED,
    CLIENT,
    COMMON_NAME,
    DETACHED,
    NAME,
    SITE,
    TYPE,
    WILLS,
    Trap,
    allow,
    codes,
    deny,
    document,
    mended,
    only,
)

THING_NAME = "iot:Connection.Thing.ThingName"
WILL = {"iot:ConnectAttributes": "LastWill"}
CONNECT = allow("Connect", f"client/{NAME}", ATTACHED)
RECEIVE = allow("Receive", "topic/a/*")
SUBSCRIBE = allow("Subscribe", "topicfilter/a/*")
HEARD = frozenset({"subscribe_missing"})

WIDTH = [
    Trap(
        "wide_action",
        [allow("*", [f"client/{NAME}", f"topic/a/{NAME}", f"topicfilter/a/{NAME}"], ATTACHED)],
        allow(
            ["Connect", "Publish", "Receive", "RetainPublish", "Subscribe"],
            [f"client/{NAME}", f"topic/a/{NAME}", f"topicfilter/a/{NAME}"],
            ATTACHED,
        ),
        where="Action",
        says="Name the actions",
    ),
    Trap(
        "wide_action",
        [CONNECT, SUBSCRIBE, allow("*", "topic/a/b")],
        allow(["Publish", "Receive", "RetainPublish"], "topic/a/b"),
        at=2,
        where="Action",
    ),
    Trap("wide_action", [allow("iot:*", "client/a")], allow("Connect", "client/a"), where="Action"),
    Trap(
        "wide_resource",
        [allow(["Connect", "Publish"], "*")],
        allow(["Connect", "Publish"], [f"client/{NAME}", f"topic/{NAME}/*"], ATTACHED),
        says="Begin with what is the thing's own",
    ),
    Trap(
        "wide_resource",
        [CONNECT, allow("Publish", "arn:aws:iot:eu-west-1:123456789012:*")],
        allow("Publish", f"arn:aws:iot:eu-west-1:123456789012:topic/{NAME}/*"),
        at=1,
    ),
    Trap("wide_resource", [allow("Connect", "client/*")], allow("Connect", f"client/{NAME}", ATTACHED)),
    Trap("wide_resource", [allow("Connect", "client/*-lamp")], allow("Connect", f"client/{NAME}", ATTACHED)),
    Trap("wide_resource", [allow("Connect", "client/??")], allow("Connect", f"client/{NAME}", ATTACHED)),
    Trap("wide_resource", [CONNECT, allow("Publish", "topic/*")], allow("Publish", f"topic/{NAME}/*"), at=1),
    Trap(
        "wide_resource",
        [CONNECT, allow("Publish", ["topic/fixed", "topic/*/state"])],
        allow("Publish", ["topic/fixed", f"topic/{NAME}/state"]),
        at=1,
        says="topic/*/state",
    ),
    Trap("wide_resource", [CONNECT, allow("Publish", "topic/?/??")], at=1),
    Trap(
        "wide_resource",
        [CONNECT, RECEIVE, allow("Subscribe", "topicfilter/*")],
        allow("Subscribe", f"topicfilter/{NAME}/*"),
        at=2,
    ),
    Trap(
        "wide_resource",
        [CONNECT, RECEIVE, allow("Subscribe", "topicfilter/#")],
        allow("Subscribe", f"topicfilter/{NAME}/*"),
        at=2,
    ),
    Trap(
        "wide_resource",
        [CONNECT, RECEIVE, allow("Subscribe", "topicfilter/+/state")],
        allow("Subscribe", f"topicfilter/{NAME}/state"),
        at=2,
    ),
    Trap(
        "wide_resource",
        [allow(["Connect", "Publish"], ["client/*", f"topic/a/{NAME}"])],
        allow(["Connect", "Publish"], [f"client/{NAME}", f"topic/a/{NAME}"], ATTACHED),
        with_others=frozenset({"loose_connect"}),
    ),
    Trap(
        "client_id_untied",
        [allow("Connect", f"client/{CLIENT}")],
        allow("Connect", f"client/{NAME}", ATTACHED),
        says="as wide as client/*",
    ),
    Trap(
        "client_id_untied",
        [allow("Connect", f"client/{CLIENT}*", WILLS)],
        allow("Connect", f"client/{NAME}", WILLS | ATTACHED),
    ),
    Trap(
        "client_id_in_topic",
        [allow("Connect", "client/lamp-*"), allow("Publish", f"topic/a/{CLIENT}/b")],
        allow("Publish", f"topic/a/{NAME}/b"),
        at=1,
        says="chooses the topic too",
    ),
    Trap(
        "client_id_in_topic",
        [allow("Publish", f"topic/{CLIENT}")],
        allow("Publish", f"topic/{NAME}"),
        with_others=frozenset({"no_connect"}),
    ),
    Trap(
        "loose_connect",
        [allow("Connect", "client/*"), allow("Publish", f"topic/{NAME}")],
        allow("Connect", f"client/{NAME}", ATTACHED),
        says="thing variables of statement 2 resolve only",
        with_others=frozenset({"wide_resource"}),
    ),
    Trap(
        "loose_connect",
        [
            allow("Connect", f"client/{CLIENT}"),
            allow("Publish", f"topic/{NAME}"),
            allow("Publish", f"topic/b/{NAME}"),
        ],
        allow("Connect", f"client/{NAME}", ATTACHED),
        says="statement 2 and statement 3",
        with_others=frozenset({"client_id_untied"}),
    ),
    Trap("attribute_variable", [CONNECT, allow("Publish", f"topic/{SITE}/a")], at=1, says="said of itself"),
    Trap(
        "attribute_variable",
        [
            CONNECT,
            allow("Publish", "topic/a", {"StringEquals": {"iot:Connection.Thing.Attributes[site]": "north"}}),
        ],
        at=1,
        where="Condition",
    ),
]

DEAD = [
    Trap(
        "connect_on_topic",
        [allow("Connect", "topic/a")],
        allow("Connect", f"client/{NAME}", ATTACHED),
        error=True,
        says="Connect is asked about client/",
    ),
    Trap(
        "connect_on_topic",
        [allow(["Connect", "Publish"], "topic/a")],
        allow(["Connect", "Publish"], ["topic/a", f"client/{NAME}"], ATTACHED),
        error=True,
    ),
    Trap("connect_on_topic", [deny("Connect", "topic/a")], deny("Connect", "client/a"), error=True),
    Trap(
        "topic_for_topicfilter",
        [CONNECT, allow("Subscribe", "topic/a/#")],
        allow("Subscribe", "topicfilter/a/#"),
        at=1,
        error=True,
        says="Use a topicfilter/ resource",
    ),
    Trap(
        "topic_for_topicfilter",
        [CONNECT, allow(["Subscribe", "Receive"], "topic/a/b")],
        allow(["Subscribe", "Receive"], ["topic/a/b", "topicfilter/a/b"]),
        at=1,
        error=True,
        with_others=HEARD,
    ),
    Trap(
        "topicfilter_for_topic",
        [CONNECT, allow("Publish", "topicfilter/a/+/b")],
        allow("Publish", "topic/a/*/b"),
        at=1,
        error=True,
        says="no resource here is one, so this statement says nothing about iot:Publish",
    ),
    Trap(
        "topicfilter_for_topic",
        [CONNECT, SUBSCRIBE, allow("Receive", "topicfilter/a/#")],
        allow("Receive", ["topic/a", "topic/a/*"]),
        at=2,
        error=True,
        with_others=frozenset({"receive_missing"}),
    ),
    Trap(
        "topicfilter_for_topic",
        [CONNECT, allow(["Publish", "RetainPublish"], "client/a")],
        allow(["Publish", "RetainPublish"], "topic/a"),
        at=1,
        error=True,
        says="iot:Publish and iot:RetainPublish",
    ),
    Trap(
        "unused_resource",
        [CONNECT, allow("Publish", ["topic/a", "topicfilter/a"])],
        allow("Publish", "topic/a"),
        at=1,
        error=True,
        says="it never matches",
    ),
    Trap(
        "unused_resource",
        [allow("Connect", ["*", "topic/a"])],
        allow("Connect", "*"),
        error=True,
        with_others=frozenset({"wide_resource"}),
    ),
    Trap(
        "mqtt_wildcard_in_topic",
        [CONNECT, allow("Publish", ["topic/a/+/b", "topic/a/#"])],
        allow("Publish", ["topic/a/*/b", "topic/a/*"]),
        at=1,
        error=True,
        says="+ and # are plain characters",
    ),
    Trap("mqtt_wildcard_in_topic", [deny("Publish", "topic/a/#")], deny("Publish", "topic/a/*"), error=True),
    Trap("mqtt_wildcard_in_client", [allow("Connect", "client/a+")], allow("Connect", "client/a*")),
    Trap(
        "impossible_filter",
        [CONNECT, RECEIVE, allow("Subscribe", "topicfilter/a/#/b")],
        allow("Subscribe", "topicfilter/a/*/b"),
        at=2,
        error=True,
        says="is no MQTT filter",
    ),
    *(
        Trap(
            "impossible_filter",
            [CONNECT, RECEIVE, allow("Subscribe", f"topicfilter/{written}")],
            allow("Subscribe", f"topicfilter/{meant}"),
            at=2,
            error=True,
        )
        for written, meant in {
            "a/b#": "a/b*",
            "a/b+": "a/b*",
            "a/+b": "a/*b",
            f"a/#{NAME}": f"a/*{NAME}",
        }.items()
    ),
    Trap(
        "mqtt_wildcard_in_deny",
        [CONNECT, SUBSCRIBE, RECEIVE, deny(["Subscribe", "Receive"], ["topicfilter/a/b/#", "topic/a/b*"])],
        deny(["Subscribe", "Receive"], ["topicfilter/a/b/*", "topic/a/b*"]),
        at=3,
        says="denies this one filter",
    ),
    Trap(
        "client_id_never",
        [allow("Connect", f"client/lamp-{CLIENT}")],
        allow("Connect", f"client/{NAME}", ATTACHED),
        error=True,
        says="compares the client id with a longer text",
    ),
    Trap(
        "client_id_never",
        [deny("Connect", f"client/lamp-{CLIENT}")],
        deny("Connect", "client/lamp-*"),
        error=True,
        with_others=frozenset({"variable_in_deny"}),
    ),
    Trap(
        "literal_question",
        [CONNECT, allow("Publish", "topic/a?b=c")],
        allow("Publish", "topic/a${?}b=c"),
        at=1,
        says="Write ${?}",
    ),
    Trap("beyond_limits", [allow("Connect", "client/" + "a" * 129)], error=True, says="at most 128 bytes"),
    Trap(
        "beyond_limits", [CONNECT, allow("Publish", "topic/a" + "/b" * 8)], at=1, error=True, says="7 slashes"
    ),
    Trap("beyond_limits", [CONNECT, allow("Publish", f"topic/{'é' * 129}*")], at=1, error=True),
]

HOLDING = [
    Trap(
        "thing_type",
        [CONNECT, allow("Publish", f"topic/{TYPE}/a")],
        allow("Publish", "topic/${iot:Connection.Thing.Attributes[type]}/a"),
        at=1,
        says="things have no type here",
    ),
    Trap(
        "thing_type",
        [deny("Publish", "topic/a", {"StringEquals": {"iot:Connection.Thing.ThingTypeName": "lamp"}})],
        deny("Publish", "topic/a", {"StringEquals": {"iot:Connection.Thing.Attributes[type]": "lamp"}}),
        where="Condition",
        error=True,
        says="this denies nothing",
    ),
    Trap(
        "never_attached",
        [CONNECT, allow("Publish", f"topic/{NAME}", DETACHED)],
        allow("Publish", f"topic/{NAME}", ATTACHED),
        at=1,
        where="Condition",
        error=True,
        says="it never holds",
    ),
    Trap(
        "never_attached",
        [deny("Publish", f"topic/{NAME}", DETACHED)],
        deny("Publish", "topic/*", DETACHED),
        where="Condition",
        error=True,
        with_others=frozenset({"variable_in_deny"}),
    ),
    Trap(
        "variable_in_deny",
        [deny("Publish", f"topic/a/{NAME}/b")],
        deny("Publish", "topic/a/*/b"),
        says="this Deny does not hold",
    ),
    Trap(
        "variable_in_deny",
        [deny("Connect", "client/*", {"StringNotEquals": {"iot:ClientId": COMMON_NAME}})],
        where="Condition",
    ),
    Trap("variable_in_deny", [deny("Publish", f"topic/{CLIENT}/b")], deny("Publish", "topic/*/b")),
    Trap(
        "all_of_nothing",
        [
            CONNECT,
            allow(
                "Publish",
                "topic/a",
                {"ForAllValues:StringLike": {"iot:Connection.Thing.ThingName": "lamp-*"}},
            ),
        ],
        allow("Publish", "topic/a", {"StringLike": {THING_NAME: "lamp-*"}}),
        at=1,
        where="Condition",
        says="also holds where",
    ),
    Trap(
        "deny_plain_connect",
        [
            CONNECT,
            deny("Connect", "client/*", {"ForAllValues:StringEquals": WILL}),
        ],
        deny("Connect", "client/*", {"ForAnyValue:StringEquals": WILL}),
        at=1,
        where="Condition",
        says="denies plain connections",
    ),
    Trap(
        "attributes_without_connect",
        [CONNECT, allow("Publish", "topic/a", WILLS)],
        allow("Publish", "topic/a"),
        at=1,
        where="Condition",
        says="describes a CONNECT",
    ),
]

WHOLE = [
    Trap("no_connect", [allow("Publish", "topic/a")], at=None, says="cannot connect"),
    Trap(
        "receive_missing",
        [CONNECT, allow("Subscribe", "topicfilter/a/#")],
        allow(["Subscribe", "Receive"], ["topicfilter/a/#", "topic/a", "topic/a/*"]),
        at=1,
        where="Action",
        says="every delivery is refused",
    ),
    Trap(
        "receive_missing",
        [CONNECT, allow(["Subscribe", "Receive"], ["topicfilter/a/+/b", "topic/c/*"])],
        allow(["Subscribe", "Receive"], ["topicfilter/a/+/b", "topic/c/*", "topic/a/*/b"]),
        at=1,
        where="Action",
        with_others=HEARD,
    ),
    Trap(
        "subscribe_missing",
        [CONNECT, allow("Receive", "topic/a/b")],
        allow(["Receive", "Subscribe"], ["topic/a/b", "topicfilter/a/b"]),
        at=1,
        where="Action",
    ),
    Trap(
        "publish_missing",
        [CONNECT, allow("Publish", "topic/a/*"), allow("RetainPublish", "topic/b/c")],
        allow(["RetainPublish", "Publish"], "topic/b/c"),
        at=2,
        where="Action",
        says="Allow both",
    ),
    Trap(
        "shadowed",
        [CONNECT, allow("Publish", ["topic/a/b", f"topic/a/{NAME}/?"]), deny("Publish", "topic/a/*")],
        at=1,
        where="",
        says="statement 3 denies all of it",
    ),
    Trap(
        "shadowed",
        [
            CONNECT,
            deny("Publish", "topic/a"),
            deny("*", "topic/b*"),
            allow("Publish", ["topic/a", "topic/b/c"]),
        ],
        at=3,
        where="",
        says="statement 2 and statement 3",
    ),
    Trap(
        "duplicate",
        [CONNECT, allow("Publish", "topic/a/*"), allow("Publish", ["topic/a/b", f"topic/a/{NAME}"])],
        at=2,
        where="",
        says="Statement 2 says all of this already",
    ),
    Trap("duplicate", [CONNECT, CONNECT], at=1, where="", says="Statement 1"),
    Trap(
        "duplicate",
        [CONNECT, allow("Connect", f"client/{NAME}", ATTACHED | WILLS)],
        at=0,
        where="",
        says="Statement 2",
    ),
    Trap(
        "mixed_regions",
        [
            allow("Connect", "arn:aws:iot:eu-west-1:123456789012:client/a"),
            allow("Publish", ["arn:aws:iot:us-east-1:123456789012:topic/a", f"{ARN}topic/b"]),
            allow("Publish", "arn:aws:iot:eu-west-1:123456789012:topic/c"),
        ],
        allow("Publish", ["arn:aws:iot:eu-west-1:123456789012:topic/a", f"{ARN}topic/b"]),
        at=1,
        says="region us-east-1 stands beside eu-west-1",
    ),
    Trap(
        "mixed_accounts",
        [
            allow("Connect", "arn:aws:iot:eu-west-1:111111111111:client/a"),
            allow("Publish", "arn:aws:iot:eu-west-1:222222222222:topic/a:b"),
        ],
        allow("Publish", "arn:aws:iot:eu-west-1:111111111111:topic/a:b"),
        at=1,
    ),
    Trap(
        "deny_goes_round",
        [CONNECT, SUBSCRIBE, RECEIVE, deny("Subscribe", "topicfilter/a/control/*")],
        deny(["Subscribe", "Receive"], ["topicfilter/a/control/*", "topic/a/control/*"]),
        at=3,
        where="Action",
        says="A wider filter goes round",
    ),
]

TRAPS = [*WIDTH, *DEAD, *HOLDING, *WHOLE]
NAMED = [pytest.param(trap, id=f"{trap.code}-{number}") for number, trap in enumerate(TRAPS)]
MENDED = [each for each, trap in zip(NAMED, TRAPS, strict=True) if trap.corrected is not None]


@pytest.mark.parametrize("trap", NAMED)
def test_a_trap_is_found_at_its_place_with_its_sentence(trap: Trap) -> None:
    finding = only(trap.code, lint(document(*trap.statements)))
    assert finding.where == trap.place
    assert finding.statement == trap.at
    assert finding.severity is (Severity.ERROR if trap.error else Severity.WARNING)
    assert trap.says in finding.sentence
    assert finding.sentence.endswith(".")


@pytest.mark.parametrize("trap", NAMED)
def test_a_trap_is_found_alone(trap: Trap) -> None:
    others = set(codes(*trap.statements)) - {trap.code}
    assert others == trap.with_others


@pytest.mark.parametrize("trap", MENDED)
def test_the_corrected_statement_is_the_one_that_was_meant(trap: Trap) -> None:
    finding = only(trap.code, lint(document(*trap.statements)))
    assert finding.corrected is not None
    assert json.loads(finding.corrected) == trap.corrected
    assert finding.corrected == json.dumps(trap.corrected, indent=2)


@pytest.mark.parametrize("trap", MENDED)
def test_the_corrected_statement_has_the_trap_no_more(trap: Trap) -> None:
    written = document(*trap.statements)
    after = lint(mended(written, only(trap.code, lint(written))))
    assert trap.code not in {each.code for each in after}


@pytest.mark.parametrize("trap", MENDED)
def test_a_correction_never_brings_an_error_in(trap: Trap) -> None:
    written = document(*trap.statements)
    before = Counter(each.code for each in refused(written))
    after = Counter(each.code for each in refused(mended(written, only(trap.code, lint(written)))))
    assert not after - before


CLEAN = {
    "the thing's own client id, attached": [CONNECT],
    "wills and persistent sessions besides": [allow("Connect", f"client/{NAME}", ATTACHED | WILLS)],
    "a fixed client id": [allow("Connect", "client/lamp-1")],
    "a family of client ids": [allow("Connect", "client/lamp-*")],
    "a family by ??? at its end": [allow("Connect", "client/lamp-???")],
    "any client id that is the thing's name": [allow("Connect", "client/*", ATTACHED)],
    "the client id, attached": [allow("Connect", f"client/{CLIENT}", ATTACHED)],
    "the client id, one of a list": [
        allow("Connect", f"client/{CLIENT}", {"StringEquals": {"iot:ClientId": ["a", "b"]}})
    ],
    "the client id, like a name": [allow("Connect", "client/*", {"StringLike": {"iot:ClientId": "lamp-*"}})],
    "the client id in a topic, tied by Connect": [CONNECT, allow("Publish", f"topic/a/{CLIENT}")],
    "the client id in a topic, tied by the certificate": [
        allow("Connect", f"client/{COMMON_NAME}-*"),
        allow("Publish", f"topic/a/{CLIENT}"),
    ],
    "the client id in a topic, fixed": [allow("Connect", "client/b"), allow("Publish", f"topic/a/{CLIENT}")],
    "the client id in a topic, tied there": [
        allow("Connect", "client/lamp-*"),
        allow("Publish", f"topic/a/{CLIENT}", ATTACHED),
    ],
    "a thing variable, with one Connect that asks for it": [
        CONNECT,
        allow("Connect", "client/lamp-*"),
        allow("Publish", f"topic/{NAME}"),
    ],
    "a fixed topic and what is below": [
        CONNECT,
        allow(["Publish", "RetainPublish"], ["topic/a", "topic/a/*"]),
    ],
    "an MQTT wildcard in a filter": [
        CONNECT,
        RECEIVE,
        allow("Subscribe", ["topicfilter/a/+/b", "topicfilter/a/#"]),
    ],
    "a filter whose wildcard may end it": [CONNECT, RECEIVE, allow("Subscribe", "topicfilter/a/*#")],
    "a filter with a variable beside +": [CONNECT, RECEIVE, allow("Subscribe", f"topicfilter/a/{NAME}/+")],
    "subscribe to much, receive a part": [CONNECT, SUBSCRIBE, allow("Receive", "topic/a/b/c")],
    "receive what # takes at its root": [
        CONNECT,
        allow("Subscribe", "topicfilter/a/#"),
        allow("Receive", "topic/a"),
    ],
    "retain a part of what is published": [
        CONNECT,
        allow("Publish", f"topic/{NAME}/*"),
        allow("RetainPublish", f"topic/{NAME}/state"),
    ],
    "an escaped question mark": [CONNECT, allow("Publish", "topic/a${?}b")],
    "a question mark as a whole level": [CONNECT, allow("Publish", "topic/a/?/b")],
    "a dollar topic": [CONNECT, allow("Publish", f"topic/$aws/things/{NAME}/shadow/update/accepted/x/y")],
    "a Deny of everything": [deny("*", "*")],
    "a Deny of a wide pattern": [CONNECT, deny("Publish", "topic/*/admin")],
    "a Deny with the certificate id": [deny("Publish", "topic/${iot:CertificateId}/a")],
    "a Deny of some of an Allow": [CONNECT, allow("Publish", "topic/a/*"), deny("Publish", "topic/a/b")],
    "a Deny under a condition": [CONNECT, allow("Publish", "topic/a"), deny("Publish", "topic/a", DETACHED)],
    "a Deny of wills": [
        allow("Connect", f"client/{NAME}", ATTACHED | WILLS),
        deny("Connect", "client/*", {"ForAnyValue:StringEquals": WILL}),
    ],
    "a Deny of all that is not a will": [
        CONNECT,
        deny("Connect", "client/*", {"ForAllValues:StringNotEquals": WILL}),
    ],
    "a Deny of filters and deliveries": [
        CONNECT,
        SUBSCRIBE,
        RECEIVE,
        deny(["Subscribe", "Receive"], ["topicfilter/a/b/*", "topic/a/b/*"]),
    ],
    "a Deny of filters where only these are allowed": [
        CONNECT,
        RECEIVE,
        allow("Subscribe", "topicfilter/a/b"),
        allow("Subscribe", "topicfilter/a/b/c"),
        deny("Subscribe", "topicfilter/a/b/c*"),
    ],
    "a Deny of filters where no delivery is allowed": [
        CONNECT,
        allow(["Subscribe", "Receive"], ["topicfilter/b/*", "topic/b/*"]),
        deny("Subscribe", "topicfilter/a/*"),
    ],
    "two statements that share a part": [
        CONNECT,
        allow("Publish", ["topic/a", "topic/b"]),
        allow("Publish", ["topic/b", "topic/c"]),
    ],
    "the same under another condition": [
        CONNECT,
        allow("Publish", "topic/a", ATTACHED),
        allow("Publish", "topic/a", {"StringEquals": {"iot:ClientId": "x"}}),
    ],
    "all five actions, each for its own kind": [
        allow(
            ["Connect", "Publish", "Receive", "RetainPublish", "Subscribe"],
            [f"client/{NAME}", f"topic/{NAME}", f"topicfilter/{NAME}"],
            ATTACHED,
        )
    ],
    "one region and one account, and *": [
        allow("Connect", "arn:aws:iot:eu-west-1:111111111111:client/a"),
        allow("Publish", ["arn:aws:iot:*:111111111111:topic/a", "arn:aws:iot:eu-west-1:*:topic/b"]),
    ],
    "a long topic that is not too long": [CONNECT, allow("Publish", f"topic/{'é' * 128}*")],
    "seven slashes": [CONNECT, allow("Publish", "topic/a" + "/b" * 7 + "*")],
}
SHADOWED_IN_PART = {"a Deny of filters where only these are allowed": {"shadowed"}}


@pytest.mark.parametrize("name", CLEAN)
def test_what_is_in_order_is_left_alone(name: str) -> None:
    assert set(codes(*CLEAN[name])) == SHADOWED_IN_PART.get(name, set())


def test_every_rule_has_a_trap_that_shows_it() -> None:
    shown = {trap.code for trap in TRAPS}
    found = {finding.code for rule in RULES for trap in TRAPS for finding in rule(document(*trap.statements))}
    assert found == shown
    silent = [rule for rule in RULES if not any(list(rule(document(*trap.statements))) for trap in TRAPS)]
    assert not silent


def test_every_rule_is_in_the_registry() -> None:
    rooms = (lint_dead, lint_holding, lint_whole, lint_width)
    public = [
        function
        for room in rooms
        for name, function in vars(room).items()
        if callable(function) and getattr(function, "__module__", "") == room.__name__ and name[0] != "_"
    ]
    rules = [each for each in public if each is not lint_width.narrowed]
    assert len(rules) == len(RULES)


# ── size ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("text", "length"), [("", 0), (" \t\r\n", 0), ('{"a": 1}\n', 7), ("é 漢", 2)])
def test_the_size_counts_characters_without_white_space(text: str, length: int) -> None:
    assert size(text) == length


def long_text(length: int, *, padding: str = "") -> str:
    """A document of ``length`` characters that count."""
    short = json.dumps({"Version": "2012-10-17", "Statement": allow("Connect", "client/")})
    return short.replace("client/", "client/" + "b" * (length - size(short))) + padding


def test_a_document_of_the_limit_is_not_too_large_and_one_more_is() -> None:
    assert size(long_text(MAX_DOCUMENT)) == MAX_DOCUMENT
    assert "too_large" not in {each.code for each in lint(parse_document(long_text(MAX_DOCUMENT)))}
    (finding,) = lint(parse_document(long_text(MAX_DOCUMENT + 1)))
    assert finding.code == "too_large"
    assert finding.severity is Severity.ERROR
    assert finding.where == "document"
    assert finding.corrected is None
    assert "2049 characters" in finding.sentence


def test_white_space_makes_no_document_too_large() -> None:
    written = parse_document(long_text(MAX_DOCUMENT, padding="\n" * 5000))
    assert "too_large" not in {each.code for each in lint(written)}


def test_white_space_inside_resources_buys_no_comparing() -> None:
    padded = [allow("Publish", f"topic/a{' ' * 1000}*{n}") for n in range(5)]
    assert "duplicate" in set(codes(CONNECT, CONNECT))
    assert "duplicate" not in set(codes(CONNECT, CONNECT, *padded))


# ── the whole ─────────────────────────────────────────────────────────────────────────────────────────


def test_findings_come_by_statement_and_errors_before_warnings() -> None:
    found = lint(
        document(
            allow("Publish", ["topic/*", "topic/#"]),
            allow("Subscribe", "topic/a"),
            allow("Publish", f"topic/{CLIENT}"),
        )
    )
    places = [-1 if each.statement is None else each.statement for each in found]
    assert places == sorted(places)
    first = [each.severity for each in found if each.statement == 0]
    assert first == [Severity.ERROR, Severity.WARNING]


def test_put_refuses_the_errors_alone() -> None:
    written = document(allow("Connect", "client/*"), allow("Subscribe", "topic/a"))
    assert [each.code for each in refused(written)] == ["topic_for_topicfilter"]
    assert len(lint(written)) > 1


def test_one_finding_speaks_of_all_resources_of_its_statement() -> None:
    written = document(CONNECT, allow("Publish", ["topic/*", "topic/*/a", "topic/b"]))
    finding = only("wide_resource", lint(written))
    assert "topic/*'" in finding.sentence
    assert "topic/*/a" in finding.sentence
    assert "topic/b" not in finding.sentence


def test_a_statement_keeps_its_sid_when_it_is_corrected() -> None:
    named = {"Sid": "Own"} | allow("Connect", "client/*")
    finding = only("wide_resource", lint(document(named)))
    assert json.loads(finding.corrected or "") == {"Sid": "Own"} | allow(
        "Connect", f"client/{NAME}", ATTACHED
    )


def test_a_correction_that_json_cannot_hold_is_not_offered() -> None:
    twice = {"StringEquals": {"iot:ClientId": "a"}, "ForAllValues:StringEquals": {"iot:ClientId": ["a", "b"]}}
    finding = only("all_of_nothing", lint(document(CONNECT, allow("Publish", "topic/a", twice))))
    assert finding.corrected is None


def test_hostile_names_are_quoted_and_cut() -> None:
    written = document(CONNECT, allow("Publish", "topic/*\u001b[2J" + "x" * 200))
    finding = only("wide_resource", lint(written))
    assert finding.sentence.isprintable()
    assert "x" * 100 not in finding.sentence
    assert (finding.corrected or "").isascii()
