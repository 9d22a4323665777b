"""Bytecode for the functions: read in place of the sources, and telling nothing of the machine."""

import marshal
import subprocess
import sys
from pathlib import Path

import pytest

from keyborn.adapters.aws.bytecode import bytecode, interpreter

OURS = f"3.{sys.version_info.minor}"
TAG = sys.implementation.cache_tag
SOURCES = {"one.py": b"NAME = __file__\n", "deep/two.py": b"x = {'b', 'a'}\n", "deep/notes.txt": b"not code"}


def lay(folder: Path, contents: dict[str, bytes]) -> None:
    for name, data in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def test_every_module_gets_its_bytecode_and_nothing_else_does() -> None:
    found = bytecode(SOURCES, OURS)
    assert set(found) == {f"__pycache__/one.{TAG}.pyc", f"deep/__pycache__/two.{TAG}.pyc"}


def test_it_is_marked_as_never_to_be_compared_with_the_source() -> None:
    flags = {int.from_bytes(data[4:8], "little") for data in bytecode(SOURCES, OURS).values()}
    assert flags == {0b01}  # PEP 552: of a hash, and unchecked


def test_it_holds_no_path_of_the_machine_that_made_it() -> None:
    found = bytecode(SOURCES, OURS)
    code = marshal.loads(found[f"deep/__pycache__/two.{TAG}.pyc"][16:])
    assert code.co_filename == "deep/two.py"


def test_the_same_sources_give_the_same_bytecode() -> None:
    assert bytecode(SOURCES, OURS) == bytecode(dict(reversed(SOURCES.items())), OURS)


def test_python_runs_it_in_place_of_the_source(tmp_path: Path) -> None:
    contents = {"said.py": b"print('compiled')\n"}
    lay(tmp_path, bytecode(contents, OURS) | {"said.py": b"print('source')\n"})
    order = [sys.executable, "-I", "-c", f"import sys; sys.path[:0] = [{str(tmp_path)!r}]; import said"]
    done = subprocess.run(order, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "compiled\n"


def test_a_module_that_does_not_compile_stays_a_source() -> None:
    found = bytecode({"bad.py": b"print 'hello'\n", "good.py": b""}, OURS)
    assert set(found) == {f"__pycache__/good.{TAG}.pyc"}


def test_without_a_python_of_that_version_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert interpreter(OURS) == sys.executable
    assert interpreter("3.99") is None
    assert bytecode(SOURCES, "3.99") == {}
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    assert bytecode(SOURCES, OURS) == {}


def test_a_python_of_that_name_that_is_none_gives_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "python3.99"
    script.write_text("#!/bin/sh\nexit 127\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert interpreter("3.99") == str(script)
    assert bytecode(SOURCES, "3.99") == {}
