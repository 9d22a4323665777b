"""Bring a fresh machine to where a make target can run: ``python3 tools/bootstrap.py server|dev|bench``.

Needs nothing but CPython 3.11. As root on a Debian machine it installs the missing packages of
``tests/needs.toml``; anybody else is told their names and goes on without them. Then it builds ``.venv``
from the hash-locked requirements, with pip as this machine has it configured. A stamp keeps the digest of
everything that decides the result, so that a second run costs one Python start.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STAND_IN = ROOT / ".venv-ministack"
"""The stand-in for AWS, in an environment of its own: its pins clash with ours."""
PEER = ROOT / ".venv-openbao"
"""OpenBao, for measurements alone: 200 MB that nobody else needs."""
OLDEST = (3, 11)
LOCKS = {"server": "server.lock", "dev": "dev.lock", "bench": "dev.lock"}
DEMO_NEEDS = frozenset({"openssl"})


@dataclass(frozen=True, slots=True)
class Need:
    """A program or header outside Python, and the Debian package that brings it."""

    name: str
    package: str
    command: str | None = None
    file: str | None = None
    only: str | None = None

    def met(self) -> bool:
        """Whether this machine has it."""
        if self.command is not None and not find(self.command):
            return False
        return self.file is None or Path(self.file).exists()

    def wanted(self, level: str) -> bool:
        """Whether ``level`` (server, dev, bench) uses it."""
        if level == "server":
            return self.name in DEMO_NEEDS
        return self.only is None or self.only == level


def find(command: str) -> str | None:
    """The path of a program; daemons live in sbin, which is not on everybody's PATH."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    return shutil.which(command, path=path)


def needs() -> dict[str, Need]:
    """Every need of tests/needs.toml, by name."""
    table = tomllib.loads((ROOT / "tests" / "needs.toml").read_text())
    return {name: Need(name=name, **row) for name, row in table.items()}


def missing_packages(level: str) -> list[str]:
    """The Debian packages that ``level`` would use and this machine lacks."""
    packages = {need.package for need in needs().values() if need.wanted(level) and not need.met()}
    if not has_venv():
        packages.add("python3-venv")
    return sorted(packages)


def has_venv() -> bool:
    """Whether this Python can make virtual environments (Debian ships that apart)."""
    probe = subprocess.run([sys.executable, "-c", "import ensurepip, venv"], capture_output=True, check=False)
    return probe.returncode == 0


def install_packages(packages: Sequence[str]) -> None:
    """With apt, as root; the package lists are fetched only if the first try fails."""
    say(f"installing {' '.join(packages)}")
    order = ["apt-get", "install", "-qq", "-y", "--no-install-recommends", *packages]
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    if subprocess.run(
        order, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False
    ).returncode:
        subprocess.run(["apt-get", "update", "-qq"], env=env, check=False)
        subprocess.run(order, env=env, stdout=subprocess.DEVNULL, check=False)


def prepare_machine(level: str) -> None:
    """Packages first: installed as root, else named. Ends the run only where nothing can work without one."""
    packages = missing_packages(level)
    if packages and os.geteuid() == 0 and shutil.which("apt-get"):
        install_packages(packages)
        packages = missing_packages(level)
    if packages:
        say(f"not on this machine: {' '.join(packages)}")
        say(f"install with: sudo apt-get install --no-install-recommends {' '.join(packages)}")
        say("going on without; what needs them is left out and named")
    if "python3-venv" in packages:
        sys.exit("keyborn: a virtual environment cannot be made without python3-venv")


def maker() -> str:
    """Which Python makes the environment, and where: it cannot be moved."""
    return f"{sys.version} in {ROOT}"


def digest(level: str) -> str:
    """Changes when the environment of ``level`` would come out differently."""
    parts = [maker().encode()]
    files = [
        ROOT / "pyproject.toml",
        ROOT / "requirements" / "build.lock",
        ROOT / "requirements" / LOCKS[level],
    ]
    return hashlib.sha256(b"\0".join([*parts, *(file.read_bytes() for file in files)])).hexdigest()


def prepare_environment(level: str) -> None:
    """Build or refresh ``.venv`` unless its stamp says that it is already what ``level`` needs."""
    lock = LOCKS[level]
    stamp = VENV / "keyborn-stamp.json"
    done = json.loads(stamp.read_text()) if stamp.exists() else {}
    if done.get(lock) == digest(level):
        return
    if done.get("made") != maker():
        say("making .venv")
        done = {}
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)], check=True)
    stamp.unlink(missing_ok=True)
    say(f"installing requirements/{lock} into .venv")
    pip("--require-hashes", "-r", "requirements/build.lock")
    pip("--require-hashes", "--no-build-isolation", "--use-pep517", "-r", f"requirements/{lock}")
    pip("--no-deps", "--no-build-isolation", "-e", ".")
    stamp.write_text(json.dumps(done | {"made": maker(), **stamps(level)}))


def prepare_stand_in() -> None:
    """Build or refresh the environment of the stand-in for AWS, for tests and measurements alone."""
    prepare_apart(STAND_IN, "ministack.lock")


def prepare_peer() -> None:
    """Build or refresh the environment of OpenBao, for measurements alone."""
    prepare_apart(PEER, "openbao.lock")


def prepare_apart(venv: Path, name: str) -> None:
    """Build or refresh an environment of its own for one lock, unless its stamp says that it is there."""
    lock = ROOT / "requirements" / name
    stamp = venv / "keyborn-stamp"
    wanted = hashlib.sha256(maker().encode() + lock.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return
    say(f"installing requirements/{lock.name} into {venv.name}")
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(venv)], check=True)
    pip("--require-hashes", "-r", f"requirements/{lock.name}", venv=venv)
    stamp.write_text(wanted)


def stamps(level: str) -> dict[str, str]:
    """What an environment of ``level`` satisfies: dev.lock holds every pin of server.lock."""
    levels = ["server"] if level == "server" else ["server", "dev"]
    return {LOCKS[each]: digest(each) for each in levels}


def pip(*arguments: str, venv: Path = VENV) -> None:
    """Run the environment's pip install, quietly."""
    order = [str(venv / "bin" / "python"), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    finished = subprocess.run([*order, *arguments], cwd=ROOT, check=False)
    if finished.returncode:
        sys.exit(f"keyborn: pip install {' '.join(arguments)} failed, see above")


def say(line: str) -> None:
    """One line of progress, apart from what the target itself prints."""
    print(f"bootstrap: {line}", file=sys.stderr, flush=True)  # noqa: T201 - this is a script


def main() -> None:
    """Prepare the machine and the environment for one level."""
    if sys.version_info < OLDEST:
        sys.exit(f"keyborn: needs CPython {OLDEST[0]}.{OLDEST[1]} or newer, this is {sys.version.split()[0]}")
    level = sys.argv[1] if len(sys.argv) > 1 else "dev"
    if level not in LOCKS:
        sys.exit(f"usage: bootstrap.py {'|'.join(LOCKS)}")
    prepare_machine(level)
    prepare_environment(level)
    if level != "server":
        prepare_stand_in()
    if level == "bench":
        prepare_peer()


if __name__ == "__main__":
    main()
