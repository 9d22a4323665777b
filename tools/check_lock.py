"""Compare the lock files with ``pyproject.toml``, without a network: ``make check`` runs it.

True when this prints nothing but its last line: every dependency is pinned in the lock that should hold it,
at a version it allows; each pin carries hashes; the locks agree; and no lock names a host or a path.
"""

import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
LOCKS = {"device.lock": [], "server.lock": ["server"], "dev.lock": ["server", "aws", "dev"]}
PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==(\S+)(?: ; .*?)?(?: \\)?$", re.MULTILINE)

Pins = dict[str, str]


def read_pins(name: str) -> Pins:
    """The versions of one lock file, by canonical name."""
    text = (ROOT / "requirements" / name).read_text()
    return {canonicalize_name(match[1]): match[2] for match in PIN.finditer(text)}


def declared(extras: Iterable[str]) -> list[Requirement]:
    """What pyproject.toml asks for, bare install and extras together."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [
        *project["dependencies"],
        *(line for e in extras for line in project["optional-dependencies"][e]),
    ]
    return [Requirement(line) for line in lines]


def unmet(requirements: Iterable[Requirement], pins: Pins) -> Iterator[str]:
    """Requirements that the pins do not satisfy, as sentences."""
    for requirement in requirements:
        version = pins.get(canonicalize_name(requirement.name))
        if version is None:
            yield f"does not pin {requirement.name}"
        elif not requirement.specifier.contains(version, prereleases=True):
            yield f"pins {requirement.name} {version}, pyproject.toml asks for {requirement.specifier}"


def unhashed(name: str) -> Iterator[str]:
    """Pins without a hash, and lines that name a host or a path."""
    text = (ROOT / "requirements" / name).read_text()
    for block in re.split(r"\n(?=\S)", text):
        pin = PIN.match(block)
        if pin and "--hash=sha256:" not in block:
            yield f"has no hash for {pin[1]}"
    for line in text.splitlines():
        if re.search(r"://|(^|\s)(/|-i |--\w*index|--find-links)", line):
            yield f"names a host or a path: {line.strip()}"


def problems() -> Iterator[str]:
    """Everything wrong with the lock files, one sentence each."""
    everything = read_pins("dev.lock")
    for name, extras in LOCKS.items():
        pins = read_pins(name)
        apart = [key for key, version in pins.items() if everything.get(key) != version]
        faults = [*unmet(declared(extras), pins), *unhashed(name)]
        yield from (f"{name} {fault}" for fault in faults)
        yield from (f"{name} and dev.lock disagree about {key}" for key in apart)
    for name in ("build.lock", "ministack.lock", "openbao.lock"):
        yield from (f"{name} {fault}" for fault in unhashed(name))


def main() -> None:
    """Print the problems; exit 1 if there are any."""
    found = list(problems())
    for line in found:
        sys.stdout.write(f"{line}\n")
    if found:
        sys.exit("The lock files do not match pyproject.toml. Write them anew with: make lock")
    sys.stdout.write(f"Lock files match pyproject.toml ({len(read_pins('dev.lock'))} pins).\n")


if __name__ == "__main__":
    main()
