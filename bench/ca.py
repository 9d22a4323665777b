"""What signing costs: microseconds of CPU per certificate, by key type, beside the bare ECDSA signature.

Run: ``python bench/ca.py``. CPU time of this process, best of five rounds: other load hardly counts.
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from keyborn.adapters.ca import EmbeddedAuthority, open_authority
from keyborn.adapters.ca.check import check_issued
from support.ca_world import ENTROPY, HandClock, approved_for, make_authority
from support.csr_make import shared_key

ROUNDS, TIMES = 5, 1000
KEY_TYPES = ("p256", "p384", "p521", "rsa2048", "rsa4096")


def best(work: Callable[[], object]) -> float:
    """Microseconds of CPU for one call."""
    rounds = []
    for _ in range(ROUNDS):
        start = time.process_time()
        for _ in range(TIMES):
            work()
        rounds.append(time.process_time() - start)
    return min(rounds) / TIMES * 1e6


def stepped(make: Callable[[], Coroutine[object, object, bytes]]) -> bytes:
    """Run a coroutine that never waits, without the price of an event loop."""
    try:
        make().send(None)
    except StopIteration as done:
        der: bytes = done.value
        return der
    raise AssertionError("issuing waited for something")


def issue_costs(authority: EmbeddedAuthority) -> None:
    for key_type in KEY_TYPES:
        approved = approved_for("a:b_c-1", shared_key(key_type))
        der = asyncio.run(authority.issue(approved))
        whole = best(lambda approved=approved: stepped(lambda: authority.issue(approved)))  # type: ignore[misc]
        check = best(lambda der=der, approved=approved: check_issued(der, approved))  # type: ignore[misc]
        print(f"issue, device key {key_type:8} {whole:8.1f} µs   of which comparing {check:6.1f} µs")


def start_costs(folder: Path) -> None:
    for passphrase in (None, b"correct horse"):
        data = folder / ("locked" if passphrase else "plain")
        data.mkdir()
        for what in ("first start", "other starts"):
            start = time.perf_counter()
            open_authority(data / "ca", clock=HandClock(), entropy=ENTROPY, passphrase=passphrase)
            spent = (time.perf_counter() - start) * 1e3
            print(f"{what:12} {'with' if passphrase else 'without'} passphrase {spent:8.1f} ms")


def main() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    floor = best(lambda: key.sign(b"x" * 400, ec.ECDSA(SHA256())))
    print(f"bare P-256 signature       {floor:8.1f} µs")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        issue_costs(make_authority(folder))
        start_costs(folder)


if __name__ == "__main__":
    main()
