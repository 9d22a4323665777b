"""Hypothesis strategies for MQTT packets of both versions, and only such that MQTT allows."""

from hypothesis import strategies as st

from keyborn.adapters.broker import packets as p
from keyborn.adapters.broker.properties import ALLOWED, WILL

U16 = st.integers(0, 0xFFFF)
PACKET_ID = st.integers(1, 0xFFFF)
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40)
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0+#"), min_size=1, max_size=40)
BYTES = st.binary(max_size=64)
REASON = st.integers(0, 255)
NO = st.just(value=False)

_VALUES: dict[p.Prop, st.SearchStrategy[p.PropertyValue]] = {
    p.Prop.PAYLOAD_FORMAT: st.integers(0, 1),
    p.Prop.MESSAGE_EXPIRY: st.integers(0, 0xFFFFFFFF),
    p.Prop.CONTENT_TYPE: TEXT,
    p.Prop.RESPONSE_TOPIC: NAMES,
    p.Prop.CORRELATION_DATA: BYTES,
    p.Prop.SUBSCRIPTION_ID: st.integers(1, 268_435_455).map(lambda number: (number,)),
    p.Prop.SESSION_EXPIRY: st.integers(0, 0xFFFFFFFF),
    p.Prop.ASSIGNED_CLIENT_ID: TEXT,
    p.Prop.SERVER_KEEP_ALIVE: U16,
    p.Prop.AUTH_METHOD: TEXT,
    p.Prop.AUTH_DATA: BYTES,
    p.Prop.REQUEST_PROBLEM_INFO: st.integers(0, 1),
    p.Prop.WILL_DELAY: st.integers(0, 0xFFFFFFFF),
    p.Prop.REQUEST_RESPONSE_INFO: st.integers(0, 1),
    p.Prop.RESPONSE_INFO: TEXT,
    p.Prop.SERVER_REFERENCE: TEXT,
    p.Prop.REASON_STRING: TEXT,
    p.Prop.RECEIVE_MAXIMUM: PACKET_ID,
    p.Prop.TOPIC_ALIAS_MAXIMUM: U16,
    p.Prop.TOPIC_ALIAS: PACKET_ID,
    p.Prop.MAXIMUM_QOS: st.integers(0, 1),
    p.Prop.RETAIN_AVAILABLE: st.integers(0, 1),
    p.Prop.USER_PROPERTY: st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=3).map(tuple),
    p.Prop.MAXIMUM_PACKET_SIZE: st.integers(1, 0xFFFFFFFF),
    p.Prop.WILDCARD_AVAILABLE: st.integers(0, 1),
    p.Prop.SUBSCRIPTION_ID_AVAILABLE: st.integers(0, 1),
    p.Prop.SHARED_AVAILABLE: st.integers(0, 1),
}


def properties(version: int, kind: int) -> st.SearchStrategy[p.Properties]:
    """Any of the properties that a packet of ``kind`` may have; none on MQTT 3.1.1."""
    if version != p.V5:
        return st.just(p.NO_PROPERTIES)
    names = sorted(ALLOWED[kind])
    chosen = st.lists(st.sampled_from(names), unique=True, max_size=4) if names else st.just([])
    return chosen.flatmap(lambda some: st.fixed_dictionaries({int(name): _VALUES[name] for name in some}))


def _wills(version: int) -> st.SearchStrategy[p.Will]:
    return st.builds(
        p.Will, TEXT, BYTES, st.integers(0, 2), st.booleans(), properties=properties(version, WILL)
    )


def connects(version: int) -> st.SearchStrategy[p.Connect]:
    """CONNECT; MQTT 3.1.1 takes no password without a user name."""
    made = st.builds(
        p.Connect,
        st.just(version),
        TEXT,
        st.booleans(),
        U16,
        st.none() | _wills(version),
        st.none() | TEXT,
        st.none() | BYTES,
        properties(version, p.Kind.CONNECT),
    )
    return made if version == p.V5 else made.map(_no_lone_password)


def _no_lone_password(packet: p.Connect) -> p.Connect:
    return packet._replace(password=None) if packet.username is None else packet


def _publishes(version: int) -> st.SearchStrategy[p.Publish]:
    block = properties(version, p.Kind.PUBLISH)
    at0 = st.builds(p.Publish, TEXT, BYTES, st.just(0), st.booleans(), NO, st.just(0), block)
    more = st.builds(
        p.Publish, TEXT, BYTES, st.integers(1, 2), st.booleans(), st.booleans(), PACKET_ID, block
    )
    return at0 | more


def _subscriptions(version: int) -> st.SearchStrategy[p.Subscription]:
    qos = st.integers(0, 2)
    if version != p.V5:
        return st.builds(p.Subscription, TEXT, qos, NO, NO, st.just(0))
    return st.builds(p.Subscription, TEXT, qos, st.booleans(), st.booleans(), st.integers(0, 2))


def _answers(version: int) -> st.SearchStrategy[p.Packet]:
    def each(
        make: type[p.PubAck | p.PubRec | p.PubRel | p.PubComp], kind: int
    ) -> st.SearchStrategy[p.Packet]:
        if version != p.V5:
            return st.builds(make, PACKET_ID, st.just(0), st.just(p.NO_PROPERTIES))
        return st.builds(make, PACKET_ID, REASON, properties(version, kind))

    return (
        each(p.PubAck, p.Kind.PUBACK)
        | each(p.PubRec, p.Kind.PUBREC)
        | each(p.PubRel, p.Kind.PUBREL)
        | each(p.PubComp, p.Kind.PUBCOMP)
    )


def _lists(version: int) -> st.SearchStrategy[p.Packet]:
    def block(kind: p.Kind) -> st.SearchStrategy[p.Properties]:
        return properties(version, kind)

    reasons = st.lists(REASON, min_size=1, max_size=4).map(tuple)
    filters = st.lists(TEXT, min_size=1, max_size=4).map(tuple)
    wanted = st.lists(_subscriptions(version), min_size=1, max_size=4).map(tuple)
    ended = reasons if version == p.V5 else st.just(())
    return (
        st.builds(p.Subscribe, PACKET_ID, wanted, block(p.Kind.SUBSCRIBE))
        | st.builds(p.SubAck, PACKET_ID, reasons, block(p.Kind.SUBACK))
        | st.builds(p.Unsubscribe, PACKET_ID, filters, block(p.Kind.UNSUBSCRIBE))
        | st.builds(p.UnsubAck, PACKET_ID, ended, block(p.Kind.UNSUBACK))
    )


def packets(version: int) -> st.SearchStrategy[p.Packet]:
    """Every kind but CONNECT, which a running session may not see."""
    common: st.SearchStrategy[p.Packet] = (
        st.builds(p.ConnAck, st.booleans(), REASON, properties(version, p.Kind.CONNACK))
        | _publishes(version)
        | _answers(version)
        | _lists(version)
        | st.sampled_from([p.PingReq(), p.PingResp()])
    )
    if version != p.V5:
        return common | st.just(p.Disconnect())
    return (
        common
        | st.builds(p.Disconnect, REASON, properties(version, p.Kind.DISCONNECT))
        | st.builds(p.Auth, REASON, properties(version, p.Kind.AUTH))
    )
