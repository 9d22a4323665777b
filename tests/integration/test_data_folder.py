"""The data folder: private, one holder at a time, reachable however deep it lies."""

import os
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from keyborn.adapters.data_folder import DataFolder
from keyborn.domain.errors import DataFolderInUse, DataFolderMissing, DataFolderUnsafe


def made(tmp_path: Path) -> DataFolder:
    folder = DataFolder(tmp_path / "data")
    folder.create()
    return folder


def test_the_constructor_touches_nothing(tmp_path: Path) -> None:
    DataFolder(tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_it_is_made_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        folder = made(tmp_path)
        with folder.lock():
            pass
        folder.write_once(folder.settings, "https = 1\n")
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    for path in (folder.path / "lock", folder.settings):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o701, 0o777])
def test_a_folder_that_others_can_enter_is_refused_and_left_as_it_is(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "data"
    path.mkdir()
    path.chmod(mode)
    with pytest.raises(DataFolderUnsafe):
        DataFolder(path).create()
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_folder_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = made(tmp_path)
    owner = folder.path.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(DataFolderUnsafe, match="another user"):
        folder.create()


def test_a_folder_without_settings_has_never_served(tmp_path: Path) -> None:
    folder = made(tmp_path)
    with pytest.raises(DataFolderMissing, match="keyborn serve"):
        folder.require()
    folder.write_once(folder.settings, "")
    folder.require()


def test_settings_once_written_are_never_overwritten(tmp_path: Path) -> None:
    folder = made(tmp_path)
    folder.write_once(folder.settings, "first")
    folder.write_once(folder.settings, "second")
    assert folder.settings.read_text() == "first"
    assert [path.name for path in folder.path.iterdir()] == ["server.toml"], "no partial file is left"


def test_the_lock_has_one_holder_and_comes_back(tmp_path: Path) -> None:
    folder = made(tmp_path)
    with folder.lock(), pytest.raises(DataFolderInUse), DataFolder(folder.path).lock():
        pass
    with DataFolder(folder.path).lock():
        pass


HOLDER = """
import sys
from pathlib import Path
from keyborn.adapters.data_folder import DataFolder
with DataFolder(Path(sys.argv[1])).lock():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_the_lock_holds_between_processes_and_dies_with_its_holder(tmp_path: Path) -> None:
    folder = made(tmp_path)
    words = [sys.executable, "-c", HOLDER, str(folder.path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == b"held\n"
            with pytest.raises(DataFolderInUse), folder.lock():
                pass
        finally:
            other.kill()
    with folder.lock():
        pass


def test_patience_outlasts_a_short_holder(tmp_path: Path) -> None:
    folder = made(tmp_path)
    held, release = threading.Event(), threading.Event()

    def briefly() -> None:
        with DataFolder(folder.path).lock():
            held.set()
            release.wait(5)

    holder = threading.Thread(target=briefly)
    holder.start()
    held.wait(5)
    threading.Timer(0.2, release.set).start()
    with folder.lock(patience=5):
        pass
    holder.join()


def test_patience_does_not_wait_for_a_server_that_answers(tmp_path: Path) -> None:
    folder = made(tmp_path)
    with folder.lock():
        listener = folder.bind_control()
        listener.listen()
        began = time.monotonic()
        with pytest.raises(DataFolderInUse), DataFolder(folder.path).lock(patience=5):
            pass
        assert time.monotonic() - began < 1
        listener.close()


def test_the_lock_file_may_not_be_a_link(tmp_path: Path) -> None:
    folder = made(tmp_path)
    (folder.path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="lock"), folder.lock():
        pass
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("depth", [1, 40, 300])
def test_the_control_socket_is_private_and_reached_from_any_depth(tmp_path: Path, depth: int) -> None:
    deep = tmp_path.joinpath(*(["d" * 10] * (depth // 10 + 1)))
    deep.mkdir(parents=True)
    folder = DataFolder(deep / "data")
    folder.create()
    assert folder.connect_control() is None
    listener = folder.bind_control()
    listener.listen()
    assert stat.S_IMODE(folder.control.stat().st_mode) == 0o600
    client = folder.connect_control()
    assert client is not None
    client.close()
    listener.close()
    assert folder.connect_control() is None, "a socket left behind is nobody"


def test_a_socket_left_by_a_killed_server_is_replaced(tmp_path: Path) -> None:
    folder = made(tmp_path)
    folder.bind_control().close()
    again = folder.bind_control()
    again.listen()
    client = folder.connect_control()
    assert client is not None
    client.close()
    again.close()
