"""Figures into Markdown: medians, the ratio to the peer in the same repeat, and what went wrong."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from bench.support.verdict import Outcome

PEER = "cfssl"
"""The system that ratios are taken against: no database, so nothing of it is durable."""
DURABLE = ("cfssl-sqlite", "cfssl-sqlite-wal", "openbao")
"""The peers that store what they give; the best of them in the same repeat is the other measure."""
TITLES = {
    "http": "Plain HTTP, connections kept",
    "tls": "TLS 1.3, connections kept",
    "fresh": "TLS 1.3, a new connection for each enrolment",
}
_HEAD = (
    "| system | clients | enrolments/s (lowest to highest) | of cfssl without database "
    "| of the best durable peer | p50 ms | p99 ms "
    "| server CPU µs each | load client's CPU µs each | failed | not in database |"
)


@dataclass(frozen=True, slots=True)
class Cell:
    """One outcome and where it belongs."""

    wire: str
    clients: int
    kind: str
    label: str
    repeat: int
    outcome: Outcome
    lost: int | None
    """Certificates handed out that its database does not hold; None without a database."""
    surplus: int
    """Certificates in the database that no answer handed out."""

    @property
    def disturbance(self) -> float:
        """Cores that neither the server nor the load client used."""
        return self.outcome.load.others / self.outcome.seconds

    @property
    def untrue(self) -> str | None:
        """Why the figure must not be believed."""
        outcome = self.outcome
        unanswered = sum(outcome.failures.values())
        if outcome.wrong:
            return f"{outcome.wrong} answers without the right certificate"
        if self.lost:
            return f"{self.lost} certificates are not in the database"
        if self.surplus > unanswered:
            return f"{self.surplus} certificates in the database, {unanswered} requests without an answer"
        return None if outcome.certificates else "nothing was enrolled"


def report(cells: Sequence[Cell]) -> str:
    """One table for each wire."""
    parts = []
    for wire, title in TITLES.items():
        if found := [row for row in rows(cells) if row[0].wire == wire]:
            ruler = "|" + " --- |" * _HEAD.count(" |")
            parts.append("\n".join([f"### {title}", "", _HEAD, ruler, *(_line(row, cells) for row in found)]))
    return "\n\n".join(parts)


def noise(cells: Sequence[Cell]) -> str:
    """How much of the machine others used meanwhile."""
    shares = sorted(100 * cell.disturbance for cell in cells)
    return (
        f"CPU that was neither the server's nor the load client's: median {median(shares):.0f} %, "
        f"most {shares[-1]:.0f} % of one core; part of it is the kernel's network work."
    )


def rows(cells: Iterable[Cell]) -> list[list[Cell]]:
    """The repeats of each row together, in order of clients and then of systems."""
    found: dict[tuple[str, int, str], list[Cell]] = {}
    for cell in cells:
        found.setdefault((cell.wire, cell.clients, cell.kind), []).append(cell)
    kinds = list(dict.fromkeys(cell.kind for cell in cells if cell.repeat == 0))
    return [found[key] for key in sorted(found, key=lambda key: (key[0], key[1], kinds.index(key[2])))]


def _line(row: list[Cell], cells: Sequence[Cell]) -> str:
    outcomes = [cell.outcome for cell in row]
    rates = [outcome.per_second for outcome in outcomes]
    each = [max(1.0, outcome.per_second * outcome.seconds) for outcome in outcomes]
    server = median(outcome.load.server / count for outcome, count in zip(outcomes, each, strict=True))
    driver = median(outcome.load.driver / count for outcome, count in zip(outcomes, each, strict=True))
    failed = sum(sum(outcome.failures.values()) + outcome.wrong for outcome in outcomes)
    lost = [cell.lost for cell in row if cell.lost is not None]
    columns = [
        row[0].label,
        str(row[0].clients),
        f"**{median(rates):,.0f}** ({min(rates):,.0f} to {max(rates):,.0f})",
        _ratio(row, cells, [PEER]),
        _ratio(row, cells, DURABLE),
        f"{median(outcome.p50 for outcome in outcomes) * 1e3:.1f}",
        f"{median(outcome.p99 for outcome in outcomes) * 1e3:.1f}",
        f"{server * 1e6:,.0f}",
        f"{driver * 1e6:,.0f}",
        f"{failed:,}",
        f"{sum(lost)}" if lost else "no database",
    ]
    return "| " + " | ".join(columns) + " |"


def _ratio(row: list[Cell], cells: Sequence[Cell], peers: Sequence[str]) -> str:
    """The median over the repeats of own rate to the best peer's rate, both of one repeat."""
    place = (row[0].wire, row[0].clients)
    best: dict[int, float] = {}
    for cell in cells:
        if cell.kind in peers and (cell.wire, cell.clients) == place:
            best[cell.repeat] = max(best.get(cell.repeat, 0.0), cell.outcome.per_second)
    shares = [cell.outcome.per_second / best[cell.repeat] for cell in row if best.get(cell.repeat)]
    return f"{median(shares):.2f}" if shares else "—"
