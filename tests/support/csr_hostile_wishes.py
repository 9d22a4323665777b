"""Hostile inputs with a sound key and a true signature that name or ask for what no device gets."""

from collections.abc import Iterator

from support.csr_build import (
    CN,
    NULL,
    OU,
    ST,
    C,
    L,
    O,
    Row,
    asking,
    bits,
    boolean,
    extension,
    integer,
    octets,
    oid,
    pair,
    part,
    printable,
    seq,
    set_of,
    subject,
    tlv,
    utf8,
    with_attributes,
    with_extensions,
    with_name,
)

SUBJECT, MALFORMED, FOREIGN = "csr_subject_refused", "csr_malformed", "csr_foreign_name"
USAGE, CA, EXTENSION = "csr_usage_refused", "csr_asks_for_ca", "csr_extension_refused"
OWN = part(CN, utf8("sensor-1"))


def common_names() -> Iterator[Row]:
    """A common name that cannot be a thing name."""
    for name in (
        "",
        "#",
        "+",
        "$SYS",
        "$aws/things/x",
        "a/b",
        "*",
        "sensor-?",
        "sensor.1",
        "*.example.com",
        "../../etc/passwd",
        " sensor-1",
        "sensor-1 ",
        "sensor  1",
        "sensor-1\0",
        "sensor-1\0.example.com",
        "sensor\n1",
        "sensor\r\n1",
        "sensor\t1",
        "sensor\x1b[2J",
        "sensor\x7f",
        "sensor\x85",
        "sensor\u200b1",
        "\u202e1-rosnes",
        "s\u0435nsor-1",
        "\uff53ensor-1",
        "caf\u00e9",
        "cafe\u0301",
        "\u6e29\u5ea6\u8a08",
        "\U0001f511",
        "\ufeffsensor-1",
        "\ufffe",
        "\ue000",
        "sensor\u2028x",
        "<script>alert(1)</script>",
        "'; drop table things; --",
        '{"a":1}',
        "{0}",
        "%s%n",
        "CN=sensor-1",
        "sensor-1,CN=admin",
        "sensor@example.com",
        "urn:x/y",
        "a" * 65,
        "a" * 1500,
    ):
        yield f"CN {name[:24]!r} of {len(name)}", with_name(part(CN, utf8(name))), SUBJECT


def string_types() -> Iterator[Row]:
    """A common name in another type, or with bytes that its type does not have."""
    plain = b"sensor-1"
    for name, value in {
        "TeletexString": tlv(0x14, plain),
        "BMPString": tlv(0x1E, "sensor-1".encode("utf-16-be")),
        "half a BMPString": tlv(0x1E, b"\0"),
        "UniversalString": tlv(0x1C, "sensor-1".encode("utf-32-be")),
        "IA5String": tlv(0x16, plain),
        "VisibleString": tlv(0x1A, plain),
        "NumericString": tlv(0x12, b"12345"),
        "GeneralString": tlv(0x1B, plain),
        "VideotexString": tlv(0x15, plain),
        "OCTET STRING": octets(plain),
        "BIT STRING": bits(plain),
        "INTEGER": integer(1),
        "NULL": NULL,
        "an object identifier": oid("1.2.3"),
        "a time": tlv(0x17, b"260101000000Z"),
        "a sequence": seq(utf8("sensor-1")),
        "an explicit tag": tlv(0xA0, utf8("sensor-1")),
        "a bare context tag": tlv(0x80, plain),
        "UTF8String, broken": tlv(0x0C, b"sensor\xff"),
        "UTF8String, cut short": tlv(0x0C, b"sensor\xe2\x82"),
        "UTF8String, overlong": tlv(0x0C, b"sensor\xc0\xaf"),
        "UTF8String, surrogate": tlv(0x0C, b"sensor\xed\xa0\x80"),
        "UTF8String, beyond Unicode": tlv(0x0C, b"\xf4\x90\x80\x80"),
        "PrintableString with an underscore": printable("sensor_1"),
        "PrintableString with 8 bits": tlv(0x13, b"sensor\xe9"),
        "PrintableString with NUL": tlv(0x13, b"sensor-1\0"),
        "an empty PrintableString": printable(""),
    }.items():
        yield f"CN as {name}", with_name(part(CN, value)), SUBJECT


def subjects() -> Iterator[Row]:
    """Attributes that are doubled, foreign, oversized, or no attributes."""
    other, o = part(CN, utf8("admin")), part(O, utf8("x"))
    for name, parts in {
        "nothing": (),
        "only an organization": (o,),
        "two CNs": (OWN, other),
        "the same CN twice": (OWN, OWN),
        "two CNs with an O between": (OWN, o, other),
        "two CNs in one part": (set_of(pair(CN, utf8("admin")), pair(CN, utf8("sensor-1"))),),
        "a CN and an OU in one part": (set_of(pair(CN, utf8("sensor-1")), pair(OU, utf8("x"))),),
        "an OU and an O in one part": (OWN, set_of(pair(O, utf8("x")), pair(OU, utf8("x")))),
        "two organizations": (OWN, o, o),
        "two units": (OWN, part(OU, utf8("x")), part(OU, utf8("y"))),
        "a hundred units": (OWN, *(part(OU, utf8(f"u{n}")) for n in range(90))),
        "two countries": (part(C, printable("JP")), part(C, printable("US")), OWN),
        "a part of nothing": (OWN, set_of()),
        "a country of one letter": (OWN, part(C, printable("J"))),
        "a country of three letters": (OWN, part(C, printable("JPN"))),
        "a country of digits": (OWN, part(C, printable("12"))),
        "a country of signs": (OWN, part(C, utf8("\u65e5\u672c"))),
        "an organization of nothing": (OWN, part(O, utf8(""))),
        "an organization of 65": (OWN, part(O, utf8("o" * 65))),
        "a unit of 65": (OWN, part(OU, utf8("o" * 65))),
        "a place of 129": (OWN, part(L, utf8("o" * 129))),
        "a state of 129": (OWN, part(ST, utf8("o" * 129))),
        "an organization with a newline": (OWN, part(O, utf8("x\ny"))),
        "an organization with NUL": (OWN, part(O, utf8("x\0y"))),
        "an organization with an escape": (OWN, part(O, utf8("\x1b[31mx"))),
        "an organization from right to left": (OWN, part(O, utf8("x\u202ey"))),
        "an organization in TeletexString": (OWN, part(O, tlv(0x14, b"x\xe9"))),
        "an organization in BMPString": (OWN, part(O, tlv(0x1E, b"\0x"))),
        "an organization that is no UTF-8": (OWN, part(O, tlv(0x0C, b"\xff"))),
        "an attribute without a value": (OWN, set_of(seq(oid(O)))),
        "an attribute with two values": (OWN, set_of(seq(oid(O), utf8("x"), utf8("y")))),
    }.items():
        yield f"subject: {name}", with_name(*parts), SUBJECT
    for name, kind in {
        "an e-mail address": "1.2.840.113549.1.9.1",
        "a user id": "0.9.2342.19200300.100.1.1",
        "a domain component": "0.9.2342.19200300.100.1.25",
        "a serial number": "2.5.4.5",
        "a qualifier": "2.5.4.46",
        "a pseudonym": "2.5.4.65",
        "a title": "2.5.4.12",
        "a surname": "2.5.4.4",
        "an unstructured name": "1.2.840.113549.1.9.2",
        "a unique identifier": "2.5.4.45",
        "an unknown attribute": "1.2.3.4",
    }.items():
        yield f"subject: {name}", with_name(OWN, part(kind, utf8("admin"))), SUBJECT
    for name, parts in {
        "a sequence for a part": (seq(pair(CN, utf8("sensor-1"))),),
        "a bare text": (utf8("sensor-1"),),
        "an attribute that is a set": (set_of(set_of(oid(CN), utf8("sensor-1"))),),
        "an attribute named by a text": (set_of(seq(utf8("CN"), utf8("sensor-1"))),),
        "a Name within a Name": (subject(OWN),),
    }.items():
        yield f"subject: {name}", with_name(*parts), MALFORMED


def constraints() -> Iterator[Row]:
    """Requests to be an authority, and basicConstraints that are neither yes nor no."""
    basic, true, false = "2.5.29.19", boolean(0xFF), boolean(0)
    for name, value, code in (
        ("CA:TRUE", seq(true), CA),
        ("CA:TRUE with a path length", seq(true, integer(0)), CA),
        ("CA:TRUE with a negative path length", seq(true, integer(-1)), CA),
        ("CA:FALSE written out", seq(false), MALFORMED),
        ("CA:FALSE with a path length", seq(false, integer(0)), MALFORMED),
        ("a path length alone", seq(integer(0)), MALFORMED),
        ("CA as a number", seq(integer(1)), MALFORMED),
        ("CA:1", seq(boolean(1)), MALFORMED),
        ("no sequence", true, MALFORMED),
        ("nothing", b"", MALFORMED),
        ("bytes behind", seq() + b"\0", MALFORMED),
        ("NULL", NULL, MALFORMED),
    ):
        yield f"basicConstraints: {name}", with_extensions(extension(basic, value)), code
    critical = with_extensions(extension(basic, seq(true), critical=True))
    yield "basicConstraints: critical CA:TRUE", critical, CA
    both = with_extensions(extension(basic, seq()), extension(basic, seq(true)))
    yield "basicConstraints: CA:FALSE, then CA:TRUE", both, MALFORMED


def names() -> Iterator[Row]:
    """Alternative names that are not plain DNS names of the shape of a thing name."""
    dns, own = 0x82, tlv(0x82, b"sensor-1")
    for name, values in {
        "an e-mail address": (tlv(0x81, b"a@example.com"),),
        "a URI": (tlv(0x86, b"urn:keyborn:sensor-1"),),
        "an IPv4 address": (tlv(0x87, b"\x7f\0\0\1"),),
        "an IPv6 address": (tlv(0x87, bytes(15) + b"\1"),),
        "an address of three bytes": (tlv(0x87, b"\x7f\0\0"),),
        "a registered id": (tlv(0x88, b"\x2a\x03"),),
        "a principal name": (tlv(0xA0, oid("1.3.6.1.4.1.311.20.2.3"), tlv(0xA0, utf8("a@b"))),),
        "a directory name": (tlv(0xA4, subject(OWN)),),
        "an X.400 address": (tlv(0xA3, seq()),),
        "an EDI party": (tlv(0xA5, tlv(0xA1, utf8("x"))),),
        "an unknown tag": (tlv(0x89, b"x"),),
        "a plain text": (utf8("sensor-1"),),
        "a constructed DNS name": (tlv(0xA2, own),),
        "a wildcard": (tlv(dns, b"*"),),
        "a wildcard host": (tlv(dns, b"*.example.com"),),
        "a host": (tlv(dns, b"mqtt.example.com"),),
        "a name of nothing": (tlv(dns),),
        "a name with NUL": (tlv(dns, b"sensor-1\0"),),
        "a name with a space": (tlv(dns, b"sensor 1"),),
        "a name with 8 bits": (tlv(dns, b"sensor\xff"),),
        "a name with a slash": (tlv(dns, b"a/b"),),
        "a name of 65": (tlv(dns, b"a" * 65),),
        "a name of 1500": (tlv(dns, b"a" * 1500),),
        "its own and a wildcard": (own, tlv(dns, b"*.example.com")),
        "its own and an address": (own, tlv(0x87, b"\x7f\0\0\1")),
    }.items():
        yield f"SAN: {name}", with_extensions(extension("2.5.29.17", seq(*values))), FOREIGN
    for name, value in {"empty": seq(), "no sequence": own, "a set": set_of(own)}.items():
        yield f"SAN: {name}", with_extensions(extension("2.5.29.17", value)), MALFORMED
    crowd = seq(*(tlv(dns, b"sensor-%d" % number) for number in range(500)))
    yield "SAN: five hundred", with_extensions(extension("2.5.29.17", crowd)), "csr_too_large"


def usages() -> Iterator[Row]:
    """Key usages and purposes that a device may not have."""
    usage, purposes = "2.5.29.15", "2.5.29.37"
    for name, value, code in (
        ("keyCertSign", bits(b"\x04", 2), USAGE),
        ("cRLSign", bits(b"\x02", 1), USAGE),
        ("digitalSignature and keyCertSign", bits(b"\x84", 2), USAGE),
        ("dataEncipherment", bits(b"\x10", 4), USAGE),
        ("encipherOnly", bits(b"\x09", 0), USAGE),
        ("decipherOnly", bits(b"\x08\x80", 7), USAGE),
        ("all nine", bits(b"\xff\x80", 7), USAGE),
        ("a tenth", bits(b"\x80\x40", 6), USAGE),
        ("a thousandth", bits(b"\x80" + bytes(124) + b"\x80", 7), USAGE),
        ("none", bits(b""), MALFORMED),
        ("none in eight bits", bits(b"\0"), MALFORMED),
        ("trailing zeros", bits(b"\x80", 0), MALFORMED),
        ("a number", integer(128), MALFORMED),
        ("bytes behind", bits(b"\x80", 7) + b"\0", MALFORMED),
    ):
        yield f"keyUsage: {name}", with_extensions(extension(usage, value)), code
    client = oid("1.3.6.1.5.5.7.3.2")
    for name, dotted in {
        "serverAuth": "1.3.6.1.5.5.7.3.1",
        "codeSigning": "1.3.6.1.5.5.7.3.3",
        "emailProtection": "1.3.6.1.5.5.7.3.4",
        "timeStamping": "1.3.6.1.5.5.7.3.8",
        "OCSPSigning": "1.3.6.1.5.5.7.3.9",
        "anyExtendedKeyUsage": "2.5.29.37.0",
        "smartcard logon": "1.3.6.1.4.1.311.20.2.2",
        "IPsec": "1.3.6.1.5.5.7.3.17",
        "registration authority": "1.3.6.1.5.5.7.3.28",
        "unknown": "1.2.3.4",
    }.items():
        asked = extension(purposes, seq(client, oid(dotted)))
        yield f"extendedKeyUsage: clientAuth and {name}", with_extensions(asked), USAGE
    alone = extension(purposes, seq(oid("1.3.6.1.5.5.7.3.1")))
    yield "extendedKeyUsage: serverAuth alone", with_extensions(alone), USAGE
    for name, value in {"empty": seq(), "no sequence": client, "a text": seq(utf8("clientAuth"))}.items():
        yield f"extendedKeyUsage: {name}", with_extensions(extension(purposes, value)), MALFORMED


def extensions() -> Iterator[Row]:
    """Extensions that no device certificate has, and extensions that are put together wrongly."""
    for name, dotted in {
        "nameConstraints": "2.5.29.30",
        "certificatePolicies": "2.5.29.32",
        "policyConstraints": "2.5.29.36",
        "inhibitAnyPolicy": "2.5.29.54",
        "authorityKeyIdentifier": "2.5.29.35",
        "cRLDistributionPoints": "2.5.29.31",
        "authorityInfoAccess": "1.3.6.1.5.5.7.1.1",
        "issuerAltName": "2.5.29.18",
        "must-staple": "1.3.6.1.5.5.7.1.24",
        "OCSP no check": "1.3.6.1.5.5.7.48.1.5",
        "the poison of a precertificate": "1.3.6.1.4.1.11129.2.4.3",
        "signed certificate timestamps": "1.3.6.1.4.1.11129.2.4.2",
        "netscape cert type": "2.16.840.1.113730.1.1",
        "netscape comment": "2.16.840.1.113730.1.13",
        "a template of Microsoft": "1.3.6.1.4.1.311.20.2",
        "an account of Microsoft": "1.3.6.1.4.1.311.25.2",
        "a proxy certificate": "1.3.6.1.5.5.7.1.14",
        "something unknown": "1.2.3.4.5",
    }.items():
        yield f"extension: {name}", with_extensions(extension(dotted, seq())), EXTENSION
        if name in ("nameConstraints", "something unknown"):
            critical = extension(dotted, NULL, critical=True)
            yield f"extension: {name}, critical", with_extensions(critical), EXTENSION
    basic = oid("2.5.29.19")
    usage = extension("2.5.29.15", bits(b"\x80", 7))
    for name, wrong in {
        "twice the same": usage + usage,
        "a name alone": seq(basic),
        "no name": seq(octets(seq())),
        "no bytes": seq(basic, boolean(0xFF)),
        "four fields": seq(basic, boolean(0xFF), octets(seq()), NULL),
        "critical FALSE written out": seq(basic, boolean(0), octets(seq())),
        "critical 1": seq(basic, boolean(1), octets(seq())),
        "critical as a number": seq(basic, integer(1), octets(seq())),
        "a value in a bit string": seq(basic, bits(seq())),
        "a constructed value": seq(basic, tlv(0x24, octets(seq()))),
        "a value that is not DER": seq(basic, octets(b"\x30\x80\0\0")),
        "a value cut short": seq(basic, octets(b"\x30")),
        "a value 400 deep": seq(basic, octets(b"\x30\x82\x03\x00" * 400)),
        "a set": set_of(basic, octets(seq())),
        "a text": utf8("CA:FALSE"),
        "a key identifier that is a sequence": extension("2.5.29.14", seq()),
        "a key identifier of nothing": extension("2.5.29.14", b""),
        "none at all": b"",
    }.items():
        yield f"extension: {name}", with_extensions(wrong), MALFORMED


def attributes() -> Iterator[Row]:
    """Attributes other than one extension request."""
    kind, ask = oid("1.2.840.113549.1.9.14"), asking(extension("2.5.29.19", seq()))
    for name, dotted in {
        "challengePassword": "1.2.840.113549.1.9.7",
        "unstructuredName": "1.2.840.113549.1.9.2",
        "unstructuredAddress": "1.2.840.113549.1.9.8",
        "client information of Microsoft": "1.3.6.1.4.1.311.21.20",
        "extensions of Netscape": "2.16.840.1.113730.2.1",
        "something unknown": "1.2.3.4",
    }.items():
        yield f"attribute: {name}", with_attributes(seq(oid(dotted), set_of(utf8("x")))), EXTENSION
        yield (
            f"attribute: {name} beside extensions",
            with_attributes(ask, seq(oid(dotted), set_of(utf8("x")))),
            EXTENSION,
        )
    authority = seq(extension("2.5.29.19", seq(boolean(0xFF))))
    hidden = seq(oid("1.3.6.1.4.1.311.2.1.14"), set_of(authority))
    yield "attribute: CA:TRUE in the attribute of Microsoft", with_attributes(hidden), EXTENSION
    for name, value in {
        "two extension requests": ask + ask,
        "an extension request without a value": seq(kind, set_of()),
        "an extension request with two values": seq(kind, set_of(seq(), authority)),
        "an extension request that is a set": seq(kind, set_of(set_of())),
        "an extension request that is a text": seq(kind, set_of(utf8("CA:TRUE"))),
        "an extension request without its set": seq(kind, authority),
        "a name alone": seq(kind),
        "no name": seq(set_of(authority)),
        "three fields": seq(kind, set_of(authority), NULL),
        "a number": integer(1),
        "a set": set_of(kind),
        "nothing in it": seq(),
    }.items():
        yield f"attribute: {name}", with_attributes(value), MALFORMED


def rows() -> Iterator[Row]:
    """Every row of this file."""
    for group in (common_names, string_types, subjects, constraints, names, usages, extensions, attributes):
        yield from group()
