"""Where experiments are done: calls to AWS, names, waiting, and things that are removed afterwards."""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from keyborn.adapters.aws.calls import Patience, Rounds
from keyborn.adapters.aws.errors import AWS_ERRORS, code_of, is_throttled
from keyborn.adapters.aws.session import DENIED, UNKNOWN_CALLER, AwsSession
from keyborn.adapters.aws.smoke.ledger import Ledger
from keyborn.adapters.aws.smoke.undo import signing
from keyborn.adapters.aws.stack.outputs import StackOutputs

T = TypeVar("T")
PREFIX = "keyborn-smoke-"
_THROTTLED = Patience(whole=20.0, first=0.5, longest=4.0)
_PREFIXES = {"iot-data": "iot", "service-quotas": "servicequotas", "apigatewayv2": "apigateway"}
_NO_SUCH_CALL = frozenset({"InvalidAction", "UnknownOperation", "UnknownOperationException"})


@dataclass(frozen=True, slots=True)
class Pace:
    """How long things may take, in seconds, and how many calls a burst has."""

    whole: float = 300.0
    """All checks together; what does not fit is not decided."""
    answer: float = 10.0
    """Until a broker has answered, or AWS has done what it does at once."""
    later: float = 120.0
    """Until AWS has done what it does in the background."""
    between: float = 1.1
    """Between two connections of one client id: AWS IoT takes one a second (endpoints and quotas)."""
    burst: int = 200


class Refused(Exception):
    """AWS answered a call with an error."""

    def __init__(self, operation: str, code: str, status: int, message: str) -> None:
        self.operation, self.code, self.status, self.message = operation, code, status, message
        super().__init__(f"{operation} was refused with {code} (HTTP {status})")

    @property
    def short(self) -> str:
        """Code and status."""
        return f"{self.code} (HTTP {self.status})"


class Undecided(Exception):
    """The experiment cannot be done here; the text is a clause that says why."""


@dataclass(frozen=True, slots=True)
class Specimen:
    """A certificate of the run's own, and its key."""

    id: str
    arn: str
    name: str
    """The common name."""
    der: bytes
    key_pem: bytes
    csr_pem: str
    asked_at: datetime
    """When, by the clock of AWS."""

    @property
    def certificate_pem(self) -> bytes:
        """For TLS."""
        return x509.load_der_x509_certificate(self.der).public_bytes(Encoding.PEM)


class Lab:
    """One run's hands. What it makes has a name with the run's prefix, and stands in the ledger."""

    def __init__(
        self,
        session: AwsSession,
        outputs: StackOutputs,
        ledger: Ledger,
        *,
        run: str,
        roots: str,
        pace: Pace | None = None,
    ) -> None:
        """``run``: a few random letters; ``roots``: whom to trust for MQTT, PEM."""
        self.session = session
        self.outputs = outputs
        self.roots = roots
        self.pace = pace or Pace()
        self.until = time.monotonic() + self.pace.whole
        self._ledger = ledger
        self._run = run
        self._notes: dict[str, Any] = {}
        self._clients: list[Callable[[], None]] = []

    # ── calls ─────────────────────────────────────────────────────────────────────────────────────────

    def ask(self, service: str, operation: str, **parameters: Any) -> Mapping[str, Any]:  # noqa: ANN401 - botocore's
        """Call ``operation`` (``CreateThing``); a throttled call is repeated for a while.

        Raises Refused, Undecided where the caller may not do this or AWS cannot be reached.
        """
        method, rounds = self._method(service, operation), Rounds(_THROTTLED)
        while True:
            try:
                answer: Mapping[str, Any] = method(**parameters)
            except AWS_ERRORS as error:
                if not is_throttled(error) or not rounds.pause():
                    raise _explain(error, service, operation) from error
            else:
                return answer

    def once(self, service: str, operation: str, **parameters: Any) -> Mapping[str, Any]:  # noqa: ANN401 - as above
        """The same, without repeats."""
        try:
            answer: Mapping[str, Any] = self._method(service, operation)(**parameters)
        except AWS_ERRORS as error:
            raise _explain(error, service, operation) from error
        return answer

    def refusal(self, service: str, operation: str, **parameters: Any) -> Refused | None:  # noqa: ANN401 - as above
        """How AWS refuses a call; None if it does not."""
        try:
            self.ask(service, operation, **parameters)
        except Refused as refused:
            return refused
        return None

    def together(self, many: int, work: Callable[[int], T]) -> list[T]:
        """Do something many times at once, in threads."""
        with ThreadPoolExecutor(many) as pool:
            return list(pool.map(work, range(many)))

    def _method(self, service: str, operation: str) -> Callable[..., Mapping[str, Any]]:
        words = "".join(f"_{one.lower()}" if one.isupper() else one for one in operation)
        client = self.session.client(service)
        method: Callable[..., Mapping[str, Any]] = getattr(client, words.removeprefix("_"))
        return method

    # ── time ──────────────────────────────────────────────────────────────────────────────────────────

    def wait(self, done: Callable[[], object], seconds: float, every: float = 0.02) -> bool:
        """Look until it is true; False if it is not within ``seconds``, or the run's time is over."""
        until = min(time.monotonic() + seconds, self.until)
        while not done():
            if time.monotonic() >= until:
                return bool(done())
            time.sleep(min(every, max(0.0, until - time.monotonic())))
        return True

    def skew(self) -> float:
        """By how many seconds our clock is ahead of that of AWS."""
        before = time.time()
        answer = self.ask("sts", "GetCallerIdentity")
        told = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
        if not told:
            raise Undecided("the answer has no date")
        # The header has whole seconds: in the middle of one, on average.
        return (before + time.time()) / 2 - parsedate_to_datetime(told).timestamp() - 0.5

    # ── things of the run's own ───────────────────────────────────────────────────────────────────────

    def name(self, part: str) -> str:
        """A name that only this run uses."""
        return f"{PREFIX}{self._run}-{part}"

    def shared(self, key: str, make: Callable[[], T]) -> T:
        """What several checks need, made by the first of them."""
        if key not in self._notes:
            self._notes[key] = make()
        found: T = self._notes[key]
        return found

    def at_end(self, close: Callable[[], None]) -> None:
        """Do this when the experiments are over, before anything is removed."""
        self._clients.append(close)

    def close(self) -> None:
        """End what is open. What it made is removed by the ledger."""
        while self._clients:
            self._clients.pop()()

    def certificate(self, part: str) -> Specimen:
        """A new certificate, inactive, with a key that was made here."""
        name = self.name(part)
        key = ec.generate_private_key(ec.SECP256R1())
        subject = [
            x509.NameAttribute(NameOID.COMMON_NAME, name),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Smoke"),
        ]
        request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(subject))
        csr = request.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()
        return self.signed(name, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), csr)

    def signed(self, name: str, key_pem: bytes, csr: str) -> Specimen:
        """What AWS IoT makes of a request."""
        open_entry = self._ledger.owe("signing", signing(name))
        try:
            answer = self.ask(
                "iot", "CreateCertificateFromCsr", certificateSigningRequest=csr, setAsActive=False
            )
        except Refused:
            self._ledger.strike(open_entry)
            raise
        self._ledger.owe("certificate", answer["certificateId"])
        self._ledger.strike(open_entry)
        leaf = x509.load_pem_x509_certificate(answer["certificatePem"].encode())
        told = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
        return Specimen(
            id=answer["certificateId"],
            arn=answer["certificateArn"],
            name=name,
            der=leaf.public_bytes(Encoding.DER),
            key_pem=key_pem,
            csr_pem=csr,
            asked_at=parsedate_to_datetime(told).astimezone(UTC) if told else datetime.now(UTC),
        )

    def switch(self, certificate: Specimen, status: str) -> None:
        """Change a certificate's status (``ACTIVE``)."""
        self.ask("iot", "UpdateCertificate", certificateId=certificate.id, newStatus=status)

    def thing(self, part: str, **more: Any) -> str:  # noqa: ANN401 - as above
        """A new thing; its name."""
        name = self.name(part)
        self._ledger.owe("thing", name)
        self.ask("iot", "CreateThing", thingName=name, **more)
        return name

    def policy(self, part: str, document: str) -> str:
        """A new policy; its name."""
        name = self.name(part)
        self._ledger.owe("policy", name)
        self.ask("iot", "CreatePolicy", policyName=name, policyDocument=document)
        return name

    def table(self) -> str:
        """A table of the run's own, as the template makes them; its name."""
        return self.shared("table", self._table)

    def _table(self) -> str:
        name = self.name("table")
        self._ledger.owe("table", name)
        self.ask(
            "dynamodb",
            "CreateTable",
            TableName=name,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": one, "AttributeType": "S"} for one in ("pk", "sk")],
            KeySchema=[
                {"AttributeName": "pk", "KeyType": "HASH"},
                {"AttributeName": "sk", "KeyType": "RANGE"},
            ],
        )
        if not self.wait(lambda: self._is_open(name), 60.0, 0.5):
            raise Undecided("the table for it was not ready within a minute")
        return name

    def _is_open(self, table: str) -> bool:
        return bool(
            self.ask("dynamodb", "DescribeTable", TableName=table)["Table"]["TableStatus"] == "ACTIVE"
        )


def _explain(error: BaseException, service: str, operation: str) -> Exception:
    """What an error says about the experiment."""
    code, response = code_of(error), getattr(error, "response", None)
    action = f"{_PREFIXES.get(service, service)}:{operation}"
    if response is None:
        return Undecided(f"{service} gave no answer ({code})")
    if code in DENIED or code in UNKNOWN_CALLER:
        return Undecided(f"these credentials may not call {action}")
    if code in _NO_SUCH_CALL or code.isdigit():  # botocore takes the status where there is no code
        return Undecided(f"{service} does not know the call {operation}")
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    return Refused(operation, code, status, str(response.get("Error", {}).get("Message", "")))
