"""What Keyborn asks of AWS IoT, one method for each effect; each may be repeated.

Everything here blocks; ``aside`` runs it in a thread. Error codes: AWS IoT API Reference. What is already as
it should be is success: a thing that is there, a certificate that is not there to be revoked.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ParamSpec, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from keyborn.adapters.aws.calls import Answer, Expected, Patience, Service
from keyborn.domain.access_policy.document import PolicyName
from keyborn.domain.attributes import OURS
from keyborn.domain.certificate import CertificateStatus
from keyborn.domain.errors import PolicyNameTooLong
from keyborn.domain.names import CertificateId, ThingName
from keyborn.domain.thing import Thing, ThingKind

P = ParamSpec("P")
T = TypeVar("T")

GROUP, TYPE = f"{OURS}group", f"{OURS}type"
"""Attributes of things in AWS IoT that say what the record says beside its attributes."""
GONE = "ResourceNotFoundException"
_THERE = "ResourceAlreadyExistsException"
_FULL = "VersionsLimitExceededException"
_PAGE = 250
_LONGEST_NAME = 128
"""Characters of a policy's name (AWS IoT API Reference, CreatePolicy)."""


async def aside(effect: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
    """Run what blocks in a thread, under the deadline of whoever asks (``calls.within``)."""
    return await asyncio.to_thread(effect, *args, **named)


@dataclass(frozen=True, slots=True)
class Account:
    """Where the certificates are, and what is Keyborn's there."""

    prefix: str
    """What stands before ``:cert/``: ``arn:aws:iot:eu-central-1:123456789012``."""
    thing_type: str | None = None
    """The type of our things; without one, no thing is ever deleted."""
    policy_prefix: str = ""
    """Goes before a policy's name, so that two stacks of one account do not share policies: ``STACK_``.

    No stack's name has ``_``. With a hyphen a name of ``prod`` could be one of ``prod-eu``.
    """

    def certificate(self, certificate: CertificateId) -> str:
        """A certificate's ARN."""
        return f"{self.prefix}:cert/{certificate}"

    def policy(self, name: PolicyName) -> str:
        """A policy's name in AWS IoT."""
        return f"{self.policy_prefix}{name}"

    def require_short(self, name: PolicyName) -> None:
        """Raise PolicyNameTooLong for a name that AWS IoT would not take with our prefix."""
        most = _LONGEST_NAME - len(self.policy_prefix)
        if len(name) > most:
            raise PolicyNameTooLong(length=len(name), prefix=self.policy_prefix, most=most)

    def owns_policy(self, named: str) -> bool:
        """Whether a policy is Keyborn's, by its name in AWS IoT."""
        return named.startswith(self.policy_prefix)


@dataclass(frozen=True, slots=True)
class Listed:
    """A certificate of the account, whoever's it is."""

    id: CertificateId
    created_at: datetime


class Iot:
    """AWS IoT, through one botocore client. Every method raises leaves of Unavailable."""

    def __init__(self, client: object, account: Account, *, patience: Patience | None = None) -> None:
        """``client``: a botocore client for ``iot``, or what makes one at the first call."""
        self._service = Service(client, "iot", patience=patience or Patience(whole=4.0))
        self.account = account

    # ── what an enrollment needs ──────────────────────────────────────────────────────────────────────

    def sign(self, csr_pem: str) -> bytes:
        """A new certificate, inactive: its DER. Never repeated where it may have been made."""
        answer = self._service.call(
            "CreateCertificateFromCsr", repeatable=False, certificateSigningRequest=csr_pem, setAsActive=False
        )
        return _der(answer["certificatePem"])

    def create_thing(self, thing: Thing) -> bool:
        """Make the thing; whether it is there just so. A service has none.

        One of that name that is otherwise (AWS IoT API Reference, CreateThing: "different configuration",
        its type among that) is left as it is.
        """
        if thing.kind is not ThingKind.DEVICE:
            return True
        typed: dict[str, Any] = {"thingTypeName": self.account.thing_type} if self.account.thing_type else {}
        if described := description(thing):
            typed["attributePayload"] = {"attributes": described}
        try:
            self._service.call("CreateThing", expected={_THERE}, thingName=thing.name, **typed)
        except Expected:
            return False
        return True

    def attach_policy(self, certificate: CertificateId, name: PolicyName) -> None:
        """Give a certificate a policy."""
        target = self.account.certificate(certificate)
        self._service.call("AttachPolicy", policyName=self.account.policy(name), target=target)

    def attach_thing(self, certificate: CertificateId, thing: Thing) -> None:
        """Bind a certificate to its thing, and to no other ever."""
        if thing.kind is not ThingKind.DEVICE:
            return
        self._service.call(
            "AttachThingPrincipal",
            thingName=thing.name,
            principal=self.account.certificate(certificate),
            thingPrincipalType="EXCLUSIVE_THING",
        )

    def set_status(self, certificate: CertificateId, status: CertificateStatus) -> None:
        """Switch a certificate; one that is not there needs no revoking."""
        missing = (GONE,) if status is CertificateStatus.REVOKED else ()
        self._tolerant(
            *missing, "UpdateCertificate", certificateId=certificate, newStatus=status.value.upper()
        )

    # ── what the sweeper and the operator need ────────────────────────────────────────────────────────

    def attached(self, certificate: CertificateId) -> tuple[str, ...]:
        """The policies of a certificate, by their names in AWS IoT; none where there is no certificate."""
        target = self.account.certificate(certificate)
        found = self._pages("ListAttachedPolicies", "policies", ("marker", "nextMarker"), target=target)
        return tuple(one["policyName"] for one in found)

    def detach_policy(self, certificate: CertificateId, named: str) -> None:
        """Take a policy away; ``named`` as AWS IoT names it."""
        target = self.account.certificate(certificate)
        self._tolerant(GONE, "DetachPolicy", policyName=named, target=target)

    def things_of(self, certificate: CertificateId) -> tuple[str, ...]:
        """The things that a certificate is bound to."""
        principal = self.account.certificate(certificate)
        return tuple(
            self._pages("ListPrincipalThings", "things", ("nextToken", "nextToken"), principal=principal)
        )

    def detach_thing(self, certificate: CertificateId, thing: str) -> None:
        """Unbind a certificate from a thing."""
        principal = self.account.certificate(certificate)
        self._tolerant(GONE, "DetachThingPrincipal", thingName=thing, principal=principal)

    def clear_away(self, certificate: CertificateId) -> None:
        """Revoke a certificate, unbind it from everything, delete it."""
        self.set_status(certificate, CertificateStatus.REVOKED)
        for policy in self.attached(certificate):
            self.detach_policy(certificate, policy)
        for thing in self.things_of(certificate):
            self.detach_thing(certificate, thing)
        self._tolerant(GONE, "DeleteCertificate", certificateId=certificate, forceDelete=False)

    def delete_thing(self, name: ThingName) -> None:
        """Delete a thing that is of our type and has no certificate; any other is left alone."""
        try:
            known = self._service.call("DescribeThing", expected={GONE}, thingName=name)
        except Expected:
            return
        ours = self.account.thing_type is not None and known.get("thingTypeName") == self.account.thing_type
        if not ours or next(self.principals(name), None) is not None:
            return
        # Refused for a while after a certificate was detached: the next run deletes it then.
        self._service.call("DeleteThing", thingName=name, expectedVersion=known["version"])

    def describe_thing(self, thing: Thing, gone: Iterable[str]) -> None:
        """Give a thing of our type the attributes of its record, and take away those that are ``gone``.

        What an administrator added besides stays. Where there is no such thing, nothing is to be done: who
        makes it, makes it as the record is. Raises AwsRefused if it changed at the same moment.
        """
        try:
            known = self._service.call("DescribeThing", expected={GONE}, thingName=thing.name)
        except Expected:
            return
        if self.account.thing_type is None or known.get("thingTypeName") != self.account.thing_type:
            return
        changes = _changes(known.get("attributes", {}), description(thing), gone)
        if changes:
            self._service.call(
                "UpdateThing",
                thingName=thing.name,
                attributePayload={"attributes": changes, "merge": True},
                expectedVersion=known["version"],
            )

    def principals(self, name: str) -> Iterator[str]:
        """What a thing is bound to: ARNs of certificates, and of whatever else there may be."""
        return self._pages("ListThingPrincipals", "principals", ("nextToken", "nextToken"), thingName=name)

    def certificates(self, since: datetime) -> Iterator[Listed]:
        """The certificates of the account that were made since a moment, whoever's they are."""
        begin: dict[str, Any] = {}
        while True:
            answer = self._service.call("ListCertificates", pageSize=_PAGE, ascendingOrder=False, **begin)
            page = [_listed(one) for one in answer["certificates"]]
            young = [one for one in page if one.created_at >= since]
            yield from young
            if not young or not answer.get("nextMarker"):
                return  # they come newest first
            begin = {"marker": answer["nextMarker"]}

    def der_of(self, certificate: CertificateId) -> bytes | None:
        """The DER of a certificate of the account; None if it is not there, or not to be read."""
        try:
            found = self._service.call("DescribeCertificate", expected={GONE}, certificateId=certificate)
            return _der(found["certificateDescription"]["certificatePem"])
        except (Expected, ValueError):
            return None

    # ── policies ──────────────────────────────────────────────────────────────────────────────────────

    def put_policy(self, name: PolicyName, text: str) -> None:
        """Make ``text`` the policy's default version, unless it is; the oldest other one makes room."""
        named = self.account.policy(name)
        try:
            self._service.call("CreatePolicy", expected={_THERE}, policyName=named, policyDocument=text)
        except Expected:
            if self._service.call("GetPolicy", policyName=named)["policyDocument"] != text:
                self._add_version(named, text)

    def _add_version(self, named: str, text: str) -> None:
        parameters: dict[str, Any] = {"policyName": named, "policyDocument": text, "setAsDefault": True}
        try:
            self._service.call("CreatePolicyVersion", expected={_FULL}, **parameters)
        except Expected:
            oldest = min(self._others(named), key=lambda one: int(one["versionId"]))
            self._forget_version(named, oldest)
            self._service.call("CreatePolicyVersion", **parameters)

    def remove_policy(self, name: PolicyName) -> bool:
        """Delete a policy with all its versions; whether there was one."""
        named = self.account.policy(name)
        for one in self._others(named):
            self._forget_version(named, one)
        try:
            self._service.call("DeletePolicy", expected={GONE}, policyName=named)
        except Expected:
            return False
        return True

    def _others(self, named: str) -> list[Mapping[str, Any]]:
        """The versions of a policy that do not count now."""
        try:
            found = self._service.call("ListPolicyVersions", expected={GONE}, policyName=named)
        except Expected:
            return []
        return [one for one in found["policyVersions"] if not one["isDefaultVersion"]]

    def _forget_version(self, named: str, one: Mapping[str, Any]) -> None:
        self._tolerant(GONE, "DeletePolicyVersion", policyName=named, policyVersionId=one["versionId"])

    # ── calls ─────────────────────────────────────────────────────────────────────────────────────────

    def _tolerant(self, *codes_and_operation: str, **parameters: Any) -> None:  # noqa: ANN401 - as botocore takes them
        """Call the operation, the last of the words; the codes before it mean that nothing is to be done."""
        *codes, operation = codes_and_operation
        try:
            self._service.call(operation, expected=codes, **parameters)
        except Expected:
            return

    def _pages(
        self,
        operation: str,
        what: str,
        marks: tuple[str, str],
        **parameters: Any,  # noqa: ANN401 - as botocore takes them
    ) -> Iterator[Any]:
        """All pages of a list; an empty one where that which it is about is not there."""
        ask, told = marks
        begin: dict[str, Any] = {}
        while True:
            try:
                answer: Answer = self._service.call(operation, expected={GONE}, **parameters, **begin)
            except Expected:
                return
            yield from answer.get(what, ())
            if not answer.get(told):
                return
            begin = {ask: answer[told]}


def description(thing: Thing) -> dict[str, str]:
    """A thing's attributes in AWS IoT: those of its record, its group and its type.

    The type in AWS IoT itself is the stack's for all: it says whose a thing is, and permits fifty attributes.
    """
    own = {name: value for name, value in thing.attributes.items() if name not in (GROUP, TYPE)}
    named = {GROUP: thing.group, TYPE: thing.thing_type}
    return {**own, **{name: value for name, value in named.items() if value is not None}}


def _changes(has: Mapping[str, str], wanted: Mapping[str, str], gone: Iterable[str]) -> dict[str, str]:
    """What UpdateThing has to merge in; an empty value takes an attribute away (AWS IoT API Reference)."""
    changed = {name: value for name, value in wanted.items() if has.get(name, "") != value}
    over = {name for name in (*gone, GROUP, TYPE) if name in has and name not in wanted}
    return changed | dict.fromkeys(over, "")


def _listed(one: Mapping[str, Any]) -> Listed:
    return Listed(CertificateId(one["certificateId"]), one["creationDate"].astimezone(UTC))


def _der(pem: str) -> bytes:
    return x509.load_pem_x509_certificate(pem.encode()).public_bytes(Encoding.DER)
