"""Policy cases: conditions."""

from collections.abc import Iterator

from support.policy_case import (
    ATTACHED,
    CLIENT,
    CONNECT,
    PERSISTENT,
    PUBLISH,
    RECEIVE,
    SERVICE,
    STRANGER,
    SUBSCRIBE,
    THING,
    UNATTACHED,
    WILL,
    Case,
    Group,
    When,
    allow,
    connect_if,
    deny,
    document,
    may,
    may_not,
    section,
    sensor,
)

SITE = "iot:Connection.Thing.Attributes[site]"
LINE = "iot:Connection.Thing.Attributes[line]"
NAME = "iot:Connection.Thing.ThingName"
ID = "iot:ClientId"
SUBJECT = "iot:Certificate.Subject.CommonName"
BERLIN, PARIS = sensor(site="berlin"), sensor(site="paris")


def _if(operator: str, key: str, *values: str) -> When:
    return {operator: {key: values[0] if len(values) == 1 else list(values)}}


def _publish_if(operator: str, key: str, *values: str) -> str:
    return document(allow(PUBLISH, "topic/a", when=_if(operator, key, *values)))


def _not_if(operator: str, key: str, *values: str) -> str:
    return document(allow(PUBLISH, "topic/a"), deny(PUBLISH, "topic/a", when=_if(operator, key, *values)))


# fmt: off
# A table reads best in rows.


def _equals() -> Iterator[Case]:
    one = _publish_if("StringEquals", SITE, "berlin")
    two = _publish_if("StringEquals", SITE, "berlin", "paris")
    yield may("StringEquals, equal", "StringEquals holds where the key has that value.", one, PUBLISH, "a",
              BERLIN, wire=True)
    yield may_not("StringEquals, another value", "StringEquals does not hold for another value.", one,
                  PUBLISH, "a", PARIS, wire=True)
    yield may_not("StringEquals and case", "StringEquals looks at case.", one, PUBLISH, "a",
                  sensor(site="Berlin"), wire=True)
    yield may("StringEquals, the second of two values", "Several values: one of them is enough.", two,
              PUBLISH, "a", PARIS, wire=True)
    yield may_not("StringEquals, none of two values", "Several values: one of them it must be.", two, PUBLISH,
                  "a", sensor(site="rome"), wire=True)
    yield may_not("StringEquals knows no star", "In StringEquals an asterisk is an asterisk.",
                  _publish_if("StringEquals", SITE, "ber*"), PUBLISH, "a", BERLIN, wire=True)
    yield may("StringEquals takes a star as text", "In StringEquals an asterisk equals an asterisk.",
              _publish_if("StringEquals", SITE, "ber*"), PUBLISH, "a", sensor(site="ber*"), wire=True)
    yield may("StringEquals on the client id", "The client id can be a condition.",
              _publish_if("StringEquals", ID, "sensor-1"), PUBLISH, "a", wire=True)
    yield may_not("StringEquals on another client id",
                  "A condition on the client id looks at what the client said.",
                  _publish_if("StringEquals", ID, "sensor-1"), PUBLISH, "a", STRANGER, wire=True)
    yield may("StringEquals on the common name", "What the certificate holds can be a condition.",
              _publish_if("StringEquals", SUBJECT, "sensor-1"), PUBLISH, "a", STRANGER, wire=True)
    not_one = _publish_if("StringNotEquals", SITE, "berlin")
    not_two = _publish_if("StringNotEquals", SITE, "berlin", "paris")
    yield may_not("StringNotEquals, equal", "StringNotEquals does not hold for that value.", not_one, PUBLISH,
                  "a", BERLIN, wire=True)
    yield may("StringNotEquals, another value", "StringNotEquals holds for any other value.", not_one,
              PUBLISH, "a", PARIS, wire=True)
    yield may_not("StringNotEquals, the second of two",
                  "StringNotEquals with several values: it must be none of them.", not_two, PUBLISH, "a",
                  PARIS, wire=True)
    yield may("StringNotEquals, none of two", "StringNotEquals with several values holds where all differ.",
              not_two, PUBLISH, "a", sensor(site="rome"), wire=True)
    no_case = _publish_if("StringEqualsIgnoreCase", SITE, "BERLIN", "Rome")
    yield may("StringEqualsIgnoreCase", "StringEqualsIgnoreCase does not look at case.", no_case, PUBLISH,
              "a", BERLIN, wire=True)
    yield may_not("StringEqualsIgnoreCase, another value", "StringEqualsIgnoreCase does look at the letters.",
                  no_case, PUBLISH, "a", PARIS)
    not_case = _publish_if("StringNotEqualsIgnoreCase", SITE, "BERLIN", "Rome")
    yield may_not("StringNotEqualsIgnoreCase, equal",
                  "StringNotEqualsIgnoreCase does not hold for the same letters.", not_case, PUBLISH, "a",
                  BERLIN, wire=True)
    yield may("StringNotEqualsIgnoreCase, another value",
              "StringNotEqualsIgnoreCase holds for other letters.", not_case, PUBLISH, "a", PARIS)


def _like() -> Iterator[Case]:
    star, several = _publish_if("StringLike", SITE, "eu/*"), _publish_if("StringLike", SITE, "eu/*", "us/?")
    yield may("StringLike, star", "In StringLike an asterisk is any run of characters.", star, PUBLISH, "a",
              sensor(site="eu/berlin/3"), wire=True)
    yield may_not("StringLike, no match", "StringLike matches from beginning to end.", star, PUBLISH, "a",
                  sensor(site="us/eu/x"), wire=True)
    yield may_not("StringLike and case", "StringLike looks at case.", star, PUBLISH, "a",
                  sensor(site="EU/berlin"))
    yield may("StringLike, question mark",
              "In StringLike a question mark is one character; one of several patterns is enough.", several,
              PUBLISH, "a", sensor(site="us/1"), wire=True)
    yield may_not("StringLike, question mark for two", "In StringLike a question mark is not two characters.",
                  several, PUBLISH, "a", sensor(site="us/12"), wire=True)
    yield may("StringLike without wildcards", "StringLike without wildcards is equality.",
              _publish_if("StringLike", SITE, "berlin"), PUBLISH, "a", BERLIN)
    yield may_not("StringLike, escaped star", "In StringLike ${*} is an asterisk.",
                  _publish_if("StringLike", SITE, "b${*}"), PUBLISH, "a", BERLIN, wire=True)
    yield may("StringLike, escaped star equal", "In StringLike ${*} matches an asterisk.",
              _publish_if("StringLike", SITE, "b${*}"), PUBLISH, "a", sensor(site="b*"))
    unlike = _publish_if("StringNotLike", SITE, "eu/*", "us/*")
    yield may_not("StringNotLike, the second matches", "StringNotLike: it must match none of the patterns.",
                  unlike, PUBLISH, "a", sensor(site="us/1"), wire=True)
    yield may("StringNotLike, none matches", "StringNotLike holds where no pattern matches.", unlike, PUBLISH,
              "a", sensor(site="jp/1"), wire=True)
    yield may("a star in the key's value",
              "Wildcards work in the policy's text; in the key's value they are characters.",
              _publish_if("StringLike", SITE, "b?"), PUBLISH, "a", sensor(site="b*"), wire=True)
    yield may_not("a star in the key's value is no pattern",
                  "A value with an asterisk does not match other text.",
                  _publish_if("StringLike", SITE, "bx"), PUBLISH, "a", sensor(site="b*"), wire=True)


def _variables() -> Iterator[Case]:
    same = _publish_if("StringEquals", SUBJECT, THING)
    yield may("a variable in a condition", "A variable may stand in a condition's value.", same, PUBLISH, "a",
              wire=True)
    yield may_not("a variable in a condition, another value", "In a condition a variable is its value.", same,
                  PUBLISH, "a", sensor(common_name="other"), wire=True)
    yield may_not("an unresolved variable in a condition", "What does not resolve equals nothing.", same,
                  PUBLISH, "a", STRANGER, wire=True)
    yield may("an unresolved variable, negated",
              "What does not resolve equals nothing, so StringNotEquals holds.",
              _publish_if("StringNotEquals", SUBJECT, THING), PUBLISH, "a", STRANGER, wire=True)
    yield may("another value beside an unresolved one",
              "A value that does not resolve leaves the others of its list.",
              _publish_if("StringEquals", SUBJECT, THING, "sensor-1"), PUBLISH, "a", STRANGER, wire=True)
    around = _publish_if("StringLike", SUBJECT, f"{CLIENT}-*")
    yield may("a variable and a star", "In StringLike a variable may stand beside wildcards.", around,
              PUBLISH, "a", sensor(common_name="sensor-1-spare"), wire=True)
    yield may_not("a variable and a star, no match", "In StringLike a variable is plain text.", around,
                  PUBLISH, "a", sensor("x.z", common_name="xyz-1"), wire=True)
    yield may_not("a wildcard value in a condition",
                  "A value that holds an asterisk is not substituted in a condition.",
                  _publish_if("StringLike", SUBJECT, CLIENT), PUBLISH, "a", sensor("*"), wire=True)
    yield may("a wildcard value as a key", "As a key the same value is compared like any other text.",
              _publish_if("StringEquals", ID, "a*b"), PUBLISH, "a", sensor("a*b"))


def _and() -> Iterator[Case]:
    both: When = {"StringEquals": {SITE: "berlin", ID: "sensor-1"}}
    keys = document(allow(PUBLISH, "topic/a", when=both))
    yield may("two keys, both", "Several keys of an operator must all hold.", keys, PUBLISH, "a", BERLIN,
              wire=True)
    yield may_not("two keys, one", "One key that does not hold is enough to fail.", keys, PUBLISH, "a", PARIS,
                  wire=True)
    like_but: When = {**_if("StringLike", SITE, "b*"), **_if("StringNotEquals", SITE, "bonn")}
    operators = document(allow(PUBLISH, "topic/a", when=like_but))
    yield may("two operators, both", "Several operators must all hold.", operators, PUBLISH, "a", BERLIN,
              wire=True)
    yield may_not("two operators, one", "One operator that does not hold is enough to fail.", operators,
                  PUBLISH, "a", sensor(site="bonn"), wire=True)
    yield may_not("a condition holds nothing but its statement up",
                  "A condition that holds does not widen the resource.", keys, PUBLISH, "b", BERLIN,
                  wire=True)
    bound = allow(PUBLISH, "topic/a", when=_if("StringEquals", SITE, "berlin"))
    open_too = document(bound, allow(PUBLISH, "topic/a"))
    yield may("beside an unconditional statement", "A condition binds its own statement alone.", open_too,
              PUBLISH, "a", PARIS, wire=True)
    denied = _not_if("StringEquals", SITE, "berlin")
    yield may_not("a deny whose condition holds", "A Deny with a condition denies where that holds.", denied,
                  PUBLISH, "a", BERLIN, wire=True)
    yield may("a deny whose condition fails", "A Deny with a condition leaves alone where that fails.",
              denied, PUBLISH, "a", PARIS, wire=True)
    for action, resource in ((SUBSCRIBE, "topicfilter/a"), (RECEIVE, "topic/a")):
        policy = document(allow(action, resource, when=_if("StringEquals", SITE, "berlin")))
        yield may(f"a condition on {action}", f"Conditions hold for {action} as for any action.", policy,
                  action, "a", BERLIN, wire=True)
        yield may_not(f"a failing condition on {action}", f"Conditions bind {action} as any action.", policy,
                      action, "a", PARIS, wire=True)


def _missing() -> Iterator[Case]:
    for operator, holds in (
        ("StringEquals", False), ("StringEqualsIgnoreCase", False), ("StringLike", False),
        ("StringNotEquals", True), ("StringNotEqualsIgnoreCase", True), ("StringNotLike", True),
    ):
        rule = f"{operator} {'holds' if holds else 'does not hold'} where the key is missing"
        allowing, denying = (may, may_not) if holds else (may_not, may)
        yield allowing(f"{operator}, missing", f"{rule}.", _publish_if(operator, SITE, "berlin"), PUBLISH,
                       "a", wire=True)
        yield denying(f"deny with {operator}, missing", f"{rule}, in a Deny too.",
                      _not_if(operator, SITE, "berlin"), PUBLISH, "a", wire=True)
    yield may_not("StringLike *, missing", "A missing key matches no pattern, not even *.",
                  _publish_if("StringLike", SITE, "*"), PUBLISH, "a", wire=True)
    yield may_not("StringEquals with nothing, missing", "A missing key is not the empty text.",
                  _publish_if("StringEquals", SITE, ""), PUBLISH, "a")
    yield may("StringEquals with nothing, empty", "An empty value equals the empty text.",
              _publish_if("StringEquals", SITE, ""), PUBLISH, "a", sensor(site=""))
    yield may_not("another client id has no attributes",
                  "Under another client id the thing's keys are missing.",
                  _publish_if("StringEquals", SITE, "berlin"), PUBLISH, "a", sensor("other", site="berlin"),
                  wire=True)
    yield may("another client id, negated",
              "Missing keys make negated conditions hold: mind them in an Allow.",
              _publish_if("StringNotEquals", SITE, "berlin"), PUBLISH, "a", sensor("other", site="berlin"),
              wire=True)
    yield may_not("a service has no thing name", "A service's thing keys are missing, though it has a name.",
                  _publish_if("StringEquals", NAME, "collector"), PUBLISH, "a", SERVICE, wire=True)
    yield may("a device has a thing name", "The thing's name can be a condition.",
              _publish_if("StringEquals", NAME, "sensor-1"), PUBLISH, "a", wire=True)
    yield may_not("no type to compare", "ThingTypeName is always missing.",
                  _publish_if("StringLike", "iot:Connection.Thing.ThingTypeName", "*"), PUBLISH, "a",
                  wire=True)
    two: When = {"StringEquals": {SITE: "berlin", LINE: "7"}}
    yield may_not("one of two keys is missing", "All keys must hold: a missing one does not.",
                  document(allow(PUBLISH, "topic/a", when=two)), PUBLISH, "a", BERLIN)


def _attached() -> Iterator[Case]:
    attached = document(allow(PUBLISH, "topic/a", when=ATTACHED))
    loose = document(allow(PUBLISH, "topic/a", when=UNATTACHED))
    true = "IsAttached is true for a device whose client id is its thing's name"
    yield may("attached", f"{true}.", attached, PUBLISH, "a", wire=True)
    yield may_not("attached, another client id", f"{true}, and false under another client id.", attached,
                  PUBLISH, "a", STRANGER, wire=True)
    yield may_not("attached, a service", f"{true}, and false for a service.", attached, PUBLISH, "a", SERVICE,
                  wire=True)
    yield may_not("unattached, a device", f"{true}, so that false does not hold.", loose, PUBLISH, "a",
                  wire=True)
    yield may("unattached, another client id", "IsAttached is false under another client id, not missing.",
              loose, PUBLISH, "a", STRANGER, wire=True)
    yield may("unattached, a service", "IsAttached is false for a service, not missing.", loose, PUBLISH, "a",
              SERVICE, wire=True)
    connect = connect_if(ATTACHED)
    yield may("attached connects", "With IsAttached, client/* is the thing's own name.", connect, CONNECT,
              "sensor-1", wire=True)
    yield may_not("unattached does not connect", "With IsAttached, another client id is refused.", connect,
                  CONNECT, "something-else", STRANGER, wire=True)
    yield may_not("a service does not connect as attached", "With IsAttached, a service is refused.", connect,
                  CONNECT, "collector", SERVICE, wire=True)
    denied = document(allow("iot:*", "*"), deny("iot:*", "*", when=UNATTACHED))
    yield may_not("deny the unattached", "A Deny of the unattached keeps other client ids out.", denied,
                  CONNECT, "something-else", STRANGER, wire=True)
    yield may("deny the unattached, attached", "A Deny of the unattached leaves the thing itself.", denied,
              CONNECT, "sensor-1", wire=True)


def _sets() -> Iterator[Case]:
    every, some = "ForAllValues:StringEquals", "ForAnyValue:StringEquals"
    yield may("for all of one value",
              "ForAllValues holds where every value of the key is among the policy's.",
              _publish_if(every, SITE, "berlin", "paris"), PUBLISH, "a", PARIS)
    yield may_not("for all of one other value",
                  "ForAllValues fails where one value of the key is not among them.",
                  _publish_if(every, SITE, "berlin"), PUBLISH, "a", PARIS)
    yield may("for all of none", "ForAllValues holds where the key is missing: there is no value that fails.",
              _publish_if(every, SITE, "berlin"), PUBLISH, "a")
    yield may("for any of one value", "ForAnyValue holds where one value of the key is among the policy's.",
              _publish_if(some, SITE, "berlin"), PUBLISH, "a", BERLIN)
    yield may_not("for any of none",
                  "ForAnyValue fails where the key is missing: there is no value that holds.",
                  _publish_if(some, SITE, "berlin"), PUBLISH, "a")
    yield may_not("for any, negated, of none",
                  "ForAnyValue fails where the key is missing, even with a negated operator.",
                  _publish_if("ForAnyValue:StringNotEquals", SITE, "berlin"), PUBLISH, "a")
    yield may("for all, negated, of none", "ForAllValues holds where the key is missing, negated or not.",
              _publish_if("ForAllValues:StringNotEquals", SITE, "berlin"), PUBLISH, "a")
    none = connect_if({every: {"iot:ConnectAttributes": []}})
    yield may("for all of an empty list, plain",
              "ForAllValues of an empty list holds where nothing is asked.", none, CONNECT, "sensor-1",
              wire=True)
    yield may_not("for all of an empty list, will",
                  "ForAllValues of an empty list fails for anything that is asked.", none, CONNECT,
                  "sensor-1", asks=(WILL,), wire=True)
    for name, operator, value, holds in (
        ("for any, like", "ForAnyValue:StringLike", "Last*", True),
        ("for all, like", "ForAllValues:StringLike", "Last*", False),
        ("for all, like anything", "ForAllValues:StringLike", "*", True),
        ("for any, not equal", "ForAnyValue:StringNotEquals", "LastWill", True),
        ("for all, not equal", "ForAllValues:StringNotEquals", "LastWill", False),
        ("for any, not like", "ForAnyValue:StringNotLike", "*t*", False),
    ):
        row = may if holds else may_not
        rule = f"Of a will and a lasting session, {operator} {value} {'holds' if holds else 'does not hold'}."
        policy = connect_if(_if(operator, "iot:ConnectAttributes", value))
        yield row(name, rule, policy, CONNECT, "sensor-1", asks=(WILL, PERSISTENT), wire=True)


# fmt: on


def rows() -> tuple[Case, ...]:
    """Every case of this file."""
    return (
        *section(Group.STRINGS, *_equals(), *_like(), *_variables(), *_and()),
        *section(Group.MISSING, *_missing()),
        *section(Group.ATTACHED, *_attached()),
        *section(Group.SETS, *_sets()),
    )
