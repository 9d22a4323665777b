"""``keyborn demo`` holds, and could fail: each kind of evidence is also shown to notice a lie."""

import base64
import re
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from keyborn.cli.demo.evidence import key_traces
from keyborn.cli.demo.stage import Stage, Untrue, require
from keyborn.cli.demo.walk import run_demo
from support.csr_make import make_key
from support.device import keyborn
from support.figures import Figure

STEPS = 11


@pytest.mark.needs("openssl")
def test_every_step_is_true_and_printed_with_its_evidence(tmp_path: Path, figure: Figure) -> None:
    began = time.monotonic()
    shown = keyborn("demo", "--keep", tmp_path / "kept").stdout
    took = time.monotonic() - began
    titles = re.findall(r"^ ?(\d+)\. ", shown, re.MULTILINE)
    assert [int(number) for number in titles] == list(range(1, STEPS + 1))
    for evidence in (
        "mode 0600", "device.crt: OK", "SHA-256 of its DER is the certificate id", "21.5 degrees",
        "publish_denied", "no statement of keyborn-default allows it", "Open sessions closed: 1",
        "1 distinct body, 1 active certificate",
        "not found", "Every step was true.",
    ):  # fmt: skip
        assert evidence in shown, evidence
    figure(f"keyborn demo: {STEPS} steps, every one true, {took:.1f} s")
    assert (tmp_path / "kept" / "device" / "device.key").exists()


def test_a_folder_that_is_not_empty_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("x")
    assert "not empty" in keyborn("demo", "--keep", tmp_path, expect=2).stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.needs("openssl")
@pytest.mark.whole
def test_without_keep_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    keyborn("demo")
    assert list(tmp_path.iterdir()) == []


def forms_of(pem: bytes) -> dict[str, bytes]:
    """How a key could have leaked into a file."""
    key = load_pem_private_key(pem, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey)
    der = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    secret = key.private_numbers()
    number = secret.d if isinstance(secret, rsa.RSAPrivateNumbers) else secret.private_value
    raw = number.to_bytes((number.bit_length() + 7) // 8)
    return {
        "PEM": pem,
        "DER": der,
        "one line of PEM": pem.splitlines()[2],
        "the number": raw,
        "the number, reversed": raw[::-1],
        "hex": raw.hex().encode(),
        "base64": base64.b64encode(raw),
        "base64url": base64.urlsafe_b64encode(raw),
        "inside a log line": b"2026-11-23 ERROR key=" + raw.hex().upper().encode() + b"\n",
    }


@pytest.mark.parametrize("key_type", ["p256", "p384", "rsa2048"])
def test_a_leaked_key_is_found_in_every_form(tmp_path: Path, key_type: str) -> None:
    pem = make_key(key_type).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    key_file = tmp_path / "device.key"
    key_file.write_bytes(pem)
    leak, clean = tmp_path / "leak", tmp_path / "clean"
    clean.write_bytes(b"nothing here " * 1000)
    for form, content in forms_of(pem).items():
        leak.write_bytes(b"\x00" * 100 + content + b"\xff" * 100)
        assert key_traces(key_file, [clean, leak])[0] == [leak], form


def test_the_public_half_is_no_leak(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives.serialization import PublicFormat

    key = make_key()
    key_file, public = tmp_path / "device.key", tmp_path / "public"
    key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    spki = key.public_key()
    public.write_bytes(
        spki.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        + spki.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    )
    assert key_traces(key_file, [public])[0] == []


def test_a_sentence_that_does_not_hold_ends_the_walk() -> None:
    require(1 + 1 == 2, "sums are sums")
    with pytest.raises(Untrue, match="the moon is cheese"):
        require(1 + 1 == 3, "the moon is cheese")


def test_an_untrue_step_is_what_the_demo_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lie(_stage: Stage) -> None:
        raise Untrue("the service starts")

    monkeypatch.setattr(Stage, "start_server", lie)
    said: list[str] = []
    assert run_demo(tmp_path, said.append) == "the service starts"
    assert not any("Every step was true" in line for line in said)


def test_the_command_ends_with_1_when_a_step_is_untrue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # no openssl: step 5 cannot hold
    done = keyborn("demo", expect=1)
    assert "Every step was true" not in done.stdout
    assert "Not true: openssl is installed" in done.stderr
    assert "Traceback" not in done.stderr
