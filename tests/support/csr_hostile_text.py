"""Hostile inputs that are not one PEM block of one request: wrong types, wrong text, wrong armor."""

import json
from collections.abc import Iterator
from functools import partial

from support.csr_build import Row, pem, request_der
from support.csr_make import csr_for, shared_key

MALFORMED, LARGE = "csr_malformed", "csr_too_large"


def _good() -> str:
    return csr_for(shared_key(), "sensor-1")


def not_strings() -> Iterator[Row]:
    """Anything but one string."""
    good = _good()
    values: dict[str, object] = {
        "None": None,
        "True": True,
        "an integer": 1,
        "a fraction": 1.5,
        "an empty list": [],
        "a list of one request": [good],
        "a list of two requests": [good, good],
        "an empty object": {},
        "an object that holds the request": {"csr": good},
        "a list of characters": list(good),
    }
    for name, value in values.items():
        yield f"not a string: {name}", value, MALFORMED
    yield "not a string: bytes", good.encode(), MALFORMED
    yield "not a string: a bytearray", bytearray(good.encode()), MALFORMED


def sizes() -> Iterator[Row]:
    """More than 4096 characters, or nothing."""
    good = _good()
    yield "empty", "", MALFORMED
    yield "a space", " ", MALFORMED
    yield "newlines only", "\n\r\n", MALFORMED
    yield "4096 letters", "A" * 4096, MALFORMED
    yield "4097 letters", "A" * 4097, LARGE
    yield "a million letters", "A" * 1_000_000, LARGE
    yield "padded with newlines to 4097", good + "\n" * (4097 - len(good)), LARGE
    yield "a hundred thousand surrogates", "\ud800" * 100_000, LARGE
    yield "a hundred requests", good * 100, LARGE


def characters() -> Iterator[Row]:
    """A good request with one foreign character or one character too many."""
    good = _good()
    middle = good.index("\n") + 30
    insert = {
        "NUL": "\0",
        "a lone high surrogate": "\ud800",
        "a lone low surrogate": "\udfff",
        "a full-width digit": "１",  # noqa: RUF001 - a digit to str.isdigit, not to base64
        "an Arabic digit": "\u0661",
        "a line separator": "\u2028",
        "a next-line control": "\x85",
        "a no-break space": "\u00a0",
        "a zero-width space": "\u200b",
        "a vertical tab": "\v",
        "a form feed": "\f",
        "a tab": "\t",
        "a space": " ",
        "a dash": "-",
        "an underscore": "_",
        "an asterisk": "*",
        "a percent escape": "%0A",
        "an escaped newline": "\\n",
        "an equals sign": "=",
        "a blank line": "\n\n",
        "a lone carriage return": "\r",
        "an emoji": "\U0001f511",
        "a flag tag sequence": "\U000e0041",
    }
    for name, text in insert.items():
        yield f"{name} within the base64", good[:middle] + text + good[middle:], MALFORMED
    for name, text in insert.items():
        yield f"{name} before the block", text + good, MALFORMED
    for name in ("NUL", "a space", "a tab", "a dash", "a lone high surrogate", "an emoji", "a form feed"):
        yield f"{name} after the block", good + insert[name], MALFORMED
    yield "a byte order mark before the block", "\ufeff" + good, MALFORMED


def armor() -> Iterator[Row]:
    """Labels, boundaries and what may not stand around them."""
    good, der = _good(), request_der()
    first, rest = good.split("\n", 1)
    body = rest.split("-----")[0]
    label = partial(pem, der)
    for wrong in (
        "CERTIFICATE",
        "PUBLIC KEY",
        "certificate request",
        "OLD CERTIFICATE REQUEST",
        "NEW NEW CERTIFICATE REQUEST",
        "CERTIFICATE  REQUEST",
        " CERTIFICATE REQUEST",
        "CERTIFICATE REQUEST ",
        "PKCS10",
        "X509 CRL",
        "PKCS7",
        "",
    ):
        yield f"label {wrong!r}", label(label=wrong), MALFORMED
    yield "private key", pem(b"0\x03\x02\x01\x00", label="PRIVATE KEY"), MALFORMED
    yield (
        "the request and its private key",
        good + pem(b"0\x03\x02\x01\x00", label="EC PRIVATE KEY"),
        MALFORMED,
    )
    yield "labels that differ", good.replace("-----END CERT", "-----END NEW CERT"), MALFORMED
    yield "no first line", rest, MALFORMED
    yield "no last line", good[: good.index("-----END")], MALFORMED
    yield "first line only", first, MALFORMED
    yield "last line first", "-----END CERTIFICATE REQUEST-----\n" + good, MALFORMED
    yield "no base64", good.replace(body, ""), MALFORMED
    yield "four dashes", good.replace("-----", "----"), MALFORMED
    yield "six dashes", good.replace("-----", "------"), MALFORMED
    yield "typographic dashes", good.replace("-----", "\u2014" * 5), MALFORMED
    yield "no line breaks at all", good.replace("\n", ""), MALFORMED
    yield "spaces for line breaks", good.replace("\n", " "), MALFORMED
    yield "old Macintosh line breaks", good.replace("\n", "\r"), MALFORMED
    yield "line breaks the wrong way round", good.replace("\n", "\n\r"), MALFORMED
    yield "a header", good.replace(first, first + "\nProc-Type: 4,ENCRYPTED\n"), MALFORMED
    yield "a comment", good.replace(first, first + "\n# hello"), MALFORMED


def around() -> Iterator[Row]:
    """More than the block, or other wrappings of it."""
    good = _good()
    two = csr_for(shared_key(), "sensor-2")
    yield "garbage before the block", "garbage\n" + good, MALFORMED
    yield "garbage on the first line", "garbage" + good, MALFORMED
    yield "a newline before the block", "\n" + good, MALFORMED
    yield "an e-mail before the block", "Subject: my request\nTo: you\n\n" + good, MALFORMED
    yield "garbage after the block", good + "garbage", MALFORMED
    yield "garbage on the last line", good.rstrip("\n") + " garbage\n", MALFORMED
    yield "the same block twice", good + good, MALFORMED
    yield "two blocks", good + two, MALFORMED
    yield "two blocks with text between", good + "\n# and\n" + two, MALFORMED
    yield "a block within a block", good.replace("-----END", two + "-----END", 1), MALFORMED
    yield "a certificate first", pem(b"0\x00", label="CERTIFICATE") + good, MALFORMED
    yield "a certificate behind", good + pem(b"0\x00", label="CERTIFICATE"), MALFORMED
    introduction = "PKCS #10 Certificate Request Information:\n"
    yield "a description and no block", introduction, MALFORMED
    yield "a description with control characters", introduction + "\x1b[2J\n" + good, MALFORMED
    yield "a description that does not end its line", introduction + "x" + good, MALFORMED
    yield "a description before two blocks", introduction + good + two, MALFORMED
    yield "a description with a false block", introduction + "-----BEGIN X-----\n" + good, MALFORMED
    yield "the text of openssl without the block", "Certificate Request:\n    Data:\n", MALFORMED
    yield "the request as JSON", json.dumps({"csr": good}), MALFORMED
    yield "the request as a JSON string", json.dumps(good), MALFORMED
    yield "the request in quotes", f'"{good}"', MALFORMED
    yield "markup", "<csr>" + good + "</csr>", MALFORMED
    yield "a path", "/etc/passwd", MALFORMED
    yield "an address", "https://example.com/device.csr", MALFORMED
    yield "a format string", "{0.__class__} %s %n ${x}", MALFORMED


def base64() -> Iterator[Row]:
    """Base64 that is not the one canonical form, or of the wrong bytes."""
    good, der = _good(), request_der()
    tail = "-----\n"
    yield "bare base64", good.split(tail, 1)[1].split("-----END")[0], MALFORMED
    yield "hexadecimal", der.hex(), MALFORMED
    yield (
        "hexadecimal in a block",
        good.split("\n", 1)[0] + f"\n{der.hex()}\n-----END CERTIFICATE REQUEST-----\n",
        MALFORMED,
    )
    yield "the bytes themselves", der.decode("latin-1"), MALFORMED
    yield "a block of a block", pem(pem(der).encode()), MALFORMED
    for name, body in {
        "no padding": "MAA",
        "too much padding": "MAA==",
        "padding alone": "====",
        "padding in the middle": "MA==MAA=",
        "one character": "M",
        "bits beyond the last byte": "MAB=",
        "one byte": "MA==",
        "an empty sequence": "MAA=",
        "nothing but zeros": "AAAA",
        "nothing but ones": "////",
        "the URL alphabet": "MA-_",
    }.items():
        block = f"-----BEGIN CERTIFICATE REQUEST-----\n{body}\n-----END CERTIFICATE REQUEST-----\n"
        yield f"base64: {name}", block, MALFORMED


def rows() -> Iterator[Row]:
    """Every row of this file."""
    for group in (not_strings, sizes, characters, armor, around, base64):
        yield from group()
