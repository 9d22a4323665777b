"""Who enrols by which method: what an operator prepares, what a device shows, and what a thief would.

A ``Line`` is one group on one ground. Each method is an actor that knows how its credential is given, shown,
forged, ended and taken back; ways of several methods have several actors, the first of which is tried.
"""

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from keyborn.domain.csr import parse_csr
from keyborn.domain.group_key import GroupKey, device_key
from keyborn.domain.jws import MEDIA_TYPE
from keyborn.domain.jws_enroll import Place
from keyborn.domain.names import ThingName
from support.csr_make import DeviceKey, csr_for, make_key
from support.factory import MADE, Maker, Wanted, manufacturer, usage
from support.group_stage import write_toml
from support.issuer import Provider, new_key, sign
from support.method_grounds import Ground, exchange
from support.rude_service import Exchange, Reply, RudeService
from support.server import Answer
from support.signed_enrolling import by_certificate, by_key

_numbers = count(1_000_001)
"""Of names: no other test that shares a stand-in for AWS leaves things of these."""
HOUR = 3600
ROOT = manufacturer()
STRANGER = manufacturer("Another Root")
FOREIGN = new_key("ES256")


@dataclass(frozen=True)
class Device:
    """A name, a key and its request."""

    name: str
    key: DeviceKey
    csr: str

    @property
    def key_hash(self) -> str:
        """Of its public key."""
        return parse_csr(self.csr).key_hash

    def with_new_key(self) -> "Device":
        """Somebody else who wants this name."""
        return new_device(self.name)

    def named(self, name: str) -> "Device":
        """The same key under another name."""
        return Device(name, self.key, csr_for(self.key, name))

    def key_file(self, folder: Path) -> Path:
        """The key, where ``--adopt-key`` finds it."""
        path = folder / f"{self.name}.key"
        path.write_bytes(self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        path.chmod(0o600)
        return path


def new_device(name: str) -> Device:
    """With a key of its own."""
    key = make_key()
    return Device(name, key, csr_for(key, name))


Signing = Callable[[Place, bytes], bytes]


@dataclass(frozen=True)
class Asking:
    """A request before it goes out: what it says, and what is shown with it."""

    device: Device
    group: str | None
    attributes: Mapping[str, str] | None = None
    bearer: str | None = None
    sign: Signing | None = None

    def payload(self) -> bytes:
        """The body."""
        said: dict[str, Any] = {"thingName": self.device.name, "csr": self.device.csr}
        if self.group is not None:
            said["group"] = self.group
        if self.attributes is not None:
            said["attributes"] = dict(self.attributes)
        return json.dumps(said).encode()

    def send(self, ground: Ground, source: str | None = None) -> Answer:
        """Over the wire; with a fresh nonce where it is signed."""
        if self.sign is not None:
            return post_signed(ground, self.sign(place(ground), self.payload()), source)
        headers = {"Content-Type": "application/json"}
        if self.bearer is not None:
            headers["Authorization"] = f"Bearer {self.bearer}"
        return exchange(ground, "/v1/enroll", self.payload(), headers, source)


def place(ground: Ground) -> Place:
    """Where a signed request goes, with a nonce that nobody had."""
    answer = exchange(ground, "/v1/nonce")
    return Place(f"{ground.url}/v1/enroll", answer.json["nonce"])


def post_signed(ground: Ground, body: bytes, source: str | None = None) -> Answer:
    """One that was signed."""
    return exchange(ground, "/v1/enroll", body, {"Content-Type": MEDIA_TYPE}, source)


@dataclass
class World:
    """The others: an identity provider, and a receiver of webhooks, on sockets of their own."""

    provider: Provider
    receiver: RudeService


class Actor:
    """One method on one line. What it does not say, the method does not have."""

    method: ClassVar[str]

    def __init__(self, line: "Line") -> None:
        self.line = line
        self.secrets: list[str] = []
        """What no record may hold."""

    def rules(self) -> dict[str, Any]:
        """Members of the group's file."""
        return {}

    def grant(self, device: Device) -> None:
        """What an operator, a maker or a provider does before the device asks."""

    def dress(self, asking: Asking) -> Asking:
        """What the device shows."""
        return asking

    def words(self, device: Device, folder: Path) -> tuple[str, list[str]]:
        """A code, and options of ``keyborn enroll``."""
        made = self.line.order("POST", f"/v1/groups/{self.line.group}/codes", {"method": self.method})
        return made["code"], []

    @property
    def ground(self) -> Ground:
        return self.line.ground

    @property
    def now(self) -> datetime:
        return self.ground.clock.now()


class TokenActor(Actor):
    """A bearer secret of the group."""

    method = "token"
    made: dict[str, Any] | None = None

    def make(self, **wish: object) -> dict[str, Any]:
        """From now on devices show this one."""
        wanted = {"match": "*", "uses": 0, "ttl": HOUR, "group": self.line.group, **wish}
        self.made = self.line.order("POST", "/v1/tokens", {k: v for k, v in wanted.items() if v is not None})
        self.secrets.append(self.made["secret"])
        return self.made

    def grant(self, device: Device) -> None:
        if self.made is None:
            self.make()

    def dress(self, asking: Asking) -> Asking:
        assert self.made is not None
        return replace(asking, bearer=self.made["secret"])

    def words(self, device: Device, folder: Path) -> tuple[str, list[str]]:
        assert self.made is not None
        return self.made["code"], []

    def forge(self, device: Device) -> Asking:
        """A secret of the right form that nobody made."""
        return self.line.asking(device, bearer=base64.urlsafe_b64encode(bytes(32)).decode().rstrip("="))

    def withdraw(self) -> None:
        assert self.made is not None
        self.line.order("DELETE", f"/v1/tokens/{self.made['id']}")


class GroupKeyActor(Actor):
    """A key that was derived from the group's, for the name alone."""

    method = "group-key"
    held: GroupKey | None = None

    def make(self, **wish: object) -> GroupKey:
        made = self.line.order("POST", f"/v1/groups/{self.line.group}/keys", {"ttl": HOUR, **wish})
        self.held = GroupKey.decode(made["groupKey"])
        self.secrets += [made["groupKey"], self.held.key.hex()]
        return self.held

    def grant(self, device: Device) -> None:
        held = self.held or self.make()
        self.secrets.append(device_key(held.key, ThingName(device.name)).hex())

    def dress(self, asking: Asking) -> Asking:
        return self._signed(asking, asking.device.name)

    def _signed(self, asking: Asking, name: str, key: bytes | None = None) -> Asking:
        held = self.held
        assert held is not None
        return replace(
            asking, sign=lambda place, said: by_key(key or held.key, name, place, said, kid=held.id)
        )

    def words(self, device: Device, folder: Path) -> tuple[str, list[str]]:
        assert self.held is not None
        return self.held.code_for(ThingName(device.name)).encode(), []

    def forge(self, device: Device) -> Asking:
        """The right id, and another key."""
        return self._signed(self.line.asking(device), device.name, bytes(32))

    def borrowed(self, asking: Asking, owner: Device) -> Asking:
        """Signed by the key of another name."""
        return self._signed(asking, owner.name)

    def withdraw(self) -> None:
        assert self.held is not None
        self.line.order("DELETE", f"/v1/tokens/{self.held.id}")


class FactoryActor(Actor):
    """A certificate that the maker gave, and its key."""

    method = "factory"

    def __init__(self, line: "Line") -> None:
        super().__init__(line)
        self.roots = [ROOT]
        self._made: dict[str, Maker] = {}

    def rules(self) -> dict[str, Any]:
        roots = "".join(each.pem for each in self.roots)
        return {"factory": {"authorities": roots, "name": "{common_name}"}}

    def made(self, device: Device) -> Maker:
        """The device's own certificate: the maker gave it one, once."""
        return self._made.setdefault(device.name, ROOT.device(name=device.name))

    def dress(self, asking: Asking) -> Asking:
        return self.signed(asking, self.made(asking.device))

    def signed(self, asking: Asking, by: Maker, key: DeviceKey | None = None) -> Asking:
        return replace(
            asking, sign=lambda place, said: by_certificate(by, place=place, payload=said, key=key)
        )

    def forge(self, device: Device) -> Asking:
        """Of a maker whom the group does not know."""
        return self.signed(self.line.asking(device), STRANGER.device(name=device.name))

    def ended(self, device: Device) -> Asking:
        """A certificate whose time is over."""
        old = ROOT.below(device.name, Wanted(ends=MADE + timedelta(days=1), extensions=[usage(signs=True)]))
        return self.signed(self.line.asking(device), old)

    def early(self, device: Device) -> Asking:
        """A certificate whose time has not come."""
        begins = self.now + timedelta(days=2)
        young = ROOT.below(device.name, Wanted(begins=begins, extensions=[usage(signs=True)]))
        return self.signed(self.line.asking(device), young)

    def words(self, device: Device, folder: Path) -> tuple[str, list[str]]:
        code, _ = super().words(device, folder)
        made = self.made(device)
        certificate, key = folder / f"{device.name}.idevid.pem", folder / f"{device.name}.idevid.key"
        certificate.write_text(made.pem)
        key.write_bytes(made.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        key.chmod(0o600)
        return code, ["--factory-cert", str(certificate), "--factory-key", str(key)]

    def withdraw(self) -> None:
        """The group trusts this maker no longer."""
        self.roots = [STRANGER]
        self.line.put()


class OidcActor(Actor):
    """A token of an identity provider that runs."""

    method = "oidc"

    def __init__(self, line: "Line") -> None:
        super().__init__(line)
        self.provider = line.world.provider
        self.issuer = self.provider.url
        self._tokens: dict[str, str] = {}

    def rules(self) -> dict[str, Any]:
        rule = {"issuer": self.issuer, "audience": "keyborn", "name": "{sub}"}
        return {"oidc": rule | {"roots": self.provider.server.pki.root_pem, "claims": {"factory": "7"}}}

    def token(self, device: Device, **changes: Any) -> str:  # noqa: ANN401 - claims
        """A fresh one."""
        claims: dict[str, Any] = {"jti": f"id-{next(_numbers)}", **changes}
        made = self.provider.token(self.now, sub=device.name, **claims)
        self.secrets += [made, made.rpartition(".")[2]]
        return made

    def held(self, device: Device) -> str:
        """The one that the device has."""
        if device.name not in self._tokens:
            self._tokens[device.name] = self.token(device)
        return self._tokens[device.name]

    def dress(self, asking: Asking) -> Asking:
        return replace(asking, bearer=self.held(asking.device))

    def shown(self, device: Device, **changes: object) -> Asking:
        """With a token that differs from a good one."""
        return self.line.asking(device, bearer=self.token(device, **changes))

    def forge(self, device: Device) -> Asking:
        """Signed by nobody whom the provider knows, under the id of its key."""
        header = {"alg": "ES256", "kid": self.provider.signing, "typ": "JWT"}
        forged = sign(FOREIGN, header, self.provider.claims(self.now, sub=device.name))
        return self.line.asking(device, bearer=forged)

    def words(self, device: Device, folder: Path) -> tuple[str, list[str]]:
        code, _ = super().words(device, folder)
        file = folder / f"{device.name}.jwt"
        file.write_text(self.held(device))
        return code, ["--jwt-file", str(file)]


class RegisteredActor(Actor):
    """The device's own key, announced."""

    method = "registered"

    def grant(self, device: Device) -> None:
        wanted = {"group": self.line.group, "keys": [[device.name, device.key_hash]]}
        self.line.order("POST", "/v1/registered", wanted)

    def words(self, device: Device, folder: Path) -> tuple[str, list[str]]:
        code, _ = super().words(device, folder)
        return code, ["--adopt-key", str(device.key_file(folder))]

    def withdraw(self, device: Device) -> None:
        self.line.order("DELETE", f"/v1/registered/{device.key_hash}")


class AskActor(Actor):
    """A person who compares."""

    method = "ask"
    wait = "24h"
    pending = 1000

    def rules(self) -> dict[str, Any]:
        return {"ask": {"wait": self.wait, "pending": self.pending}}

    def decide(self, asked: Answer, state: str = "approved", words: str | None = None) -> dict[str, Any]:
        """What the person says of what the device shows."""
        assert asked.status == 202, asked.body
        said = (
            {"state": state, "words": words or asked.json["words"]}
            if state == "approved"
            else {"state": state}
        )
        done: dict[str, Any] = self.line.order("POST", f"/v1/approvals/{asked.json['approval']}", said)
        return done


class WebhookActor(Actor):
    """Another service, which runs and decides."""

    method = "webhook"

    def __init__(self, line: "Line") -> None:
        super().__init__(line)
        self.path = f"/may-enroll-{next(_numbers)}"
        self.answers(allow=True)

    def rules(self) -> dict[str, Any]:
        receiver = self.line.world.receiver
        url, roots = receiver.url + self.path, receiver.pki.root_pem
        return {"webhook": {"url": url, "roots": roots, "attributes": ["line"]}}

    def answers(self, **said: object) -> None:
        """What it says from now on."""
        body = json.dumps(said).encode()
        self.does(lambda exchange: exchange.send(200, body, Content_Type="application/json"))

    def does(self, reply: Reply) -> None:
        self.line.world.receiver.script(self.path, reply)

    def down(self) -> None:
        """It hangs up on everybody."""
        self.does(Exchange.hang_up)


ACTORS: dict[str, type[Actor]] = {
    each.method: each
    for each in (
        TokenActor,
        GroupKeyActor,
        FactoryActor,
        OidcActor,
        RegisteredActor,
        AskActor,
        WebhookActor,
    )
}


@dataclass
class Line:
    """A group that takes one way, and whoever comes to it."""

    ground: Ground
    world: World
    way: str
    group: str = field(default_factory=lambda: f"line-{next(_numbers)}")
    changes: dict[str, Any] = field(default_factory=dict)
    """Members of its file."""

    def __post_init__(self) -> None:
        self.actors = [ACTORS[name](self) for name in self.way.split(" + ")]
        self.first = self.actors[0]

    def actor(self, kind: type[Any]) -> Any:  # noqa: ANN401 - of that kind
        """The one of a kind."""
        return next(each for each in self.actors if isinstance(each, kind))

    def order(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:  # noqa: ANN401 - JSON
        """The operator's word."""
        return self.ground.order(method, path, body)

    def put(self, **changes: object) -> "Line":
        """Keep the group's file, with these members from now on; None takes one out."""
        self.changes = {k: v for k, v in {**self.changes, **changes}.items() if v is not None}
        members: dict[str, Any] = {"name": self.group, "things": "sensor-*", "methods": [self.way]}
        for actor in self.actors:
            members |= actor.rules()
        self.order("PUT", f"/v1/groups/{self.group}", {"document": write_toml(members | self.changes)})
        return self

    def remove(self) -> None:
        """The operator takes the group away."""
        self.order("DELETE", f"/v1/groups/{self.group}")

    def device(self, name: str | None = None) -> Device:
        """A new one, whom the operator expects."""
        device = new_device(name or f"sensor-{next(_numbers)}")
        self.grant(device)
        return device

    def grant(self, device: Device) -> None:
        """What everybody does who has to before it asks."""
        for actor in self.actors:
            actor.grant(device)

    def asking(self, device: Device, **shown: Any) -> Asking:  # noqa: ANN401 - members of ``Asking``
        """A request for this group with nothing to show."""
        return Asking(device, self.group, **shown)

    def dressed(self, device: Device, **said: Any) -> Asking:  # noqa: ANN401 - members of ``Asking``
        """A request with all that the device has."""
        asking = replace(self.asking(device), **said)
        for actor in self.actors:
            asking = actor.dress(asking)
        return asking

    def knock(self, device: Device, **said: Any) -> Answer:  # noqa: ANN401 - members of ``Asking``
        """Ask once."""
        return self.dressed(device, **said).send(self.ground)

    def approved(self, device: Device) -> None:
        """Where a person is asked: the device asks, and is approved. Else nothing."""
        asks = [each for each in self.actors if isinstance(each, AskActor)]
        for each in asks:
            each.decide(self.knock(device))

    def enroll(self, device: Device | None = None) -> tuple[Device, Answer]:
        """Everything that it takes."""
        device = device or self.device()
        self.approved(device)
        answer = self.knock(device)
        assert answer.status in {200, 201}, answer.body
        return device, answer

    @property
    def secrets(self) -> list[str]:
        """What no record may hold."""
        return [each for actor in self.actors for each in actor.secrets]
