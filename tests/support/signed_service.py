"""A rude service that takes signed enrolments: it gives nonces, and takes each of them once."""

import json
from dataclasses import dataclass, field, replace

from keyborn.domain.group_key import device_key, group_key_id
from keyborn.domain.jws_enroll import SignedEnrollment, parse_signed_enrollment
from keyborn.domain.method import Method
from keyborn.domain.names import GroupName, ThingName
from keyborn.domain.token import CodeFacts, EnrollmentCode
from support.rude_service import Exchange, RudeService, problem

ENROLL, NONCE = "/v1/enroll", "/v1/nonce"
KEY = bytes(range(32))
"""A group key."""
NAME = ThingName("gateway-1")
LINE = GroupName("line-7")


@dataclass
class Signed:
    """A service that gives nonces, and takes each of them once."""

    service: RudeService
    given: list[str] = field(default_factory=list)
    refused: int = 0
    """How many good requests are told that their nonce is bad."""

    def __post_init__(self) -> None:
        self.service.script(NONCE, self.nonce)
        self.service.script(ENROLL, self.enroll)

    def nonce(self, exchange: Exchange) -> None:
        self.given.append(f"nonce-{len(self.given)}")
        exchange.send(200, json.dumps({"nonce": self.given[-1]}).encode(), Replay_Nonce=self.given[-1])

    def enroll(self, exchange: Exchange) -> None:
        signed, said = self.read(exchange.seen.body)
        if signed.nonce != self.given[-1] or self.refused:
            self.refused -= 1
            self.given.append(f"nonce-{len(self.given)}")
            problem(400, "bad_nonce", "again", Replay_Nonce=self.given[-1])(exchange)
            return
        asked = json.loads(said)
        answer = exchange.service.answer(asked["thingName"], asked["csr"])
        exchange.send(201, json.dumps(answer).encode(), Content_Type="application/json")

    def read(self, body: bytes) -> tuple[SignedEnrollment, bytes]:
        return parse_signed_enrollment(body, [self.service.url + ENROLL])

    def asked(self) -> list[tuple[SignedEnrollment, bytes]]:
        return [self.read(seen.body) for seen in self.service.asked(ENROLL)]

    def code(self, **changes: object) -> EnrollmentCode:
        facts = CodeFacts(Method.GROUP_KEY, LINE, group_key_id(KEY))
        made = self.service.code(secret=device_key(KEY, NAME), facts=facts)
        return replace(made, **changes)  # type: ignore[arg-type] # fields of a code
