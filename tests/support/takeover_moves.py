"""What an attacker tries who has a credential of its own, and what is permitted: the controls."""

import json
from collections.abc import Callable
from dataclasses import dataclass

from keyborn.domain.approval import approval_code
from keyborn.domain.group_key import group_key_id
from keyborn.domain.names import CertificateId, GroupName, ThingName
from keyborn.domain.token import encode_secret
from support.factory import manufacturer
from support.signing import Signer
from support.takeover import ENROLL, Device, Yard, derived, signed_by
from support.takeover_ground import TAKEN, Said
from support.takeover_owners import HOUR, Owner, enroll


@dataclass
class Raid:
    """One attacker before one name: ``own`` is what it may be called, ``device`` has its key."""

    yard: Yard
    owner: Owner
    own: str

    def __post_init__(self) -> None:
        self.name = self.owner.name
        self.device = Device(self.name)
        self.csr = self.device.csr
        self.group = self.yard.random.choice([self.owner.group, *(f"line-{one}" for one in TAKEN)])


NO_CERTIFICATE = CertificateId("0" * 64)
Attack = Callable[[Raid], Said]


# ── tokens ──


def token_for_another_name(raid: Raid) -> Said:
    return raid.yard.bear(raid.yard.token(raid.own), raid.name, raid.csr)


def token_of_the_group_for_another_name(raid: Raid) -> Said:
    return raid.yard.bear(raid.yard.token(raid.own, raid.group), raid.name, raid.csr)


def token_with_a_pattern(raid: Raid) -> Said:
    return raid.yard.bear(raid.yard.token("*", uses=None), raid.name, raid.csr)


def token_with_a_pattern_of_the_group(raid: Raid) -> Said:
    return raid.yard.bear(raid.yard.token("*", raid.group, uses=None), raid.name, raid.csr)


def replacement_token_for_another_name(raid: Raid) -> Said:
    group = raid.yard.random.choice([None, raid.group])
    return raid.yard.bear(raid.yard.token(raid.own, group, replace=True), raid.name, raid.csr)


def token_of_one_group_in_another(raid: Raid) -> Said:
    return raid.yard.bear(raid.yard.token("*", "line-refuse"), raid.name, raid.csr, "line-replace")


def members_twice(raid: Raid) -> Said:
    """The gate and the authority read one name, whichever it is."""
    names = raid.yard.random.sample([raid.own, raid.name], 2)
    said = f'{{"thingName":"{names[0]}","thingName":"{names[1]}","csr":{json.dumps(raid.csr)}}}'
    return raid.yard.ground.post(ENROLL, said.encode(), bearer=raid.yard.token(raid.own))


def case_twin(raid: Raid) -> Said:
    twin = Device(raid.name.upper())
    return raid.yard.bear(raid.yard.token("*"), twin.name, twin.csr)


def the_compatibility_door(raid: Raid) -> Said:
    bearer = raid.yard.token(raid.yard.random.choice([raid.own, "*"]), uses=None)
    return raid.yard.ground.post("/getCertificate", raid.yard.wish(raid.name, raid.csr, None), bearer=bearer)


# ── group keys ──


def group_key_for_another_name(raid: Raid) -> Said:
    return raid.yard.jose(raid.yard.by_group_key(raid.group, raid.own, raid.name, raid.csr))


def group_key_of_another_group(raid: Raid) -> Said:
    other = raid.yard.random.choice([f"line-{one}" for one in TAKEN if f"line-{one}" != raid.group])
    return raid.yard.jose(raid.yard.by_group_key(other, raid.own, raid.name, raid.csr, raid.group))


def derived_key_as_a_bearer(raid: Raid) -> Said:
    own = derived(raid.yard.group_key(raid.group), raid.own)
    return raid.yard.bear(encode_secret(own), raid.name, raid.csr, raid.group)


def derived_key_as_a_group_key(raid: Raid) -> Said:
    """Deriving once more from what one has."""
    own, place = derived(raid.yard.group_key(raid.group), raid.own), raid.yard.place()
    kid = raid.yard.random.choice([group_key_id(own), group_key_id(raid.yard.group_key(raid.group).key)])
    return raid.yard.jose(signed_by(own, kid, place, raid.yard.wish(raid.name, raid.csr, raid.group)))


# ── factory certificates ──


def factory_certificate_of_another(raid: Raid) -> Said:
    made = raid.yard.ground.maker.device(name=raid.own)
    return raid.yard.jose(raid.yard.by_factory(made, raid.name, raid.csr, raid.group))


def factory_certificate_of_a_twin(raid: Raid) -> Said:
    made = raid.yard.ground.maker.device(name=raid.name.upper())
    twin = raid.yard.random.choice([raid.name, raid.name.upper()])
    return raid.yard.jose(raid.yard.by_factory(made, twin, Device(twin).csr, raid.group))


def factory_certificate_with_a_crafted_name(raid: Raid) -> Said:
    crafted = raid.yard.random.choice(
        [f"{raid.name} ", f"{{serial_number}}{raid.name}", f"{raid.name}\x00", f"{raid.name}\u017f", "*"]
    )
    made = raid.yard.ground.maker.device(name=crafted)
    return raid.yard.jose(raid.yard.by_factory(made, raid.name, raid.csr, raid.group))


def factory_certificate_of_nobody(raid: Raid) -> Said:
    made = manufacturer(raid.yard.ground.maker.certificate.subject.rfc4514_string()[3:]).device(
        name=raid.name
    )
    return raid.yard.jose(raid.yard.by_factory(made, raid.name, raid.csr, raid.group))


def factory_certificate_overheard(raid: Raid) -> Said:
    made = raid.owner.made or raid.yard.ground.maker.device(name=raid.name)
    return raid.yard.jose(raid.yard.by_factory(made, raid.name, raid.csr, raid.group, key=raid.device.key))


# ── identity tokens ──


def identity_of_another(raid: Raid) -> Said:
    said = raid.yard.random.choice([raid.own, raid.name.upper(), f"{raid.name}.", f"*{raid.name}"])
    return raid.yard.bear(raid.yard.jwt(said), raid.name, raid.csr, raid.group)


def identity_for_another_service(raid: Raid) -> Said:
    return raid.yard.bear(raid.yard.jwt(raid.name, aud="another"), raid.name, raid.csr, raid.group)


def identity_unsigned(raid: Raid) -> Said:
    head, _, tail = raid.yard.jwt(raid.name).rpartition(".")
    broken = tail[:-6] + "AAAAAA" if raid.yard.random.random() < 0.5 else ""
    return raid.yard.bear(f"{head}.{broken}", raid.name, raid.csr, raid.group)


def spent_bearer(raid: Raid) -> Said:
    """The token, or identity token, with which the owner came."""
    bearer = raid.owner.bearer or raid.yard.token(raid.own)
    group = raid.owner.group if raid.owner.method == "oidc" else None
    return raid.yard.bear(bearer, raid.name, raid.csr, group)


# ── registered keys, approvals ──


def key_registered_for_another(raid: Raid) -> Said:
    raid.yard.register(raid.group, raid.own, raid.device.hash)
    return raid.yard.bear(None, raid.name, raid.csr, raid.group)


def key_registered_elsewhere(raid: Raid) -> Said:
    raid.yard.register("both-refuse", raid.name, raid.device.hash)
    return raid.yard.bear(None, raid.name, raid.csr, raid.group)


def asked_and_never_approved(raid: Raid) -> Said:
    return raid.yard.bear(None, raid.name, raid.csr, raid.group)


def approved_for_another_name(raid: Raid) -> Said:
    own = Device(raid.own, raid.device.key)
    raid.yard.approve(raid.yard.bear(None, raid.own, own.csr, raid.group))
    return raid.yard.bear(None, raid.name, raid.csr, raid.group)


def approved_for_another_key(raid: Raid) -> Said:
    """A person approved what somebody else asks; in the same group, for the same name."""
    other = Device(raid.name)
    raid.yard.bear(None, raid.name, other.csr, "line-refuse")
    office = raid.yard.ground.office.approvals
    assert office is not None
    code = approval_code(GroupName("line-refuse"), ThingName(raid.name), other.hash)
    raid.yard.ground.run(office.say_yes(code))
    return raid.yard.bear(None, raid.name, raid.csr, "line-refuse")


# ── what the owner sent ──


def stolen_request(raid: Raid) -> Said:
    """Whoever sends the owner's CSR gets the owner's certificate at most."""
    return raid.yard.bear(raid.yard.token("*", uses=None), raid.name, raid.owner.device.csr)


def stolen_request_under_another_name(raid: Raid) -> Said:
    door = raid.yard.random.choice([ENROLL, "/getCertificate"])
    body = raid.yard.wish(raid.own, raid.owner.device.csr, None)
    return raid.yard.ground.post(door, body, bearer=raid.yard.token(raid.own))


def replayed(raid: Raid) -> Said:
    return raid.yard.jose(raid.owner.sent or b"{}")


def replayed_with_a_token(raid: Raid) -> Said:
    return raid.yard.jose(raid.owner.sent or b"{}", bearer=raid.yard.token("*", raid.group))


def old_key(raid: Raid) -> Said:
    """What it was before it renewed; or somebody's else key, with the owner's certificate."""
    past = raid.owner.past
    if past is None or past.hash in raid.owner.keys:
        who = Signer(raid.name, raid.device.key, raid.owner.device.signer().certificate_id or NO_CERTIFICATE)
        return raid.yard.signed("/v1/renew", who, {"csr": raid.csr})
    if raid.yard.random.random() < 0.5:
        return raid.yard.signed("/v1/renew", past.signer(), {"csr": raid.csr})
    credential = raid.yard.token("*", raid.group, uses=None)
    return raid.yard.bear(credential, raid.name, past.csr)


def old_key_as_it_came(raid: Raid) -> Said:
    """The key of before, by the very way it came in."""
    past = raid.owner.past
    if past is None or past.hash in raid.owner.keys:
        return asked_and_never_approved(raid)
    return raid.yard.bear(raid.owner.bearer, raid.name, past.csr, raid.owner.group)


def renewal_of_ones_own(raid: Raid) -> Said:
    """A certificate of another name asks for a successor of this one."""
    own = Device(raid.own)
    said = raid.yard.bear(raid.yard.token(raid.own), raid.own, own.csr)
    own.certificate = said.json["certificateId"]
    return raid.yard.signed("/v1/renew", own.signer(), {"csr": raid.csr})


# ── two credentials ──


def two_credentials(raid: Raid) -> Said:
    bearer = raid.yard.random.choice(
        [raid.yard.token(raid.own), raid.yard.token("*", raid.group), raid.yard.jwt(raid.own)]
    )
    return raid.yard.jose(raid.yard.by_group_key(raid.group, raid.own, raid.name, raid.csr), bearer=bearer)


def pattern_and_the_certificate_of_another(raid: Raid) -> Said:
    group = f"both-{raid.yard.random.choice(TAKEN)}"
    made = raid.yard.ground.maker.device(name=raid.own)
    body = raid.yard.by_factory(made, raid.name, raid.csr, group)
    return raid.yard.jose(body, bearer=raid.yard.token("*", group, uses=None))


def own_key_and_another_name_registered(raid: Raid) -> Said:
    group = f"both-{raid.yard.random.choice(TAKEN)}"
    raid.yard.register(group, raid.own, raid.device.hash)
    return raid.yard.jose(raid.yard.by_group_key(group, raid.own, raid.name, raid.csr))


ATTACKS: tuple[Attack, ...] = (
    token_for_another_name,
    token_of_the_group_for_another_name,
    token_with_a_pattern,
    token_with_a_pattern_of_the_group,
    replacement_token_for_another_name,
    token_of_one_group_in_another,
    members_twice,
    case_twin,
    the_compatibility_door,
    group_key_for_another_name,
    group_key_of_another_group,
    derived_key_as_a_bearer,
    derived_key_as_a_group_key,
    factory_certificate_of_another,
    factory_certificate_of_a_twin,
    factory_certificate_with_a_crafted_name,
    factory_certificate_of_nobody,
    factory_certificate_overheard,
    identity_of_another,
    identity_for_another_service,
    identity_unsigned,
    spent_bearer,
    key_registered_for_another,
    key_registered_elsewhere,
    asked_and_never_approved,
    approved_for_another_name,
    approved_for_another_key,
    stolen_request,
    stolen_request_under_another_name,
    replayed,
    replayed_with_a_token,
    old_key,
    old_key_as_it_came,
    renewal_of_ones_own,
    two_credentials,
    pattern_and_the_certificate_of_another,
    own_key_and_another_name_registered,
)


# ── what is permitted ──


def replacement_token(raid: Raid) -> Said:
    return raid.yard.bear(raid.yard.token(raid.name, replace=True), raid.name, raid.csr)


def credential_of_just_this_name(raid: Raid) -> Said:
    method = raid.yard.random.choice(["token", "group-key", "factory", "oidc", "registered"])
    return enroll(raid.yard, raid.device, "line-replace", method)[0]


def a_person(raid: Raid) -> Said:
    return enroll(raid.yard, raid.device, "line-person", "ask")[0]


def released(raid: Raid) -> Said:
    office = raid.yard.ground.office.regroup
    assert office is not None
    raid.yard.ground.run(office.release(raid.name, HOUR))
    return raid.yard.bear(raid.yard.token("*"), raid.name, raid.csr)


def old_key_signs(raid: Raid) -> Said:
    return raid.yard.signed("/v1/renew", raid.owner.device.signer(), {"csr": raid.csr})


CONTROLS: dict[Attack, frozenset[str]] = {
    replacement_token: frozenset({"active", "revoked", "retired", "renewal pending", "renewed", "expired"}),
    credential_of_just_this_name: frozenset({"active", "revoked", "retired", "renewed", "expired"}),
    a_person: frozenset({"active", "revoked", "retired", "renewed"}),
    released: frozenset({"active", "renewed", "expired"}),
    old_key_signs: frozenset({"active", "renewed"}),
}
"""And the states in which they have to succeed."""
