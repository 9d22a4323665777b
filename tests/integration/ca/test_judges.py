"""Outside judges of every profile: pkilint at NOTICE, and ``openssl verify -x509_strict``."""

import random
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509

from keyborn.adapters.ca import EmbeddedAuthority, ServiceIdentity, describe_authority, service_names
from support.ca_world import (
    ENTROPY,
    HandClock,
    approved_for,
    issue,
    lint,
    make_authority,
    openssl_refusals,
    write_pem,
)
from support.csr_make import DeviceKey, make_key, shared_key
from support.walks import FULL

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789:_-"
KEY_TYPES = ("p256", "p384", "p521", "rsa2048", "rsa3072", "rsa4096")
AWKWARD = ("a", "a:b_c-1", "-", ":", "_", "--", "0", "x" * 64, ":" * 64, "Az09:_-" * 9 + "Z", "localhost")


class Folder:
    """An authority with its certificates laid out for openssl."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = HandClock()
        self.authority = make_authority(path, self.clock)

    @property
    def root(self) -> Path:
        return self.path / "ca" / "root.crt"

    @property
    def devices(self) -> Path:
        return self.path / "ca" / "devices.crt"

    @property
    def servers(self) -> Path:
        return self.path / "ca" / "servers.crt"

    def service_leaf(self, *configured: str) -> x509.Certificate:
        identity = ServiceIdentity(
            self.path / "ca",
            self.authority,
            names=service_names(configured),
            clock=self.clock,
            entropy=ENTROPY,
        )
        identity.prepare()
        return x509.load_pem_x509_certificates(identity.server_chain_path.read_bytes())[0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return Folder(tmp_path_factory.mktemp("data"))


def test_pkilint_finds_nothing_in_root_and_intermediates(folder: Folder) -> None:
    for each in describe_authority(folder.path / "ca"):
        assert lint(x509.load_pem_x509_certificate(each.pem.encode())) == []


@pytest.mark.parametrize("configured", [(), ("gateway.example", "192.0.2.7", "2001:db8::7")])
def test_pkilint_finds_nothing_in_a_service_certificate(folder: Folder, configured: tuple[str, ...]) -> None:
    assert lint(folder.service_leaf(*configured)) == []


@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_pkilint_finds_nothing_whatever_the_devices_key(folder: Folder, key_type: str) -> None:
    assert lint(issue(folder.authority, approved_for("pump-7", shared_key(key_type)))) == []


@pytest.mark.parametrize("thing", AWKWARD)
def test_pkilint_finds_nothing_whatever_the_things_name(folder: Folder, thing: str) -> None:
    assert lint(issue(folder.authority, approved_for(thing))) == []


def test_the_linter_in_process_is_the_linter_of_the_command_line(folder: Folder, tmp_path: Path) -> None:
    """A certificate that both must object to: RFC 1034 allows a single label, pkilint does not."""
    leaf = folder.service_leaf("localhost")
    path = write_pem(tmp_path / "leaf.pem", leaf)
    program = Path(sys.executable).with_name("lint_pkix_cert")
    command = [str(program), "lint", "-s", "NOTICE", str(path)]
    told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    (finding,) = lint(leaf)
    assert "pkix.invalid_domain_name_syntax" in finding
    assert "pkix.invalid_domain_name_syntax" in told.stdout
    assert told.returncode == 1


@pytest.mark.needs("openssl")
def test_openssl_takes_a_device_as_a_client_and_not_as_a_server(folder: Folder, tmp_path: Path) -> None:
    leaf = write_pem(tmp_path / "leaf.pem", issue(folder.authority, approved_for("a:b_c-1")))
    assert openssl_refusals(folder.root, folder.devices, "sslclient", [leaf]) == []
    (refusal,) = openssl_refusals(folder.root, folder.devices, "sslserver", [leaf])
    assert "unsuitable certificate purpose" in refusal


@pytest.mark.needs("openssl")
def test_openssl_takes_the_service_as_a_server_and_not_as_a_client(folder: Folder, tmp_path: Path) -> None:
    leaf = write_pem(tmp_path / "leaf.pem", folder.service_leaf("gateway.example"))
    assert openssl_refusals(folder.root, folder.servers, "sslserver", [leaf]) == []
    (refusal,) = openssl_refusals(folder.root, folder.servers, "sslclient", [leaf])
    assert "unsuitable certificate purpose" in refusal


@pytest.mark.needs("openssl")
def test_openssl_takes_neither_below_the_others_intermediate(folder: Folder, tmp_path: Path) -> None:
    device = write_pem(tmp_path / "device.pem", issue(folder.authority, approved_for("pump-7")))
    service = write_pem(tmp_path / "service.pem", folder.service_leaf())
    assert openssl_refusals(folder.root, folder.servers, "sslclient", [device])
    assert openssl_refusals(folder.root, folder.devices, "sslserver", [service])


@pytest.mark.needs("openssl")
@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_openssl_takes_every_key_type(folder: Folder, tmp_path: Path, key_type: str) -> None:
    leaf = write_pem(tmp_path / "leaf.pem", issue(folder.authority, approved_for("p", shared_key(key_type))))
    assert openssl_refusals(folder.root, folder.devices, "sslclient", [leaf]) == []


# ── at random ─────────────────────────────────────────────────────────────────────────────────────────


def any_key(dice: random.Random) -> DeviceKey:
    """Mostly fresh keys; RSA ones take long to make, so theirs are shared."""
    kind = dice.choices(KEY_TYPES, weights=(60, 15, 15, 6, 2, 2))[0]
    return shared_key(kind) if kind.startswith("rsa") else make_key(kind)


def any_name(dice: random.Random) -> str:
    if dice.random() < 0.1:
        return dice.choice(AWKWARD)
    return "".join(dice.choices(LETTERS, k=dice.randint(1, 64)))


def issued_at_random(authority: EmbeddedAuthority, count: int, seed: int) -> list[x509.Certificate]:
    dice = random.Random(seed)
    return [issue(authority, approved_for(any_name(dice), any_key(dice))) for _ in range(count)]


def judge(folder: Folder, scratch: Path, leaves: list[x509.Certificate]) -> None:
    """Both judges, and RFC 5280 on serials: positive, at most 20 octets, no two equal."""
    findings = {f"{leaf.subject}": found for leaf in leaves if (found := lint(leaf))}
    assert not findings
    serials = {leaf.serial_number for leaf in leaves}
    assert len(serials) == len(leaves)
    assert all(0 < serial < 1 << 159 for serial in serials)
    assert len({leaf.signature for leaf in leaves}) == len(leaves)
    paths = [write_pem(scratch / f"{place}.pem", leaf) for place, leaf in enumerate(leaves)]
    assert openssl_refusals(folder.root, folder.devices, "sslclient", paths) == []


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.needs("openssl")
def test_random_issues_satisfy_both_judges(folder: Folder, tmp_path: Path) -> None:
    """Sixty, or ten thousand in the whole walk (about a minute)."""
    rounds, size = (20, 500) if FULL else (1, 60)
    for seed in range(rounds):
        judge(folder, tmp_path, issued_at_random(folder.authority, size, seed))
