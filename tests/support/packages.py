"""The functions' code, built once: pip and the compiler take seconds for it.

``built`` keeps it for a test process, ``kept`` for all processes of a run. What is about building, or about a
deployment from the first command to the last, builds for itself.
"""

import fcntl
import io
import os
import pickle
import platform
import sys
import zipfile
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from keyborn.adapters.aws.package import MACHINES, Package, Target, build_package, digest_of
from keyborn.adapters.aws.roots import ROOTS_NAME


@cache
def built(target: Target) -> Package:
    """The package for a target."""
    return build_package(target)


def kept(folder: Path, target: Target, roots: bytes | None = None) -> Package:
    """The package for a target, as ``build_package`` makes it, built by the first process that asks.

    ``folder``: one that all processes share, as ``run_folder`` is.
    """
    name = f"package-{target.version}-{target.architecture}"
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        place = folder / name
        if not place.exists():
            whole = place.with_suffix(".whole")
            whole.write_bytes(pickle.dumps(built(target)))
            whole.rename(place)
    found: Package = pickle.loads(place.read_bytes())
    return found if roots is None else _with(found, roots)


def _with(package: Package, roots: bytes) -> Package:
    """The same code with roots of one's own beside it; only these are compressed."""
    buffer = io.BytesIO(package.data)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr(zipfile.ZipInfo(ROOTS_NAME), roots, zipfile.ZIP_DEFLATED)
        contents = {one: archive.read(one) for one in archive.namelist()}
    unpacked = package.unpacked + len(roots)
    return replace(package, data=buffer.getvalue(), digest=digest_of(contents), unpacked=unpacked)


def run_folder(folders: pytest.TempPathFactory) -> Path:
    """A folder that all test processes of a run share; it goes with their other folders."""
    base = folders.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


def own_target() -> Target:
    """What runs here: the stand-in runs functions with this machine's Python."""
    machine = next(name for name, tag in MACHINES.items() if tag == platform.machine())
    return Target(machine, f"python3.{sys.version_info.minor}")
