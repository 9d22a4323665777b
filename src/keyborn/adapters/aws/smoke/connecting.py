"""Checks of the broker: who may connect, and what a device may do there."""

import time

from keyborn.adapters.aws.smoke.check import Check, Differs, Holds, Verdict, check, holds_if
from keyborn.adapters.aws.smoke.lab import Lab, Specimen, Undecided
from keyborn.adapters.aws.smoke.policies import document
from keyborn.adapters.aws.smoke.talk import (
    MQTT_3_1_1,
    How,
    Talk,
    Will,
    connect,
    hears,
    need,
    publish,
    subscribe,
)
from keyborn.policies import device_policy

_ALPN, _ALPN_PORT, _MQTT_PORT = "x-amzn-mqtt-ca", 443, 8883
_PACKET = 128 * 1024


def prefix(lab: Lab) -> str:
    """The first level of the topics of this run's devices; nobody else's."""
    return lab.name("topics")


def topic(lab: Lab, device: Specimen, last: str = "out") -> str:
    """A topic of a device's own."""
    return f"{prefix(lab)}/{device.name}/{last}"


def device(lab: Lab, part: str, *, active: bool = True, policy: str = "") -> Specimen:
    """A device as an enrolment leaves it, but for its topics; the same one every time."""
    return lab.shared(f"device {part}", lambda: _device(lab, part, policy or shipped(lab), active=active))


def shipped(lab: Lab) -> str:
    """The policy that comes with Keyborn, for the topics of this run."""
    return lab.shared("shipped", lambda: lab.policy("device", device_policy(prefix(lab))))


def _device(lab: Lab, part: str, policy: str, *, active: bool) -> Specimen:
    one = lab.certificate(part)
    thing = lab.thing(part)
    lab.ask("iot", "AttachPolicy", policyName=policy, target=one.arn)
    lab.ask(
        "iot",
        "AttachThingPrincipal",
        thingName=thing,
        principal=one.arn,
        thingPrincipalType="EXCLUSIVE_THING",
    )
    if active:
        lab.switch(one, "ACTIVE")
        _settled(lab, one)
    return one


def _settled(lab: Lab, one: Specimen) -> None:
    """Wait until the broker knows a new certificate; what it does then is for the checks to say."""
    begun = time.monotonic()
    until = begun + lab.pace.answer
    while True:
        talk = connect(lab, one, one.name)
        if talk.is_open or time.monotonic() >= until:
            break
    talk.close()
    lab.shared("delays", list[float]).append(time.monotonic() - begun)


def watcher(lab: Lab) -> Talk:
    """A connection that may listen to this run's topics and to the news of its clients."""
    return need(lab.shared("watcher", lambda: _watch(lab)))


def _watch(lab: Lab) -> Talk:
    arn, name = lab.outputs.iot_arn, lab.name("watch")
    text = document(
        {"Effect": "Allow", "Action": "iot:Connect", "Resource": f"{arn}:client/{name}"},
        {
            "Effect": "Allow",
            "Action": "iot:Subscribe",
            "Resource": [
                f"{arn}:topicfilter/{prefix(lab)}/*",
                f"{arn}:topicfilter/$aws/events/presence/connected/{lab.name('')}*",
            ],
        },
        {"Effect": "Allow", "Action": "iot:Receive", "Resource": f"{arn}:topic/*"},
    )
    one = lab.certificate("watch")
    lab.ask("iot", "AttachPolicy", policyName=lab.policy("watch", text), target=one.arn)
    lab.switch(one, "ACTIVE")
    talk = connect(lab, one, name)
    until = time.monotonic() + lab.pace.answer
    while not talk.is_open and time.monotonic() < until:
        talk = connect(lab, one, name)
    return talk


@check(
    "activation-delay",
    "A certificate can connect within two seconds after it was activated.",
    relied="device.session (the first connection after an enrolment is not repeated for long)",
    means="The first connection after an enrolment fails now and then, and is tried again with back-off.",
)
def _activation_delay(lab: Lab) -> Verdict:
    device(lab, "alpha")
    delays = lab.shared("delays", list[float])
    return holds_if(max(delays) <= 2, f"after {max(delays):.2f} s")  # noqa: PLR2004 - as the sentence says


@check(
    "connect",
    "A device connects with MQTT 5 and 3.1.1 under the shipped policy, its client id being its thing's name.",
    relied="policies/device.json (policy variables of the thing), device.session",
    means="No device can connect.",
)
def _connect(lab: Lab) -> Verdict:
    one = device(lab, "alpha")
    for how in (How(), How(MQTT_3_1_1)):
        talk = connect(lab, one, one.name, how)
        if not talk.is_open:
            return Differs(f"MQTT {'3.1.1' if how.version is MQTT_3_1_1 else '5'}: {talk.how_refused}")
        talk.close()
    return Holds(f"both accepted on port {lab.outputs.mqtt_port}")


@check(
    "connect-443",
    "A device connects on port 443 with the ALPN name x-amzn-mqtt-ca.",
    relied="http.bodies.AWS_FALLBACK, device.session (the second port)",
    means="Devices behind firewalls that know only the web's ports cannot connect.",
)
def _connect_443(lab: Lab) -> Verdict:
    if lab.outputs.mqtt_port != _MQTT_PORT:
        raise Undecided(f"the stack's broker is on port {lab.outputs.mqtt_port}: it has no second one")
    one = device(lab, "alpha")
    talk = connect(lab, one, one.name, How(port=_ALPN_PORT, alpn=_ALPN))
    return holds_if(talk.is_open, "accepted" if talk.is_open else talk.how_refused)


@check(
    "other-client-id",
    "A device cannot connect under the client id of another one.",
    relied="policies/device.json, docs/threats.md",
    means="A device can take another one's place and end its sessions.",
    remedy="Do not put devices into operation. Report it as a matter of security, with this report attached.",
)
def _other_client_id(lab: Lab) -> Verdict:
    talk = connect(lab, device(lab, "alpha"), device(lab, "beta").name)
    return holds_if(not talk.is_open, "accepted" if talk.is_open else talk.how_refused)


@check(
    "inactive-refused",
    "A certificate that is not active cannot connect.",
    relied="adapters.aws.registry (nobody is let in before the last word)",
    means="Who was refused half way through an enrolment gets in.",
    remedy="Do not put devices into operation. Report it as a matter of security, with this report attached.",
)
def _inactive_refused(lab: Lab) -> Verdict:
    one = device(lab, "gamma", active=False)
    talk = connect(lab, one, one.name)
    return holds_if(not talk.is_open, "accepted" if talk.is_open else talk.how_refused)


@check(
    "own-topics",
    "A device hears on its own topics what it says there.",
    relied="policies/device.json (Publish, Subscribe and Receive)",
    means="Devices cannot do their work under the shipped policy.",
)
def _own_topics(lab: Lab) -> Verdict:
    one = device(lab, "alpha")
    talk = need(connect(lab, one, one.name))
    refused = subscribe(lab, talk, topic(lab, one, "#")) or publish(lab, talk, topic(lab, one))
    if refused:
        return Differs(refused)
    heard = hears(lab, talk, topic(lab, one), lab.pace.answer)
    return holds_if(heard, "heard" if heard else "accepted, and not heard")


@check(
    "foreign-topic-311",
    "A device that publishes, or listens, on another one's topic with MQTT 3.1.1 is disconnected.",
    relied="device.session, docs/how-to/denied.md",
    means="A message that was not taken looks like one that was: it leaves the outbox and is lost.",
)
def _foreign_topic_311(lab: Lab) -> Verdict:
    one, foreign = device(lab, "alpha"), topic(lab, device(lab, "beta"))
    said = publish(lab, need(connect(lab, one, one.name, How(MQTT_3_1_1))), foreign)
    listened = subscribe(lab, need(connect(lab, one, one.name, How(MQTT_3_1_1))), foreign)
    seen = f"publish: {said or 'accepted'}; subscribe: {listened or 'accepted'}"
    return holds_if(said and said.startswith("closed") and listened, seen)


@check(
    "foreign-topic-5",
    "With MQTT 5 it is answered 0x87 (not authorized) for both, and stays connected.",
    relied="device.session (a permanent refusal), docs/how-to/denied.md",
    means="A denied device is told another reason; a connection that is closed is opened again and again.",
)
def _foreign_topic_5(lab: Lab) -> Verdict:
    one, foreign = device(lab, "alpha"), topic(lab, device(lab, "beta"))
    talk = need(connect(lab, one, one.name))
    said, listened = publish(lab, talk, foreign), subscribe(lab, talk, foreign)
    seen = f"publish: {said or 'accepted'}; subscribe: {listened or 'accepted'}"
    right = all(one is not None and "0x87" in one for one in (said, listened)) and talk.is_open
    return holds_if(right, f"{seen}; {'still connected' if talk.is_open else 'disconnected'}")


@check(
    "will",
    "A will is accepted under the shipped policy, and sent when the connection breaks.",
    relied="policies/device.json (iot:ConnectAttributes LastWill)",
    means="Devices that leave a will cannot connect, or their will is not sent.",
)
def _will(lab: Lab) -> Verdict:
    one, ear = device(lab, "alpha"), watcher(lab)
    last = topic(lab, one, "will")
    subscribe(lab, ear, last)
    talk = connect(lab, one, one.name, How(will=Will(last)))
    if not talk.is_open:
        return Differs(f"with a will: {talk.how_refused}")
    talk.hang_up()
    heard = hears(lab, ear, last, lab.pace.answer)
    return holds_if(heard, "accepted, and sent" if heard else "accepted, and not sent")


@check(
    "will-unlisted",
    "Under a policy that does not name LastWill in iot:ConnectAttributes, a will is refused.",
    relied="domain.access_policy (simulator and embedded broker say the same), docs/access-policies.md",
    means="keyborn policy simulate says no where AWS IoT says yes.",
)
def _will_unlisted(lab: Lab) -> Verdict:
    arn, name = lab.outputs.iot_arn, lab.name("unlisted")
    text = document(
        {"Effect": "Allow", "Action": "iot:Connect", "Resource": f"{arn}:client/{name}"},
        {"Effect": "Allow", "Action": "iot:Publish", "Resource": f"{arn}:topic/{prefix(lab)}/*"},
    )
    one = device(lab, "unlisted", policy=lab.policy("unlisted", text))
    need(connect(lab, one, one.name)).close()
    talk = connect(lab, one, one.name, How(will=Will(topic(lab, one, "will"))))
    return holds_if(not talk.is_open, "accepted" if talk.is_open else talk.how_refused)


@check(
    "persistent-session",
    "A persistent session is kept, with the messages that came meanwhile.",
    relied="policies/device.json (iot:ConnectAttributes PersistentConnect), cli.messages",
    means="Commands to a device that is not connected are lost.",
)
def _persistent_session(lab: Lab) -> Verdict:
    one, how = device(lab, "alpha"), How(MQTT_3_1_1, clean=False)
    talk = connect(lab, one, one.name, how)
    if not talk.is_open:
        return Differs(talk.how_refused)
    subscribe(lab, talk, topic(lab, one, "in"))
    talk.close()
    lab.ask("iot-data", "Publish", topic=topic(lab, one, "in"), qos=1, payload=b"later")
    again = need(connect(lab, one, one.name, how))
    heard = hears(lab, again, topic(lab, one, "in"), lab.pace.answer)
    again.close()
    need(connect(lab, one, one.name, How(MQTT_3_1_1))).close()  # forget it
    seen = f"session {'kept' if again.present else 'not kept'}, message {'heard' if heard else 'not heard'}"
    return holds_if(again.present and heard, seen)


@check(
    "connack",
    "The broker announces QoS 1, retained messages, and packets of 128 KiB at least.",
    relied="device.outbox (how large a message may be), device.session",
    means="Messages that the outbox accepts are refused by the broker.",
)
def _connack(lab: Lab) -> Verdict:
    one = device(lab, "alpha")
    told = need(connect(lab, one, one.name)).told
    right = (
        told.get("MaximumQoS", 2) == 1
        and told.get("RetainAvailable", 1) == 1
        and int(str(told.get("MaximumPacketSize", _PACKET))) >= _PACKET
    )
    return holds_if(right, ", ".join(f"{key} {value}" for key, value in sorted(told.items())) or "nothing")


@check(
    "takeover",
    "A second connection of the same device ends the first one.",
    relied="device.session (one session for a device), docs/threats.md (a copied key shows itself)",
    means="Two holders of one key can be connected at the same time.",
)
def _takeover(lab: Lab) -> Verdict:
    one = device(lab, "alpha")
    first, second = need(connect(lab, one, one.name)), need(connect(lab, one, one.name))
    ended = lab.wait(lambda: not first.is_open, lab.pace.answer)
    return holds_if(ended and second.is_open, f"the first: {first.closed or 'still connected'}")


CHECKS: tuple[Check, ...] = (
    _activation_delay,
    _connect,
    _connect_443,
    _other_client_id,
    _inactive_refused,
    _own_topics,
    _foreign_topic_311,
    _foreign_topic_5,
    _will,
    _will_unlisted,
    _persistent_session,
    _connack,
    _takeover,
)
