"""The file key store: made once, adopted with care, used without ever being handed out."""

import ssl
import stat
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from keyborn.device import files, keys
from keyborn.device.keystore import FileKeyStore, open_store, require_sound
from keyborn.device.subject import parse_subject
from keyborn.domain import errors
from keyborn.domain.csr import parse_csr
from keyborn.domain.names import ThingName, key_hash
from support.csr_make import shared_key
from support.device_pki import certify, public_der
from support.pki import pem, shared_pki

SUBJECT = parse_subject("/C=JP/O=Example", ThingName("gateway-1"))


def store_in(folder: Path, key_type: str = "p256") -> FileKeyStore:
    store = FileKeyStore(folder / "device.key")
    files.run_steps(store.creation(key_type), files.no_checkpoint)
    return store


def written(path: Path, data: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(data)
    path.chmod(mode)
    return path


def private(key: object, form: PrivateFormat = PrivateFormat.PKCS8, passphrase: bytes | None = None) -> bytes:
    how = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    data: bytes = key.private_bytes(Encoding.PEM, form, how)  # type: ignore[attr-defined] # any private key
    return data


# ── making ──


@pytest.mark.parametrize("key_type", ["p256", "p384", "p521", "rsa2048"])
def test_a_key_is_made_and_known_by_type_and_hash(tmp_path: Path, key_type: str) -> None:
    store = store_in(tmp_path, key_type)
    facts = store.facts()
    assert facts.key_type == key_type
    assert facts.key_hash == key_hash(facts.public_key_der)
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600


def test_the_types_on_offer_can_all_be_made() -> None:
    assert {keys.name_type(keys.make_key(each)) for each in keys.KEY_TYPES if each != "rsa4096"} == {
        "p256",
        "p384",
        "p521",
        "rsa2048",
        "rsa3072",
    }


@pytest.mark.needs("openssl")
def test_the_file_is_pkcs8_that_openssl_reads(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    assert store.path.read_bytes().startswith(b"-----BEGIN PRIVATE KEY-----\n")
    words = ["openssl", "pkey", "-in", str(store.path), "-pubout", "-outform", "DER"]
    shown = subprocess.run(words, capture_output=True, check=True)
    assert shown.stdout == store.facts().public_key_der


def test_two_keys_are_never_the_same(tmp_path: Path) -> None:
    assert keys.key_pem(keys.make_key("p256")) != keys.key_pem(keys.make_key("p256"))


def test_a_store_never_overwrites(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    before = store.path.read_bytes()
    with pytest.raises(FileExistsError):
        files.run_steps(store.creation("p256"), files.no_checkpoint)
    assert store.path.read_bytes() == before


def test_a_store_has_no_getter(tmp_path: Path) -> None:
    """Nothing public returns the key, and nothing shows it."""
    store = store_in(tmp_path)
    secret = store.path.read_text().splitlines()[1]
    names = [name for name in dir(store) if not name.startswith("_")]
    assert names == [
        "adoption",
        "authenticate",
        "creation",
        "exists",
        "facts",
        "holds",
        "path",
        "sign",
        "sign_request",
    ]
    shown = repr(store) + repr(store.facts()) + store.sign_request(SUBJECT)
    assert secret not in shown
    assert not isinstance(store.facts(), (ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey))


# ── requests ──


@pytest.mark.parametrize("key_type", ["p256", "p384", "p521", "rsa2048"])
def test_a_request_is_one_that_every_service_takes(tmp_path: Path, key_type: str) -> None:
    store = store_in(tmp_path, key_type)
    parsed = parse_csr(store.sign_request(SUBJECT))
    assert (parsed.common_name, parsed.key_type) == ("gateway-1", key_type)
    assert parsed.public_key_der == store.facts().public_key_der


def test_a_request_carries_the_subject_in_order(tmp_path: Path) -> None:
    request = x509.load_pem_x509_csr(store_in(tmp_path).sign_request(SUBJECT).encode())
    assert [each.value for each in request.subject] == ["JP", "Example", "gateway-1"]
    assert request.signature_hash_algorithm is not None
    assert request.signature_hash_algorithm.name == "sha256"
    assert len(request.extensions) == 0


@pytest.mark.parametrize("text", ["/C=JPN", "/C=J", "/O=" + "x" * 65])
def test_values_that_x509_does_not_take_are_refused(tmp_path: Path, text: str) -> None:
    store = store_in(tmp_path)
    with pytest.raises((errors.InvalidSubject, errors.CsrSubjectRefused)):
        store.sign_request(parse_subject(text, ThingName("gateway-1")))


# ── opening ──


def test_a_missing_key_is_said(tmp_path: Path) -> None:
    store = FileKeyStore(tmp_path / "device.key")
    assert not store.exists()
    for use in (store.facts, lambda: store.sign_request(SUBJECT)):
        with pytest.raises(errors.KeyUnusable, match="no such file"):
            use()


def test_a_key_that_others_can_read_is_used_for_nothing(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.path.chmod(0o644)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for use in (
        store.facts,
        lambda: store.sign_request(SUBJECT),
        lambda: store.authenticate(context, tmp_path / "x"),
    ):
        with pytest.raises(errors.FileNotPrivate):
            use()


def test_a_key_behind_a_link_is_used_for_nothing(tmp_path: Path) -> None:
    real = store_in(tmp_path).path.rename(tmp_path / "real.key")
    store = FileKeyStore(tmp_path / "device.key")
    store.path.symlink_to(real)
    assert store.exists()
    with pytest.raises(errors.FileNotPrivate, match="symbolic link"):
        store.facts()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        b"-----BEGIN EC PRIVATE KEY-----\nMHcCAQEE\n-----END EC PRIVATE KEY-----\n",
        b"-----BEGIN PRIVATE KEY-----\n" + b"\xff" * 99 + b"\n-----END PRIVATE KEY-----\n",
    ],
)
def test_what_is_no_key_is_said_without_being_quoted(tmp_path: Path, data: bytes) -> None:
    store = FileKeyStore(written(tmp_path / "device.key", data))
    with pytest.raises(errors.KeyUnusable) as raised:
        store.facts()
    assert "AAAA" not in str(raised.value)
    assert raised.value.__cause__ is None


@pytest.mark.parametrize(
    "make",
    [
        ed25519.Ed25519PrivateKey.generate,
        lambda: ec.generate_private_key(ec.SECP224R1()),
        lambda: ec.generate_private_key(ec.SECP256K1()),
        lambda: rsa.generate_private_key(65537, 1024),
        lambda: dsa.generate_private_key(2048),
    ],
    ids=["ed25519", "p224", "secp256k1", "rsa1024", "dsa"],
)
def test_other_kinds_of_keys_are_refused(tmp_path: Path, make: object) -> None:
    data = private(make())  # type: ignore[operator] # a factory
    with pytest.raises(errors.KeyUnusable, match="only P-256"):
        FileKeyStore(written(tmp_path / "device.key", data)).facts()


# ── adopting ──


def adopt(tmp_path: Path, data: bytes, mode: int = 0o600) -> FileKeyStore:
    store = FileKeyStore(tmp_path / "device.key")
    source = written(tmp_path / "own.pem", data, mode)
    files.run_steps(store.adoption(source), files.no_checkpoint)
    assert source.read_bytes() == data
    return store


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
@pytest.mark.parametrize("key_type", ["p256", "p384", "p521", "rsa2048"])
def test_keys_of_every_usual_form_are_adopted(tmp_path: Path, form: PrivateFormat, key_type: str) -> None:
    key = shared_key(key_type)
    store = adopt(tmp_path, private(key, form))
    assert store.facts().public_key_der == public_der(key)
    assert store.path.read_bytes().startswith(b"-----BEGIN PRIVATE KEY-----\n")


@pytest.mark.parametrize(
    "change", [lambda data: data.replace(b"\n", b"\r\n"), lambda data: b"# mine\n" + data]
)
def test_line_ends_and_text_around_the_key_do_not_matter(tmp_path: Path, change: object) -> None:
    adopt(tmp_path, change(private(shared_key())))  # type: ignore[operator] # a function of bytes


@pytest.mark.needs("openssl")
def test_a_key_with_its_curve_s_parameters_before_it_is_adopted(tmp_path: Path) -> None:
    words = ["openssl", "ecparam", "-name", "prime256v1", "-genkey"]
    data = subprocess.run(words, capture_output=True, check=True).stdout
    assert b"EC PARAMETERS" in data
    assert adopt(tmp_path, data).facts().key_type == "p256"


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_a_key_with_a_passphrase_is_refused_with_what_to_do(tmp_path: Path, form: PrivateFormat) -> None:
    with pytest.raises(errors.KeyUnusable, match="openssl pkey -in"):
        adopt(tmp_path, private(shared_key(), form, b"passphrase"))


def test_a_source_that_others_could_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(errors.FileNotPrivate, match="chmod 600"):
        adopt(tmp_path, private(shared_key()), 0o644)
    assert not (tmp_path / "device.key").exists()


def test_a_source_behind_a_link_is_refused(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(written(tmp_path / "own.pem", private(shared_key())))
    with pytest.raises(errors.FileNotPrivate):
        FileKeyStore(tmp_path / "device.key").adoption(link)


def test_a_source_of_many_bytes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(errors.FileNotPrivate, match="larger"):
        adopt(tmp_path, b"x" * 70_000)


def test_a_weak_key_is_found_before_it_is_stored(tmp_path: Path) -> None:
    source = written(tmp_path / "own.pem", private(rsa.generate_private_key(3, 2048)))
    with pytest.raises(errors.WeakExponent):
        require_sound(source, SUBJECT)


def test_a_store_knows_whether_it_holds_a_key(tmp_path: Path) -> None:
    store = adopt(tmp_path, private(shared_key()))
    assert store.holds(tmp_path / "own.pem")
    assert not store.holds(written(tmp_path / "other.pem", private(keys.make_key("p256"))))


# ── TLS ──


def test_tls_reads_the_file_that_was_checked(tmp_path: Path) -> None:
    store = adopt(tmp_path, private(shared_key()))
    certificate = tmp_path / "device.crt"
    certificate.write_text(pem(certify(shared_pki().devices, shared_key().public_key())))
    before = len(list(Path("/proc/self/fd").iterdir()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    store.authenticate(context, certificate)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize("certificate", ["another key's", "rubbish", "missing"])
def test_a_certificate_that_does_not_fit_is_said(tmp_path: Path, certificate: str) -> None:
    store, path = store_in(tmp_path), tmp_path / "device.crt"
    if certificate == "another key's":
        path.write_text(pem(certify(shared_pki().devices, shared_key().public_key())))
    elif certificate == "rubbish":
        path.write_text("hello")
    with pytest.raises(errors.KeyUnusable, match="does not fit"):
        store.authenticate(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), path)


def test_tls_never_asks_the_terminal_for_a_passphrase(tmp_path: Path) -> None:
    data = private(shared_key(), passphrase=b"passphrase")
    store = FileKeyStore(written(tmp_path / "device.key", data))
    certificate = tmp_path / "device.crt"
    certificate.write_text(pem(certify(shared_pki().devices, shared_key().public_key())))
    with pytest.raises(errors.KeyUnusable):
        store.authenticate(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), certificate)


# ── --key ──


def test_the_default_store_is_the_home_s_file(tmp_path: Path) -> None:
    path = tmp_path / "device.key"
    assert open_store(None, path).path == path
    assert open_store(f"file:{path}", path).path == path
    assert open_store(f"file://{path}", path).path == path


@pytest.mark.parametrize(
    "uri", ["pkcs11:token=x;object=y", "tpm:0x81000001", "handle:7", "nonsense", "", "file:/x"]
)
def test_other_stores_are_refused_with_what_to_do(tmp_path: Path, uri: str) -> None:
    with pytest.raises(errors.KeyStoreUnsupported, match="--key"):
        open_store(uri, tmp_path / "device.key")
