"""What a certificate request wishes for: its attributes and extensions (RFC 2985, RFC 5280 4.2).

None of it reaches a certificate. A wish that a device's certificate grants anyway, or that grants nothing, is
read, checked and ignored; every other wish is refused, so that nobody believes it was granted.
"""

import re
from collections.abc import Callable

from keyborn.domain.csr_der import (
    BIT_STRING,
    BOOLEAN,
    OCTET_STRING,
    OID,
    SEQUENCE,
    SET,
    Element,
    dotted,
    expect,
    fields,
    read_der,
)
from keyborn.domain.csr_pem import quoted
from keyborn.domain.errors import (
    CsrAsksForCa,
    CsrExtensionRefused,
    CsrForeignName,
    CsrMalformed,
    CsrUsageRefused,
)

EXTENSION_REQUEST = "1.2.840.113549.1.9.14"
"""The one attribute we take. Not challengePassword: it is a secret, the request is kept and passed on, and
the enrolment token already says who asks. Not unstructuredName: it is a name."""

_ATTRIBUTES = {
    "1.2.840.113549.1.9.2": "the attribute unstructuredName",
    "1.2.840.113549.1.9.7": "the attribute challengePassword",
    "1.3.6.1.4.1.311.2.1.14": "the attribute certificate extensions of Microsoft",
}
_EXTENSIONS = {
    "1.2.840.113533.7.65.0": "the extension entrust version",
    "1.3.6.1.4.1.311.20.2": "the extension certificate template name",
    "1.3.6.1.5.5.7.1.1": "the extension authorityInfoAccess",
    "1.3.6.1.5.5.7.1.3": "the extension qcStatements",
    "1.3.6.1.5.5.7.1.11": "the extension subjectInfoAccess",
    "1.3.6.1.5.5.7.1.24": "the extension TLS feature (must-staple)",
    "1.3.6.1.5.5.7.48.1.5": "the extension OCSP no check",
    "2.16.840.1.113730.1.1": "the extension netscape cert type",
    "2.16.840.1.113730.1.13": "the extension netscape comment",
    "2.5.29.9": "the extension subjectDirectoryAttributes",
    "2.5.29.16": "the extension privateKeyUsagePeriod",
    "2.5.29.18": "the extension issuerAltName",
    "2.5.29.30": "the extension nameConstraints",
    "2.5.29.31": "the extension cRLDistributionPoints",
    "2.5.29.32": "the extension certificatePolicies",
    "2.5.29.33": "the extension policyMappings",
    "2.5.29.35": "the extension authorityKeyIdentifier",
    "2.5.29.36": "the extension policyConstraints",
    "2.5.29.46": "the extension freshestCRL",
    "2.5.29.54": "the extension inhibitAnyPolicy",
}


def read_wishes(attributes: Element) -> frozenset[str]:
    """Check every attribute and extension; return the DNS names asked for as alternative names.

    ``attributes`` is the ``[0]`` of CertificationRequestInfo. Raises CsrAsksForCa, CsrForeignName,
    CsrUsageRefused, CsrExtensionRefused or CsrMalformed.
    """
    names: frozenset[str] = frozenset()
    seen: set[str] = set()
    for attribute in attributes.children:
        kind, values = fields(attribute, (OID, SET), "attribute")
        name = dotted(kind.content)
        if name != EXTENSION_REQUEST:
            raise CsrExtensionRefused(found=_ATTRIBUTES.get(name, f"the attribute {name}"))
        if name in seen or len(values.children) != 1:
            raise CsrMalformed(detail="its extension request does not appear exactly once")
        seen.add(name)
        names = _read_extensions(values.children[0])
    return names


def _read_extensions(extensions: Element) -> frozenset[str]:
    """Read ``Extensions ::= SEQUENCE SIZE (1..MAX) OF Extension``, each kind at most once."""
    if not expect(extensions, SEQUENCE, "extension request").children:
        raise CsrMalformed(detail="its extension request is empty")
    names: frozenset[str] = frozenset()
    seen: set[str] = set()
    for extension in extensions.children:
        name, value = _extension(extension)
        if name in seen:
            raise CsrMalformed(detail=f"the extension {name} appears twice")
        seen.add(name)
        reader = _READERS.get(name)
        if reader is None:
            raise CsrExtensionRefused(found=_EXTENSIONS.get(name, f"the extension {name}"))
        names |= reader(read_der(value))
    return names


def _extension(extension: Element) -> tuple[str, bytes]:
    """Read ``Extension ::= SEQUENCE {extnID, critical DEFAULT FALSE, extnValue}``; critical or not is one."""
    parts = expect(extension, SEQUENCE, "extension").children
    tags = tuple(part.tag for part in parts)
    if tags == (OID, BOOLEAN, OCTET_STRING) and parts[1].content == b"\x00":
        raise CsrMalformed(detail="an extension writes out a default, which DER does not")
    if tags not in ((OID, OCTET_STRING), (OID, BOOLEAN, OCTET_STRING)):
        raise CsrMalformed(detail="an extension does not have the fields that X.509 demands")
    return dotted(parts[0].content), parts[-1].content


# ── the extensions a device may ask for ───────────────────────────────────────────────────────────────

_NONE: frozenset[str] = frozenset()


def _basic_constraints(value: Element) -> frozenset[str]:
    """``SEQUENCE {cA BOOLEAN DEFAULT FALSE, pathLen INTEGER OPTIONAL}``: only the empty one is a leaf's."""
    parts = expect(value, SEQUENCE, "basicConstraints").children
    if parts and parts[0].tag == BOOLEAN and parts[0].content == b"\xff":
        raise CsrAsksForCa
    if parts:
        raise CsrMalformed(detail="its basicConstraints are neither CA:TRUE nor CA:FALSE")
    return _NONE


_USAGES = (
    "digitalSignature",
    "contentCommitment",
    "keyEncipherment",
    "dataEncipherment",
    "keyAgreement",
    "keyCertSign",
    "cRLSign",
    "encipherOnly",
    "decipherOnly",
)
_DEVICE_USAGES = frozenset({"digitalSignature", "contentCommitment", "keyEncipherment", "keyAgreement"})
"""OpenSSL's sample ``v3_req`` asks for contentCommitment (nonRepudiation) and keyEncipherment, other clients
for keyEncipherment with RSA and keyAgreement with EC. A TLS client may have them; ours get
digitalSignature."""


def _key_usage(value: Element) -> frozenset[str]:
    """Read KeyUsage, a BIT STRING of named bits (RFC 5280 4.2.1.3)."""
    bits = expect(value, BIT_STRING, "keyUsage").content
    length = 8 * (len(bits) - 1) - bits[0]
    wanted = [at for at in range(length) if bits[1 + at // 8] >> (7 - at % 8) & 1]
    if not wanted or wanted[-1] != length - 1:  # named bits have no trailing zeros (X.690, 11.2.2)
        raise CsrMalformed(detail="its keyUsage is empty or not DER")
    for at in wanted:
        name = _USAGES[at] if at < len(_USAGES) else f"number {at}"
        if name not in _DEVICE_USAGES:
            raise CsrUsageRefused(found=name)
    return _NONE


_CLIENT_AUTH = "1.3.6.1.5.5.7.3.2"
_PURPOSES = {
    "1.3.6.1.5.5.7.3.1": "serverAuth",
    "1.3.6.1.5.5.7.3.3": "codeSigning",
    "1.3.6.1.5.5.7.3.4": "emailProtection",
    "1.3.6.1.5.5.7.3.8": "timeStamping",
    "1.3.6.1.5.5.7.3.9": "OCSPSigning",
    "1.3.6.1.5.5.7.3.17": "ipsecIKE",
    "1.3.6.1.5.5.7.3.28": "cmcRA",
    "1.3.6.1.4.1.311.20.2.2": "smartcardLogon",
    "1.3.6.1.5.2.3.4": "pkinitClientAuth",
    "2.5.29.37.0": "anyExtendedKeyUsage",
}


def _purposes(value: Element) -> frozenset[str]:
    """``ExtKeyUsageSyntax ::= SEQUENCE SIZE (1..MAX) OF KeyPurposeId``: clientAuth and nothing else."""
    if not expect(value, SEQUENCE, "extendedKeyUsage").children:
        raise CsrMalformed(detail="its extendedKeyUsage is empty")
    for purpose in value.children:
        name = dotted(expect(purpose, OID, "extendedKeyUsage").content)
        if name != _CLIENT_AUTH:
            raise CsrUsageRefused(found=_PURPOSES.get(name, name))
    return _NONE


def _key_identifier(value: Element) -> frozenset[str]:
    """``SubjectKeyIdentifier ::= OCTET STRING``: ignored, ours is computed from the key."""
    expect(value, OCTET_STRING, "subjectKeyIdentifier")
    return _NONE


_DNS_NAME = 0x82
_THING_NAME = re.compile(r"[A-Za-z0-9:_-]{1,64}")
_NAME_KINDS = {
    0x81: "an e-mail address",
    0x86: "a URI",
    0x87: "an IP address",
    0x88: "a registered id",
    0xA0: "an otherName",
    0xA4: "a directory name",
}


def _alternative_names(value: Element) -> frozenset[str]:
    """``GeneralNames ::= SEQUENCE SIZE (1..MAX) OF GeneralName``: DNS names, which must not be patterns."""
    if not expect(value, SEQUENCE, "subjectAltName").children:
        raise CsrMalformed(detail="its subjectAltName is empty")
    return frozenset(_dns_name(name) for name in value.children)


def _dns_name(name: Element) -> str:
    """Return a dNSName that could at least be a thing name. Raises CsrForeignName for every other."""
    if name.tag != _DNS_NAME:
        raise CsrForeignName(found="in the form of " + _NAME_KINDS.get(name.tag, "an unknown kind"))
    text = name.content.decode("latin-1")
    if not _THING_NAME.fullmatch(text):
        raise CsrForeignName(found=quoted(text))
    return text


_READERS: dict[str, Callable[[Element], frozenset[str]]] = {
    "2.5.29.14": _key_identifier,
    "2.5.29.15": _key_usage,
    "2.5.29.17": _alternative_names,
    "2.5.29.19": _basic_constraints,
    "2.5.29.37": _purposes,
}
