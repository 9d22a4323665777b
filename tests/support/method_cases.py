"""What each method is tried with: how things are brought about, and the one request that is looked at.

A case prepares a line and returns the request that then goes out, or says why it makes no sense there.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta

from keyborn.domain.jws_enroll import Place
from support.csr_make import csr_for
from support.method_actors import (
    HOUR,
    STRANGER,
    Actor,
    AskActor,
    Asking,
    FactoryActor,
    GroupKeyActor,
    Line,
    OidcActor,
    RegisteredActor,
    TokenActor,
    WebhookActor,
    new_device,
    place,
    post_signed,
)
from support.server import Answer
from support.signed_enrolling import by_certificate

ELSEWHERE = ["192.0.2.0/24"]
"""A network of documentation (RFC 5737): nobody is there."""
Act = Callable[[str], Answer]
"""The request itself, from an address."""


@dataclass(frozen=True)
class Senseless:
    """Why there is nothing to try."""

    reason: str


Case = Callable[[Line], Act | Senseless]
SIGNED = (GroupKeyActor, FactoryActor)
WITHOUT_CREDENTIAL = (RegisteredActor, AskActor, WebhookActor)


def _act(asking: Asking, line: Line) -> Act:
    return lambda source: asking.send(line.ground, source)


def _later(line: Line, **span: float) -> None:
    line.ground.clock.ahead += timedelta(**span)


def _asks(line: Line) -> bool:
    return any(isinstance(each, AskActor) for each in line.actors)


# ── good ──────────────────────────────────────────────────────────────────────────────────────────────


def works(line: Line) -> Act:
    """A device that has everything."""
    device = line.put().device()
    line.approved(device)
    return _act(line.dressed(device), line)


def repeated(line: Line) -> Act:
    """The same request once more: its answer was lost."""
    device, _ = line.put().enroll()
    return _act(line.dressed(device), line)


# ── credentials ───────────────────────────────────────────────────────────────────────────────────────


def nothing_shown(line: Line) -> Act | Senseless:
    """The group is named, and nothing is shown."""
    if isinstance(line.first, WITHOUT_CREDENTIAL):
        return Senseless("it demands nothing that is shown")
    return _act(line.asking(line.put().device()), line)


def wrong(line: Line) -> Act | Senseless:
    """A credential of the right form that nobody gave."""
    device = line.put().device()
    match line.first:
        case TokenActor() | GroupKeyActor() | FactoryActor() | OidcActor() as actor:
            return _act(actor.forge(device), line)
        case RegisteredActor():
            return _act(line.dressed(new_device(device.name)), line)
        case AskActor():
            return Senseless("whom nobody approved waits: see `undecided`")
    return Senseless("nothing is shown; what the other service says of the request: see `webhook says no`")


def other_method(line: Line) -> Act:
    """A good credential of a method that the group does not take."""
    device = line.put().device()
    if isinstance(line.first, FactoryActor):
        other = Line(line.ground, line.world, "oidc").put()
        shown = other.dressed(other.device(device.name))
        return _act(replace(shown, device=device, group=line.group), line)
    other = Line(line.ground, line.world, "factory").put()
    sign = other.dressed(other.device(device.name)).sign
    return _act(line.asking(device, sign=sign), line)


def tampered(line: Line) -> Act | Senseless:
    """Something else than what was signed: the thief's key in the place of the device's."""
    if not isinstance(line.first, SIGNED):
        return Senseless("nothing is signed")
    device = line.put().device()
    asking, thief = line.dressed(device), device.with_new_key()
    assert asking.sign is not None
    honest = json.loads(asking.sign(place(line.ground), asking.payload()))
    false = json.loads(asking.sign(place(line.ground), replace(asking, device=thief).payload()))
    body = json.dumps({**honest, "payload": false["payload"]}).encode()
    return lambda source: post_signed(line.ground, body, source)


def replayed(line: Line) -> Act | Senseless:
    """What was sent once is sent again by somebody who listened; where it binds no request, with his key."""
    device = line.put().device()
    match line.first:
        case GroupKeyActor() | FactoryActor():
            asking = line.dressed(device)
            assert asking.sign is not None
            body = asking.sign(place(line.ground), asking.payload())
            assert post_signed(line.ground, body).status == 201
            return lambda source: post_signed(line.ground, body, source)
        case OidcActor() as actor:
            line.put(taken="replace").enroll(device)
            thief = device.with_new_key()
            return _act(line.asking(thief, bearer=actor.held(device)), line)
        case AskActor():
            line.approved(device)
            return _act(line.dressed(device.with_new_key()), line)
        case RegisteredActor():
            return Senseless("who has the key gets its one certificate: see `repeated`")
        case TokenActor():
            return Senseless("whoever has a secret may use it: see `used up` and `name taken`")
    return Senseless("nothing is shown that could be")


def misdirected(line: Line) -> Act | Senseless:
    """Signed for another service, which hands it on."""
    if not isinstance(line.first, SIGNED):
        return Senseless("nothing is signed")
    asking = line.dressed(line.put().device())
    assert asking.sign is not None
    elsewhere = Place("https://other.example/v1/enroll", place(line.ground).nonce)
    body = asking.sign(elsewhere, asking.payload())
    return lambda source: post_signed(line.ground, body, source)


def expired(line: Line) -> Act | Senseless:
    """What was good once."""
    device = line.put().device()
    match line.first:
        case TokenActor() | GroupKeyActor():
            asking = line.dressed(device)
            _later(line, hours=2)
            return _act(asking, line)
        case FactoryActor() as actor:
            return _act(actor.ended(device), line)
        case OidcActor() as actor:
            hour_ago = int(actor.now.timestamp()) - 3600
            ended = {"iat": hour_ago, "nbf": hour_ago, "exp": hour_ago + 600}
            return _act(actor.shown(device, **ended), line)
        case AskActor() as actor:
            actor.wait = "1h"
            line.put().approved(device)
            _later(line, days=30)
            return _act(line.dressed(device), line)
        case RegisteredActor():
            return Senseless("an announcement has no end: see `withdrawn`")
    return Senseless("nothing is shown")


def too_early(line: Line) -> Act | Senseless:
    """What will be good."""
    device = line.put().device()
    match line.first:
        case FactoryActor() as actor:
            return _act(actor.early(device), line)
        case OidcActor() as actor:
            soon = int(actor.now.timestamp()) + 3600
            return _act(actor.shown(device, nbf=soon, iat=soon, exp=soon + 600), line)
    return Senseless("it is good from when it is made")


def withdrawn(line: Line) -> Act | Senseless:
    """What an operator took back."""
    device = line.put().device()
    asking = line.dressed(device)
    match line.first:
        case TokenActor() | GroupKeyActor() | FactoryActor() as actor:
            actor.withdraw()
        case RegisteredActor() as actor:
            actor.withdraw(device)
        case OidcActor():
            return Senseless("its provider takes it back, by the key: see `issuer takes a key back`")
        case AskActor() as actor:
            actor.decide(asking.send(line.ground), "refused")
        case _:
            return Senseless("nothing was given")
    return _act(asking, line)


# ── names ─────────────────────────────────────────────────────────────────────────────────────────────


def another_name(line: Line) -> Act | Senseless:
    """A name of the group, but not the one that this credential is for."""
    device, other = line.put().device(), line.device()
    match line.first:
        case TokenActor() as actor:
            actor.make(match=None, thing=device.name, uses=1)
            asking = line.dressed(other)
        case GroupKeyActor() as actor:
            asking = actor.borrowed(line.asking(other), device)
        case FactoryActor() as actor:
            asking = actor.signed(line.asking(other), actor.made(device))
        case OidcActor() as actor:
            asking = line.asking(other, bearer=actor.held(device))
        case RegisteredActor() | AskActor():
            line.approved(device)
            asking = line.dressed(device.named(other.name))
        case _:
            return Senseless("nothing is shown that is for a name")
    return _act(asking, line)


def not_of_the_group(line: Line) -> Act:
    """A name that the group does not give."""
    line.put()
    name = f"gateway-{line.group}"
    device = new_device(name)
    if not isinstance(line.first, RegisteredActor):
        line.grant(device)  # keys are announced for names of the group alone
    return _act(line.dressed(device), line)


def name_in_the_csr(line: Line) -> Act:
    """The CSR says another name than the request."""
    device = line.put().device()
    foreign = csr_for(device.key, "sensor-of-somebody")
    return _act(line.dressed(replace(device, csr=foreign)), line)


def name_taken(line: Line) -> Act:
    """Another device has the name; the thief has everything else."""
    device, _ = line.put().enroll()
    thief = device.with_new_key()
    if isinstance(line.first, RegisteredActor):
        line.grant(thief)
    line.approved(thief)
    return _act(line.dressed(thief), line)


def key_of_another(line: Line) -> Act | Senseless:
    """The key has a name already, and comes for another."""
    device, _ = line.put().enroll()
    if isinstance(line.first, RegisteredActor):
        return Senseless("a key is announced for one name: see `another name`")
    twin = device.named(line.device().name)
    line.approved(twin)
    return _act(line.dressed(twin), line)


# ── the group ─────────────────────────────────────────────────────────────────────────────────────────


def another_group(line: Line) -> Act | Senseless:
    """What is good in one group is brought to another one that takes the same method."""
    other = Line(line.ground, line.world, line.way)
    match other.first:
        case WebhookActor():
            return Senseless("nothing is shown; each group asks its own service")
        case FactoryActor() as actor:
            actor.roots = [STRANGER]
        case OidcActor():
            other.put()
            document = other.order("GET", f"/v1/groups/{other.group}")["document"]
            document = document.replace('audience = "keyborn"', 'audience = "another"')
            other.order("PUT", f"/v1/groups/{other.group}", {"document": document})
    if not isinstance(other.first, OidcActor):
        other.put()
    device = line.put().device()
    line.approved(device)
    return _act(replace(line.dressed(device), group=other.group), line)


def unknown_group(line: Line) -> Act | Senseless:
    """A group that there is not, without anything that is of one."""
    if isinstance(line.first, TokenActor):
        return Senseless("a token says its group itself: see `another group`")
    return _act(replace(line.dressed(line.put().device()), group="line-nowhere"), line)


def no_group(line: Line) -> Act | Senseless:
    """The request does not say where it belongs."""
    if isinstance(line.first, TokenActor):
        return Senseless("a token says its group itself")
    return _act(replace(line.dressed(line.put().device()), group=None), line)


def group_removed(line: Line) -> Act:
    """The operator took the group away."""
    device = line.put().device()
    line.approved(device)
    asking = line.dressed(device)
    line.remove()
    return _act(asking, line)


def used_up(line: Line) -> Act | Senseless:
    """As many as one credential is good for have come; this is one more."""
    match line.put().first:
        case TokenActor() | GroupKeyActor() as actor:
            actor.make(uses=1)
            line.enroll()
            return _ready(line)
        case OidcActor():
            return Senseless("a token is for one name: see `replayed`")
        case FactoryActor():
            return Senseless("a certificate is for one name, which has one key: see `name taken`")
        case RegisteredActor() | AskActor():
            return Senseless("it is good for one name and key, which have one certificate")
    return Senseless("nothing is shown; the group has limits")


def group_full(line: Line) -> Act:
    """Over the group's limit."""
    line.put(limit=1).enroll()
    return _ready(line)


def group_rate(line: Line) -> Act:
    """Over the group's rate."""
    line.put(rate="1/d").enroll()
    return _ready(line)


def another_network(line: Line) -> Act:
    """From an address that is in none of the group's networks."""
    device = line.put().device()
    line.approved(device)
    line.put(networks=ELSEWHERE)
    return _act(line.dressed(device), line)


def before_the_window(line: Line) -> Act:
    """The group opens tomorrow."""
    device = line.put().device()
    line.approved(device)
    line.put(opens=line.first.now + timedelta(days=1))
    return _act(line.dressed(device), line)


def after_the_window(line: Line) -> Act:
    """The group has closed; this device never came."""
    line.put(closes=line.first.now + timedelta(minutes=1))
    device = line.device()
    line.approved(device)
    asking = line.dressed(device)
    _later(line, minutes=2)
    return _act(asking, line)


def asked_after_the_window(line: Line) -> Act | Senseless:
    """The group has closed, and nobody has been asked about this device yet."""
    if not _asks(line):
        return Senseless("nobody is asked")
    device = line.put(closes=line.first.now + timedelta(minutes=1)).device()
    asking = line.dressed(device)
    _later(line, minutes=2)
    return _act(asking, line)


def lost_answer_after_the_window(line: Line) -> Act:
    """The group has closed, and a device that came in time never got its answer."""
    device, _ = line.put(closes=line.first.now + timedelta(minutes=1)).enroll()
    asking = line.dressed(device)
    _later(line, minutes=2)
    return _act(asking, line)


def attribute(line: Line) -> Act:
    """An attribute that the group does not leave to its devices."""
    device = line.put(give={"device-attributes": ["serial"]}).device()
    line.approved(device)
    return _act(line.dressed(device, attributes={"rank": "admiral"}), line)


def _ready(line: Line) -> Act:
    device = line.device()
    line.approved(device)
    return _act(line.dressed(device), line)


# ── those who are asked ───────────────────────────────────────────────────────────────────────────────


def undecided(line: Line) -> Act | Senseless:
    """Nobody has decided yet; this is the second look."""
    if not _asks(line):
        return Senseless("nobody is asked")
    asking = line.dressed(line.put().device())
    assert asking.send(line.ground).status == 202
    return _act(asking, line)


def person_refuses(line: Line) -> Act | Senseless:
    """The person says no."""
    if not _asks(line):
        return Senseless("nobody is asked")
    asking = line.dressed(line.put().device())
    line.actor(AskActor).decide(asking.send(line.ground), "refused")
    return _act(asking, line)


def too_many_ask(line: Line) -> Act | Senseless:
    """As many wait as may."""
    if not _asks(line):
        return Senseless("nobody is asked")
    line.actor(AskActor).pending = 1
    line.put()
    line.knock(line.device())
    return _act(line.dressed(line.device()), line)


def webhook_says_no(line: Line) -> Act | Senseless:
    """The other service refuses."""
    return _webhook(line, lambda actor: actor.answers(allow=False, reason="it was scrapped"))


def webhook_down(line: Line) -> Act | Senseless:
    """The other service hangs up."""
    return _webhook(line, WebhookActor.down)


def webhook_gives_too_much(line: Line) -> Act | Senseless:
    """The other service sets what the group does not leave to it."""
    return _webhook(line, lambda actor: actor.answers(allow=True, attributes={"rank": "admiral"}))


def _webhook(line: Line, change: Callable[[WebhookActor], None]) -> Act | Senseless:
    if not any(isinstance(each, WebhookActor) for each in line.actors):
        return Senseless("no other service is asked")
    change(line.actor(WebhookActor))
    return _act(line.dressed(line.put().device()), line)


def issuer_down(line: Line) -> Act | Senseless:
    """Nobody is at the provider's address."""
    if not isinstance(line.first, OidcActor):
        return Senseless("there is no provider")
    line.first.issuer = "https://localhost:9"
    return _act(line.dressed(line.put().device()), line)


def issuer_takes_a_key_back(line: Line) -> Act | Senseless:
    """The provider publishes the key no longer."""
    if not isinstance(line.first, OidcActor):
        return Senseless("there is no provider")
    actor, device = line.first, line.put().device()
    old, now = actor.provider.signing, int(actor.now.timestamp())
    asking = actor.shown(device, exp=now + 4 * HOUR)
    actor.provider.rotate(f"key-of-{line.group}")
    del actor.provider.keys[old]
    _later(line, hours=2)  # keys are believed for an hour without another look
    return _act(asking, line)


def other_factory_key(line: Line) -> Act | Senseless:
    """The maker's certificate, which everybody may see, and not its key."""
    if not isinstance(line.first, FactoryActor):
        return Senseless("there is no certificate")
    device = line.put().device()
    made = line.first.made(device)
    asking = line.asking(
        device, sign=lambda where, said: by_certificate(made, place=where, payload=said, key=device.key)
    )
    return _act(asking, line)


CASES: dict[str, Case] = {
    case.__name__.replace("_", " "): case
    for case in (
        works,
        repeated,
        nothing_shown,
        wrong,
        other_method,
        tampered,
        other_factory_key,
        replayed,
        misdirected,
        expired,
        too_early,
        withdrawn,
        another_name,
        not_of_the_group,
        name_in_the_csr,
        name_taken,
        key_of_another,
        another_group,
        unknown_group,
        no_group,
        group_removed,
        used_up,
        group_full,
        group_rate,
        another_network,
        before_the_window,
        after_the_window,
        asked_after_the_window,
        lost_answer_after_the_window,
        attribute,
        undecided,
        person_refuses,
        too_many_ask,
        webhook_says_no,
        webhook_down,
        webhook_gives_too_much,
        issuer_down,
        issuer_takes_a_key_back,
    )
}
WAYS = (
    "token",
    "group-key",
    "factory",
    "oidc",
    "registered",
    "ask",
    "webhook",
    "token + ask",
    "factory + webhook",
    "registered + webhook",
)
__all__ = ["CASES", "WAYS", "Act", "Actor", "Case", "Senseless"]
