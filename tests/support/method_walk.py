"""Every case of every method, tried and judged: status, code, sentence, and what was written."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any

from cryptography import x509

from support.csr_make import DeviceKey
from support.issuer import provider
from support.method_actors import Line, World
from support.method_cases import CASES, Senseless
from support.method_grounds import Aws, Ground, Machine, Trail, new_source, open_aws, open_machine
from support.rude_service import rude_service
from support.server import Answer

ROOM = timedelta(seconds=20)
"""After each case time passes: the trail takes ten records of strangers at once, then one in ten seconds."""
GROUNDS: dict[str, Callable[[Path], AbstractContextManager[Machine | Aws]]] = {
    "one machine": open_machine,
    "AWS": open_aws,
}

FOR_OPERATORS = {"webhook_unavailable": {"detail", "group"}, "issuer_unavailable": {"issuer"}}
"""What a record says that callers are not told."""


@dataclass(frozen=True)
class Seen:
    """One request: the answer, and what it changed."""

    answer: Answer
    source: str
    written: frozenset[str]
    records: list[dict[str, Any]]
    secrets: list[str]


@contextmanager
def open_ground(which: str, folder: Path) -> Iterator[tuple[Machine | Aws, World]]:
    """A backend, and the services around it, each on a socket of its own."""
    places = [folder / name for name in ("issuer", "receiver", "ground")]
    for each in places:
        each.mkdir()
    with (
        provider(places[0]) as issuer,
        rude_service(places[1]) as receiver,
        GROUNDS[which](places[2]) as ground,
    ):
        yield ground, World(issuer, receiver)


class Walk:
    """Cases on one ground."""

    def __init__(self, ground: Ground, world: World) -> None:
        self.ground = ground
        self.world = world
        self.trail = Trail(ground)
        self.refused = 0
        self.codes: set[str] = set()

    def told(self, case: str, way: str) -> str:
        """Try and judge it: ``401 factory_refused``, or the reason why there is nothing to try."""
        ahead = self.ground.clock.ahead
        try:
            seen = self._try(case, way)
        finally:
            self.ground.clock.ahead = ahead + ROOM
        return f"— {seen.reason}" if isinstance(seen, Senseless) else self._judged(case, seen)

    def _try(self, case: str, way: str) -> Seen | Senseless:
        line = Line(self.ground, self.world, way)
        act = CASES[case](line)
        if isinstance(act, Senseless):
            return act
        self.trail.news()
        before, source = self.ground.rows(), new_source()
        answer = act(source)
        return Seen(answer, source, self.ground.rows() ^ before, self.trail.news(), line.secrets)

    def _judged(self, case: str, seen: Seen) -> str:
        answer = seen.answer
        text = repr(seen.records)
        assert not [each for each in seen.secrets if each in text], "a secret is in the trail"
        if answer.status == HTTPStatus.CREATED:
            assert _events(seen) == [("enroll", "done", seen.source)], seen
            return "201"
        if answer.status == HTTPStatus.OK:
            assert (seen.written, seen.records) == (frozenset(), []), seen
            return "200"
        if answer.status == HTTPStatus.ACCEPTED:
            self._only_asked(case, seen)
            return "202"
        return self._refusal(seen)

    def _only_asked(self, case: str, seen: Seen) -> None:
        """A person is asked: one request is kept, once, and nothing else."""
        again = case == "undecided"
        assert _events(seen) == ([] if again else [("approval.ask", "done", seen.source)]), seen
        assert bool(seen.written) is not again
        assert all(self.ground.is_request(row) for row in seen.written), seen.written
        assert int(seen.answer.headers["retry-after"]) >= 1

    def _refusal(self, seen: Seen) -> str:
        answer = seen.answer
        code, detail = answer.json["code"], answer.json["detail"]
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json["status"] == answer.status
        assert len(detail.split()) >= 5, detail
        waits = answer.status in {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}
        assert waits is ("retry-after" in answer.headers), answer.headers
        assert seen.written == frozenset(), (code, sorted(seen.written))
        assert _events(seen) == [("enroll", code, seen.source)], (code, seen.records)
        assert FOR_OPERATORS.get(code, set()) <= set(seen.records[0]["details"]), seen.records
        self.refused += 1
        self.codes.add(code)
        return f"{answer.status} {code}"


def _events(seen: Seen) -> list[tuple[object, object, object]]:
    return [(each["action"], each["outcome"], each["source"]) for each in seen.records]


def require_certificate(answer: Answer, name: str, key: DeviceKey) -> str:
    """What a device can use: its name, its key. Returns the certificate's id."""
    leaf = x509.load_pem_x509_certificate(answer.json["certificatePem"].encode())
    assert leaf.public_key() == key.public_key()
    assert answer.json["thingName"] == name
    certificate: str = answer.json["certificateId"]
    return certificate


def render(table: dict[str, dict[str, str]], ways: Iterable[str]) -> str:
    """The table for people, as Markdown: a part for each way."""
    lines = []
    for way in ways:
        lines += [f"## {way}", "", "| what is tried | | answer |", "|---|---|---|"]
        for case, row in table.items():
            what = (CASES[case].__doc__ or "").strip().splitlines()[0]
            told = row.get(way, row["*"])
            answer = told if told.startswith("— ") else f"`{told}`"
            lines.append(f"| {case} | {what} | {answer} |")
        lines.append("")
    return "\n".join(lines)
