"""Checks of what ends a device's session, and of the news that one has begun."""

import json
import time
from dataclasses import dataclass

from keyborn.adapters.aws.smoke.certificates import GONE
from keyborn.adapters.aws.smoke.check import Check, Differs, Holds, NotDecided, Verdict, check, holds_if
from keyborn.adapters.aws.smoke.connecting import device, shipped, topic, watcher
from keyborn.adapters.aws.smoke.lab import Lab, Specimen
from keyborn.adapters.aws.smoke.talk import How, Talk, Will, connect, hears, need, publish, subscribe

_FIELDS = {"clientId", "eventType", "principalIdentifier", "timestamp"}


@check(
    "delete-connection",
    "DeleteConnection ends a session at once, and its will is not sent.",
    relied="adapters.aws.revoker (how a device is evicted)",
    means="A revoked device stays connected until AWS IoT ends its session by itself, minutes later.",
)
def _delete_connection(lab: Lab) -> Verdict:
    one, ear = device(lab, "beta"), watcher(lab)
    last = topic(lab, one, "will")
    subscribe(lab, ear, last)
    talk = need(connect(lab, one, one.name, How(will=Will(last))))
    begun = time.monotonic()
    refused = lab.refusal(
        "iot-data", "DeleteConnection", clientId=one.name, cleanSession=True, preventWillMessage=True
    )
    if refused:
        return Differs(f"refused with {refused.short}")
    ended = lab.wait(lambda: not talk.is_open, lab.pace.answer)
    after = time.monotonic() - begun
    if not ended:
        return Differs(f"still connected after {after:.1f} s")
    sent = hears(lab, ear, last, min(3.0, lab.pace.answer))
    return holds_if(
        sent is None, f"{talk.closed} after {after:.1f} s, will {'not sent' if sent is None else 'sent'}"
    )


@check(
    "delete-connection-absent",
    "DeleteConnection of who is not connected is refused with ResourceNotFoundException.",
    relied="adapters.aws.revoker (takes that for done)",
    means="An order to revoke a device that is not connected fails after it was carried out.",
)
def _delete_connection_absent(lab: Lab) -> Verdict:
    refused = lab.refusal("iot-data", "DeleteConnection", clientId=lab.name("nobody"))
    return holds_if(refused is None or refused.code == GONE, refused.short if refused else "accepted")


@dataclass(slots=True)
class _Revoked:
    """A device whose certificate was revoked while it was connected."""

    device: Specimen
    since: float
    talk: Talk
    """Its newest connection that was accepted."""


def _revoked(lab: Lab) -> _Revoked:
    def _make() -> _Revoked:
        one = device(lab, "delta")
        talk = need(connect(lab, one, one.name))
        lab.switch(one, "REVOKED")
        return _Revoked(one, time.monotonic(), talk)

    return lab.shared("revoked", _make)


@check(
    "presence-event",
    "A connection is told on $aws/events/presence/connected with client id, certificate and time.",
    relied="template.yaml (SeenRule), adapters.aws.presence (the certificate and the time of a connection)",
    means="The stack does not learn who has connected: a replaced key's certificate stays active.",
)
def _presence_event(lab: Lab) -> Verdict:
    one, ear = device(lab, "beta"), watcher(lab)
    news = f"$aws/events/presence/connected/{one.name}"
    refused = subscribe(lab, ear, news)
    if refused:
        return Differs(f"subscribing: {refused}")
    need(connect(lab, one, one.name)).close()
    told = hears(lab, ear, news, lab.pace.answer)
    if told is None:
        return Differs(f"nothing within {lab.pace.answer:g} s")
    event = json.loads(told)
    right = set(event) >= _FIELDS and event["clientId"] == one.name and event["principalIdentifier"] == one.id
    return holds_if(right, f"fields {', '.join(sorted(event))}")


@check(
    "revoked-refused",
    "A revoked certificate cannot connect any more within a few seconds.",
    relied="domain.lifecycle (revoking), docs/threats.md",
    means="A revoked device comes back after it was evicted, for as long as it says here.",
)
def _revoked_refused(lab: Lab) -> Verdict:
    case = _revoked(lab)
    refusal: list[str] = []

    def _is_refused() -> bool:
        talk = connect(lab, case.device, case.device.name)
        if talk.is_open:
            case.talk = talk
        else:
            refusal.append(talk.how_refused)
        return bool(refusal)

    refused = lab.wait(_is_refused, lab.pace.answer)
    after = time.monotonic() - case.since
    return holds_if(refused, f"after {after:.1f} s: {refusal[0] if refused else 'still accepted'}")


@check(
    "policy-change",
    "A policy that is taken away is gone for open sessions, too, within minutes.",
    relied="adapters.aws.revoker.Revoker (a change of policies closes no session)",
    means="A device keeps rights that were taken away for as long as it stays connected.",
    remedy="After a change that must not wait, suspend the device and activate it again.",
)
def _policy_change(lab: Lab) -> Verdict:
    one = device(lab, "epsilon")
    talk = need(connect(lab, one, one.name))
    before = publish(lab, talk, topic(lab, one))
    if before:
        return Differs(f"with its policy: {before}")
    lab.ask("iot", "DetachPolicy", policyName=shipped(lab), target=one.arn)
    begun, refusal = time.monotonic(), list[str]()

    def _is_refused() -> bool:
        said = publish(lab, talk, topic(lab, one))
        refusal.extend([said] if said else [])
        return bool(refusal)

    refused = lab.wait(_is_refused, lab.pace.later, 0.5)
    after = time.monotonic() - begun
    if refused:
        return Holds(f"{refusal[0]}, after {after:.1f} s")
    return NotDecided(f"still accepted after {after:.0f} s, and this run waits no longer")


@check(
    "revoked-session",
    "The open session of a revoked certificate ends by itself within minutes.",
    relied="adapters.aws.revoker (does not wait for it), docs/threats.md",
    means="Where DeleteConnection fails, a revoked device stays connected.",
    remedy="Watch the alarm for unsettled orders: the sweeper ends the session once it gets through.",
)
def _revoked_session(lab: Lab) -> Verdict:
    case = _revoked(lab)
    ended = lab.wait(lambda: not case.talk.is_open, lab.pace.later - (time.monotonic() - case.since), 0.2)
    after = time.monotonic() - case.since
    if ended:
        return Holds(f"{case.talk.closed}, within {after:.0f} s")
    return NotDecided(f"still open after {after:.0f} s, and this run waits no longer")


CHECKS: tuple[Check, ...] = (
    _delete_connection,
    _delete_connection_absent,
    _presence_event,
    _revoked_refused,
    _policy_change,
    _revoked_session,
)
