"""Least privilege, both ways: each role does its work with what the template gives it, and with nothing less.

Every single action is taken from a deployed role, on the stand-in, which checks each call. What then fails
must say so in the right place, give nobody an active certificate, and work again once the action is back.
``logs:*`` is counted apart: the stand-in writes the functions' logs by itself and asks no role.
"""

import asyncio
import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from io import StringIO
from itertools import count
from typing import Any

import pytest

from keyborn.adapters.aws.registry import LEASE
from keyborn.domain.access_policy.document import DEFAULT_POLICY, AccessPolicy, PolicyName
from keyborn.domain.errors import AwsRefused
from keyborn.domain.names import CertificateId, ThingName
from keyborn.domain.renewal import OVERLAP
from keyborn.domain.thing import ThingStatus
from keyborn.domain.token import encode_secret
from keyborn.service.saga import SagaStep
from keyborn.wiring.aws import StackSettings, SweepHandler
from support.aws_party import Party, open_party
from support.aws_roles import Backroom, Clients, Died, Role, backroom, role_of, run_aside
from support.aws_saga import ShiftedClock
from support.csr_make import make_csr
from support.figures import Figure
from support.pki import pem
from support.registry_cases import document, event
from support.signing import Signer
from support.walks import FULL

UNCHECKED = {"logs:CreateLogStream", "logs:PutLogEvents"}
"""The stand-in writes the functions' logs by itself."""
LATER, MUCH_LATER = timedelta(minutes=20), timedelta(minutes=27)
"""Past the sweeper's horizon; and past the time in which an answer may still be under way."""
SHARE = 1 if FULL else 5
"""Of a role's actions `make test` takes one of so many."""
numbers = count(1)


@dataclass(frozen=True, slots=True)
class Scene:
    """A deployed stack, and the service in this process with root's rights."""

    party: Party
    root: Backroom


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with open_party(tmp_path_factory) as party:
        party.deploy()
        yield Scene(party, backroom(party))


# ── enrolment ─────────────────────────────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class Applicant:
    """A device with a token of its own that asks through the door."""

    party: Party
    secret: bytes
    name: str
    csr: str
    context: ssl.SSLContext

    def ask(self) -> tuple[int, dict[str, Any], str]:
        """Enroll: status, the answer, and the answer's text."""
        body = json.dumps({"thingName": self.name, "csr": self.csr}).encode()
        bearer = f"Bearer {encode_secret(self.secret)}"
        headers = {"Content-Type": "application/json", "Authorization": bearer}
        request = urllib.request.Request(f"{self.party.front.url}/v1/enroll", body, headers)
        try:
            with urllib.request.urlopen(request, timeout=30, context=self.context) as answer:
                text = answer.read().decode()
                return answer.status, json.loads(text), text
        except urllib.error.HTTPError as refused:
            with refused:
                text = refused.read().decode()
                return refused.code, json.loads(text), text

    def signed(self, signer: Signer, path: str, payload: object) -> dict[str, Any]:
        """A signed request that is heard; its answer."""
        nonce = self._open(urllib.request.Request(f"{self.party.front.url}/v1/nonce"))["nonce"]
        body = signer.body(f"{self.party.outputs['Url']}{path}", nonce, payload)
        headers = {"Content-Type": "application/jose+json"}
        return self._open(urllib.request.Request(f"{self.party.front.url}{path}", body, headers))

    def _open(self, request: urllib.request.Request) -> dict[str, Any]:
        with urllib.request.urlopen(request, timeout=30, context=self.context) as answer:
            said: dict[str, Any] = json.load(answer)
            return said

    def come_again(self) -> tuple[int, dict[str, Any], str]:
        """The same request, until the lease of an attempt that did not end well is over."""
        until = time.monotonic() + 3 * LEASE.total_seconds()
        while True:
            status, answer, text = self.ask()
            if answer.get("code") != "enrollment_interrupted" or time.monotonic() > until:
                return status, answer, text
            time.sleep(0.5)

    def gives_nothing_away(self, text: str) -> bool:
        """Whether an answer holds nothing of what was sent but the name."""
        lines = [line for line in self.csr.splitlines() if "-----" not in line]
        return not any(one in text for one in [encode_secret(self.secret), *lines])


def applicant(scene: Scene) -> Applicant:
    name = f"lamp-{next(numbers)}"
    secret = asyncio.run(scene.root.token(f"secret of {name}", uses=1))
    context = ssl.create_default_context(cadata=pem(scene.party.front.root.certificate))
    return Applicant(scene.party, secret, name, make_csr(name)[1], context)


def test_with_its_role_the_function_enrols_and_the_sweeper_settles_what_it_finds(scene: Scene) -> None:
    device, party = applicant(scene), scene.party
    status, answer, _ = device.ask()
    assert status == 201, answer
    assert answer["certificateId"] in party.active()
    left = leftover_of_a_sweeper(scene)
    assert left in party.active()
    swept = party.sweep()
    assert (swept["told"], swept["troubles"]) == (1, [])
    assert left not in party.certificates()
    assert answer["certificateId"] in party.active()


def test_with_its_role_the_function_renews_and_the_sweeper_withdraws_what_nobody_confirms(
    scene: Scene,
) -> None:
    device, party = applicant(scene), scene.party
    key, device.csr = make_csr(device.name)
    status, answer, text = device.ask()
    assert status == 201, text
    first = Signer(device.name, key, CertificateId(answer["certificateId"]))
    following = first.next_key()
    renewed = device.signed(first, "/v1/renew", following.wish)
    second = following.with_certificate(renewed["certificateId"])
    assert device.signed(second, "/v1/renew/confirm", {})["certificateId"] == second.certificate_id
    assert (first.certificate_id in party.active(), second.certificate_id in party.active()) == (False, True)

    silent = device.signed(second, "/v1/renew", second.next_key().wish)["certificateId"]
    assert silent in party.active()
    sweeping = Sweeping(scene.root.stack, role_of(party.aws, party.outputs["SweepRole"]).clients())
    assert sweeping.run(OVERLAP + LATER) == []
    assert {first.certificate_id, silent} & set(party.certificates()) == set()
    assert second.certificate_id in party.active()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_without_any_one_action_enrolment_fails_clearly_and_the_retry_succeeds(
    scene: Scene, figure: Figure
) -> None:
    role = role_of(scene.party.aws, scene.party.outputs["EnrollRole"])
    tried = [one for one in role.actions if one not in UNCHECKED]
    taken = tried[::SHARE]
    for action in taken:
        BRANCHES.get(action, through_the_door)(scene, role, action)
    assert set(role.actions) - set(tried) == UNCHECKED
    figure(
        f"least privilege: {len(taken)} of {len(tried)} actions of the enrolment role taken away one by one, "
        f"{len(UNCHECKED)} that the stand-in does not check"
    )


def through_the_door(scene: Scene, role: Role, action: str) -> None:
    refused_then_enrolled(applicant(scene), scene.party.active(), role, action)


def resumed(scene: Scene, role: Role, action: str) -> None:
    """The second attempt at an intent whose first one failed after the claim: its token has paid."""
    device, before = applicant(scene), scene.party.active()
    with role.without("iot:CreateCertificateFromCsr"):
        assert device.ask()[0] == 503
    refused_then_enrolled(device, before, role, action)


def just_begun(scene: Scene, role: Role, action: str) -> None:
    """A new instance has to read the key of the seals."""
    device, before = applicant(scene), scene.party.active()
    functions = scene.party.aws.root("lambda")
    name = scene.party.outputs["EnrollFunction"]
    with role.without(action):
        size = functions.get_function_configuration(FunctionName=name)["MemorySize"]
        functions.update_function_configuration(FunctionName=name, MemorySize=size)  # its instances end
        refused(device, before, action)
    enrolled_again(device, before, action)


def refused_then_enrolled(device: Applicant, before: set[str], role: Role, action: str) -> None:
    with role.without(action):
        refused(device, before, action)
    enrolled_again(device, before, action)


def refused(device: Applicant, before: set[str], action: str) -> None:
    status, problem, text = device.ask()
    assert (status, problem.get("code")) == (503, "aws_refused"), (action, text)
    assert named(action, problem["detail"]), (action, problem)
    assert device.gives_nothing_away(text), action
    assert device.party.active() == before, action


def enrolled_again(device: Applicant, before: set[str], action: str) -> None:
    status, answer, text = device.come_again()
    assert status in {200, 201}, (action, text)
    assert device.party.active() - before == {answer["certificateId"]}, action


def named(action: str, text: str) -> bool:
    """Whether a sentence names the call that the action is for; the table is asked in transactions."""
    service, _, word = action.partition(":")
    return action in text or (service == "dynamodb" and word != "Query" and "dynamodb:Transact" in text)


def replaced_policies(scene: Scene, role: Role, action: str) -> None:
    """An operator takes a policy away while the certificate is being signed: it is detached again."""
    party, root, lent = scene.party, scene.root, scene.root.lent_to(role)
    name = ThingName(f"lamp-{next(numbers)}")
    extra = PolicyName(f"extra-{next(numbers)}")
    csr = make_csr(name)[1]

    async def _prepare() -> bytes:
        async with root.registry() as registry:
            policy = AccessPolicy(extra, document(), root.clock.now(), 1, shipped=False)
            await registry.put_policy(policy, event("policy.put", extra, root.clock.now()))
        return await root.token(f"secret of {name}", policies=[DEFAULT_POLICY, extra])

    async def _detach() -> None:
        async with root.registry() as registry:
            await registry.detach_policy(name, extra, event("policy.detach", name, root.clock.now()))

    secret = asyncio.run(_prepare())
    before = party.active()
    with role.without(action):
        with pytest.raises(AwsRefused) as refused:
            asyncio.run(lent.enroll(secret, name, csr, at=SagaStep.SIGNED, then=lambda: run_aside(_detach)))
        assert named(action, str(refused.value))
        assert party.active() == before
    enrolled = asyncio.run(lent.enroll(secret, name, csr)).certificate
    assert party.active() - before == {enrolled.id}
    # The first attempt could not take back what it had given; it left a note for the sweeper.
    assert Sweeping(root.stack, root.clients).run(LATER) == []
    account = root.stack.account
    held = root.clients("iot").list_attached_policies(target=account.certificate(enrolled.id))["policies"]
    assert [one["policyName"] for one in held] == [account.policy(DEFAULT_POLICY)]


BRANCHES = {
    "dynamodb:ConditionCheckItem": resumed,
    "dynamodb:GetItem": just_begun,
    "iot:DetachPolicy": replaced_policies,
}
"""What it takes for enrolment to call the action; all others a new device needs."""


# ── the sweeper ───────────────────────────────────────────────────────────────────────────────────────


def leftover_of_a_sweeper(scene: Scene) -> str:
    """An enrolment that died before its last word, and a sweeper that died after it had dropped it."""
    party, root = scene.party, scene.root
    before = party.active()
    crashed(root, SagaStep.STORED)

    async def _drop() -> None:
        now = root.clock.now()
        async with root.table() as table:
            (intent,) = await table.leftovers(before=now + LATER)
            await table.drop(intent.id, event("sweep", intent.thing, now))

    asyncio.run(_drop())
    (left,) = party.active() - before
    return left


def crashed(root: Backroom, step: SagaStep) -> ThingName:
    """An enrolment whose process died after a step."""
    name = ThingName(f"lamp-{next(numbers)}")

    async def _enroll() -> None:
        secret = await root.token(f"secret of {name}")
        await root.enroll(secret, name, make_csr(name)[1], at=step)

    with pytest.raises(Died):
        asyncio.run(_enroll())
    return name


def enrolled(root: Backroom) -> ThingName:
    """A device that is done."""
    name = ThingName(f"lamp-{next(numbers)}")

    async def _enroll() -> None:
        await root.enroll(await root.token(f"secret of {name}"), name, make_csr(name)[1])

    asyncio.run(_enroll())
    return name


def dropped_half_way(root: Backroom) -> None:
    """Everything is granted, and active; the last word is missing."""
    crashed(root, SagaStep.STORED)


def lost_answer(root: Backroom) -> None:
    """A certificate that the table does not know."""
    crashed(root, SagaStep.SIGNED)


def policy_not_attached(root: Backroom) -> None:
    """An operator's order of which AWS IoT was not told."""
    name, extra = enrolled(root), PolicyName(f"extra-{next(numbers)}")

    async def _attach() -> None:
        now = root.clock.now()
        async with root.registry() as registry:
            policy = AccessPolicy(extra, document(), now, 1, shipped=False)
            await registry.put_policy(policy, event("policy.put", extra, now))
        async with root.table() as table:
            await table.attach_policy(name, extra, event("policy.attach", name, now))

    asyncio.run(_attach())


def session_left_open(root: Backroom) -> None:
    """A thing that was suspended, of which AWS IoT was not told."""
    name = enrolled(root)

    async def _suspend() -> None:
        async with root.table() as table:
            now = root.clock.now()
            await table.set_status(name, ThingStatus.SUSPENDED, event("suspend", name, now))

    asyncio.run(_suspend())


def thing_described(root: Backroom) -> None:
    """Attributes that an operator has set."""
    name = enrolled(root)

    async def _describe() -> None:
        async with root.table() as table:
            told = event("thing.set", name, root.clock.now())
            await table.set_attributes(name, {"room": "4"}, told)

    asyncio.run(_describe())


SCENARIOS: dict[str, Callable[[Backroom], None]] = {
    "iot:ListCertificates": lost_answer,
    "iot:DescribeCertificate": lost_answer,
    "iot:AttachPolicy": policy_not_attached,
    "iot:DeleteConnection": session_left_open,
    "iot:UpdateThing": thing_described,
}
"""What there has to be for the sweeper to call the action; for all others an enrolment that died late."""
MISSING = "iot:DeleteConnection"
"""The stand-in has no such call: it refuses it with the permission, too, for another reason."""


@dataclass(slots=True)
class Sweeping:
    """The sweeper's code with its role's rights, at the time that a test wants."""

    stack: StackSettings
    clients: Clients

    def run(self, *ahead: timedelta) -> list[str]:
        """A run at each of these times; what troubled them, or ended them."""
        found: list[str] = []
        for one in ahead:
            found += self._run(one)
        return found

    def _run(self, ahead: timedelta) -> list[str]:
        handler = SweepHandler(self.stack, self.clients, clock=ShiftedClock(ahead), out=StringIO())
        try:
            troubles: list[str] = handler(None, Context())["troubles"]
        except RuntimeError:
            return ["ended"]
        else:
            return troubles
        finally:
            handler.close()


class Context:
    """Lambda's, as far as it is used."""

    def get_remaining_time_in_millis(self) -> int:
        """Time enough."""
        return 40_000


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_without_any_one_action_the_sweeper_says_so_and_settles_everything_later(
    scene: Scene, figure: Figure, caplog: pytest.LogCaptureFixture
) -> None:
    role = role_of(scene.party.aws, scene.party.outputs["SweepRole"])
    tried = [one for one in role.actions if one not in UNCHECKED]
    sweeping = Sweeping(scene.root.stack, role.clients())
    taken = tried[::SHARE]
    for action in taken:
        caplog.clear()
        swept_without(action, scene, role, sweeping)
        assert any(named(action, line) for line in caplog.messages), (action, caplog.messages)
    assert set(role.actions) - set(tried) == UNCHECKED
    figure(
        f"least privilege: {len(taken)} of {len(tried)} actions of the sweeper's role taken away one by one, "
        f"{len(UNCHECKED)} that the stand-in does not check"
    )


def swept_without(action: str, scene: Scene, role: Role, sweeping: Sweeping) -> None:
    prepare = SCENARIOS.get(action, dropped_half_way)
    before = left_in(scene.party)
    prepare(scene.root)
    active = scene.party.active()
    sweeping.clients.denied.clear()
    with role.without(action):
        assert sweeping.run(LATER, MUCH_LATER), action
        assert sweeping.clients.denied, action
        assert scene.party.active() <= active, action
    again = sweeping.run(LATER, MUCH_LATER)
    assert again == [] or action == MISSING, (action, again)
    if prepare in {dropped_half_way, lost_answer}:
        assert left_in(scene.party) ^ before == set(), action


def left_in(party: Party) -> set[tuple[str, str]]:
    """Certificates, with their status, and things of the account."""
    things = party.aws.root("iot").list_things()["things"]
    return {*party.certificates().items(), *((one["thingName"], "thing") for one in things)}
