"""Devices of a deployed stack with clients that are not ours, and an ear that hears all of them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from paho.mqtt.enums import MQTTProtocolVersion

from support.aws_party import Party
from support.csr_make import make_csr
from support.talker import V5, Identity, Talker

EVERYTHING = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "iot:*", "Resource": "*"}],
}


@dataclass(slots=True)
class Crowd:
    """Whoever connects in a test; all are gone when it ends."""

    party: Party
    folder: Path
    talkers: list[Talker] = field(default_factory=list)

    @property
    def mqtt(self) -> tuple[str, int]:
        """Host and port of the broker."""
        return "localhost", self.party.aws.mqtt_port

    def device(self, name: str) -> Identity:
        """A device that enrolled through the stack, with the command."""
        made = self.party.keyborn("token", "create", "--thing", name, "--aws", self.party.stack)
        code, home = made.stdout.splitlines()[-1], self.folder / name
        done = self.party.keyborn("enroll", "-", "--thing", name, "--home", home, "--json", typed=code)
        certificate = json.loads(done.stdout)["certificateId"]
        files = (home / "device.key", home / "device.crt", home / "roots.pem")
        return Identity(name, certificate, *files)

    def talker(
        self, identity: Identity, version: MQTTProtocolVersion = V5, *, client_id: str | None = None
    ) -> Talker:
        """A paho client of an identity; not connected yet."""
        talker = Talker(self, identity, client_id or identity.name, version)
        self.talkers.append(talker)
        return talker

    def ear(self, name: str) -> Talker:
        """A client that the account's owner made: it may do everything, and has subscribed to all topics."""
        talker = self.talker(self._owner(name)).connect()
        assert talker.subscribe("#") == [1]
        return talker

    def _owner(self, name: str) -> Identity:
        iot = self.party.aws.client("iot")
        key, csr = make_csr(name)
        made = iot.create_certificate_from_csr(certificateSigningRequest=csr, setAsActive=True)
        iot.create_policy(policyName=name, policyDocument=json.dumps(EVERYTHING))
        iot.attach_policy(policyName=name, target=made["certificateArn"])
        files = [self.folder / f"{name}.{kind}" for kind in ("key", "crt", "roots")]
        key_pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        texts = (key_pem.decode(), made["certificatePem"], self.party.broker_root())
        for path, text in zip(files, texts, strict=True):
            path.write_text(text)
        return Identity(name, made["certificateId"], *files)


@contextmanager
def crowd(party: Party, folder: Path) -> Iterator[Crowd]:
    """A crowd for as long as it is needed."""
    made = Crowd(party, folder)
    try:
        yield made
    finally:
        for talker in made.talkers:
            talker.leave()
