"""What parsing a request costs: microseconds of CPU per ``parse_csr``, beside pyca loading and verifying.

Run: ``python bench/csr.py``. CPU time of this process, best of five rounds: other load hardly counts.
"""

import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from keyborn.domain.csr import parse_csr
from keyborn.domain.errors import CsrRefused
from keyborn.domain.weak_keys import check_rsa
from support.csr_hostile import hostile
from support.csr_make import csr_for, shared_key

ROUNDS, TIMES = 5, 300
KEY_TYPES = ("p256", "p384", "p521", "rsa2048", "rsa3072", "rsa4096")


def best(work: Callable[[], object]) -> float:
    """Microseconds of CPU for one call."""
    work()
    rounds = []
    for _ in range(ROUNDS):
        start = time.process_time()
        for _ in range(TIMES):
            work()
        rounds.append(time.process_time() - start)
    return min(rounds) / TIMES * 1e6


def bare(pem: bytes) -> bool:
    """What every service must do at the least: load the request and verify its signature."""
    return x509.load_pem_x509_csr(pem).is_signature_valid


def weakness(key_type: str) -> float:
    """Microseconds of the checks for weak RSA keys; nothing to speak of for the curves."""
    numbers = shared_key(key_type).public_key().public_numbers()
    return (
        best(partial(check_rsa, numbers.n, numbers.e)) if isinstance(numbers, rsa.RSAPublicNumbers) else 0.0
    )


def refused(text: object) -> None:
    """Parse one hostile request."""
    try:
        parse_csr(text)
    except CsrRefused:
        return
    raise AssertionError("a hostile request was accepted")


def table_cost() -> tuple[float, float, str]:
    """Microseconds for a row of the hostile table on average, and for the dearest row, with its name."""
    costs = []
    for name, text, _ in hostile():
        refused(text)
        start = time.process_time_ns()
        for _ in range(10):
            refused(text)
        costs.append(((time.process_time_ns() - start) / 10_000, name))
    dearest, name = max(costs)
    return sum(cost for cost, _ in costs) / len(costs), dearest, name


def main() -> None:
    """Print one line per key type, then the hostile table."""
    for key_type in KEY_TYPES:
        pem = csr_for(shared_key(key_type), "sensor-1")
        whole, alone = best(partial(parse_csr, pem)), best(partial(bare, pem.encode()))
        print(
            f"{key_type:8} parse_csr {whole:7.1f} µs   pyca load and verify {alone:7.1f} µs"
            f"   weak-key checks {weakness(key_type):6.1f} µs"
        )
    mean, dearest, name = table_cost()
    print(f"{len(hostile())} hostile requests: {mean:.1f} µs on average, at most {dearest:.0f} µs ({name})")


if __name__ == "__main__":
    main()
