"""The home: where it is, who may enter, one session at a time."""

import os
import pwd
import stat
from pathlib import Path

import pytest

from keyborn.device import files
from keyborn.device.home import Home, locate_home
from keyborn.domain.errors import HomeBusy, HomeUnusable


@pytest.mark.parametrize(
    ("chosen", "environment", "root", "expected"),
    [
        ("/a/home", {"KEYBORN_HOME": "/b"}, True, "/a/home"),
        (None, {"KEYBORN_HOME": "/b"}, True, "/b"),
        (None, {"KEYBORN_HOME": ""}, True, "/var/lib/keyborn"),
        (None, {}, True, "/var/lib/keyborn"),
        (None, {"XDG_STATE_HOME": "/state"}, True, "/var/lib/keyborn"),
        (None, {"XDG_STATE_HOME": "/state"}, False, "/state/keyborn"),
        (None, {"XDG_STATE_HOME": "relative"}, False, "~/.local/state/keyborn"),
        (None, {}, False, "~/.local/state/keyborn"),
    ],
)
def test_where_the_home_is(
    chosen: str | None, environment: dict[str, str], expected: str, *, root: bool
) -> None:
    home = locate_home(None if chosen is None else Path(chosen), environment, root=root)
    assert home.path == Path(os.path.realpath(Path(expected).expanduser()))


def test_a_user_without_a_home_folder_is_told_to_choose_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(_path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", nowhere)
    with pytest.raises(HomeUnusable, match="Use --home"):
        locate_home(None, {}, root=False)


def test_a_home_behind_a_link_is_the_place_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert locate_home(tmp_path / "link", {}, root=False).path == (tmp_path / "real").resolve()


def test_the_files_have_the_names_of_the_contract(tmp_path: Path) -> None:
    home = Home(tmp_path)
    named = [home.key, home.certificate, home.roots, home.settings, home.outbox]
    assert [path.name for path in named] == [
        "device.key",
        "device.crt",
        "roots.pem",
        "device.toml",
        "outbox.db",
    ]


def test_a_new_home_is_0700_and_so_on_again(tmp_path: Path) -> None:
    home = Home(tmp_path / "a" / "b")
    home.prepare()
    home.prepare()
    assert stat.S_IMODE(home.path.stat().st_mode) == 0o700


def test_every_new_folder_s_name_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(files, "sync_folder", synced.append)
    Home(tmp_path / "a" / "b").prepare()
    assert set(synced) == {tmp_path / "a", tmp_path}


@pytest.mark.parametrize("mode", [0o701, 0o710, 0o755, 0o777])
def test_a_home_that_others_can_enter_is_refused(tmp_path: Path, mode: int) -> None:
    home = Home(tmp_path / "home")
    home.prepare()
    home.path.chmod(mode)
    with pytest.raises(HomeUnusable, match=f"{mode:04o}. Run: chmod 700"):
        home.prepare()


def test_a_stranger_s_home_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home(tmp_path / "home")
    home.prepare()
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    with pytest.raises(HomeUnusable, match="not to you"):
        home.check()


def test_a_home_of_a_user_without_a_name_is_refused_by_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(tmp_path / "home")
    home.prepare()
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)
    with pytest.raises(HomeUnusable, match=f"the user {home.path.stat().st_uid}, not to you"):
        home.check()


def test_a_file_is_no_home(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(HomeUnusable):
            Home(path).prepare()


def test_a_missing_home_is_said(tmp_path: Path) -> None:
    with pytest.raises(HomeUnusable, match="No such file"):
        Home(tmp_path / "none").check()


def test_one_session_at_a_time(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with home.session(), pytest.raises(HomeBusy, match="Another keyborn command"), home.session():
        pass
    with home.session():
        pass


def test_a_session_can_be_waited_for(tmp_path: Path) -> None:
    import threading

    home, held, released = Home(tmp_path), threading.Event(), threading.Event()

    def hold() -> None:
        with home.session():
            held.set()
            released.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(10)
    threading.Timer(0.1, released.set).start()
    with home.session(patience=10):
        assert released.is_set()
    thread.join()


def test_a_session_that_fails_is_over(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with pytest.raises(ZeroDivisionError), home.session():
        raise ZeroDivisionError
    with home.session():
        pass


def test_a_link_in_the_lock_s_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(HomeUnusable), Home(tmp_path).session():
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_cleaning_removes_what_is_half_written_and_nothing_else(tmp_path: Path) -> None:
    kept = ["device.key", "device.crt", "roots.pem", "device.toml", "outbox.db", "notes.tmp"]
    for name in [*kept, "device.key.tmp", "device.crt.tmp", "roots.pem.tmp", "device.toml.tmp"]:
        (tmp_path / name).write_text("")
    Home(tmp_path).clean()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)


@pytest.mark.parametrize("umask", [0, 0o022, 0o077])
def test_folders_that_lead_to_a_new_home_are_private_too(tmp_path: Path, umask: int) -> None:
    """Whoever can write to the folder above could put another home in its place."""
    before = os.umask(umask)
    try:
        Home(tmp_path / "a" / "b" / "home").prepare()
    finally:
        os.umask(before)
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "a", tmp_path / "a" / "b")} == {0o700}
