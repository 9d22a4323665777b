"""How each kind of thing that a run made is removed again; every removal may be repeated."""

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.x509.oid import NameOID

from keyborn.adapters.aws.calls import Expected, Patience
from keyborn.adapters.aws.iot import GONE, Account, Iot
from keyborn.adapters.aws.session import AwsSession
from keyborn.adapters.aws.smoke.ledger import Owed
from keyborn.adapters.aws.stack.orders import Orders
from keyborn.domain.access_policy.document import PolicyName
from keyborn.domain.errors import KeybornError
from keyborn.domain.names import CertificateId

FAILURES = (KeybornError,)
"""What a removal raises that has to be repeated."""
_LATE = timedelta(minutes=2)
"""How far our clock and that of AWS may be apart."""


class Undo:
    """Removes what a ledger lists, and tells the command for what does not go."""

    def __init__(self, session: AwsSession, iot_arn: str) -> None:
        """``iot_arn``: ``arn:aws:iot:REGION:ACCOUNT``. Nothing is asked yet."""
        self._session = session
        self._arn = iot_arn
        self._orders = Orders(session)

    def __call__(self, one: Owed) -> None:
        """Remove it; missing is fine. Raises leaves of KeybornError."""
        getattr(self, f"_{one.kind}")(one.name)

    def command(self, one: Owed) -> str:
        """What a person types instead."""
        region = f"--region {self._session.region}"
        return {
            "certificate": f"aws iot update-certificate --certificate-id {one.name} --new-status INACTIVE "
            f"{region} && aws iot delete-certificate --certificate-id {one.name} --force-delete {region}",
            "thing": f"aws iot delete-thing --thing-name {one.name} {region}",
            "policy": f"aws iot delete-policy --policy-name {one.name} {region}",
            "table": f"aws dynamodb delete-table --table-name {one.name} {region}",
            "signing": "keyborn aws smoke --clean",
        }[one.kind]

    def _iot(self) -> Iot:
        return Iot(self._session.client("iot"), Account(self._arn), patience=Patience(whole=8.0, longest=2.0))

    def _certificate(self, name: str) -> None:
        self._iot().clear_away(CertificateId(name))

    def _signing(self, name: str) -> None:
        """A certificate was asked for and its answer is lost: it is found by its subject."""
        subject, _, since = name.partition("@")
        iot = self._iot()
        for one in iot.certificates(datetime.fromisoformat(since) - _LATE):
            der = iot.der_of(one.id)
            if der is not None and subject_of(der) == subject:
                iot.clear_away(one.id)

    def _thing(self, name: str) -> None:
        self._orders.ask("iot", "DeleteThing", thingName=name)

    def _policy(self, name: str) -> None:
        self._iot().remove_policy(PolicyName(name))

    def _table(self, name: str) -> None:
        try:
            self._orders.ask("dynamodb", "DeleteTable", expected={GONE}, TableName=name)
        except Expected:
            return


def signing(subject: str) -> str:
    """The entry for a certificate that is about to be asked for."""
    return f"{subject}@{datetime.now(UTC).isoformat(timespec='seconds')}"


def subject_of(der: bytes) -> str:
    """A certificate's common name, or nothing."""
    try:
        names = x509.load_der_x509_certificate(der).subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    except ValueError:
        return ""
    return str(names[0].value) if names else ""
