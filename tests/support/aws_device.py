"""A device that the stand-in for AWS knows, made through its API with no Keyborn between."""

import hashlib
import ssl
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from cryptography import x509

from keyborn.device import files, identity
from keyborn.device.answer import Broker, Fallback
from keyborn.device.home import Home
from keyborn.device.identity import Identity
from keyborn.device.keystore import FileKeyStore
from keyborn.device.subject import parse_subject
from keyborn.domain.names import ThingName
from keyborn.policies import device_policy
from support import ministack

POLICY = "device-under-test"


@dataclass(frozen=True, slots=True)
class AwsDevice:
    """What was made, and the client that made it."""

    identity: Identity
    arn: str
    iot: Any

    def set_status(self, status: str) -> None:
        """ACTIVE, INACTIVE or REVOKED."""
        self.iot.update_certificate(certificateId=self.identity.certificate_id, newStatus=status)


@cache
def broker_root() -> str:
    """What signs the certificate of the shared stand-in's broker, PEM."""
    with urllib.request.urlopen(f"{ministack.shared().url}/_ministack/iot/ca.pem", timeout=10) as answer:
        root: str = answer.read().decode()
    return root


def enroll_at_aws(
    home: Home, name: str, *, first_port: int | None = None, fallback: Fallback | None = None
) -> AwsDevice:
    """Give a home an identity of AWS IoT's: an active certificate with the default policy.

    ``first_port`` and ``fallback`` are what the answer would name in the place of the broker's port.
    """
    aws = ministack.shared()
    iot = aws.client("iot")
    home.prepare()
    store = FileKeyStore(home.key)
    files.run_steps(store.creation("p256"), files.no_checkpoint)
    thing = ThingName(name)
    made = iot.create_certificate_from_csr(
        certificateSigningRequest=store.sign_request(parse_subject("", thing)), setAsActive=True
    )
    _grant(iot, name, made["certificateArn"])
    broker = Broker(
        "localhost", first_port or aws.mqtt_port, None, "mqtts", name, f"certtest/{name}", fallback
    )
    return AwsDevice(_store(home, thing, made, broker), made["certificateArn"], iot)


def _grant(iot: Any, name: str, arn: str) -> None:  # noqa: ANN401 - botocore's clients have no types
    known = {one["policyName"] for one in iot.list_policies()["policies"]}
    if POLICY not in known:
        iot.create_policy(policyName=POLICY, policyDocument=device_policy())
    iot.create_thing(thingName=name)
    iot.attach_policy(policyName=POLICY, target=arn)
    iot.attach_thing_principal(thingName=name, principal=arn)


def _store(home: Home, thing: ThingName, made: Mapping[str, Any], broker: Broker) -> Identity:
    pem, roots = made["certificatePem"], broker_root()
    leaf = x509.load_pem_x509_certificate(pem.encode())
    found = Identity(
        thing=thing,
        certificate_id=hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest(),
        key_type="p256",
        not_before=leaf.not_valid_before_utc,
        not_after=leaf.not_valid_after_utc,
        certificate_hash=identity.file_hash(pem.encode()),
        roots_hash=identity.file_hash(roots.encode()),
        service_url="https://api.example",
        root_fingerprint="",
        proved_time=leaf.not_valid_before_utc,
        broker=broker,
    )
    files.run_steps(identity.storage_steps(home, pem, roots, found), files.no_checkpoint)
    return found
