"""What the answers were worth: every one is opened, and holds a certificate for the key that asked."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.support.driver import Driver, Plan, Raw
from bench.support.load import Load
from bench.support.requests import Device, Door, key_hash, make_device
from cryptography.hazmat.primitives.serialization import Encoding


@dataclass(frozen=True, slots=True)
class Outcome:
    """One cell, judged."""

    per_second: float
    """Right answers that arrived inside the window, per second."""
    p50: float
    p99: float
    """Seconds from before the request (and its connection, if fresh) to the whole answer."""
    answered: int
    """2xx answers, the warm-up's included."""
    wrong: int
    """Of those, the ones without a certificate for the key of their request."""
    failures: dict[str, int]
    seconds: float
    load: Load
    certificates: frozenset[str] = field(repr=False)
    """SHA-256 of the DER of every certificate handed out."""


_DEVICES: list[Device] = []
"""Made once for the whole run: every cell starts with an empty database, so that all may enroll again."""


def prepare(count: int) -> None:
    """Make the devices of this process."""
    _DEVICES.extend(make_device(number) for number in range(count))


def drive(plan: Plan) -> Outcome:
    """Run one plan with the prepared devices and judge it; meant for a process of its own."""
    requests = [plan.door.request(device, close=plan.fresh) for device in _DEVICES]
    return judge(Driver(plan, requests).run(), plan.door, _DEVICES)


def judge(raw: Raw, door: Door, devices: Sequence[Device]) -> Outcome:
    """Open every answer; only right ones that arrived inside the window count."""
    certificates: set[str] = set()
    waits: list[float] = []
    wrong = 0
    for number, sent, received, body in raw.answers:
        name = fingerprint(door, body, devices[number])
        if name is None or name in certificates:
            wrong += 1
            continue
        certificates.add(name)
        if raw.opened <= received <= raw.closed:
            waits.append(received - sent)
    seconds = raw.closed - raw.opened
    return Outcome(
        per_second=len(waits) / seconds,
        p50=quantile(waits, 0.50),
        p99=quantile(waits, 0.99),
        answered=len(raw.answers),
        wrong=wrong,
        failures={what: count for what, count in raw.failures.items() if count},
        seconds=seconds,
        load=raw.load,
        certificates=frozenset(certificates),
    )


def fingerprint(door: Door, body: bytes, device: Device) -> str | None:
    """The certificate's fingerprint, None if this is no certificate for the device's key."""
    try:
        certificate = door.certificate(body)
        if key_hash(certificate.public_key()) != device.key_hash:
            return None
    except (ValueError, KeyError, TypeError):
        return None
    return hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least ``share`` of the values do not exceed; NaN for none."""
    if not values:
        return math.nan
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
