"""What the counted calls cost: list prices in one table, and the sums that the page shows."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from bench.support.counting import Counted

PRICES: Mapping[str, tuple[float, str]] = {
    "DynamoDB, on demand, a write unit": (0.625e-6, "0.625 per million"),
    "DynamoDB, on demand, a read unit": (0.125e-6, "0.125 per million"),
    "DynamoDB, a GB stored, with point-in-time recovery": (0.45, "0.25 + 0.20 a month"),
    "Lambda, a request": (0.20e-6, "0.20 per million"),
    "Lambda, arm64, a GB-second": (13.3334e-6, "0.0000133334"),
    "API Gateway, a request of an HTTP API": (1.00e-6, "1.00 per million"),
    "AWS IoT, a call of the registry": (1.25e-6, "1.25 per million"),
    "AWS IoT, a minute connected": (0.08e-6, "0.08 per million"),
    "AWS IoT, a message of up to 5 KB": (1.00e-6, "1.00 per million"),
    "AWS IoT, a rule with its action": (0.30e-6, "0.15 + 0.15 per million"),
    "CloudWatch, a GB of logs taken in": (0.50, "0.50"),
    "CloudWatch, a metric": (0.30, "0.30 a month"),
    "CloudWatch, an alarm": (0.10, "0.10 a month"),
}
"""US dollars and how they are quoted: list prices of us-east-1, first tier, without the free tier."""
IOT_REGISTRY = ("CreateThing", "AttachThingPrincipal")
"""Calls that are charged as calls of the registry; certificates and policies are not charged."""

MONTH = 30.4 * 24 * 60
"""Minutes."""
ENROLL_SECONDS, AWAY_SECONDS, SWEEP_SECONDS = 1.0, 0.1, 1.0
"""Assumed, with reserve: at work on an enrolment, on telling when to return, on a sweep of nothing."""
ENROLL_GB, SWEEP_GB = 0.5, 0.25
REQUEST_LOG, SWEEP_LOG = 350, 700
"""Bytes of log for a request and for a sweep."""
METRICS, ALARMS = 8, 8
MESSAGES_A_DAY = 144
CONNECTIONS_A_DAY, CONNECTION_WRITES, CONNECTION_READS = 1, 2, 2
"""Each is put down and struck off again, and its certificate is looked at in one snapshot with others."""
STORM = {1_000: (3.3, 3.4), 100_000: (5.5, 3.5)}
"""For each device of a fleet that powers on at once: answers of 429 by the function, writes of the line
(ADR 15)."""


def price(name: str) -> float:
    return PRICES[name][0]


@dataclass(frozen=True, slots=True)
class Line:
    """One sum: what, how much of it for each device or in all, and dollars for both sizes of fleet."""

    what: str
    how: str
    dollars: Sequence[float]


def _request(seconds: float) -> float:
    """One request that reaches the function."""
    computing = seconds * ENROLL_GB * price("Lambda, arm64, a GB-second")
    log = REQUEST_LOG / 1e9 * price("CloudWatch, a GB of logs taken in")
    return price("API Gateway, a request of an HTTP API") + price("Lambda, a request") + computing + log


def enrolling(counted: Counted, devices: Sequence[int]) -> Iterator[Line]:
    """Once for each device."""
    one, sweep = counted.enrollment, counted.sweep_each
    writes, reads = one.writes + sweep.writes, one.reads + sweep.reads
    table = writes * price("DynamoDB, on demand, a write unit")
    table += reads * price("DynamoDB, on demand, a read unit")
    how = f"{writes:.0f} write units (of them {sweep.writes:.0f} for the audit chain), {reads:.0f} read units"
    yield Line("the table", how, [count * table for count in devices])
    how = f"one request, {ENROLL_SECONDS:g} s at {ENROLL_GB * 1024:.0f} MB, {REQUEST_LOG} bytes of log"
    yield Line("API and function", how, [count * _request(ENROLL_SECONDS) for count in devices])
    calls = sum(one.calls[name] for name in IOT_REGISTRY)
    thing = calls * price("AWS IoT, a call of the registry")
    yield Line("AWS IoT", f"{calls} calls of the registry", [count * thing for count in devices])
    waiting = [count * _waiting(*STORM[count]) for count in devices]
    yield Line("waiting, if all come at once", "requests and writes as the simulation has them", waiting)


def _waiting(away: float, writes: float) -> float:
    """For one device of a storm, beyond its enrolment; what API Gateway refuses is not charged."""
    return away * _request(AWAY_SECONDS) + writes * price("DynamoDB, on demand, a write unit")


def running(counted: Counted, devices: Sequence[int]) -> Iterator[Line]:
    """Each month."""
    minute = MONTH * price("AWS IoT, a minute connected")
    yield Line("connected all the time", f"{MONTH:,.0f} minutes a device", [one * minute for one in devices])
    spoken = MESSAGES_A_DAY * 30.4 * price("AWS IoT, a message of up to 5 KB")
    how = f"{MESSAGES_A_DAY * 30.4:,.0f} messages a device, one in ten minutes"
    yield Line("messages", how, [one * spoken for one in devices])
    noted = CONNECTIONS_A_DAY * 30.4 * _connection()
    how = f"a rule, {CONNECTION_WRITES} write and {CONNECTION_READS} read units, once a day"
    yield Line("noting who connects", how, [one * noted for one in devices])
    gigabyte = counted.enrollment.stored / 1e9 * price("DynamoDB, a GB stored, with point-in-time recovery")
    how = f"{counted.enrollment.stored / 1000:.1f} KB a device"
    yield Line("the table, at rest", how, [one * gigabyte for one in devices])
    idle = counted.idle
    run = idle.reads * price("DynamoDB, on demand, a read unit") + price("Lambda, a request")
    run += SWEEP_SECONDS * SWEEP_GB * price("Lambda, arm64, a GB-second")
    run += SWEEP_LOG / 1e9 * price("CloudWatch, a GB of logs taken in")
    size = f"{SWEEP_SECONDS:g} s at {SWEEP_GB * 1024:.0f} MB"
    how = f"{MONTH:,.0f} runs of {size}, {idle.reads:.0f} read units each"
    yield Line("the sweeper", how, [MONTH * run for _ in devices])
    watching = METRICS * price("CloudWatch, a metric") + ALARMS * price("CloudWatch, an alarm")
    how = f"{METRICS} metrics, {ALARMS} alarms, one dashboard (three are free)"
    yield Line("being watched", how, [watching for _ in devices])


def _connection() -> float:
    """One connection that is put down, whosoever it is."""
    units = CONNECTION_WRITES * price("DynamoDB, on demand, a write unit")
    units += CONNECTION_READS * price("DynamoDB, on demand, a read unit")
    return units + price("AWS IoT, a rule with its action")


def prices_table() -> list[str]:
    rows = [f"| {name} | {quoted} |" for name, (_, quoted) in PRICES.items()]
    return ["| | US dollars |", "| --- | --- |", *rows]


def sums_table(lines: Sequence[Line], devices: Sequence[int]) -> list[str]:
    head = "".join(f" {count:,} devices |" for count in devices)
    rows = [f"| {one.what} | {one.how} |" + _cells(one.dollars) for one in lines]
    total = [sum(one.dollars[at] for one in lines) for at in range(len(devices))]
    rows.append("| **together** | |" + "".join(f" **{money(each)}** |" for each in total))
    return [f"| | for each |{head}", "| --- | --- |" + " --- |" * len(devices), *rows]


def _cells(dollars: Sequence[float]) -> str:
    return "".join(f" {money(each)} |" for each in dollars)


def money(dollars: float) -> str:
    return f"$ {dollars:,.0f}" if dollars >= 100 else f"$ {dollars:.2f}"
