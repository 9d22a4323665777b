"""The functions' code as one zip: Keyborn's server side, and its dependencies as wheels for the target.

The same sources and pins give the same digest, on whatever machine and with whatever compressor: it is taken
of names and contents; of bytecode only of the names, for one source may be compiled to more than one.
Wheels come from the index that pip is configured for and must have a hash of ``function.lock``. botocore goes
with it, without what is not called, so that the functions do not depend on the version that Lambda happens to
bring.
"""

import base64
import hashlib
import io
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

from keyborn.adapters.aws import models
from keyborn.adapters.aws.bytecode import bytecode
from keyborn.adapters.aws.roots import ROOTS_NAME
from keyborn.domain.errors import InvalidSetting, PackageNotBuilt

MACHINES = {"arm64": "aarch64", "x86_64": "x86_64"}
"""Lambda's architectures, as the tags of wheels call them."""
MOST_UNPACKED = 250 * 1024 * 1024
"""Bytes; Lambda takes no more (Lambda Developer Guide, "Lambda quotas")."""

_RUNTIME = re.compile(r"python3\.(1[1-9])")
_FIRST_ON_2023 = 12
"""From Python 3.12 on the runtimes are Amazon Linux 2023 (glibc 2.34); before, Amazon Linux 2 (2.26)."""
_BYTECODE = ".pyc"
_EPOCH = (1980, 1, 1, 0, 0, 0)
_MODE, _REGULAR = 0o644, 0o100000
_PATIENCE = 600.0

_NOT_OURS_TO_RUN = (
    "__main__.py",
    "adapters/backup",
    "adapters/broker",
    "adapters/ca",
    "adapters/data_folder.py",
    "adapters/memory",
    "adapters/process.py",
    "adapters/sql",
    "adapters/workers",
    "adapters/aws/bytecode.py",
    "adapters/aws/function.lock",
    "adapters/aws/models.py",
    "adapters/aws/package.py",
    "adapters/aws/session.py",
    "adapters/aws/smoke",
    "adapters/aws/stack",
    "cli",
    "device",
    "http/admin",
    "http/connections.py",
    "http/cycle.py",
    "http/descriptors.py",
    "http/doorway.py",
    "http/exposition.py",
    "http/forwarding.py",
    "http/framing.py",
    "http/metrics.py",
    "http/mirrored.py",
    "http/observing.py",
    "http/protocol.py",
    "http/proxies.py",
    "http/remote.py",
    "http/server.py",
    "settings.py",
    "testing",
    "wiring/aws_office.py",
    "wiring/aws_stack.py",
    "wiring/crew.py",
    "wiring/front.py",
    "wiring/listening.py",
    "wiring/log_lines.py",
    "wiring/offices.py",
    "wiring/plain.py",
    "wiring/pulse.py",
    "wiring/roots.py",
    "wiring/service.py",
    "wiring/signing.py",
    "wiring/upkeep.py",
    "wiring/use_cases.py",
    "wiring/watching.py",
    "wiring/worker.py",
)
"""Parts of Keyborn that no function runs, by how their paths begin."""
_SERVICES = frozenset({"dynamodb", "iot", "iot-data"})
_LEFT_BY_PIP = frozenset({"RECORD", "INSTALLER", "REQUESTED", "direct_url.json"})


@dataclass(frozen=True, slots=True)
class Target:
    """What the functions run on, such as ``Target("arm64", "python3.13")``."""

    architecture: str
    runtime: str

    def __post_init__(self) -> None:
        """Raise InvalidSetting for what Lambda, or Keyborn, does not run on."""
        if self.architecture not in MACHINES:
            raise InvalidSetting(setting="--architecture", detail=f"it takes {' or '.join(MACHINES)}")
        if not _RUNTIME.fullmatch(self.runtime):
            raise InvalidSetting(setting="--runtime", detail="it takes python3.11 or newer")

    @property
    def version(self) -> str:
        """Python's version: ``3.13``."""
        return self.runtime.removeprefix("python")

    @property
    def platforms(self) -> list[str]:
        """Tags of wheels that run there."""
        machine = MACHINES[self.architecture]
        newer = int(self.version.partition(".")[2]) >= _FIRST_ON_2023
        return [f"manylinux2014_{machine}", *([f"manylinux_2_28_{machine}"] if newer else [])]


@dataclass(frozen=True, slots=True)
class Package:
    """A zip, and the SHA-256 of what is in it, lower-case hex."""

    data: bytes
    digest: str
    unpacked: int
    """Bytes."""
    compiled: bool = False
    """Whether bytecode goes along; without it a cold start takes about twice as long."""

    @property
    def key(self) -> str:
        """Where it belongs in a bucket: other contents are another key."""
        return f"keyborn/{self.digest}.zip"

    @property
    def sha256(self) -> str:
        """Of the zip itself, base64, as Lambda and Amazon S3 tell it."""
        return sha256_of(self.data)


Run = Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]


def build_package(target: Target, *, roots: bytes | None = None, run: Run | None = None) -> Package:
    """Put the code for ``target`` together; blocks for seconds. ``roots``: PEM for ``ROOTS_NAME``.

    Raises PackageNotBuilt, with what pip said, and InvalidSetting.
    """
    with tempfile.TemporaryDirectory(prefix="keyborn-package-") as folder:
        _install(target, Path(folder), run or _run)
        contents = dict(_dependencies(Path(folder)))
    contents = models.cut(contents | _ours())
    contents |= bytecode(contents, target.version)
    if roots is not None:
        contents[ROOTS_NAME] = roots
    return pack(contents)


def sha256_of(data: bytes) -> str:
    """SHA-256, base64."""
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


def require_pip(run: Run | None = None) -> None:
    """Raise PackageNotBuilt, before anything else is done, where there is no pip to build with."""
    if (run or _run)([sys.executable, "-m", "pip", "--version"]).returncode:
        raise PackageNotBuilt(detail="this Python has no pip; add it with: python -m ensurepip")


def pack(contents: Mapping[str, bytes]) -> Package:
    """The zip of ``contents``, by path; raises PackageNotBuilt if Lambda would not take it."""
    unpacked = sum(map(len, contents.values()))
    if unpacked > MOST_UNPACKED:
        raise PackageNotBuilt(detail=f"it is {unpacked} bytes and Lambda takes {MOST_UNPACKED}")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in sorted(contents.items()):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.create_system = 3  # Unix, wherever this runs
            entry.external_attr = (_REGULAR | _MODE) << 16
            archive.writestr(entry, data, zipfile.ZIP_DEFLATED, compresslevel=6)
    compiled = any(name.endswith(_BYTECODE) for name in contents)
    return Package(buffer.getvalue(), digest_of(contents), unpacked, compiled)


def digest_of(contents: Mapping[str, bytes]) -> str:
    """SHA-256 of names and contents, lower-case hex; of bytecode only the names count."""
    digest = hashlib.sha256()
    for name, data in sorted(contents.items()):
        counted = b"" if name.endswith(_BYTECODE) else data
        digest.update(f"{name}\0{len(counted)}\0".encode() + counted)
    return digest.hexdigest()


def _install(target: Target, folder: Path, run: Run) -> None:
    with as_file(files(__package__).joinpath("function.lock")) as lock:
        platforms = [word for platform in target.platforms for word in ("--platform", platform)]
        done = run(
            [
                *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
                *("--no-input", "--no-compile", "--no-deps", "--only-binary=:all:", "--require-hashes"),
                *("--implementation", "cp", "--python-version", target.version, *platforms),
                *("--target", str(folder), "--requirement", str(lock)),
            ]
        )
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["pip failed"]
        hint = "; can pip reach its index? See: pip config list" if "No matching" in said[-1] else ""
        raise PackageNotBuilt(detail=said[-1].removeprefix("ERROR: ").rstrip(". ") + hint)


def _run(order: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(  # noqa: S603 - our own interpreter and our own words
            order, capture_output=True, text=True, check=False, timeout=_PATIENCE, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PackageNotBuilt(detail=f"pip did not run ({type(error).__name__})") from None


def _dependencies(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not name.startswith("bin/") and _is_needed(path, name):
            yield name, path.read_bytes()


def _is_needed(path: Path, name: str) -> bool:
    if path.suffix == _BYTECODE or (".dist-info/" in name and path.name in _LEFT_BY_PIP):
        return False
    service = re.match(r"botocore/data/([^/]+)/", name)
    return service is None or service[1] in _SERVICES


def _ours() -> dict[str, bytes]:
    """Keyborn itself, from where it is installed."""
    found = {}
    with as_file(files("keyborn")) as folder:
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder).as_posix()
            if path.is_file() and path.suffix != _BYTECODE and not name.startswith(_NOT_OURS_TO_RUN):
                found[f"keyborn/{name}"] = path.read_bytes()
    return found
