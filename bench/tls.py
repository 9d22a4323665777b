"""Who should end TLS: this process, or HAProxy in front of it? CPU per request on each side.

    python bench/tls.py                     everything, about a minute
    python bench/tls.py --seconds 1         a first look

Both fronts lead to the same ``keyborn serve``. HAProxy runs with the configuration of
docs/how-to/behind-a-proxy.md. The request is ``GET /healthz``. The client is one Python process, which is the
ceiling of the rates; the figure that counts is CPU per request.
"""

import argparse
import ssl
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for `bench.support`, wherever this is started

from bench.support.front import Client, Front, Measured, context, device, fronts, haproxy, measure

WIRES = ("keep-alive", "fresh", "fresh, certificate shown", "fresh, resumed")
_ROUNDS = 300


def main() -> int:
    """Measure and print."""
    options = _parse(sys.argv[1:])
    if not haproxy():
        print("bench/tls.py needs haproxy", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="bench-tls-") as name, fronts(Path(name)) as present:
        shown = device(Path(name))
        print("| connection | TLS ends in | answers/s | µs keyborn | µs haproxy | µs together |")
        print("| --- | --- | --- | --- | --- | --- |")
        for row in _rows(options, present, shown):
            print(row, flush=True)
        print("\nTickets after a TLS 1.3 handshake, in memory, µs for both ends:")
        pem = Path(name) / "data" / "ca" / "service.pem"
        for tickets in (0, 1, 2):
            print(f"- {tickets}: {_handshake(pem, tickets):.0f}")
    return 0


def _rows(options: argparse.Namespace, present: list[Front], shown: tuple[Path, Path]) -> Iterator[str]:
    for wire in WIRES:
        for front in present:
            cells = [_cell(options, front, wire, shown) for _ in range(options.repeats)]
            best = min(cells, key=_together)
            proxy = f"{best.micros('haproxy'):.0f}" if "haproxy" in best.cpu else ""
            failed = f", {best.failures} failed" if best.failures else ""
            yield (
                f"| {wire} | {front.name} | {best.answers / best.seconds:,.0f}{failed} "
                f"| {best.micros('keyborn'):.0f} | {proxy} | {_together(best):.0f} |"
            )


def _cell(options: argparse.Namespace, front: Front, wire: str, shown: tuple[Path, Path]) -> Measured:
    tls = context(shown if "certificate" in wire else None)
    client = Client(tls, fresh=wire != "keep-alive", resumes="resumed" in wire)
    return measure(front, client, clients=options.clients, warmup=options.warmup, seconds=options.seconds)


def _together(cell: Measured) -> float:
    return sum(cell.micros(name) for name in cell.cpu)


def _handshake(pem: Path, tickets: int) -> float:
    """Microseconds of one handshake, both ends, without a socket or an event loop."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pem)
    server.num_tickets = tickets
    client = context()
    begun = time.process_time()
    for _ in range(_ROUNDS):
        there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
        ends = [client.wrap_bio(back, there), server.wrap_bio(there, back, server_side=True)]
        waiting = list(ends)
        while waiting:
            for end in list(waiting):
                try:
                    end.do_handshake()
                    waiting.remove(end)
                except ssl.SSLWantReadError:
                    continue
    return (time.process_time() - begun) / _ROUNDS * 1e6


def _parse(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--warmup", type=float, default=0.5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--repeats", type=int, default=2, help="the one with the least CPU counts")
    return parser.parse_args(words)


if __name__ == "__main__":
    sys.exit(main())
