"""Backup and restore as an operator does it: a real service and devices; what was revoked stays revoked."""

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from keyborn.adapters.data_folder import DataFolder
from keyborn.cli.console import ask
from keyborn.settings import ServerSettings, write_settings
from support.csr_make import make_csr
from support.device import enroll, keyborn, keyborn_json
from support.server import Server
from support.talker import V5, V311, Identity, Party, enroll_device, until

NAMES = ("kept", "revoked", "retired")


@contextmanager
def serving(server: Server) -> Iterator[Server]:
    """A server that is stopped at the end, if it still runs."""
    try:
        yield server.start()
    finally:
        if server.process is not None and server.process.poll() is None:
            server.stop()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """With a second copy of revocations elsewhere."""
    folder = DataFolder(tmp_path / "server")
    folder.create()
    settings = ServerSettings(revocation_mirror=str(tmp_path / "elsewhere.log"))
    folder.write_once(folder.settings, write_settings(settings))
    with serving(Server(folder.path, tmp_path / "server.log")) as server:
        yield server


@pytest.fixture
def homes(tmp_path: Path, server: Server) -> dict[str, Path]:
    """Devices with keys of their own, which have been at the broker."""
    made = {name: tmp_path / name for name in NAMES}
    for name, home in made.items():
        enroll(home, server.token(thing=name)["code"], name, "--publish", "hello")
    return made


def moved(server: Server) -> Server:
    """Another process at the same addresses."""
    about = {key: server.about[key] for key in ("https", "mqtt")}
    return Server(server.data, server.log, about=about)


def require_gone(server: Server, home: Path, name: str) -> None:
    """Refused at the broker and at renewal; neither the name nor the key comes back."""
    assert server.thing(name)["status"] == name
    keyborn("publish", f"certtest/{name}", "again", "--home", home, expect=1)
    keyborn("renew", "--now", "--timeout", "3", "--home", home, expect=1)
    _, csr = make_csr(name)
    assert server.enroll(name, csr, server.token(match="*")["secret"]).json["code"] == "thing_revoked"


def require_stranger(server: Server, folder: Path, identity: Identity) -> None:
    """A certificate of our own authority that the registry has never heard of opens nothing."""
    party = Party(server, folder)
    try:
        assert not party.talker(identity, protocol=V5).connect().is_in
        assert not party.talker(identity, protocol=V311).connect().is_in
    finally:
        party.end()


@pytest.mark.parametrize(
    "lost",
    [pytest.param(False, id="folder there", marks=pytest.mark.whole), pytest.param(True, id="folder lost")],
)
def test_a_backup_from_before_a_revocation_does_not_undo_it(
    tmp_path: Path,
    server: Server,
    homes: dict[str, Path],
    lost: bool,  # noqa: FBT001 - a case's, not a switch
) -> None:
    token = server.token(match="free-*", uses=5)
    open_one = server.token(match="open-*", uses=5)
    file = tmp_path / "one.backup"
    wrote = keyborn_json("backup", file, "--data", server.data)
    assert (wrote["bytes"], file.stat().st_mode & 0o777) == (file.stat().st_size, 0o600)
    keyborn("thing", "revoke", "revoked", "--data", server.data)
    keyborn("thing", "retire", "retired", "--data", server.data)
    keyborn("token", "withdraw", token["id"], "--data", server.data)
    later = enroll_device(server, tmp_path, "later")
    told = keyborn("restore", file, "--data", server.data, "--replace", expect=1)
    assert "data_folder_in_use" in told.stderr
    server.stop()
    if lost:
        shutil.rmtree(server.data)
    done = keyborn_json("restore", file, "--data", server.data, *([] if lost else ["--replace"]))
    assert Path(done["source"]) == (tmp_path / "elsewhere.log" if lost else server.data / "revocations.log")
    with serving(moved(server)) as again:
        keyborn("publish", "certtest/kept", "still here", "--home", homes["kept"])
        for name in ("revoked", "retired"):
            require_gone(again, homes[name], name)
        for name, secret in (("free-1", token["secret"]), ("open-1", open_one["secret"])):
            _, csr = make_csr(name)
            assert again.enroll(name, csr, secret).status == 401
        require_stranger(again, tmp_path, later)
        keyborn("audit", "verify", "--data", again.data)
        records = ask(again.data, "GET", "/v1/audit", None, after=0, limit=1000)
        assert [row["action"] for row in records].count("restore") == 1


def test_a_device_that_renewed_since_is_refused_and_comes_back_with_a_replacing_token(
    tmp_path: Path, server: Server
) -> None:
    home, file = tmp_path / "lamp", tmp_path / "one.backup"
    enroll(home, server.token(thing="lamp")["code"], "lamp", "--publish", "hello")
    keyborn("backup", file, "--data", server.data)
    keyborn("renew", "--now", "--home", home)
    keyborn("publish", "certtest/lamp", "renewed", "--home", home)
    server.stop()
    keyborn("restore", file, "--data", server.data, "--replace")
    with serving(moved(server)) as again:
        keyborn("publish", "certtest/lamp", "again", "--home", home, expect=1)
        keyborn("forget", "--yes", "--home", home)
        enroll(home, again.token(thing="lamp", replace=True)["code"], "lamp", "--publish", "back")


def test_without_any_copy_a_restore_is_refused_and_says_what_it_would_mean(
    tmp_path: Path, server: Server
) -> None:
    enroll_device(server, tmp_path, "revoked")
    file = tmp_path / "one.backup"
    keyborn("backup", file, "--data", server.data)
    keyborn("thing", "revoke", "revoked", "--data", server.data)
    server.stop()
    shutil.rmtree(server.data)
    (tmp_path / "elsewhere.log").unlink()
    told = keyborn("restore", file, "--data", server.data, expect=1).stderr
    assert "good again" in told
    assert "revocations_missing" in told
    told = keyborn("restore", file, "--data", server.data, "--without-revocations").stderr
    assert "good again" in told
    with serving(moved(server)) as again:
        assert again.thing("revoked")["status"] == "active"


def test_a_backup_during_enrolments_is_one_moment_of_them(tmp_path: Path, server: Server) -> None:
    """Everybody who was answered before the backup began is in it; and nobody halfway."""
    secret = server.token(match="*", uses=1000)["secret"]
    answered: list[str] = []
    stop = threading.Event()

    def _enrol(lane: int) -> None:
        number = 0
        while not stop.is_set():
            name = f"lamp-{lane}-{number}"
            _, csr = make_csr(name)
            assert server.enroll(name, csr, secret).status == 201
            answered.append(name)
            number += 1

    lanes = [threading.Thread(target=_enrol, args=(lane,)) for lane in range(4)]
    for lane in lanes:
        lane.start()
    try:
        for turn in range(3):
            before = set(answered)
            file = tmp_path / f"{turn}.backup"
            keyborn("backup", file, "--data", server.data)
            into = tmp_path / f"into-{turn}"
            keyborn("restore", file, "--data", into)
            there = {row["thingName"] for row in ask(into, "GET", "/v1/things", None, limit=1000)}
            assert before <= there
    finally:
        stop.set()
        for lane in lanes:
            lane.join()


def test_where_the_copy_cannot_be_written_the_order_holds_and_says_so(tmp_path: Path) -> None:
    folder, away = DataFolder(tmp_path / "server"), tmp_path / "other-disk"
    folder.create()
    settings = ServerSettings(revocation_mirror=str(away / "revocations.log"))
    folder.write_once(folder.settings, write_settings(settings))
    with serving(Server(folder.path, tmp_path / "server.log")) as server:
        party = Party(server, tmp_path)
        talker = party.talker(party.device("lamp")).connect()
        assert talker.is_in
        told = keyborn("thing", "revoke", "lamp", "--data", server.data, expect=1).stderr
        assert "What was ordered is in force" in told
        assert "mirror_unwritable" in told
        until(talker.closed.is_set, "the session is closed all the same")
        token = server.token(thing="other")  # what takes nothing away is not held up
        assert "the copy of revocations is not written" in server.log.read_text()
        away.mkdir()
        keyborn("token", "withdraw", token["id"], "--data", server.data)
        copied = (away / "revocations.log").read_text()
        assert copied == folder.revocations.read_text()
        assert " device-revoked lamp " in copied
        party.end()


def test_a_stack_and_a_service_elsewhere_are_not_backed_up_by_mistake(tmp_path: Path) -> None:
    for command in ("backup", "restore"):
        told = keyborn(command, tmp_path / "x", "--aws", "keyborn", expect=1).stderr
        assert "backup_elsewhere" in told
        assert "point-in-time" in told
        told = keyborn(command, tmp_path / "x", "--url", "https://gateway.example", expect=1).stderr
        assert "not_remote" in told
