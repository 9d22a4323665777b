"""Bytecode for the functions: Lambda's file system is read-only, so without it each cold start compiles anew.

Only a Python of the target's minor version writes bytecode that the target reads. Where there is none, the
functions run from their sources alone, and start later.
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

_PATIENCE = 300.0


def interpreter(version: str) -> str | None:
    """A CPython of a minor version (``3.13``) on this machine: this one, or one on PATH."""
    ours = "{}.{}".format(*sys.version_info)
    return sys.executable if version == ours else shutil.which(f"python{version}")


def bytecode(contents: Mapping[str, bytes], version: str) -> dict[str, bytes]:
    """The bytecode of every module of ``contents`` by path; empty where nothing here can write it.

    It is never compared with the source again (PEP 552, unchecked): both are in one zip. It holds no path of
    this machine. Blocks for seconds.
    """
    python = interpreter(version)
    if python is None:
        return {}
    tag = f".cpython-{version.replace('.', '')}.pyc"
    with tempfile.TemporaryDirectory(prefix="keyborn-bytecode-") as name:
        folder = Path(name)
        for path, data in contents.items():
            if path.endswith(".py"):
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / path).write_bytes(data)
        _compile(python, folder)
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob(f"*{tag}")}


def _compile(python: str, folder: Path) -> None:
    """A module that does not compile stays a source, and so does everything if ``python`` does not run."""
    order = [python, "-I", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash"]
    try:
        subprocess.run(  # noqa: S603 - a Python of this machine and our own words
            [*order, "-s", str(folder), str(folder)],
            capture_output=True,
            check=False,
            timeout=_PATIENCE,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return
