"""The operator's desk at a service elsewhere, against one that is rude: the key goes to nobody else."""

import json
import socket
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from keyborn.cli.console import Refused
from keyborn.cli.remote_desk import MOST, RemoteDesk
from keyborn.domain.api_key import ApiKeyWord
from keyborn.domain.errors import (
    FileNotPrivate,
    InvalidApiKey,
    KeybornError,
    RemoteAnswer,
    RemoteUnreachable,
    RemoteUntrusted,
)
from support.pki import CLIENT, SERVER, new_pki, pem, shared_pki
from support.rude_service import RudeService, dripping, endless, plain, problem, rude_service

SECRET = b"\xa7" * 32
THINGS = "/v1/things"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[RudeService]:
    with rude_service(tmp_path) as running:
        yield running


def word_of(service: RudeService, **changes: object) -> ApiKeyWord:
    code = service.code()
    return replace(ApiKeyWord(code.url, code.fingerprint, SECRET), **changes)  # type: ignore[arg-type] # any field


def desk_of(folder: Path, word: ApiKeyWord | str, url: str | None = None) -> RemoteDesk:
    path = folder / "alice.key"
    path.unlink(missing_ok=True)
    path.touch(0o600)
    path.write_text(word if isinstance(word, str) else f"{word.encode()}\n")
    return RemoteDesk(path, url)


def credentials(service: RudeService) -> list[str | None]:
    """What each request showed, in order."""
    return [seen.headers.get("Authorization") for seen in service.seen]


def rows(*names: str) -> bytes:
    return json.dumps([{"thingName": name} for name in names]).encode()


# ── whom it trusts ──


def test_the_bundle_comes_first_without_the_key_and_on_a_connection_of_its_own(
    tmp_path: Path, service: RudeService
) -> None:
    service.script(THINGS, plain(200, rows("a")))
    desk = desk_of(tmp_path, word_of(service))
    assert desk.ask("GET", THINGS) == [{"thingName": "a"}]
    assert desk.ask("GET", THINGS) == [{"thingName": "a"}]
    assert [seen.path for seen in service.seen] == ["/v1/trust-bundle", THINGS, THINGS]
    assert credentials(service) == [None, *[f"Bearer {word_of(service).encode()}"] * 2]
    assert len({seen.connection for seen in service.seen}) == 3


def test_a_root_with_another_fingerprint_gets_no_key(tmp_path: Path, service: RudeService) -> None:
    desk = desk_of(tmp_path, word_of(service, fingerprint=bytes(32)))
    with pytest.raises(RemoteUntrusted, match="fingerprint that the API key names"):
        desk.ask("GET", THINGS)
    assert credentials(service) == [None]


def test_who_only_shows_the_right_bundle_gets_no_key(tmp_path: Path) -> None:
    mine, other = shared_pki(), new_pki()
    leaf = other.servers.leaf("service", usage=SERVER, between=True)
    with rude_service(tmp_path, pki=mine, leaf=leaf) as service:
        with pytest.raises(RemoteUntrusted):
            desk_of(tmp_path, word_of(service)).ask("GET", THINGS)
        assert credentials(service) == [None]


def test_a_device_cannot_pose_as_the_service(tmp_path: Path) -> None:
    pki = shared_pki()
    leaf = pki.devices.leaf("service", usage=CLIENT, between=True)
    with rude_service(tmp_path, leaf=leaf) as service:
        with pytest.raises(RemoteUntrusted):
            desk_of(tmp_path, word_of(service)).ask("GET", THINGS)
        assert credentials(service) == [None]


def test_another_name_than_the_certificate_s_gets_no_key(tmp_path: Path, service: RudeService) -> None:
    url = service.url.replace("localhost", "127.0.0.2")
    with pytest.raises(KeybornError) as refusal:
        desk_of(tmp_path, word_of(service, url=url)).ask("GET", THINGS)
    assert isinstance(refusal.value, (RemoteUntrusted, RemoteUnreachable))
    assert [each for each in credentials(service) if each] == []


def test_an_expired_service_gets_no_key(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    leaf = shared_pki().servers.leaf(
        "service", usage=SERVER, between=True, start=now - timedelta(days=9), end=now - timedelta(days=1)
    )
    with rude_service(tmp_path, leaf=leaf) as service:
        with pytest.raises(RemoteUntrusted, match="expired"):
            desk_of(tmp_path, word_of(service)).ask("GET", THINGS)
        assert credentials(service) == [None]


def test_plain_http_gets_no_key(tmp_path: Path) -> None:
    with rude_service(tmp_path, tls=False) as service:
        with pytest.raises(RemoteUnreachable):
            desk_of(tmp_path, word_of(service)).ask("GET", THINGS)
        assert service.seen == []


def test_without_a_fingerprint_the_system_s_authorities_decide(tmp_path: Path, service: RudeService) -> None:
    with pytest.raises(RemoteUntrusted):
        desk_of(tmp_path, word_of(service, fingerprint=b"")).ask("GET", THINGS)
    assert service.seen == []


def test_another_address_is_asked_under_the_same_root(tmp_path: Path, service: RudeService) -> None:
    service.script(THINGS, plain(200, b"[]"))
    desk = desk_of(tmp_path, word_of(service, url="https://nowhere.invalid"), service.url)
    assert desk.ask("GET", THINGS) == []
    with pytest.raises(RemoteUntrusted):
        desk_of(tmp_path, word_of(service, fingerprint=bytes(32)), service.url).ask("GET", THINGS)


# ── the file ──


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o660, 0o604, 0o620])
def test_a_file_that_others_can_read_is_refused_before_anything_is_asked(
    tmp_path: Path, service: RudeService, mode: int
) -> None:
    desk = desk_of(tmp_path, word_of(service))
    (tmp_path / "alice.key").chmod(mode)
    with pytest.raises(FileNotPrivate, match="chmod 600"):
        desk.ask("GET", THINGS)
    assert service.seen == []


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_private_file_is_read(tmp_path: Path, service: RudeService, mode: int) -> None:
    service.script(THINGS, plain(200, b"[]"))
    desk = desk_of(tmp_path, word_of(service))
    (tmp_path / "alice.key").chmod(mode)
    assert desk.ask("GET", THINGS) == []


def test_a_link_is_not_followed(tmp_path: Path, service: RudeService) -> None:
    desk_of(tmp_path, word_of(service))
    (tmp_path / "link").symlink_to(tmp_path / "alice.key")
    with pytest.raises(FileNotPrivate, match="symbolic link"):
        RemoteDesk(tmp_path / "link", None).ask("GET", THINGS)


@pytest.mark.parametrize("text", ["", "kba1.", "kb1.abc", "nothing here", "kba1.AAAA kba1.BBBB"])
def test_a_file_without_a_key_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidApiKey):
        desk_of(tmp_path, text).ask("GET", THINGS)


def test_no_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InvalidApiKey, match="No such file"):
        RemoteDesk(tmp_path / "missing", None).ask("GET", THINGS)


def test_what_create_printed_is_good_whole(tmp_path: Path, service: RudeService) -> None:
    service.script(THINGS, plain(200, b"[]"))
    printed = f"id a0\nname alice\n\nElsewhere, put it into a file\n\n{word_of(service).encode()}\n"
    assert desk_of(tmp_path, printed).ask("GET", THINGS) == []


# ── what it answers ──


def test_a_refusal_is_told_in_the_service_s_words(tmp_path: Path, service: RudeService) -> None:
    service.script(THINGS, problem(403, "role_too_low", "This key's role is viewer"))
    with pytest.raises(Refused, match="role is viewer") as refusal:
        desk_of(tmp_path, word_of(service)).ask("GET", THINGS)
    assert refusal.value.code == "role_too_low"


def test_a_refusal_cannot_draw_on_the_terminal(tmp_path: Path, service: RudeService) -> None:
    service.script(THINGS, problem(403, "x\x1b[2J", "a\x1b[31mb\x07"))
    with pytest.raises(Refused) as refusal:
        desk_of(tmp_path, word_of(service)).ask("GET", THINGS)
    assert "\x1b" not in str(refusal.value) + refusal.value.code
    assert "\x07" not in str(refusal.value)


@pytest.mark.parametrize("status", [200, 301, 307, 404, 502])
@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff", b'{"message": "Forbidden"}', b"[1"])
def test_what_no_keyborn_answers_is_said_to_be_that(
    tmp_path: Path, service: RudeService, status: int, body: bytes
) -> None:
    service.script(THINGS, plain(status, body, Location="https://elsewhere.invalid/"))
    desk = desk_of(tmp_path, word_of(service))
    if status == 200 and body.startswith(b"{"):
        assert desk.ask("GET", THINGS) == {"message": "Forbidden"}
        return
    with pytest.raises(RemoteAnswer):
        desk.ask("GET", THINGS)
    assert len(service.asked(THINGS)) == 1, "and nobody else is asked"


def test_a_thousand_long_rows_are_read(tmp_path: Path, service: RudeService) -> None:
    body = rows(*(f"{number:0>400}" for number in range(1000)))
    assert len(body) > 400_000
    service.script(THINGS, plain(200, body))
    assert len(desk_of(tmp_path, word_of(service)).ask("GET", THINGS)) == 1000


def test_an_endless_answer_is_not_kept(
    tmp_path: Path, service: RudeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MOST == 16 * 1024 * 1024
    monkeypatch.setattr("keyborn.cli.remote_desk.MOST", 65536)
    service.script(THINGS, endless)
    with pytest.raises((RemoteAnswer, RemoteUnreachable)):
        desk_of(tmp_path, word_of(service)).ask("GET", THINGS)


def test_an_answer_that_drips_is_cut(
    tmp_path: Path, service: RudeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keyborn.cli.remote_desk._SECONDS", 0.3)
    service.script(THINGS, dripping)
    with pytest.raises(RemoteUnreachable, match="too long"):
        desk_of(tmp_path, word_of(service)).ask("GET", THINGS)


def test_half_an_answer_is_none(tmp_path: Path, service: RudeService) -> None:
    service.script(THINGS, plain(200, b"[", content_length="50"))
    with pytest.raises(RemoteUnreachable):
        desk_of(tmp_path, word_of(service)).ask("GET", THINGS)


def test_nobody_there_is_one_sentence(tmp_path: Path, service: RudeService) -> None:
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        url = f"https://localhost:{free.getsockname()[1]}"
        with pytest.raises(RemoteUnreachable, match="look before you repeat"):
            desk_of(tmp_path, word_of(service, url=url)).ask("GET", THINGS)


def test_a_service_below_a_prefix_is_found(tmp_path: Path, service: RudeService) -> None:
    service.script(f"/behind{THINGS}", plain(200, b"[]"))
    desk = desk_of(tmp_path, word_of(service, url=f"{service.url}/behind"))
    assert desk.ask("GET", THINGS) == []


# ── what differs between desks ──


def test_the_words_lead_here_again(tmp_path: Path, service: RudeService) -> None:
    path = tmp_path / "alice.key"
    assert desk_of(tmp_path, word_of(service)).words == f" --api-key-file {path}"
    there = desk_of(tmp_path, word_of(service), "https://b.example")
    assert there.words == f" --url https://b.example --api-key-file {path}"


def test_services_live_in_the_operator_s_state_by_root(
    tmp_path: Path, service: RudeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    word = word_of(service)
    expected = tmp_path / "keyborn" / "remote" / word.fingerprint.hex()[:16] / "services"
    assert desk_of(tmp_path, word).services() == expected
    assert desk_of(tmp_path, word, "https://b.example").services() == expected


def test_each_key_watches_as_a_service_of_its_own(tmp_path: Path, service: RudeService) -> None:
    one = desk_of(tmp_path, word_of(service)).watcher
    two = desk_of(tmp_path, word_of(service, secret=b"\x01" * 32)).watcher
    assert one != two
    assert one.startswith("keyborn-watch-")
    assert len(one) <= 64


def test_roots_of_the_bundle_are_all_looked_at(tmp_path: Path, service: RudeService) -> None:
    bundle = pem(new_pki().root.certificate, service.pki.root.certificate, new_pki().root.certificate)
    service.script("/v1/trust-bundle", plain(200, bundle.encode()))
    service.script(THINGS, plain(200, b"[]"))
    assert desk_of(tmp_path, word_of(service)).ask("GET", THINGS) == []
