"""Which things believe which roots, asked at the command line, with a running server."""

import ssl
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.serialization import load_pem_private_key

from keyborn.cli.console import ask
from keyborn.device import identity
from keyborn.device.home import Home
from keyborn.device.verify import ders
from keyborn.domain.names import CertificateId
from keyborn.domain.roots import root_set
from support.agents import take_roots
from support.csr_make import DeviceKey
from support.device import enroll, keyborn, keyborn_json
from support.server import Server, running
from support.signing import Signer
from support.talker import Identity, Party

JOSE = {"Content-Type": "application/jose+json"}
ROOTS = "/v1/roots"


def newest(server: Server) -> str:
    bundle = server.request("GET", "/v1/trust-bundle").body.decode()
    return root_set([ssl.PEM_cert_to_DER_cert(bundle)])


def tell(server: Server, party: Party, name: str, roots: str) -> None:
    tell_as(server, party.device(name), roots)


def tell_as(server: Server, who: Identity, roots: str) -> None:
    key = load_pem_private_key(who.key.read_bytes(), None)
    assert isinstance(key, DeviceKey)
    nonce = server.request("GET", "/v1/nonce").headers["replay-nonce"]
    signer = Signer(who.name, key, CertificateId(who.certificate_id))
    body = signer.body(server.about["url"] + ROOTS, nonce, {"roots": roots})
    assert server.request("POST", ROOTS, body, JOSE).status == 200


def test_the_operator_sees_who_has_the_newest_set_and_who_lacks_it(server: Server, party: Party) -> None:
    tell(server, party, "lamp-1", newest(server))
    tell(server, party, "lamp-2", "0" * 64)
    party.device("lamp-3")
    report = keyborn_json("ca", "roots", "--data", str(server.data))
    assert report["newest"] == newest(server)
    assert report["lacking"] == 2
    assert [(one["things"], one["newest"]) for one in report["sets"]] == [(1, True), (1, False), (1, False)]
    rows = ask(server.data, "GET", "/v1/roots/lacking")
    assert [row["thingName"] for row in rows] == ["lamp-2", "lamp-3"]
    said = keyborn("ca", "roots", "--lacking", "--data", str(server.data)).stdout
    assert "lamp-2" in said
    assert "lamp-1" not in said
    said = keyborn("ca", "roots", "--data", str(server.data)).stdout
    assert "(never said)" in said
    assert "2 of them lack the newest set" in said


def test_a_thing_shows_what_it_believes_and_since_when(server: Server, party: Party) -> None:
    tell(server, party, "bell", newest(server))
    shown = keyborn_json("thing", "show", "bell", "--data", str(server.data))
    assert shown["roots"] == newest(server)
    assert shown["rootsFresh"] is True
    assert shown["rootsSince"].endswith("Z")


def test_the_document_of_the_service_names_the_route(server: Server) -> None:
    assert ROOTS in server.request("GET", "/openapi.json").json["paths"]


def test_a_next_root_is_introduced_while_the_server_is_stopped_and_a_device_comes_to_believe_it(
    tmp_path: Path,
) -> None:
    with running(tmp_path) as server:
        party = Party(server, tmp_path)
        lamp = party.device("lamp")
        before = server.request("GET", "/v1/trust-bundle").body
        server.stop()
        made = keyborn_json("ca", "renew-root", "--data", server.data)
        server.start()
        bundle = server.request("GET", "/v1/trust-bundle").body
        assert bundle.endswith(before)
        assert bundle.count(b"BEGIN") == 2
        assert keyborn_json("ca", "roots", "--data", server.data)["lacking"] == 1
        both = root_set(ders(bundle.decode()))
        tell_as(server, lamp, both)
        report = keyborn_json("ca", "roots", "--data", server.data)
        assert (report["newest"], report["lacking"]) == (both, 0)
        assert root_set(ders(bundle.decode())[1:]) == root_set(ders(before.decode()))
        assert len(made["fingerprint"]) == 64
        party.end()


def test_a_device_takes_the_next_root_over_from_a_running_server_and_says_so(tmp_path: Path) -> None:
    """Four homes as ``keyborn enroll`` leaves them; each looks once, as an agent does within an hour."""
    with running(tmp_path) as server:
        homes = [Home(tmp_path / f"lamp-{number}") for number in range(4)]
        for home in homes:
            enroll(home.path, server.token(thing=home.path.name)["code"], home.path.name)
        keyborn("ca", "renew-root", "--data", server.data)
        for left, home in zip(range(3, -1, -1), homes, strict=True):
            take_roots(home)
            assert home.roots.read_bytes() == server.request("GET", "/v1/trust-bundle").body
            assert keyborn_json("ca", "roots", "--data", server.data)["lacking"] == left
        for home in homes:
            assert identity.assess(home, datetime.now(UTC)).state is identity.State.READY
