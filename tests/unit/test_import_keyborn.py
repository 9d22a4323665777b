"""``import keyborn``: a few names, which cost nothing until they are used."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import keyborn

PUBLIC: list[str] = vars(keyborn)["__all__"]
STUB = Path(keyborn.__file__).with_suffix(".pyi")
HEAVY = {"asyncio", "ssl", "socket", "sqlite3", "json", "logging", "paho", "cryptography", "click"}


def loaded_by(statement: str) -> set[str]:
    """The modules that a fresh interpreter has after the statement, which it has not without it."""
    code = f"import sys\nbefore = set(sys.modules)\n{statement}\nprint(' '.join(sys.modules.keys() - before))"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(output.stdout.split())


def test_the_package_alone_loads_nothing() -> None:
    assert loaded_by("import keyborn") == {"keyborn"}


def test_values_and_errors_load_no_network() -> None:
    loaded = loaded_by("import keyborn; keyborn.Outcome, keyborn.Fate, keyborn.KeybornError, keyborn.Receipt")
    assert not (HEAVY - {"socket"}) & loaded


def test_a_device_loads_no_server_room_and_no_certificate_library() -> None:
    loaded = loaded_by("import keyborn; keyborn.Device, keyborn.SyncDevice")
    assert not {"cryptography", "click", "starlette", "msgspec"} & loaded
    rooms = {name.split(".")[1] for name in loaded if name.startswith("keyborn.")}
    assert rooms == {"device", "domain"}


def test_every_public_name_is_there_and_nothing_else() -> None:
    assert set(PUBLIC) <= set(dir(keyborn))
    for name in PUBLIC:
        assert getattr(keyborn, name).__class__
    with pytest.raises(AttributeError, match="has no attribute 'Devise'"):
        getattr(keyborn, "Devise")  # noqa: B009 - a type checker knows that it is not there


def test_the_types_are_those_of_the_names() -> None:
    told = {
        alias.asname: f"{node.module}"
        for node in ast.walk(ast.parse(STUB.read_text()))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert told == vars(keyborn)["_PLACES"]
