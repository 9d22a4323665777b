"""``pip install .`` into an empty environment: the device side, a closed list of packages, no server."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BROUGHT = {"keyborn", "click", "cryptography", "cffi", "paho-mqtt", "pycparser"}
"""Everything that a bare install brings."""
DEVICE = ("enroll", "publish", "subscribe", "status")
SERVER = ("starlette", "httptools", "msgspec", "sqlalchemy", "boto3", "botocore")
LIMIT = 60 * 1024 * 1024
"""GOALS P11."""
_LIST = "import importlib.metadata as m, json; print(json.dumps([d.name for d in m.distributions()]))"


def run(*order: str | Path) -> "subprocess.CompletedProcess[str]":
    """Run to the end; returns exit code and output."""
    words = [str(word) for word in order]
    return subprocess.run(words, capture_output=True, text=True, timeout=100, check=False)


def build(folder: Path) -> Path:
    """The project's wheel, built from a copy of the checkout with this environment's setuptools."""
    source = folder / "source"
    (source / "src").mkdir(parents=True)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        (source / name).write_bytes((ROOT / name).read_bytes())
    for file in (ROOT / "src" / "keyborn").rglob("*"):
        if file.suffix in {".py", ".sql", ".typed"}:
            copy = source / file.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(file.read_bytes())
    built = run(
        sys.executable, "-m", "pip", "wheel", "-qq", "--no-deps", "--no-build-isolation", "-w", folder, source
    )
    assert built.returncode == 0, built.stderr
    return next(folder.glob("keyborn-*.whl"))


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with nothing but ``keyborn`` and what its wheel asks for."""
    folder = tmp_path_factory.mktemp("bare")
    wheel = build(folder)
    assert run(sys.executable, "-m", "venv", "--without-pip", folder / "venv").returncode == 0
    target = folder / "venv" / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", target, "install", "-qq")
    # The wheel decides what comes; the constraints only say which versions.
    installed = run(*pip, "-c", constraints(folder), wheel)
    assert installed.returncode == 0, installed.stderr
    return folder / "venv"


def constraints(folder: Path) -> Path:
    """The pins of device.lock without their hashes: constraints on a wheel cannot carry them."""
    lines = (ROOT / "requirements" / "device.lock").read_text().splitlines()
    path = folder / "constraints.txt"
    path.write_text("\n".join(line.rstrip(" \\") for line in lines if "==" in line))
    return path


def test_a_bare_install_brings_a_closed_list_of_packages(bare: Path) -> None:
    listed = run(bare / "bin" / "python", "-c", _LIST)
    assert {name.lower().replace("_", "-") for name in json.loads(listed.stdout)} == BROUGHT


def test_a_bare_install_is_small(bare: Path, figure: Callable[[str], None]) -> None:
    folder = next((bare / "lib").glob("python3.*")) / "site-packages"
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file() and not file.is_symlink())
    figure(f"bare install: {size / 2**20:.1f} MiB with dependencies, limit {LIMIT / 2**20:.0f}")
    assert size <= LIMIT


@pytest.mark.parametrize("module", SERVER)
def test_no_server_package_is_there(bare: Path, module: str) -> None:
    assert run(bare / "bin" / "python", "-c", f"import {module}").returncode == 1


def test_the_command_helps_there(bare: Path) -> None:
    shown = run(bare / "bin" / "keyborn", "--help")
    assert shown.returncode == 0
    assert "enroll" in shown.stdout


@pytest.mark.parametrize("command", DEVICE)
def test_every_device_command_works_there(bare: Path, command: str) -> None:
    shown = run(bare / "bin" / "keyborn", command, "--help")
    assert (shown.returncode, shown.stderr) == (0, "")


def test_every_device_module_imports_there(bare: Path) -> None:
    code = (
        "import importlib, pkgutil, keyborn.device as d; "
        "[importlib.import_module(m.name) for m in pkgutil.walk_packages(d.__path__, 'keyborn.device.')]"
    )
    imported = run(bare / "bin" / "python", "-W", "error", "-c", code)
    assert imported.returncode == 0, imported.stderr


def test_a_device_command_that_is_refused_says_so_in_one_sentence(bare: Path, tmp_path: Path) -> None:
    shown = run(bare / "bin" / "keyborn", "publish", "certtest/x", "hello", "--home", tmp_path / "none")
    assert shown.returncode == 1
    assert shown.stderr.startswith("keyborn: ")
    assert "Traceback" not in shown.stderr


def test_a_server_command_there_says_what_to_install(bare: Path, tmp_path: Path) -> None:
    shown = run(bare / "bin" / "keyborn", "serve", "--data", tmp_path / "data")
    assert shown.returncode == 1
    assert "pip install 'keyborn[server]'" in shown.stderr
    assert shown.stderr.count("\n") == 1
    assert not (tmp_path / "data").exists(), "nothing is created before the parts are known to be there"
