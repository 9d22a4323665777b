"""The certificates that a default service really serves and gives, judged by pkilint and OpenSSL."""

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509

from keyborn.cli.console import ask
from support.ca_world import lint, openssl_refusals
from support.csr_make import make_csr
from support.server import Server, running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("served")) as server:
        yield server


@pytest.mark.parametrize("port", ["address", "mqtt"])
def test_what_is_served_has_no_finding(server: Server, port: str) -> None:
    pem = ssl.get_server_certificate(getattr(server, port))
    assert lint(x509.load_pem_x509_certificate(pem.encode())) == []


def test_every_authority_has_no_finding(server: Server) -> None:
    rows = ask(server.data, "GET", "/v1/authorities")
    assert [row["role"] for row in rows] == ["root", "devices", "servers"]
    for row in rows:
        assert lint(x509.load_pem_x509_certificate(row["pem"].encode())) == []


@pytest.mark.needs("openssl")
@pytest.mark.parametrize("key_type", ["p256", "p384", "p521", "rsa2048", "rsa4096"])
def test_what_a_device_gets_has_no_finding_and_openssl_agrees(
    server: Server, tmp_path: Path, key_type: str
) -> None:
    name = f"device:{key_type}_-1"
    answer = server.enroll(name, make_csr(name, key_type)[1], server.token(thing=name)["secret"]).json
    assert lint(x509.load_pem_x509_certificate(answer["certificatePem"].encode())) == []
    files = {"leaf": "certificatePem", "chain": "chainPem"}
    for file, member in files.items():
        (tmp_path / file).write_text(answer[member])
    (tmp_path / "root").write_text(answer["mqtt"]["rootsPem"])
    leaf = [tmp_path / "leaf"]
    assert openssl_refusals(tmp_path / "root", tmp_path / "chain", "sslclient", leaf) == []
    assert openssl_refusals(tmp_path / "root", tmp_path / "chain", "sslserver", leaf) != []
