"""Policy cases: what CONNECT asks for, retained messages, and the policies that are shipped."""

from collections.abc import Iterator

from keyborn.domain.access import Action
from keyborn.domain.thing import ThingKind
from keyborn.policies import device_policy, watch_policy
from support.policy_case import (
    ATTACHED,
    CONNECT,
    PERSISTENT,
    PUBLISH,
    RECEIVE,
    RETAIN,
    SENSOR,
    SERVICE,
    STRANGER,
    SUBSCRIBE,
    WILL,
    Case,
    Group,
    Who,
    Wire,
    allow,
    asking_any,
    asking_only,
    connect_if,
    deny,
    document,
    may,
    may_not,
    section,
)

BOTH = (WILL, PERSISTENT)
DEVICE, WATCH = device_policy(), watch_policy()
WATCHER = Who("keyborn-watch-7", ThingKind.SERVICE)

# fmt: off
# A table reads best in rows.


def _connect() -> Iterator[Case]:
    plain = connect_if(None)
    needs = "An Allow without a condition on ConnectAttributes is for plain connections"
    yield may("plain", f"{needs}.", plain, CONNECT, "sensor-1", wire=True)
    yield may_not("will without a condition", f"{needs}: a will needs one.", plain, CONNECT, "sensor-1",
                  asks=(WILL,), wire=True)
    yield may_not("persistent without a condition", f"{needs}: a session that stays needs one.", plain,
                  CONNECT, "sensor-1", asks=(PERSISTENT,), wire=True)
    yield may_not("both without a condition", f"{needs}: both together need one.", plain, CONNECT, "sensor-1",
                  asks=BOTH, wire=True)
    yield may_not("will under iot:* on *", f"{needs}, however wide it is.", document(allow("iot:*", "*")),
                  CONNECT, "sensor-1", asks=(WILL,), wire=True)
    yield may_not("persistent under another condition", f"{needs}, whatever else it asks.",
                  connect_if(ATTACHED), CONNECT, "sensor-1", asks=(PERSISTENT,), wire=True)
    for asked, other in ((PERSISTENT, WILL), (WILL, PERSISTENT)):
        only = connect_if(asking_only(asked))
        rule = f"ForAllValues of {asked} allows what asks for nothing else"
        yield may(f"{asked} where that is allowed", f"{rule}.", only, CONNECT, "sensor-1", asks=(asked,),
                  wire=True)
        yield may(f"plain where {asked} is allowed", f"{rule}, a plain connection too.", only, CONNECT,
                  "sensor-1", wire=True)
        yield may_not(f"{other} where {asked} is allowed", f"{rule}.", only, CONNECT, "sensor-1",
                      asks=(other,), wire=True)
        yield may_not(f"both where {asked} is allowed", f"{rule}: not both.", only, CONNECT, "sensor-1",
                      asks=BOTH, wire=True)
    for name, asks in (("plain", ()), ("will", (WILL,)), ("persistent", (PERSISTENT,)), ("both", BOTH)):
        yield may(f"{name} where both are allowed", "ForAllValues of both allows any of them.",
                  connect_if(asking_only(*BOTH)), CONNECT, "sensor-1", asks=asks, wire=True)
    some = connect_if(asking_any(PERSISTENT))
    yield may("persistent under ForAnyValue", "ForAnyValue of PersistentConnect wants it.", some, CONNECT,
              "sensor-1", asks=(PERSISTENT,), wire=True)
    yield may_not("plain under ForAnyValue",
                  "ForAnyValue of PersistentConnect does not allow a plain connection.", some, CONNECT,
                  "sensor-1", wire=True)
    yield may("both under ForAnyValue",
              "ForAnyValue does not look at what else is asked: a will comes along.", some, CONNECT,
              "sensor-1", asks=BOTH, wire=True)
    two = document(*(allow(CONNECT, "client/*", when=asking_only(each)) for each in BOTH))
    yield may("one of two statements", "One statement that allows what is asked is enough.", two, CONNECT,
              "sensor-1", asks=(PERSISTENT,), wire=True)
    yield may_not("both under two statements", "Two statements do not add up to one that allows both.", two,
                  CONNECT, "sensor-1", asks=BOTH, wire=True)
    bound = connect_if({**ATTACHED, **asking_only(WILL)})
    yield may("will and attached", "A condition on ConnectAttributes may stand beside others.", bound,
              CONNECT, "sensor-1", asks=(WILL,), wire=True)
    yield may_not("will and not attached", "All conditions must hold, for a will too.", bound, CONNECT,
                  "something-else", STRANGER, asks=(WILL,), wire=True)
    without = connect_if({"ForAllValues:StringNotEquals": {"iot:ConnectAttributes": "PersistentConnect"}})
    yield may_not("persistent, all but that",
                  "ForAllValues:StringNotEquals PersistentConnect allows all else.", without, CONNECT,
                  "sensor-1", asks=(PERSISTENT,), wire=True)
    yield may("will, all but persistent", "ForAllValues:StringNotEquals PersistentConnect allows a will.",
              without, CONNECT, "sensor-1", asks=(WILL,), wire=True)
    yield may("plain, all but persistent", "ForAllValues:StringNotEquals allows a plain connection.", without,
              CONNECT, "sensor-1", wire=True)


def _connect_denied() -> Iterator[Case]:
    allowed = allow(CONNECT, "client/*", when=asking_only(*BOTH))
    denied = document(allowed, deny(CONNECT, "*", when=asking_any(PERSISTENT)))
    yield may_not("a deny of persistent, persistent", "A Deny of PersistentConnect takes it away.", denied,
                  CONNECT, "sensor-1", asks=(PERSISTENT,), wire=True)
    yield may_not("a deny of persistent, both", "A Deny with ForAnyValue looks at each thing asked.", denied,
                  CONNECT, "sensor-1", asks=BOTH, wire=True)
    yield may("a deny of persistent, will", "A Deny of PersistentConnect leaves the will.", denied, CONNECT,
              "sensor-1", asks=(WILL,), wire=True)
    yield may("a deny of persistent, plain", "A Deny with ForAnyValue leaves a plain connection.", denied,
              CONNECT, "sensor-1", wire=True)
    trap = document(allowed, deny(CONNECT, "*", when=asking_only(PERSISTENT)))
    yield may_not("a deny with ForAllValues, plain",
                  "ForAllValues of nothing holds: such a Deny hits plain connections.", trap, CONNECT,
                  "sensor-1", wire=True)
    yield may("a deny with ForAllValues, both",
              "ForAllValues of PersistentConnect does not hold where a will is asked too.", trap, CONNECT,
              "sensor-1", asks=BOTH, wire=True)
    yield may_not("a deny without a condition, will",
                  "A Deny needs no condition on ConnectAttributes to deny a will.",
                  document(allowed, deny(CONNECT, "client/sensor-1")), CONNECT, "sensor-1", asks=(WILL,),
                  wire=True)
    publish, elsewhere = document(allow(PUBLISH, "topic/a")), document(allow(PUBLISH, "topic/elsewhere"))
    rule = "Only Connect needs the condition"
    yield may("publish in a session that stays", f"{rule}: publishing in such a session does not.", publish,
              PUBLISH, "a", asks=(PERSISTENT,), wire=True)
    yield may("publish beside a will", f"{rule}: publishing with a will left behind does not.", publish,
              PUBLISH, "a", asks=BOTH, wire=True)
    yield may("a will's topic", "A will needs Publish on its topic.", publish, PUBLISH, "a", asks=(WILL,),
              wire=Wire.WILL)
    yield may_not("a will on another topic", "A will on a topic that may not be published to is refused.",
                  elsewhere, PUBLISH, "a", asks=(WILL,), wire=Wire.WILL)
    kept = "What CONNECT asked for stays true for all that the connection does"
    for name, asks, row in (("plain", (), may_not), ("staying", (PERSISTENT,), may)):
        policy = document(allow(PUBLISH, "topic/a", when=asking_any(PERSISTENT)))
        yield row(f"publish only in a session that stays, {name}", f"{kept}.", policy, PUBLISH, "a",
                  asks=asks, wire=True)
    for name, who in (("device", SENSOR), ("service", SERVICE)):
        policy = document(allow(CONNECT, f"client/{who.name}", when=asking_only(PERSISTENT)))
        yield may(f"persistent, a {name}", f"Connect attributes are a {name}'s as anybody's.", policy,
                  CONNECT, who.name, who, asks=(PERSISTENT,), wire=True)
        yield may_not(f"will, a {name}", f"A {name} gets no more than its policy says.", policy, CONNECT,
                      who.name, who, asks=(WILL,), wire=True)


def _retain() -> Iterator[Case]:
    rule = "A retained message needs RetainPublish beside Publish"
    pair = document(allow([PUBLISH, RETAIN], "topic/a/*"))
    yield may("retain, both actions", f"{rule}.", pair, RETAIN, "a/b", wire=True)
    yield may_not("retain without RetainPublish", f"{rule}: Publish alone is not enough.",
                  document(allow(PUBLISH, "topic/*")), RETAIN, "a", wire=True)
    yield may_not("RetainPublish without Publish", f"{rule}: RetainPublish alone publishes nothing.",
                  document(allow(RETAIN, "topic/*")), PUBLISH, "a", wire=True)
    some = document(allow(PUBLISH, "topic/*"), allow(RETAIN, "topic/*/state"))
    yield may("retain on its own topics", "RetainPublish has resources of its own.", some, RETAIN, "x/state",
              wire=True)
    yield may_not("retain outside its own topics", "RetainPublish reaches no further than its own resources.",
                  some, RETAIN, "x/event", wire=True)
    yield may("publish outside what may be retained", "What may not be retained may still be published.",
              some, PUBLISH, "x/event", wire=True)
    denied = document(allow([PUBLISH, RETAIN], "topic/*"), deny(RETAIN, "topic/a"))
    yield may_not("a deny of RetainPublish", "A Deny of RetainPublish forbids retaining.", denied, RETAIN,
                  "a", wire=True)
    yield may("a deny of RetainPublish leaves Publish", "A Deny of RetainPublish does not forbid publishing.",
              denied, PUBLISH, "a", wire=True)


def _shipped() -> Iterator[Case]:
    own = "By default a device is itself and has certtest/<name> and what lies below"
    allowed: tuple[tuple[Action, str], ...] = (
        (CONNECT, "sensor-1"),
        (PUBLISH, "certtest/sensor-1"), (PUBLISH, "certtest/sensor-1/a/b"),
        (RETAIN, "certtest/sensor-1/state"), (RECEIVE, "certtest/sensor-1/cmd"),
        (SUBSCRIBE, "certtest/sensor-1"), (SUBSCRIBE, "certtest/sensor-1/#"),
    )
    for action, resource in allowed:
        yield may(f"default: {action} {resource}", f"{own}.", DEVICE, action, resource, wire=True)
    refused: tuple[tuple[Action, str], ...] = (
        (PUBLISH, "certtest/sensor-2"), (PUBLISH, "certtest/sensor-10"), (PUBLISH, "certtest"),
        (PUBLISH, "other"), (PUBLISH, "$aws/things/sensor-1/shadow/update"),
        (RETAIN, "certtest/sensor-2/state"), (RECEIVE, "certtest/sensor-2/cmd"), (SUBSCRIBE, "#"),
        (SUBSCRIBE, "certtest/#"), (SUBSCRIBE, "certtest/+/cmd"), (SUBSCRIBE, "+/sensor-1/#"),
    )
    for action, resource in refused:
        yield may_not(f"default: no {action} {resource}", f"{own}; nothing else.", DEVICE, action, resource,
                      wire=True)
    yield may_not("default: another client id", f"{own}, under its own client id.", DEVICE, CONNECT,
                  "something-else", STRANGER, wire=True)
    yield may_not("default: own topic under another client id", f"{own}, under its own client id.", DEVICE,
                  PUBLISH, "certtest/sensor-1", STRANGER, wire=True)
    for asks in ((WILL,), (PERSISTENT,), BOTH):
        words = " and ".join(asks)
        yield may(f"default: {words}", "By default a device may leave a will and keep its session.", DEVICE,
                  CONNECT, "sensor-1", asks=asks, wire=True)
    yield may_not("default: not for a service",
                  "The default policy's variables are a thing's: a service gets nothing from it.", DEVICE,
                  CONNECT, "collector", SERVICE, wire=True)
    watch = "The watching service hears everything and says nothing"
    yield may("watch: connect", f"{watch}; its client ids begin with keyborn-watch-.", WATCH, CONNECT,
              WATCHER.name, WATCHER, wire=True)
    yield may_not("watch: another client id", f"{watch}, under its own client ids.", WATCH, CONNECT,
                  "something-else", Who(WATCHER.name, ThingKind.SERVICE, client_id="something-else"),
                  wire=True)
    yield may("watch: subscribe", f"{watch}.", WATCH, SUBSCRIBE, "#", WATCHER, wire=True)
    yield may("watch: receive", f"{watch}.", WATCH, RECEIVE, "certtest/sensor-1/x", WATCHER, wire=True)
    yield may_not("watch: publish", f"{watch}.", WATCH, PUBLISH, "certtest/sensor-1/x", WATCHER, wire=True)
    yield may_not("watch: will", f"{watch}, not even with its last breath.", WATCH, CONNECT, WATCHER.name,
                  WATCHER, asks=(WILL,), wire=True)


# fmt: on


def rows() -> tuple[Case, ...]:
    """Every case of this file."""
    return (
        *section(Group.CONNECT, *_connect(), *_connect_denied()),
        *section(Group.RETAIN, *_retain()),
        *section(Group.SHIPPED, *_shipped()),
    )
