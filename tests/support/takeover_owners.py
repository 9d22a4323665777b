"""Owners: how one got its name, and what has become of it since."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from keyborn.adapters.system import SystemEntropy
from keyborn.domain.csr import parse_csr
from keyborn.domain.enrollment import Attempt, Issue
from keyborn.domain.names import ThingName
from keyborn.domain.profile import CertificateProfile
from keyborn.domain.thing import ThingStatus
from keyborn.domain.token import decode_secret, token_id
from keyborn.service.authenticate import applicant_of
from keyborn.service.issuing import Permission, propose
from keyborn.service.things import Order
from support.factory import Maker
from support.takeover import Device, Yard
from support.takeover_ground import Said

HOUR = timedelta(hours=1)
METHODS = ("token", "group-key", "factory", "oidc", "registered", "ask")


@dataclass
class Owner:
    """Whoever has the name, and what somebody may have overheard of how it came by it."""

    device: Device
    group: str
    method: str
    bearer: str | None = None
    """Its token or identity token, which is used up."""
    sent: bytes | None = None
    """The signed request that it sent."""
    made: Maker | None = None
    """Its factory certificate; the key in it is not overheard."""
    keys: set[str] = field(default_factory=set)
    """Who may have an active certificate of the name."""
    past: Device | None = None
    """What it was before it renewed, or before somebody else had the name."""

    @property
    def name(self) -> str:
        return self.device.name


def enroll(yard: Yard, device: Device, group: str, method: str) -> tuple[Said, Owner]:
    """A device enrols by a credential of just its name; a person approves where one is asked."""
    owner = Owner(device, group, method, keys={device.hash})
    name, csr = device.name, device.csr
    if method == "token":
        owner.bearer = yard.token(name, group)
        return yard.bear(owner.bearer, name, csr), owner
    if method == "oidc":
        owner.bearer = yard.jwt(name)
        return yard.bear(owner.bearer, name, csr, group), owner
    if method == "group-key":
        owner.sent = yard.by_group_key(group, name, name, csr)
        return yard.jose(owner.sent), owner
    if method == "factory":
        owner.made = yard.ground.maker.device(name=name)
        owner.sent = yard.by_factory(owner.made, name, csr, group)
        return yard.jose(owner.sent), owner
    if method == "registered":
        yard.register(group, name, device.hash)
        return yard.bear(None, name, csr, group), owner
    yard.approve(yard.bear(None, name, csr, group))
    return yard.bear(None, name, csr, group), owner


def settle(yard: Yard, name: str, group: str, method: str) -> Owner:
    """A name that is held."""
    said, owner = enroll(yard, Device(name), group, method)
    assert said.status == 201, (yard.ground.kind, group, method, said)
    owner.device.certificate = said.json["certificateId"]
    return owner


def claim_only(yard: Yard, name: str, group: str) -> Owner:
    """The service died after the claim: the name has a key, and no certificate yet."""
    device, ground = Device(name), yard.ground
    bearer = yard.token(name)
    token = token_id(decode_secret(bearer))
    now = ground.clock.now()
    found = ground.run(ground.registry.find(token))
    assert found is not None
    proposal = propose(
        ThingName(name),
        parse_csr(device.csr),
        Permission(token),
        now,
        profile=CertificateProfile(),
        entropy=SystemEntropy(),
    )
    verdict = ground.run(ground.registry.claim(Attempt(applicant_of(token, found), proposal, now)))
    assert isinstance(verdict, Issue)
    return Owner(device, group, "token", bearer, keys={device.hash})


# ── what becomes of it ────────────────────────────────────────────────────────────────────────────────


def _ordered(status: ThingStatus) -> Callable[[Yard, Owner], None]:
    def _order(yard: Yard, owner: Owner) -> None:
        yard.ground.run(yard.ground.office.things.carry_out(Order(owner.name, status)))
        if status is not ThingStatus.ACTIVE:
            owner.keys.clear()

    return _order


def _nothing(_yard: Yard, _owner: Owner) -> None:
    """It is active."""


def _renewing(yard: Yard, owner: Owner) -> None:
    following = owner.device.signer().next_key()
    said = yard.signed("/v1/renew", owner.device.signer(), following.wish)
    assert said.status == 201, said
    newer = Device(owner.name, following.key)
    newer.certificate = said.json["certificateId"]
    owner.keys.add(newer.hash)
    owner.past, owner.device = owner.device, newer


def _renewed(yard: Yard, owner: Owner) -> None:
    _renewing(yard, owner)
    assert yard.signed("/v1/renew/confirm", owner.device.signer()).status == 200
    owner.keys = {owner.device.hash}


def _replacing(yard: Yard, owner: Owner) -> None:
    """Somebody replaces it by permission, and has not connected yet."""
    newer = Device(owner.name)
    said = yard.bear(yard.token(owner.name, replace=True), owner.name, newer.csr)
    assert said.status == 201, said
    newer.certificate = said.json["certificateId"]
    owner.keys.add(newer.hash)


def _retaken(yard: Yard, owner: Owner) -> None:
    """Its operator released the key, and another one took the name; both are known until that connects."""
    office = yard.ground.office.regroup
    assert office is not None
    yard.ground.run(office.release(owner.name, HOUR))
    newer = Device(owner.name)
    said = yard.bear(yard.token(owner.name), owner.name, newer.csr)
    assert said.status == 201, said
    owner.keys.add(newer.hash)


def _expired(yard: Yard, _owner: Owner) -> None:
    yard.ground.clock.turn(CertificateProfile().lifetime + HOUR)


STATES: dict[str, Callable[[Yard, Owner], None]] = {
    "active": _nothing,
    "suspended": _ordered(ThingStatus.SUSPENDED),
    "revoked": _ordered(ThingStatus.REVOKED),
    "retired": _ordered(ThingStatus.RETIRED),
    "renewal pending": _renewing,
    "renewed": _renewed,
    "replacement pending": _replacing,
    "released and re-taken": _retaken,
    "expired": _expired,
    "claimed": _nothing,
}
BARRED = frozenset({"suspended", "revoked", "retired"})


def owner_in(yard: Yard, state: str, name: str, group: str) -> Owner:
    """A name in that state."""
    if state == "claimed":
        return claim_only(yard, name, group)
    owner = settle(yard, name, group, yard.random.choice(METHODS))
    STATES[state](yard, owner)
    return owner
