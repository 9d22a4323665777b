"""Checks of the certificates that AWS IoT signs, and of what may be done with them."""

from datetime import UTC, datetime, timedelta
from hashlib import sha256

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keyborn.adapters.aws.smoke.check import Check, Differs, Holds, NotDecided, Verdict, check, holds_if
from keyborn.adapters.aws.smoke.lab import Lab, Specimen

_END = datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC)
_EARLIEST = 5.0
_BEGIN, _SPREAD = timedelta(minutes=2), timedelta(seconds=30)
GONE = "ResourceNotFoundException"


def _specimen(lab: Lab) -> Specimen:
    """The certificate that the checks of this theme look at; it stays inactive."""
    return lab.shared("specimen", lambda: lab.certificate("specimen"))


def _spare(lab: Lab) -> Specimen:
    """One whose status is changed."""
    return lab.shared("spare", lambda: lab.certificate("spare"))


@check(
    "certificate-id",
    "A certificate's id is the lower-case hexadecimal SHA-256 of its DER, and ends its ARN.",
    relied="domain.certificate, adapters.aws.iot",
    means="Keyborn computes ids by itself, and would name certificates that AWS IoT does not know.",
)
def _certificate_id(lab: Lab) -> Verdict:
    one = _specimen(lab)
    digest = sha256(one.der).hexdigest()
    return holds_if(
        one.id == digest and one.arn == f"{lab.outputs.iot_arn}:cert/{one.id}", f"id {one.id[:12]}…"
    )


@check(
    "certificate-dates",
    "A certificate is valid from two minutes before the request until 2049-12-31T23:59:59Z.",
    relied="domain.issued, device.identity (a device's clock may be behind by less than two minutes)",
    means="Devices take other dates for granted: to one whose clock is behind it may be too young.",
)
def _certificate_dates(lab: Lab) -> Verdict:
    one = _specimen(lab)
    leaf = x509.load_der_x509_certificate(one.der)
    before = one.asked_at - leaf.not_valid_before_utc
    seen = (
        f"from {before.total_seconds():.0f} s before the answer until {leaf.not_valid_after_utc:%Y-%m-%dT%XZ}"
    )
    return holds_if(abs(before - _BEGIN) <= _SPREAD and leaf.not_valid_after_utc == _END, seen)


@check(
    "certificate-subject",
    "Subject and key of a certificate are those of the request.",
    relied="domain.issued (refuses another key), adapters.aws.strays (finds strays by their key)",
    means="The broker shows another subject than Keyborn approved.",
)
def _certificate_subject(lab: Lab) -> Verdict:
    one = _specimen(lab)
    leaf, request = x509.load_der_x509_certificate(one.der), x509.load_pem_x509_csr(one.csr_pem.encode())
    keys = [
        each.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        for each in (leaf, request)
    ]
    seen = f"subject {_plain(leaf.subject, lab)}, {'the same' if keys[0] == keys[1] else 'another'} key"
    return holds_if(leaf.subject == request.subject and keys[0] == keys[1], seen)


def _plain(subject: x509.Name, lab: Lab) -> str:
    return subject.rfc4514_string().replace(lab.name(""), "…-")


@check(
    "certificate-extensions",
    "A certificate is no authority's, may sign, and has no extended key usage.",
    relied="domain.profile, docs (what a certificate from AWS holds)",
    means="Software that checks the purpose of a certificate may take it for another one than we describe.",
)
def _certificate_extensions(lab: Lab) -> Verdict:
    leaf = x509.load_der_x509_certificate(_specimen(lab).der)
    named = {one.oid._name: one for one in leaf.extensions}  # noqa: SLF001 - the only name there is
    basic, usage = named.get("basicConstraints"), named.get("keyUsage")
    seen = ", ".join(f"{name} (critical)" if one.critical else name for name, one in named.items())
    leafy = basic is not None and not basic.value.ca
    return holds_if(
        leafy and usage is not None and usage.value.digital_signature and "extendedKeyUsage" not in named,
        seen,
    )


@check(
    "certificate-inactive",
    "A certificate is INACTIVE until it is activated.",
    relied="adapters.aws.iot.sign (a lost answer leaves a certificate that opens nothing)",
    means="Who holds its key could use a certificate that nobody has approved yet.",
)
def _certificate_inactive(lab: Lab) -> Verdict:
    found = lab.ask("iot", "DescribeCertificate", certificateId=_specimen(lab).id)["certificateDescription"]
    return holds_if(found["status"] == "INACTIVE", f"status {found['status']}")


@check(
    "csr-repeat",
    "The same request sent twice makes two certificates.",
    relied="adapters.aws.iot.sign (never repeated where it may have been done), adapters.aws.strays",
    means="Keyborn goes to lengths to find second certificates that there would not be.",
)
def _csr_repeat(lab: Lab) -> Verdict:
    one = _specimen(lab)
    other = lab.signed(one.name, one.key_pem, one.csr_pem)
    return holds_if(
        other.id != one.id, "another certificate" if other.id != one.id else "the same certificate"
    )


@check(
    "status-repeat",
    "A certificate may be set to the status that it has.",
    relied="adapters.aws.iot.set_status (orders are repeated until they are confirmed)",
    means="A repeated order fails, and the sweeper tries it for ever.",
)
def _status_repeat(lab: Lab) -> Verdict:
    one = _spare(lab)
    for status in ("ACTIVE", "ACTIVE", "INACTIVE", "INACTIVE", "REVOKED", "REVOKED"):
        refused = lab.refusal("iot", "UpdateCertificate", certificateId=one.id, newStatus=status)
        if refused:
            return Differs(f"{status} refused with {refused.short}")
    return Holds("ACTIVE, INACTIVE and REVOKED, each twice")


@check(
    "revoked-to-active",
    "AWS IoT may take a revoked certificate back to ACTIVE: Keyborn relies on neither answer.",
    relied="adapters.aws.settle (a late activation is followed by another REVOKED)",
    means="",
)
def _revoked_to_active(lab: Lab) -> Verdict:
    one = _spare(lab)
    lab.switch(one, "REVOKED")
    refused = lab.refusal("iot", "UpdateCertificate", certificateId=one.id, newStatus="ACTIVE")
    if refused is None:
        lab.switch(one, "REVOKED")
    return Holds(f"refused with {refused.short}" if refused else "accepted")


@check(
    "certificate-missing",
    "Revoking or deleting a certificate that is not there is refused with ResourceNotFoundException.",
    relied="adapters.aws.iot (GONE is success)",
    means="What is gone already is taken for a failure, and the sweeper tries it for ever.",
)
def _certificate_missing(lab: Lab) -> Verdict:
    nobody = sha256(lab.name("nobody").encode()).hexdigest()
    first = lab.refusal("iot", "UpdateCertificate", certificateId=nobody, newStatus="REVOKED")
    second = lab.refusal("iot", "DeleteCertificate", certificateId=nobody)
    seen = ", ".join(one.short if one else "accepted" for one in (first, second))
    return holds_if(all(one is not None and one.code == GONE for one in (first, second)), seen)


@check(
    "delete-active",
    "An active certificate cannot be deleted.",
    relied="adapters.aws.iot.clear_away (revokes first), adapters.aws.stack.clearing",
    means="Nothing breaks: Keyborn revokes before it deletes.",
)
def _delete_active(lab: Lab) -> Verdict:
    one = lab.certificate("deleted")
    lab.switch(one, "ACTIVE")
    refused = lab.refusal("iot", "DeleteCertificate", certificateId=one.id)
    return holds_if(refused, refused.short if refused else "it was deleted")


@check(
    "list-newest-first",
    "ListCertificates shows a new certificate within seconds, the newest first.",
    relied="adapters.aws.iot.certificates (reads no further than the first page without young ones)",
    means="The sweeper may overlook a certificate whose answer was lost: it stays, without rights.",
)
def _list_newest_first(lab: Lab) -> Verdict:
    one = lab.certificate("listed")
    page: list[tuple[datetime, str]] = []

    def _is_listed() -> bool:
        answer = lab.ask("iot", "ListCertificates", pageSize=250, ascendingOrder=False)
        page[:] = [(each["creationDate"], each["certificateId"]) for each in answer["certificates"]]
        return one.id in [identity for _, identity in page]

    begun = datetime.now(UTC)
    if not lab.wait(_is_listed, lab.pace.answer, 0.5):
        return Differs(f"not on the first page of {len(page)} after {lab.pace.answer:g} s")
    after = (datetime.now(UTC) - begun).total_seconds()
    moments = [moment for moment, _ in page]
    ordered = moments == sorted(moments, reverse=True)
    return holds_if(ordered, f"after {after:.1f} s, {'newest first' if ordered else 'in no such order'}")


@check(
    "list-date",
    "ListCertificates dates a certificate no earlier than five seconds before its request.",
    relied="adapters.aws.strays.BEFORE",
    means="The sweeper may overlook a certificate whose answer was lost: it stays, without rights.",
)
def _list_date(lab: Lab) -> Verdict:
    one = lab.shared("dated", lambda: lab.certificate("dated"))
    found: list[datetime] = []

    def _is_listed() -> bool:
        answer = lab.ask("iot", "ListCertificates", pageSize=250, ascendingOrder=False)
        found[:] = [
            each["creationDate"] for each in answer["certificates"] if each["certificateId"] == one.id
        ]
        return bool(found)

    if not lab.wait(_is_listed, lab.pace.answer, 0.5):
        return NotDecided("it is not on the first page")
    before = (one.asked_at - found[0]).total_seconds()
    return holds_if(
        before <= _EARLIEST, f"{abs(before):.1f} s {'before' if before > 0 else 'after'} the answer"
    )


CHECKS: tuple[Check, ...] = (
    _certificate_id,
    _certificate_dates,
    _certificate_subject,
    _certificate_extensions,
    _certificate_inactive,
    _csr_repeat,
    _status_repeat,
    _revoked_to_active,
    _certificate_missing,
    _delete_active,
    _list_newest_first,
    _list_date,
)
