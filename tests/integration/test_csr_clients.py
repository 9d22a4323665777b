"""Requests as real clients make them: openssl, GnuTLS certtool, mbed TLS in C, pyca. All are accepted."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from keyborn.domain.csr import CertificateRequest, parse_csr
from keyborn.domain.errors import (
    CsrAsksForCa,
    CsrExtensionRefused,
    CsrForeignName,
    CsrRefused,
    CsrTooLarge,
    CsrUsageRefused,
    CsrWeakSignature,
    KeySizeRefused,
    KeyTypeRefused,
)
from support.csr_make import shared_key

SOURCE = Path(__file__).parent / "clients" / "mbedtls_csr.c"
OWNER = "/C=JP/ST=Tokyo/L=Meguro/O=x/CN=sensor-1"
KINDS = ("p256", "p384", "p521", "rsa2048", "rsa3072", "rsa4096")
Run = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a program in the test's own folder; return what it printed."""

    def _run(*command: str) -> str:
        done = subprocess.run(
            command,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout

    return _run


def _check(request: CertificateRequest, kind: str, name: str = "sensor-1") -> None:
    """The value holds the key that pyca sees in the same text."""
    seen = x509.load_pem_x509_csr(request.pem.encode()).public_key()
    assert request.public_key_der == seen.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert (request.key_type, request.common_name) == (kind, name)


# ── openssl ───────────────────────────────────────────────────────────────────────────────────────────

OPENSSL_KEYS = {
    "p256": ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
    "p384": ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384"),
    "p521": ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-521"),
    "rsa2048": ("-newkey", "rsa:2048"),
    "rsa3072": ("-newkey", "rsa:3072"),
    "rsa4096": ("-newkey", "rsa:4096"),
}
REQ = ("openssl", "req", "-new", "-nodes", "-keyout", "key.pem")
CONFIG = """
[req]
distinguished_name = dn
req_extensions = v3_req
prompt = no
[dn]
C = JP
ST = Tokyo
L = Meguro
O = Example
OU = Sensors
CN = sensor-1
[v3_req]
"""


def _openssl_with(run: Run, tmp_path: Path, extensions: str, *options: str) -> str:
    (tmp_path / "req.cnf").write_text(CONFIG + extensions)
    return run(*REQ, *OPENSSL_KEYS["p256"], "-config", "req.cnf", *options)


@pytest.mark.needs("openssl")
@pytest.mark.parametrize("kind", KINDS)
def test_openssl_requests_are_accepted(run: Run, kind: str) -> None:
    _check(parse_csr(run(*REQ, *OPENSSL_KEYS[kind], "-subj", OWNER)), kind)


@pytest.mark.needs("openssl")
def test_openssls_other_label_is_accepted(run: Run) -> None:
    text = run(*REQ, *OPENSSL_KEYS["p256"], "-subj", OWNER, "-newhdr")
    assert text.startswith("-----BEGIN NEW CERTIFICATE REQUEST-----")
    _check(parse_csr(text), "p256")


@pytest.mark.needs("openssl")
@pytest.mark.parametrize("digest", ["-sha256", "-sha384", "-sha512"])
def test_openssl_digests_from_sha256_up_are_accepted(run: Run, digest: str) -> None:
    _check(parse_csr(run(*REQ, *OPENSSL_KEYS["p256"], "-subj", OWNER, digest)), "p256")


@pytest.mark.needs("openssl")
def test_the_well_known_pattern_is_accepted_with_its_generic_name(run: Run, tmp_path: Path) -> None:
    run("openssl", "genrsa", "-out", "device.key", "2048")
    subject = "/C=JP/ST=Tokyo/L=Meguro/O=Example, Inc./CN=AWS IoT Certificate"
    run("openssl", "req", "-new", "-key", "device.key", "-out", "device.csr", "-subj", subject)
    _check(parse_csr((tmp_path / "device.csr").read_text()), "rsa2048", "AWS IoT Certificate")


@pytest.mark.needs("openssl")
@pytest.mark.parametrize(
    "extensions",
    [
        "basicConstraints = CA:FALSE\nkeyUsage = nonRepudiation, digitalSignature, keyEncipherment\n",
        (
            "basicConstraints = critical, CA:FALSE\nkeyUsage = critical, digitalSignature\n"
            "extendedKeyUsage = clientAuth\nsubjectKeyIdentifier = hash\n"
        ),
        "keyUsage = digitalSignature, keyAgreement\n",
        "subjectAltName = DNS:sensor-1\n",
    ],
)
def test_openssl_requests_with_the_usual_extensions_are_accepted(
    run: Run, tmp_path: Path, extensions: str
) -> None:
    _check(parse_csr(_openssl_with(run, tmp_path, extensions)), "p256")


@pytest.mark.needs("openssl")
def test_openssl_request_with_its_description_and_windows_line_ends_is_accepted(run: Run) -> None:
    text = run(*REQ, *OPENSSL_KEYS["p256"], "-subj", OWNER, "-text")
    assert text.startswith("Certificate Request:")
    _check(parse_csr(text), "p256")
    _check(parse_csr(text.replace("\n", "\r\n")), "p256")


@pytest.mark.needs("openssl")
@pytest.mark.parametrize(
    ("extensions", "leaf"),
    [
        ("basicConstraints = CA:TRUE\n", CsrAsksForCa),
        ("basicConstraints = critical, CA:TRUE, pathlen:0\n", CsrAsksForCa),
        ("keyUsage = keyCertSign\n", CsrUsageRefused),
        ("keyUsage = digitalSignature, cRLSign\n", CsrUsageRefused),
        ("extendedKeyUsage = serverAuth\n", CsrUsageRefused),
        ("extendedKeyUsage = clientAuth, codeSigning\n", CsrUsageRefused),
        ("subjectAltName = DNS:*.example.com\n", CsrForeignName),
        ("subjectAltName = IP:127.0.0.1\n", CsrForeignName),
        ("subjectAltName = URI:urn:sensor-1\n", CsrForeignName),
        ("subjectAltName = email:a@example.com\n", CsrForeignName),
        ("nameConstraints = permitted;DNS:example.com\n", CsrExtensionRefused),
        ("tlsfeature = status_request\n", CsrExtensionRefused),
        ("nsCertType = client\n", CsrExtensionRefused),
        ("certificatePolicies = 1.2.3.4\n", CsrExtensionRefused),
        ("1.2.3.4 = critical, ASN1:NULL\n", CsrExtensionRefused),
    ],
)
def test_openssl_requests_for_more_than_a_device_gets_are_refused(
    run: Run, tmp_path: Path, extensions: str, leaf: type[CsrRefused]
) -> None:
    text = _openssl_with(run, tmp_path, extensions)
    with pytest.raises(leaf):
        parse_csr(text)


@pytest.mark.needs("openssl")
@pytest.mark.parametrize(
    ("options", "leaf"),
    [
        (("-newkey", "rsa:1024"), KeySizeRefused),
        (("-newkey", "ed25519"), KeyTypeRefused),
        (("-newkey", "ed448"), KeyTypeRefused),
        (("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:secp224r1"), KeyTypeRefused),
        (("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:secp256k1"), KeyTypeRefused),
        (("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:brainpoolP256r1"), KeyTypeRefused),
        (("-newkey", "rsa-pss", "-pkeyopt", "rsa_keygen_bits:2048"), KeyTypeRefused),
        (
            ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-pkeyopt", "ec_param_enc:explicit"),
            KeyTypeRefused,
        ),
        ((*OPENSSL_KEYS["p256"], "-sha1"), CsrWeakSignature),
        ((*OPENSSL_KEYS["rsa2048"], "-md5"), CsrWeakSignature),
        ((*OPENSSL_KEYS["rsa2048"], "-sigopt", "rsa_padding_mode:pss"), CsrWeakSignature),
    ],
)
def test_openssl_requests_with_weak_or_unknown_algorithms_are_refused(
    run: Run, options: tuple[str, ...], leaf: type[CsrRefused]
) -> None:
    text = run(*REQ, *options, "-subj", OWNER)
    with pytest.raises(leaf):
        parse_csr(text)


@pytest.mark.needs("openssl")
def test_a_request_with_its_private_key_in_the_same_file_is_refused_with_a_warning(
    run: Run, tmp_path: Path
) -> None:
    text = run(*REQ, *OPENSSL_KEYS["p256"], "-subj", OWNER)
    with pytest.raises(CsrRefused, match="must stay on the device"):
        parse_csr((tmp_path / "key.pem").read_text() + text)


# ── GnuTLS certtool ───────────────────────────────────────────────────────────────────────────────────

CERTTOOL_KEYS = {
    "p256": ("--key-type", "ecdsa", "--curve", "secp256r1"),
    "p384": ("--key-type", "ecdsa", "--curve", "secp384r1"),
    "p521": ("--key-type", "ecdsa", "--curve", "secp521r1"),
    "rsa2048": ("--key-type", "rsa", "--bits", "2048"),
    "rsa3072": ("--key-type", "rsa", "--bits", "3072"),
    "rsa4096": ("--key-type", "rsa", "--bits", "4096"),
}
TEMPLATE = 'country = JP\nstate = "Tokyo"\nlocality = "Meguro"\norganization = "Example"\ncn = "sensor-1"\n'
DEVICE_TEMPLATE = TEMPLATE + 'dns_name = "sensor-1"\ntls_www_client\nsigning_key\n'


def _certtool(run: Run, tmp_path: Path, kind: str, template: str, *options: str) -> str:
    (tmp_path / "template").write_text(template)
    run("certtool", "--generate-privkey", *CERTTOOL_KEYS[kind], "--outfile", "key.pem")
    return run(
        "certtool", "--generate-request", "--load-privkey", "key.pem", "--template", "template", *options
    )


@pytest.mark.needs("certtool")
@pytest.mark.parametrize("kind", KINDS)
def test_certtool_requests_are_accepted_and_name_the_device_twice(
    run: Run, tmp_path: Path, kind: str
) -> None:
    text = _certtool(run, tmp_path, kind, DEVICE_TEMPLATE, "--no-text")
    assert text.startswith("-----BEGIN NEW CERTIFICATE REQUEST-----")
    request = parse_csr(text)
    _check(request, kind)
    assert request.own_names == {"sensor-1"}


@pytest.mark.needs("certtool")
def test_certtool_request_with_the_description_it_writes_by_default_is_accepted(
    run: Run, tmp_path: Path
) -> None:
    text = _certtool(run, tmp_path, "p256", DEVICE_TEMPLATE)
    assert text.startswith("PKCS #10")
    _check(parse_csr(text), "p256")


@pytest.mark.needs("certtool")
def test_certtools_long_description_of_a_large_key_is_too_large_and_told_so(run: Run, tmp_path: Path) -> None:
    text = _certtool(run, tmp_path, "rsa4096", DEVICE_TEMPLATE)
    assert len(text) > 4096
    with pytest.raises(CsrTooLarge):
        parse_csr(text)


@pytest.mark.needs("certtool")
@pytest.mark.parametrize(
    ("line", "leaf"),
    [
        ("ca\ncert_signing_key\n", CsrAsksForCa),
        ("tls_www_server\n", CsrUsageRefused),
        ('dns_name = "*.example.com"\n', CsrForeignName),
        ('ip_address = "127.0.0.1"\n', CsrForeignName),
        ('challenge_password = "secret"\n', CsrExtensionRefused),
    ],
)
def test_certtool_requests_for_more_than_a_device_gets_are_refused(
    run: Run, tmp_path: Path, line: str, leaf: type[CsrRefused]
) -> None:
    text = _certtool(run, tmp_path, "p256", TEMPLATE + line, "--no-text")
    with pytest.raises(leaf):
        parse_csr(text)


# ── mbed TLS ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def mbedtls_csr(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Build the C program; return its path."""
    program = tmp_path_factory.mktemp("mbedtls") / "mbedtls_csr"
    libraries = ("-lmbedx509", "-lmbedcrypto")
    warnings = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-O1")
    done = subprocess.run(
        ["gcc", *warnings, "-o", str(program), str(SOURCE), *libraries],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return str(program)


@pytest.mark.needs("gcc", "libc", "mbedtls")
@pytest.mark.parametrize("kind", ["p256", "p384", "p521", "rsa2048", "rsa3072"])
@pytest.mark.parametrize("options", [(), ("usage",)], ids=["plain", "usage"])
def test_mbedtls_requests_are_accepted(
    run: Run, mbedtls_csr: str, kind: str, options: tuple[str, ...]
) -> None:
    _check(parse_csr(run(mbedtls_csr, kind, "C=JP,ST=Tokyo,L=Meguro,O=Example,CN=sensor-1", *options)), kind)


@pytest.mark.needs("gcc", "libc", "mbedtls")
def test_an_mbedtls_request_with_an_email_address_is_refused(run: Run, mbedtls_csr: str) -> None:
    text = run(mbedtls_csr, "p256", "CN=sensor-1,emailAddress=a@example.com")
    with pytest.raises(CsrRefused, match="emailAddress"):
        parse_csr(text)


# ── pyca ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", KINDS)
def test_pyca_requests_with_every_harmless_wish_are_accepted(kind: str) -> None:
    key = shared_key(kind)
    oid = x509.NameOID
    names = ((oid.COUNTRY_NAME, "JP"), (oid.ORGANIZATION_NAME, "Example"), (oid.COMMON_NAME, "sensor-1"))
    subject = x509.Name([x509.NameAttribute(kind_of, value) for kind_of, value in names])
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    request = (
        x509.CertificateSigningRequestBuilder(subject)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("sensor-1")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    _check(parse_csr(request.public_bytes(Encoding.PEM).decode()), kind)
