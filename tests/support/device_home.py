"""A device for tests: a home in a temporary folder, surroundings that never sleep, an identity at hand."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from keyborn.device import files, identity
from keyborn.device.answer import Broker, Fallback
from keyborn.device.home import Home
from keyborn.device.identity import Identity
from keyborn.device.keystore import FileKeyStore
from keyborn.device.pace import Pace
from keyborn.device.surroundings import Surroundings
from keyborn.domain.names import ThingName
from keyborn.domain.token import EnrollmentCode
from support.device_pki import Wanted, certify
from support.pki import Pki, pem, shared_pki

THING = "gateway-1"
OWN = f"certtest/{THING}"
"""The topic that is its own, by the policy that every device has."""


class Crash(BaseException):
    """A power cut: nothing may catch it."""


@dataclass
class FixedClock:
    """A clock that stands where a test puts it."""

    at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def now(self) -> datetime:
        return self.at


@dataclass
class Machine:
    """Surroundings that note what was said and waited for; waiting moves the virtual time only."""

    clock: FixedClock = field(default_factory=FixedClock)
    hostname: str = THING
    said: list[str] = field(default_factory=list)
    slept: list[float] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    crash_before: str | None = None
    seconds: float = 0.0

    def surroundings(self) -> Surroundings:
        return Surroundings(
            self.clock,
            self.hostname,
            self.said.append,
            Pace(lambda: self.seconds, self._sleep, lambda: 0.5),
            self._checkpoint,
        )

    def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.seconds += seconds

    def _checkpoint(self, name: str) -> None:
        if name == self.crash_before:
            raise Crash(name)
        self.steps.append(name)


def home_in(folder: Path) -> Home:
    """A home that does not exist yet."""
    return Home(folder / "home")


def identify(
    home: Home,
    thing: str = THING,
    *,
    pki: Pki | None = None,
    broker: tuple[str, int] = ("localhost", 8883),
    wanted: Wanted | None = None,
    pinned: bool = True,
    alpn: str | None = None,
    code: EnrollmentCode | None = None,
    fallback: Fallback | None = None,
) -> Identity:
    """Give a home an identity as an enrolment (with ``code``) would, without a service."""
    pki = pki or shared_pki()
    home.prepare()
    store = FileKeyStore(home.key)
    if not store.exists():
        files.run_steps(store.creation("p256"), files.no_checkpoint)
    wanted = wanted or Wanted(name=thing)
    leaf = certify(pki.devices, _public_key(home), wanted)
    certificate_pem = pem(leaf, pki.devices.certificate)
    made = Identity(
        thing=ThingName(thing),
        certificate_id=hashlib.sha256(leaf.public_bytes(Encoding.DER)).hexdigest(),
        key_type="p256",
        not_before=leaf.not_valid_before_utc,
        not_after=leaf.not_valid_after_utc,
        certificate_hash=identity.file_hash(certificate_pem.encode()),
        roots_hash=identity.file_hash(pki.root_pem.encode()),
        service_url=code.url if code else "https://localhost:8443",
        root_fingerprint=code.fingerprint.hex() if code else "ab" * 32 if pinned else "",
        proved_time=leaf.not_valid_before_utc,
        broker=Broker(broker[0], broker[1], alpn, "mqtts", thing, f"certtest/{thing}", fallback),
    )
    steps = identity.storage_steps(home, certificate_pem, pki.root_pem, made)
    files.run_steps(steps, files.no_checkpoint)
    return made


def _public_key(home: Home) -> object:
    return load_pem_private_key(home.key.read_bytes(), None).public_key()


def leaf_of(home: Home) -> x509.Certificate:
    """The certificate a home holds."""
    return x509.load_pem_x509_certificates(home.certificate.read_bytes())[0]


def now() -> datetime:
    return datetime.now(UTC)


DAY = timedelta(days=1)


def eventually(condition: Callable[[], bool]) -> None:
    """Poll until another thread has done what it must."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)
