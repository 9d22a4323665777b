"""Resolve pyproject.toml into ``requirements/*.lock``: exact versions with hashes, no host, no path.

``dev.lock`` is resolved first and constrains the others, so that one environment can hold them all.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EVERYTHING = ["pyproject.toml", "requirements/build.in"]
ORDERS = {
    "dev.lock": [*EVERYTHING, "--all-extras"],
    "server.lock": [*EVERYTHING, "--extra", "server"],
    "device.lock": ["pyproject.toml"],
    "build.lock": ["requirements/build.in"],
    "ministack.lock": ["requirements/ministack.in"],
}
APART = {"dev.lock", "ministack.lock"}
"""Resolved on their own; the others must fit into one environment with dev.lock."""
HEADER = "# Written by `make lock`; `make check` compares it with pyproject.toml.\n"


def compile_lock(name: str) -> None:
    """Write one lock file; raises CalledProcessError where there is no solution."""
    order = ["uv", "pip", "compile", *ORDERS[name], "--universal", "--python-version", "3.11", "--upgrade"]
    order += ["--generate-hashes", "--no-emit-index-url", "--no-header", "--no-annotate", "--quiet"]
    if name not in APART:
        order += ["--constraint", "requirements/dev.lock"]
    text = subprocess.run(order, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    (ROOT / "requirements" / name).write_text(HEADER + text)


def main() -> None:
    """Write all of them, or only those named."""
    for name in sys.argv[1:] or ORDERS:
        compile_lock(name)


if __name__ == "__main__":
    main()
