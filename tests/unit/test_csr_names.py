"""Names in a request against the thing name: the issuance policy's half of the rules."""

import pytest

from keyborn.domain.applicant import Applicant
from keyborn.domain.csr import CertificateRequest, parse_csr
from keyborn.domain.errors import CsrForeignName, CsrNameMismatch, GenericNameRefused
from keyborn.domain.issuance import GENERIC_COMMON_NAME, require_own_name
from keyborn.domain.method import Method
from keyborn.domain.names import NameScope, ThingName
from keyborn.domain.token import TokenId
from support.csr_build import CN, asking, extension, info_der, part, pem, request_der, seq, tlv, utf8

NAME = ThingName("sensor-1")


def _applicant(pattern: str = "sensor-1") -> Applicant:
    return Applicant(Method.TOKEN, TokenId("t1"), NameScope(pattern))


def _request(common_name: str, *own_names: str) -> CertificateRequest:
    names = seq(*(tlv(0x82, name.encode()) for name in own_names))
    attributes = tlv(0xA0, *([asking(extension("2.5.29.17", names))] if own_names else []))
    return parse_csr(pem(request_der(info_der(name=seq(part(CN, utf8(common_name))), attributes=attributes))))


@pytest.mark.parametrize("generic", [True, False])
@pytest.mark.parametrize("own_names", [(), ("sensor-1",), ("sensor-1", "sensor-1")])
def test_the_things_own_name_passes_at_either_door(own_names: tuple[str, ...], *, generic: bool) -> None:
    require_own_name(_request("sensor-1", *own_names), NAME, _applicant(), generic=generic)


@pytest.mark.parametrize("generic", [True, False])
@pytest.mark.parametrize("found", ["sensor-2", "Sensor-1", "sensor-11", "sensor 1", "aws iot certificate"])
def test_another_common_name_is_refused_with_both_names_in_the_sentence(found: str, *, generic: bool) -> None:
    with pytest.raises(CsrNameMismatch, match=f"is '{found}'.*CN=sensor-1"):
        require_own_name(_request(found), NAME, _applicant(), generic=generic)


def test_the_generic_name_passes_only_at_the_compatibility_door() -> None:
    request = _request(GENERIC_COMMON_NAME, "sensor-1")
    require_own_name(request, NAME, _applicant(), generic=True)
    with pytest.raises(CsrNameMismatch):
        require_own_name(request, NAME, _applicant(), generic=False)


@pytest.mark.parametrize("pattern", ["*", "sensor-?", "sensor-2"])
def test_the_generic_name_needs_a_token_bound_to_that_one_name(pattern: str) -> None:
    with pytest.raises(GenericNameRefused):
        require_own_name(_request(GENERIC_COMMON_NAME), NAME, _applicant(pattern), generic=True)


@pytest.mark.parametrize("generic", [True, False])
@pytest.mark.parametrize("foreign", ["sensor-2", "SENSOR-1", "admin", "localhost"])
def test_a_foreign_alternative_name_is_refused_beside_the_own_one(foreign: str, *, generic: bool) -> None:
    for own_names in ((foreign,), ("sensor-1", foreign), (foreign, "sensor-1")):
        with pytest.raises(CsrForeignName, match=f"'{foreign}'"):
            require_own_name(_request("sensor-1", *own_names), NAME, _applicant(), generic=generic)


def test_a_foreign_alternative_name_is_refused_with_the_generic_name_too() -> None:
    with pytest.raises(CsrForeignName):
        require_own_name(_request(GENERIC_COMMON_NAME, "sensor-2"), NAME, _applicant(), generic=True)


def test_a_wrong_common_name_is_named_before_a_wrong_alternative_name() -> None:
    with pytest.raises(CsrNameMismatch):
        require_own_name(_request("sensor-2", "sensor-2"), NAME, _applicant(), generic=False)
