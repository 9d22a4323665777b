"""Who holds a name, and who would like to: credentials, how they are shown, and what must stay as it is."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keyborn.domain.certificate import Certificate, CertificateStatus
from keyborn.domain.group_key import GroupKey, device_key, sign
from keyborn.domain.jws import MEDIA_TYPE
from keyborn.domain.jws_enroll import Place, draft_by_key
from keyborn.domain.names import CertificateId, GroupName, KeyHash, NameScope, ThingName
from keyborn.domain.token import TokenId, encode_secret
from keyborn.service.tokens import TokenWish
from support.csr_make import DeviceKey, csr_for, make_key
from support.factory import Maker
from support.signed_enrolling import by_certificate, by_key
from support.signing import Signer
from support.takeover_ground import URL, Ground, Said

ENROLL = "/v1/enroll"
YEARS = timedelta(days=3650)


@dataclass
class Device:
    """Somebody with a key, who would be called ``name``."""

    name: str
    key: DeviceKey = field(default_factory=make_key)

    def __post_init__(self) -> None:
        self.csr = csr_for(self.key, self.name)
        self.hash = KeyHash(hash_of(self.key))
        self.certificate = ""
        """Its id, once there is one."""

    def signer(self) -> Signer:
        """Who signs as its certificate."""
        return Signer(self.name, self.key, CertificateId(self.certificate))


def hash_of(key: DeviceKey | x509.Certificate) -> str:
    """As the service names a key: SHA-256 of its SubjectPublicKeyInfo."""
    der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()


def key_of(answer: Said) -> str:
    """Whose certificate was given."""
    return hash_of(x509.load_pem_x509_certificate(answer.json["certificatePem"].encode()))


@dataclass
class Yard:
    """A ground, and whatever one does on it. One group key for each group, as an operator has it."""

    ground: Ground
    random: Random
    keys: dict[str, GroupKey] = field(default_factory=dict)
    secrets: set[str] = field(default_factory=set)
    """Of all credentials so far, as they would be recognised anywhere."""
    _shared: str = ""

    # ── what an operator hands out ────────────────────────────────────────────────────────────────────

    def token(
        self, pattern: str, group: str | None = None, *, uses: int | None = 1, replace: bool = False
    ) -> str:
        """A bearer secret."""
        of = None if group is None else GroupName(group)
        wish = TokenWish(NameScope(pattern), uses, YEARS, replace, group=of)
        return self._kept(encode_secret(self.ground.run(self.ground.office.tokens.create(wish)).code.secret))

    def shared(self) -> str:
        """One token for whoever comes, always the same."""
        if not self._shared:
            self._shared = self.token("*", uses=None)
        return self._shared

    def group_key(self, group: str) -> GroupKey:
        """The group's."""
        if group not in self.keys:
            office = self.ground.office.group_keys
            assert office is not None
            wish = TokenWish(NameScope("*"), None, YEARS)
            self.keys[group] = self.ground.run(office.create(GroupName(group), wish)).held
            self._kept(encode_secret(self.keys[group].key))
        return self.keys[group]

    def _kept(self, secret: str) -> str:
        self.secrets.add(secret.rpartition(".")[2])
        return secret

    def register(self, group: str, name: str, key: KeyHash) -> None:
        """Announce a key."""
        office = self.ground.office.registered
        assert office is not None
        self.ground.run(office.register(group, [(name, key)]))

    def approve(self, pending: Said) -> None:
        """Say yes to what the device shows."""
        office = self.ground.office.approvals
        assert office is not None
        assert pending.status == 202, pending
        self.ground.run(office.say_yes(pending.json["approval"], words=pending.json["words"]))

    # ── how it is shown ───────────────────────────────────────────────────────────────────────────────

    def wish(self, name: str, csr: str, group: str | None) -> bytes:
        """The body."""
        return json.dumps(
            {"thingName": name, "csr": csr} | ({} if group is None else {"group": group})
        ).encode()

    def bear(self, bearer: str | None, name: str, csr: str, group: str | None = None) -> Said:
        """With a bearer credential, or nothing."""
        return self.ground.post(ENROLL, self.wish(name, csr, group), bearer=bearer)

    def jose(self, body: bytes, bearer: str | None = None, path: str = ENROLL) -> Said:
        """A signed request as it is."""
        return self.ground.post(path, body, MEDIA_TYPE, bearer)

    def place(self) -> Place:
        """Where an enrolment goes, with a fresh nonce."""
        return Place(URL + ENROLL, self.ground.nonce())

    def by_group_key(self, group: str, own: str, name: str, csr: str, said: str | None = None) -> bytes:
        """Signed by the key that was derived for ``own``."""
        key = self.group_key(group).key
        return by_key(key, own, self.place(), self.wish(name, csr, said or group))

    def by_factory(
        self, device: Maker, name: str, csr: str, group: str, key: DeviceKey | None = None
    ) -> bytes:
        """Signed by a manufacturer's device, or by another key under its certificate."""
        return by_certificate(device, place=self.place(), payload=self.wish(name, csr, group), key=key)

    def jwt(self, name: str, **claims: object) -> str:
        """An identity token that says ``name``, never seen before."""
        own: dict[str, Any] = {"sub": name, "jti": f"id-{self.random.getrandbits(64)}", **claims}
        return self._kept(self.ground.issuer.token(self.ground.clock.now(), **own))

    def signed(self, path: str, who: Signer, payload: object = None, key: DeviceKey | None = None) -> Said:
        """A request signed as a certificate's holder."""
        return self.jose(who.body(URL + path, self.ground.nonce(), payload, key=key), path=path)

    # ── what is so ────────────────────────────────────────────────────────────────────────────────────

    def certificates(self, name: str) -> list[Certificate]:
        """All that a name ever had."""
        return list(self.ground.run(self.ground.registry.certificates(ThingName(name))))

    def standing(self, name: str) -> tuple[object, Mapping[CertificateId, tuple[str, str]]]:
        """Who has the name, and what became of each of its certificates."""
        thing = self.ground.run(self.ground.registry.thing(ThingName(name)))
        held = {one.id: (one.status.value, one.slot.value) for one in self.certificates(name)}
        return None if thing is None else (thing.key_hash, thing.status.is_gone), held

    def told(self) -> str:
        """Everything that the trail says, and all that a webhook was asked."""
        words, after = [], 0
        while page := self.ground.run(self.ground.registry.records(after=after, limit=1000)):
            after = page[-1].sequence
            words += [repr(one.event) for one in page]
        words += [repr((one.headers, one.body)) for one in self.ground.issuer.server.asked("/may")]
        return "\n".join(words)

    def holders(self, name: str) -> set[str]:
        """The keys that have an active certificate of the name."""
        return {one.key_hash for one in self.certificates(name) if one.status is CertificateStatus.ACTIVE}


def derived(group_key: GroupKey, name: str) -> bytes:
    """A device's own key."""
    return device_key(group_key.key, ThingName(name))


def signed_by(raw: bytes, kid: str, place: Place, payload: bytes) -> bytes:
    """A JWS by whatever bytes."""
    drafted = draft_by_key(TokenId(kid), place, payload)
    return drafted.signed(sign(raw, drafted.signing_input))
