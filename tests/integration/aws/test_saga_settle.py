"""What the settlement wishes for a certificate; lists of more than one page, which the stand-in lacks."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from keyborn.adapters.aws.iot import Iot
from keyborn.adapters.aws.settle import Wish, wish_of
from keyborn.adapters.aws.table import Owed
from keyborn.domain.access_policy.document import DEFAULT_POLICY
from keyborn.domain.certificate import Certificate, CertificateStatus
from keyborn.domain.names import CertificateId
from keyborn.domain.thing import Thing, ThingKind, ThingStatus
from support.aws_saga import ACCOUNT, LAMP
from support.registry_cases import START, key

ACTIVE, INACTIVE, REVOKED = CertificateStatus.ACTIVE, CertificateStatus.INACTIVE, CertificateStatus.REVOKED
ID = CertificateId("c" * 64)


def owed(status: CertificateStatus | None) -> Owed:
    return Owed("mark", START, LAMP, ThingKind.DEVICE, ID, status)


def held(status: CertificateStatus) -> Certificate:
    return Certificate(ID, LAMP, key("k1"), b"", START, START, status)


def record(status: ThingStatus) -> Thing:
    return Thing(LAMP, status, key("k1"), START)


@pytest.mark.parametrize("status", [ACTIVE, INACTIVE, REVOKED, None])
def test_a_revoked_certificate_is_revoked_whatever_was_wanted_once(status: CertificateStatus | None) -> None:
    wish = wish_of(owed(status), held(REVOKED), record(ThingStatus.REVOKED))
    assert wish == Wish(REVOKED)


@pytest.mark.parametrize("status", [ThingStatus.CLAIMED, ThingStatus.ACTIVE, ThingStatus.SUSPENDED])
def test_a_revoked_certificate_of_a_living_thing_is_cleared_away(status: ThingStatus) -> None:
    assert wish_of(owed(REVOKED), held(REVOKED), record(status)) == Wish(REVOKED, clear=True)


@pytest.mark.parametrize("certificate", [None, held(REVOKED)])
def test_where_nothing_is_left_the_thing_goes_too(certificate: Certificate | None) -> None:
    assert wish_of(owed(REVOKED), certificate, None) == Wish(REVOKED, clear=True, orphaned=True)


def test_what_is_suspended_is_switched_off() -> None:
    assert wish_of(owed(INACTIVE), held(INACTIVE), record(ThingStatus.SUSPENDED)) == Wish(INACTIVE)


@pytest.mark.parametrize("status", [ThingStatus.CLAIMED, ThingStatus.ACTIVE])
def test_what_is_about_to_become_active_is_left_to_whoever_makes_it_so(status: ThingStatus) -> None:
    assert wish_of(owed(INACTIVE), held(INACTIVE), record(status)) == Wish()


def test_the_table_counts_and_not_what_was_wanted_once() -> None:
    assert wish_of(owed(INACTIVE), held(ACTIVE), record(ThingStatus.ACTIVE)) == Wish(ACTIVE)


def test_policies_are_those_of_the_record() -> None:
    wish = wish_of(owed(None), held(ACTIVE), record(ThingStatus.ACTIVE))
    assert wish == Wish(policies=(DEFAULT_POLICY,))


class Pages:
    """A client whose lists have pages: a stand-in for what the stand-in lacks."""

    def __init__(self, ages: list[list[int]]) -> None:
        self.ages = ages
        self.asked: list[str | None] = []

    def list_certificates(self, *, marker: str | None = None, **_: object) -> dict[str, Any]:
        """A page; each certificate is named by its age in hours."""
        self.asked.append(marker)
        number = int(marker or 0)
        made = [{"certificateId": str(age), "creationDate": hours_ago(age)} for age in self.ages[number]]
        more = {"nextMarker": str(number + 1)} if number + 1 < len(self.ages) else {}
        return {"certificates": made, **more}

    def list_attached_policies(self, *, marker: str | None = None, **_: object) -> dict[str, Any]:
        """One policy a page."""
        number = int(marker or 0)
        more = {"nextMarker": str(number + 1)} if number < 2 else {}
        return {"policies": [{"policyName": f"p{number}"}], **more}


def hours_ago(hours: int) -> datetime:
    return datetime(2026, 11, 1, tzinfo=UTC) - timedelta(hours=hours)


def test_the_account_s_certificates_are_read_as_far_back_as_is_needed() -> None:
    client = Pages([[1, 2], [3, 9], [10, 11], [12]])
    found = [one.id for one in Iot(client, ACCOUNT).certificates(hours_ago(5))]
    assert found == ["1", "2", "3"]
    assert client.asked == [None, "1", "2"]


def test_all_pages_of_a_certificate_s_policies_are_read() -> None:
    assert Iot(Pages([]), ACCOUNT).attached(ID) == ("p0", "p1", "p2")
