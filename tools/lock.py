"""Resolve pyproject.toml into ``requirements/*.lock``: exact versions with hashes, no host, no path.

``dev.lock`` is resolved first and constrains the others, so that one environment can hold them all. The lock
of the functions on AWS travels in the package; it is cut out of dev.lock.
"""

import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EVERYTHING = ["pyproject.toml", "requirements/build.in"]
FUNCTION = "function.lock"
ORDERS = {
    "dev.lock": [*EVERYTHING, "--all-extras"],
    "server.lock": [*EVERYTHING, "--extra", "server"],
    "device.lock": ["pyproject.toml"],
    "build.lock": ["requirements/build.in"],
    "ministack.lock": ["requirements/ministack.in"],
    "openbao.lock": ["requirements/openbao.in"],
    FUNCTION: ["requirements/function.in"],
}
APART = {"dev.lock", "ministack.lock", "openbao.lock"}
"""Resolved on their own; the others must fit into one environment with dev.lock."""
HEADER = "# Written by `make lock`; `make check` compares it with pyproject.toml.\n"
FUNCTION_HEADER = (
    "# What the functions on AWS are made of: pins of requirements/dev.lock, without markers "
    "(a test compares).\n"
)


def resolve(name: str) -> str:
    """The text of one lock file; raises CalledProcessError where there is no solution."""
    order = ["uv", "pip", "compile", *ORDERS[name], "--universal", "--python-version", "3.11", "--upgrade"]
    order += ["--generate-hashes", "--no-emit-index-url", "--no-header", "--no-annotate", "--quiet"]
    if name not in APART:
        order += ["--constraint", "requirements/dev.lock"]
    return subprocess.run(order, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def blocks(text: str) -> dict[str, str]:
    """Pins with their hashes, by name. Markers go: they would be judged by the Python that deploys."""
    found = re.split(r"\n(?=\S)", text)
    pins = (re.sub(r" ;.*? \\$", r" \\", one.strip(), count=1, flags=re.MULTILINE) for one in found)
    return {one.partition("==")[0]: one for one in pins if "==" in one and not one.startswith("#")}


def cut(names: Iterable[str], whole: str) -> str:
    """The pins of ``whole`` that are named, as a lock file of their own."""
    pins = blocks(whole)
    return FUNCTION_HEADER + "".join(f"{pins[name]}\n" for name in sorted(names))


def compile_lock(name: str) -> None:
    """Write one lock file; raises CalledProcessError where there is no solution."""
    text = resolve(name)
    if name == FUNCTION:
        whole = (ROOT / "requirements" / "dev.lock").read_text()
        (ROOT / "src" / "keyborn" / "adapters" / "aws" / name).write_text(cut(blocks(text), whole))
    else:
        (ROOT / "requirements" / name).write_text(HEADER + text)


def main() -> None:
    """Write all of them, or only those named."""
    for name in sys.argv[1:] or ORDERS:
        compile_lock(name)


if __name__ == "__main__":
    main()
