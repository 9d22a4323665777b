"""A group whose devices sign their enrolment, by a group key or by a factory certificate."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta

from keyborn.adapters.memory import MemoryRegistry
from keyborn.adapters.system import SystemEntropy
from keyborn.domain.audit import AuditEvent
from keyborn.domain.group import GroupDocument
from keyborn.domain.group_key import device_key, group_key_id, sign
from keyborn.domain.jws import Draft
from keyborn.domain.jws_enroll import Place, draft_by_certificate, draft_by_key, parse_signed_enrollment
from keyborn.domain.jws_signature import algorithm_of, sign as sign_by_key
from keyborn.domain.names import GroupName, NameScope, ThingName
from keyborn.domain.token import EnrollmentToken, TokenId
from keyborn.ports import Asked, Credential
from keyborn.service.gate import KeptRules
from keyborn.service.group_keys import FreshGroupKey, GroupKeyOffice
from keyborn.service.nonces import MemoryNonces
from keyborn.service.tokens import TokenWish
from support.csr_make import DeviceKey
from support.factory import Maker
from support.office import NOON, SOURCE, TurnedClock

URL = "https://ra.example:8443/v1/enroll"
LINE, OTHER = GroupName("line-7"), GroupName("line-8")
NAME = ThingName("sensor-1")
YEAR = timedelta(days=365)


def by_key(key: bytes, name: str, place: Place, payload: bytes, kid: object = None) -> bytes:
    """A request that the device called ``name`` signs; ``kid`` may claim another group key."""
    drafted = draft_by_key(TokenId(str(kid or group_key_id(key))), place, payload)
    return drafted.signed(sign(device_key(key, ThingName(name)), drafted.signing_input))


def by_certificate(
    device: Maker, *above: Maker, place: Place, payload: bytes, key: DeviceKey | None = None
) -> bytes:
    """A request that a manufacturer's device signs; ``key`` in the place of its own."""
    key = key or device.key
    drafted: Draft = draft_by_certificate(
        algorithm_of(key), [device.der, *(each.der for each in above)], place, payload
    )
    return drafted.signed(sign_by_key(key, drafted.signing_input))


def payload(name: object = NAME, csr: object = "csr", group: object = LINE, **more: object) -> bytes:
    """What is asked for."""
    return json.dumps({"thingName": name, "csr": csr, "group": group, **more}).encode()


def toml(name: str, methods: str, more: str = "") -> str:
    return f'name = "{name}"\nthings = "sensor-*"\nmethods = ["{methods}"]\n{more}'


@dataclass
class SigningWorld:
    """The registry, the clock, the nonces and the rules that methods work with."""

    registry: MemoryRegistry = field(default_factory=MemoryRegistry)
    clock: TurnedClock = field(default_factory=TurnedClock)

    def __post_init__(self) -> None:
        self.nonces = MemoryNonces(self.clock, SystemEntropy())
        self.rules = KeptRules(self.registry)
        self.keys = GroupKeyOffice(
            tokens=self.registry,
            groups=self.registry,
            clock=self.clock,
            entropy=SystemEntropy(),
            trust=lambda: ("https://ra.example:8443", b"\x11" * 32),
        )

    async def group(self, name: GroupName = LINE, methods: str = "group-key", more: str = "") -> None:
        event = AuditEvent(NOON, "group.put", "done", name, "operator")
        await self.registry.put_group(GroupDocument(name, toml(name, methods, more), NOON), event)

    async def key(self, group: GroupName = LINE, **wish: object) -> FreshGroupKey:
        wanted = replace(TokenWish(NameScope("*"), None, YEAR), **wish)  # type: ignore[arg-type] # its fields
        return await self.keys.create(group, wanted)

    async def token(self, fresh: FreshGroupKey) -> EnrollmentToken:
        found = await self.registry.find(fresh.token.id)
        assert found is not None
        return found

    async def place(self, url: str = URL) -> Place:
        return Place(url, await self.nonces.issue())


def shown(body: bytes, **asked: object) -> Credential:
    """What the door makes of a request; ``asked`` as if it had decoded something else."""
    signed, said = parse_signed_enrollment(body, [URL])
    members: Mapping[str, object] = json.loads(said)
    wish = Asked(members["thingName"], members["csr"], members.get("group"))
    return Credential(None, SOURCE, asked=replace(wish, **asked), signed=signed)
