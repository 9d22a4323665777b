"""What the certificate variables say: values of a certificate's names, by the variables' names.

Source: AWS IoT Core Developer Guide, "X.509 Certificate AWS IoT Core policy variables": each name has a list
of values, of which five count; without a suffix the first is meant, ``.0`` to ``.4`` are the five, ``.List``
is all of them.
"""

import re
import warnings
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import lru_cache

from cryptography import x509
from cryptography.x509.oid import ExtensionOID, NameOID, ObjectIdentifier

PREFIX = "iot:Certificate."
SERIAL_NUMBER = f"{PREFIX}SerialNumber"
LIST_SUFFIX = "List"
MAX_VALUES = 5
MAX_VALUE = 1024
"""Characters of a value that AWS substitutes."""

_ATTRIBUTES: Mapping[str, ObjectIdentifier] = {
    "DistinguishedNameQualifier": NameOID.DN_QUALIFIER,
    "Country": NameOID.COUNTRY_NAME,
    "Organization": NameOID.ORGANIZATION_NAME,
    "OrganizationalUnit": NameOID.ORGANIZATIONAL_UNIT_NAME,
    "State": NameOID.STATE_OR_PROVINCE_NAME,
    "CommonName": NameOID.COMMON_NAME,
    "SerialNumber": NameOID.SERIAL_NUMBER,
    "Title": NameOID.TITLE,
    "Surname": NameOID.SURNAME,
    "GivenName": NameOID.GIVEN_NAME,
    "Initials": NameOID.INITIALS,
    "Pseudonym": NameOID.PSEUDONYM,
    "GenerationQualifier": NameOID.GENERATION_QUALIFIER,
}
_ALTERNATIVES: Mapping[str, type[x509.GeneralName]] = {
    "RFC822Name": x509.RFC822Name,
    "DNSName": x509.DNSName,
    "DirectoryName": x509.DirectoryName,
    "UniformResourceIdentifier": x509.UniformResourceIdentifier,
    "IPAddress": x509.IPAddress,
}
_WORDS: Mapping[ObjectIdentifier, str] = {
    NameOID.COMMON_NAME: "cn",
    NameOID.COUNTRY_NAME: "c",
    NameOID.DOMAIN_COMPONENT: "dc",
    NameOID.LOCALITY_NAME: "l",
    NameOID.ORGANIZATION_NAME: "o",
    NameOID.ORGANIZATIONAL_UNIT_NAME: "ou",
    NameOID.STATE_OR_PROVINCE_NAME: "st",
    NameOID.STREET_ADDRESS: "street",
    NameOID.USER_ID: "uid",
}
"""A directory name is written with small letters: ``cn=lamp,o=Example,c=DE``."""
_OWNERS = ("Issuer", "Subject")
_LISTS = frozenset(
    f"{PREFIX}{owner}.{name}"
    for owner in _OWNERS
    for name in (*_ATTRIBUTES, *(f"AlternativeName.{each}" for each in _ALTERNATIVES))
)
NAMES = _LISTS | {SERIAL_NUMBER}
"""The names without a suffix."""

_SUFFIXED = re.compile(rf"(.+)\.([0-{MAX_VALUES - 1}]|{LIST_SUFFIX})", re.DOTALL)


def is_known(name: str) -> bool:
    """Whether ``name`` is one of the certificate's, with or without a suffix."""
    found = _SUFFIXED.fullmatch(name)
    return name in NAMES or (found is not None and found[1] in _LISTS)


def is_list(name: str) -> bool:
    """Whether ``name`` stands for all values of a list."""
    return name.startswith(PREFIX) and name.endswith(f".{LIST_SUFFIX}")


def certificate_values(der: bytes, name: str) -> tuple[str, ...]:
    """Values of a known ``name``; none where the certificate has none or cannot be read. Never raises."""
    values = _read(der)
    if name in NAMES:
        return values.get(name, ())[:1]
    base, _, suffix = name.rpartition(".")
    every = values.get(base, ())
    return every if suffix == LIST_SUFFIX else every[int(suffix) :][:1]


@lru_cache(maxsize=256)
def _read(der: bytes) -> Mapping[str, tuple[str, ...]]:
    """All values by name; what the parser does not take is left out, part by part."""
    found: dict[str, tuple[str, ...]] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an odd serial number or country is the issuer's affair
        for part in (_serial, _subject, _issuer, _subject_alternatives, _issuer_alternatives):
            # The parser's errors have no common root, and whatever it cannot read does not resolve.
            with suppress(Exception):
                found |= part(x509.load_der_x509_certificate(der))
    return found


def _serial(certificate: x509.Certificate) -> dict[str, tuple[str, ...]]:
    """In decimal, whatever notation people write it in (same guide, "SerialNumber format")."""
    return {SERIAL_NUMBER: (str(certificate.serial_number),)}


def _subject(certificate: x509.Certificate) -> dict[str, tuple[str, ...]]:
    return dict(_of_name("Subject", certificate.subject))


def _issuer(certificate: x509.Certificate) -> dict[str, tuple[str, ...]]:
    return dict(_of_name("Issuer", certificate.issuer))


def _of_name(owner: str, name: x509.Name) -> Iterable[tuple[str, tuple[str, ...]]]:
    for word, oid in _ATTRIBUTES.items():
        values = (each.value for each in name.get_attributes_for_oid(oid))
        yield f"{PREFIX}{owner}.{word}", _kept(each for each in values if isinstance(each, str))


def _subject_alternatives(certificate: x509.Certificate) -> dict[str, tuple[str, ...]]:
    extension = certificate.extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME).value
    assert isinstance(extension, x509.SubjectAlternativeName)
    return dict(_of_alternatives("Subject", list(extension)))


def _issuer_alternatives(certificate: x509.Certificate) -> dict[str, tuple[str, ...]]:
    extension = certificate.extensions.get_extension_for_oid(ExtensionOID.ISSUER_ALTERNATIVE_NAME).value
    assert isinstance(extension, x509.IssuerAlternativeName)
    return dict(_of_alternatives("Issuer", list(extension)))


def _of_alternatives(owner: str, names: list[x509.GeneralName]) -> Iterable[tuple[str, tuple[str, ...]]]:
    for word, kind in _ALTERNATIVES.items():
        values = (_text_of(each.value) for each in names if type(each) is kind)
        yield f"{PREFIX}{owner}.AlternativeName.{word}", _kept(values)


def _text_of(value: object) -> str:
    return value.rfc4514_string(_WORDS) if isinstance(value, x509.Name) else str(value)


def _kept(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(values)[:MAX_VALUES]
