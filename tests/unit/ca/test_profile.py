"""Profiles: dates, and what each kind of certificate may do."""

from datetime import UTC, datetime, timedelta

import pytest

from keyborn.domain.errors import InvalidSetting
from keyborn.domain.profile import (
    BACKDATE,
    DEVICE,
    DEVICE_INTERMEDIATE,
    MAX_DEVICE_LIFETIME,
    ROOT,
    SERVER_INTERMEDIATE,
    SERVICE,
    CertificateProfile,
    KeyUse,
    Purpose,
    Validity,
)

NOW = datetime(2026, 11, 23, 12, 0, 0, 123456, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def test_a_device_certificate_is_back_dated_five_minutes_and_lives_ninety_days() -> None:
    validity = CertificateProfile().validity(NOW)
    assert validity.not_before == datetime(2026, 11, 23, 11, 55, tzinfo=UTC)
    assert validity.not_after == datetime(2027, 2, 21, 12, 0, tzinfo=UTC)


def test_dates_are_whole_seconds_as_x509_keeps_them() -> None:
    validity = CertificateProfile(lifetime=timedelta(hours=1)).validity(NOW)
    assert validity.not_before.microsecond == validity.not_after.microsecond == 0


@pytest.mark.parametrize("lifetime", [timedelta(0), timedelta(days=-1), timedelta(milliseconds=999)])
def test_a_lifetime_under_a_second_is_refused(lifetime: timedelta) -> None:
    with pytest.raises(InvalidSetting, match="under a second"):
        CertificateProfile(lifetime=lifetime)


def test_a_leaf_may_live_ten_years_and_not_a_second_longer() -> None:
    assert CertificateProfile(lifetime=MAX_DEVICE_LIFETIME).lifetime == MAX_DEVICE_LIFETIME
    with pytest.raises(InvalidSetting, match="over 10 years"):
        CertificateProfile(lifetime=MAX_DEVICE_LIFETIME + SECOND)


def test_a_validity_holds_at_both_of_its_ends_and_not_beyond() -> None:
    validity = Validity(NOW, NOW + SECOND)
    assert validity.holds(NOW)
    assert validity.holds(NOW + SECOND)
    assert not validity.holds(NOW - SECOND)
    assert not validity.holds(NOW + 2 * SECOND)


def test_a_validity_lies_within_another_only_if_both_ends_do() -> None:
    outer = Validity(NOW, NOW + 10 * SECOND)
    assert outer.within(outer)
    assert Validity(NOW + SECOND, NOW + 9 * SECOND).within(outer)
    assert not Validity(NOW - SECOND, NOW + SECOND).within(outer)
    assert not Validity(NOW + SECOND, NOW + 11 * SECOND).within(outer)


def test_only_authorities_may_sign_certificates_and_leaves_only_sign_data() -> None:
    for authority in (ROOT, DEVICE_INTERMEDIATE, SERVER_INTERMEDIATE):
        assert authority.is_authority
        assert authority.uses == {KeyUse.SIGN_CERTIFICATES, KeyUse.SIGN_CRLS}
    for leaf in (DEVICE, SERVICE):
        assert not leaf.is_authority
        assert leaf.uses == {KeyUse.SIGN}


def test_no_purpose_is_shared_between_devices_and_servers() -> None:
    assert DEVICE.purposes == DEVICE_INTERMEDIATE.purposes == (Purpose.CLIENT,)
    assert SERVICE.purposes == SERVER_INTERMEDIATE.purposes == (Purpose.SERVER,)


def test_no_intermediate_may_have_another_below_it() -> None:
    assert (ROOT.path_length, DEVICE_INTERMEDIATE.path_length, SERVER_INTERMEDIATE.path_length) == (1, 0, 0)


def test_leaves_fit_into_intermediates_and_intermediates_into_the_root() -> None:
    for intermediate in (DEVICE_INTERMEDIATE, SERVER_INTERMEDIATE):
        assert intermediate.validity(NOW).within(ROOT.validity(NOW))
        assert DEVICE.validity(NOW).within(intermediate.validity(NOW))
    assert DEVICE_INTERMEDIATE.backdate > BACKDATE
