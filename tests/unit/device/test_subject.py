"""Subjects in openssl's notation."""

import shutil
import subprocess

import pytest
from hypothesis import given, strategies as st

from keyborn.device.subject import ATTRIBUTES, parse_subject, remembered
from keyborn.domain.errors import InvalidSubject
from keyborn.domain.names import ThingName

THING = ThingName("gateway-1")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("/C=JP", [("C", "JP")]),
        (
            "/C=JP/ST=Tokyo/L=Meguro/O=Example",
            [("C", "JP"), ("ST", "Tokyo"), ("L", "Meguro"), ("O", "Example")],
        ),
        (r"/O=A\/B", [("O", "A/B")]),
        (r"/O=A\\B", [("O", "A\\B")]),
        (r"/O=A\+B", [("O", "A+B")]),
        ("/O=a=b", [("O", "a=b")]),
        ("/O=東京", [("O", "東京")]),
        ("/O=x/CN=gateway-1", [("O", "x")]),
        ("/CN=gateway-1/O=x", [("O", "x")]),
        ("/OU=a/OU=b/serialNumber=7", [("OU", "a"), ("OU", "b"), ("serialNumber", "7")]),
    ],
)
def test_what_openssl_would_read(text: str, expected: list[tuple[str, str]]) -> None:
    assert list(parse_subject(text, THING).attributes) == [*expected, ("CN", "gateway-1")]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("C=JP", "not /TYPE=value"),
        ("/", "not /TYPE=value"),
        ("//O=x", "not /TYPE=value"),
        ("/O", "not /TYPE=value"),
        ("/O=x\\", "not /TYPE=value"),
        ("/O=", "empty"),
        ("/O=a\nb", "printable"),
        ("/O=\x1b[2J", "printable"),
        ("/DC=example", "not one of"),
        ("/emailAddress=a@b", "not one of"),
        ("/o=x", "not one of"),
        ("/CN=gateway-2", "the thing is gateway-1"),
        ("/CN=gateway-1/CN=Gateway-1", "the thing is gateway-1"),
        ("/O=" + "x" * 1100, "more than 1024"),
    ],
)
def test_what_is_refused_and_why(text: str, why: str) -> None:
    with pytest.raises(InvalidSubject, match=why):
        parse_subject(text, THING)


VALUES = st.text(st.characters(categories=["L", "N", "P", "Zs"]), min_size=1).filter(str.isprintable)


@given(
    st.lists(st.tuples(st.sampled_from([kind for kind in ATTRIBUTES if kind != "CN"]), VALUES), max_size=4)
)
def test_the_text_of_a_subject_reads_back_as_the_same(attributes: list[tuple[str, str]]) -> None:
    escaped = "".join(
        f"/{kind}=" + value.replace("\\", "\\\\").replace("/", "\\/") for kind, value in attributes
    )
    subject = parse_subject(escaped[:1024] if len(escaped) <= 1024 else "", THING)
    assert parse_subject(subject.text, THING) == subject


@given(st.text(max_size=60))
def test_no_text_does_anything_but_parse_or_be_refused(text: str) -> None:
    try:
        subject = parse_subject(text, THING)
    except InvalidSubject:
        return
    assert subject.attributes[-1] == ("CN", THING)
    assert [kind for kind, _ in subject.attributes].count("CN") == 1


@pytest.mark.needs("openssl")
@pytest.mark.parametrize("text", ["/C=JP/ST=Tokyo/O=Example/CN=gateway-1", r"/O=A\/B \\ C/CN=gateway-1"])
def test_openssl_reads_it_the_same_way(text: str) -> None:
    from cryptography import x509

    from keyborn.device.keys import sign_request
    from support.csr_make import shared_key

    openssl = shutil.which("openssl")
    assert openssl is not None
    words = [openssl, "req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", "/dev/null", "-subj", text]
    theirs = subprocess.run(words, capture_output=True, check=True).stdout
    ours = sign_request(shared_key(), parse_subject(text, THING))
    names = [x509.load_pem_x509_csr(each).subject for each in (theirs, ours.encode())]
    assert names[0].rfc4514_string() == names[1].rfc4514_string()


def test_what_is_remembered_is_read_as_it_was_said() -> None:
    subject = parse_subject(r"/C=JP/O=A\/B", THING)
    assert remembered(subject.text, THING) == subject


@pytest.mark.parametrize("spoiled", ["", "C=JP", "/X=1", "/CN=other", "/C=" + "x" * 2000])
def test_a_memory_that_somebody_has_spoiled_leaves_the_name_alone(spoiled: str) -> None:
    assert remembered(spoiled, THING).attributes == (("CN", "gateway-1"),)
