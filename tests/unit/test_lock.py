"""The tool that writes lock files: how that of the functions on AWS is cut out."""

from pathlib import Path

import pytest

import lock

WHOLE = """# Written by a tool
anyio==4.16.0 \\
    --hash=sha256:aa
idna==3.20 \\
    --hash=sha256:bb
typing-extensions==4.16.0 ; python_full_version < '3.13' \\
    --hash=sha256:cc
"""


def test_the_functions_get_the_pins_of_the_tests_without_markers() -> None:
    text = lock.cut(["typing-extensions", "anyio"], WHOLE)
    assert text == lock.FUNCTION_HEADER + (
        "anyio==4.16.0 \\\n    --hash=sha256:aa\ntyping-extensions==4.16.0 \\\n    --hash=sha256:cc\n"
    )


def test_a_name_that_the_tests_do_not_run_with_is_no_pin() -> None:
    with pytest.raises(KeyError):
        lock.cut(["left-pad"], WHOLE)


def test_it_is_written_into_the_package_and_the_others_beside_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "ROOT", tmp_path)
    monkeypatch.setattr(lock, "resolve", lambda _name: "idna==3.20 \\\n    --hash=sha256:bb\n")
    package, folder = tmp_path / "src" / "keyborn" / "adapters" / "aws", tmp_path / "requirements"
    package.mkdir(parents=True)
    folder.mkdir()
    (folder / "dev.lock").write_text(WHOLE)
    monkeypatch.setattr("sys.argv", ["lock", "function.lock", "device.lock"])
    lock.main()
    assert (package / "function.lock").read_text().endswith("idna==3.20 \\\n    --hash=sha256:bb\n")
    assert (folder / "device.lock").read_text().startswith(lock.HEADER)


def test_the_package_holds_what_the_tool_would_cut_now() -> None:
    root = Path(lock.__file__).resolve().parent.parent
    held = (root / "src" / "keyborn" / "adapters" / "aws" / "function.lock").read_text()
    whole = (root / "requirements" / "dev.lock").read_text()
    assert lock.cut(lock.blocks(held), whole) == held
