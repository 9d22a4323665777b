"""AWS as a check sees it, with answers of a test's own: for what no stand-in does."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from botocore.exceptions import ClientError, ReadTimeoutError
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from keyborn.adapters.aws.smoke.catalog import ALL
from keyborn.adapters.aws.smoke.check import Check, Verdict
from keyborn.adapters.aws.smoke.lab import Lab, Pace
from keyborn.adapters.aws.smoke.ledger import Ledger
from keyborn.adapters.aws.smoke.run import Finding, examine
from keyborn.adapters.aws.stack.outputs import StackOutputs

ARN = "arn:aws:iot:eu-central-1:123456789012"
END = datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC)
QUICK = Pace(whole=30.0, answer=0.05, later=0.05, between=0.0, burst=16)
OUTPUTS = StackOutputs(
    stack="kb",
    status="CREATE_COMPLETE",
    url="https://abc123.execute-api.eu-central-1.amazonaws.com",
    root_fingerprint=b"",
    mqtt_host="a1b2c3-ats.iot.eu-central-1.amazonaws.com",
    mqtt_port=8883,
    topic_prefix="certtest",
    table="kb-Table-1",
    thing_type="kb_device",
    default_policy="kb_keyborn-default",
    policy_prefix="kb_",
    iot_arn=ARN,
    enrollments_per_second=9.8,
    api_id="abc123",
    enroll_function="kb-enroll",
    enroll_role="kb-EnrollRole-1",
    sweep_role="kb-SweepRole-1",
)
Answer = Callable[..., Mapping[str, Any]]


def refused(code: str, status: int = 400, message: str = "no", **more: object) -> ClientError:
    """What botocore raises for an error."""
    error = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError({**error, **more}, "Operation")


def refusing(code: str, status: int = 400, message: str = "no") -> Answer:
    """An operation that is always refused."""

    def _refuse(**_: object) -> Mapping[str, Any]:
        raise refused(code, status, message)

    return _refuse


def silent(**_: object) -> Mapping[str, Any]:
    """An operation that is never answered."""
    raise ReadTimeoutError(endpoint_url="https://iot")


def after(count: int, first: Answer, then: Answer) -> Answer:
    """One answer for the first calls, another for the rest."""
    calls: list[int] = []

    def _answer(**parameters: object) -> Mapping[str, Any]:
        calls.append(1)
        return (first if len(calls) <= count else then)(**parameters)

    return _answer


def always(**answer: object) -> Answer:
    """An operation with one answer."""
    return lambda **_: answer


@dataclass(slots=True)
class Authority:
    """Signs as AWS IoT does, but for what a test wants otherwise."""

    begin: timedelta = timedelta(minutes=-2)
    end: datetime = END
    subject: x509.Name | None = None
    extensions: tuple[tuple[x509.ExtensionType, bool], ...] = (
        (x509.BasicConstraints(ca=False, path_length=None), True),
    )
    usage: bool = True
    id: str = ""
    cache: bool = False
    """Whether the same request gets the same certificate."""
    made: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def __call__(self, *, certificateSigningRequest: str, **_: object) -> Mapping[str, Any]:  # noqa: N803 - AWS's name
        """CreateCertificateFromCsr."""
        if not (self.cache and certificateSigningRequest in self.made):
            self.made[certificateSigningRequest] = self._sign(certificateSigningRequest)
        return self.made[certificateSigningRequest]

    def _sign(self, csr: str) -> Mapping[str, Any]:
        request, now = x509.load_pem_x509_csr(csr.encode()), datetime.now(UTC).replace(microsecond=0)
        builder = (
            x509.CertificateBuilder()
            .subject_name(self.subject or request.subject)
            .issuer_name(request.subject)
            .public_key(request.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + self.begin)
            .not_valid_after(self.end)
        )
        for extension, critical in self.extensions:
            builder = builder.add_extension(extension, critical)
        if self.usage:
            builder = builder.add_extension(_signing(), critical=True)
        leaf = builder.sign(self.key, hashes.SHA256())
        identity = self.id or sha256(leaf.public_bytes(Encoding.DER)).hexdigest()
        return {
            "certificateId": identity,
            "certificateArn": f"{ARN}:cert/{identity}",
            "certificatePem": leaf.public_bytes(Encoding.PEM).decode(),
            "ResponseMetadata": {"HTTPHeaders": {"date": format_datetime(now, usegmt=True)}},
        }


def _signing() -> x509.KeyUsage:
    rest = dict.fromkeys(
        (
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "key_cert_sign",
            "crl_sign",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    return x509.KeyUsage(digital_signature=True, **rest)


class World:
    """Answers by operation (``iot.CreateThing``); every other one succeeds and says nothing."""

    region = "eu-central-1"

    def __init__(self, **answers: Answer) -> None:
        """``iot_CreateThing=refusing("Code")``."""
        self.answers: dict[str, Answer] = {"iot_CreateCertificateFromCsr": Authority(), **answers}
        self.calls: list[tuple[str, Mapping[str, Any]]] = []

    def client(self, service: str, **_: object) -> "Client":
        """As AwsSession."""
        return Client(self, service)

    def called(self, name: str) -> list[Mapping[str, Any]]:
        """The parameters of every call of an operation."""
        return [parameters for operation, parameters in self.calls if operation == name]


class Client:
    """As a client of botocore's."""

    exceptions = SimpleNamespace(ClientError=ClientError, TransactionCanceledException=ClientError)

    def __init__(self, world: World, service: str) -> None:
        self._world, self._service = world, service

    def __getattr__(self, method: str) -> Answer:
        operation = "".join(word.capitalize() for word in method.split("_"))
        name = f"{self._service.replace('-', '_')}_{operation}"

        def _call(**parameters: object) -> Mapping[str, Any]:
            self._world.calls.append((name, parameters))
            return self._world.answers.get(name, always())(**parameters)

        return _call


def lab(
    world: World, ledger: Ledger, pace: Pace = QUICK, outputs: StackOutputs = OUTPUTS, roots: str = ""
) -> Lab:
    """A lab in that world."""
    return Lab(world, outputs, ledger, run="test", roots=roots, pace=pace)  # type: ignore[arg-type] # a session's part


def named(name: str) -> Check:
    """A check of the catalog."""
    return next(one for one in ALL if one.name == name)


def try_check(
    name: str, world: World, folder: Path, *, outputs: StackOutputs = OUTPUTS, pace: Pace = QUICK
) -> Finding:
    """What a check finds in that world."""
    from keyborn.adapters.aws.smoke.ledger import open_ledger

    with open_ledger(folder, name) as ledger:
        (finding,) = examine(lab(world, ledger, pace, outputs), [named(name)], lambda _: None)
        for one in ledger.owed:
            ledger.strike(one)
    return finding


def check_of(experiment: Callable[[Lab], Verdict], **more: Any) -> Check:  # noqa: ANN401 - a check's fields
    """A check that is in no catalog."""
    words = {"assumption": "It is so.", "relied": "here", "means": "That.", "remedy": "This.", "burst": False}
    return Check(name="probe", experiment=experiment, **{**words, **more})
