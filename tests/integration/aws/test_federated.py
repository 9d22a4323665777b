"""OIDC and webhooks in the functions, on the stand-in: the same words and codes as on one machine."""

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from standardwebhooks import Webhook

from keyborn.adapters.aws.iot import Iot
from keyborn.adapters.aws.registry import AwsRegistry
from keyborn.adapters.aws.roots import amazon_roots
from keyborn.domain.audit import AuditEvent
from keyborn.domain.group import GroupDocument
from keyborn.domain.names import GroupName
from keyborn.domain.webhook import shown_secret
from keyborn.http.lambda_handler import LambdaHandler
from keyborn.wiring.aws import StackSettings, build_enrollment
from support import ministack
from support.aws_function import stack_of_parts
from support.csr_make import make_csr
from support.issuer import Provider, provider
from support.lambda_events import Context, event
from support.rude_service import Exchange, plain

LINE = GroupName("line-7")
SECRET = bytes(range(32))
HOOK = "/may-enroll"


@pytest.fixture(scope="module")
def stack() -> StackSettings:
    return stack_of_parts()


@pytest.fixture(scope="module")
def issuer(stack: StackSettings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    """A provider, and on the same machine the webhook that is asked as well; the group demands both."""
    with provider(tmp_path_factory.mktemp("issuer")) as running:
        asyncio.run(put(stack, document(running)))
        yield running


@pytest.fixture
def handler(stack: StackSettings) -> Iterator[LambdaHandler]:
    handler = build_enrollment(stack, ministack.shared().client, roots=amazon_roots())
    yield handler
    handler.close()


def document(issuer: Provider) -> str:
    root = f'roots = """\n{issuer.server.pki.root_pem}"""\n'
    return (
        'name = "line-7"\nthings = "sensor-*"\nmethods = ["oidc + webhook"]\n'
        f'[oidc]\nissuer = "{issuer.url}"\naudience = "keyborn"\nname = "{{sub}}"\n{root}'
        f'[webhook]\nurl = "{issuer.url}{HOOK}"\nattributes = ["batch"]\n{root}'
    )


async def put(stack: StackSettings, text: str) -> None:
    """As an operator's command does."""
    iot = Iot(ministack.shared().client("iot"), stack.account)
    registry = AwsRegistry(ministack.dynamodb(), stack.table, iot)
    now = datetime.now(UTC)
    group = GroupDocument(LINE, text, now, webhook_secret=SECRET)
    await registry.put_group(group, AuditEvent(now, "group.put", "done", LINE, "operator"))


def ask(handler: LambdaHandler, issuer: Provider, thing: str, **claims: Any) -> tuple[int, dict[str, Any]]:  # noqa: ANN401 - any claim
    token = issuer.token(datetime.now(UTC), **{"sub": thing, "jti": thing, **claims})
    body = json.dumps({"thingName": thing, "csr": make_csr(thing)[1], "group": LINE})
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    answer = handler(event("POST", "/v1/enroll", body, headers=headers), Context())
    return answer["statusCode"], json.loads(answer["body"])


def agreeing(exchange: Exchange) -> None:
    question = Webhook(shown_secret(SECRET)).verify(exchange.seen.body, exchange.seen.headers)
    assert question["method"] == "oidc"
    exchange.send(200, b'{"allow": true, "attributes": {"batch": "42"}}')


def test_a_token_and_a_yes_enrol_and_what_the_yes_adds_is_the_thing_s(
    handler: LambdaHandler, issuer: Provider
) -> None:
    issuer.server.script(HOOK, agreeing)
    status, answer = ask(handler, issuer, "sensor-1")
    assert (status, answer.get("thingName")) == (201, "sensor-1"), answer
    thing = ministack.shared().client("iot").describe_thing(thingName="sensor-1")
    assert thing["attributes"]["batch"] == "42"


def test_a_no_silence_and_a_wrong_token_have_their_own_codes(
    handler: LambdaHandler, issuer: Provider
) -> None:
    issuer.server.script(HOOK, plain(200, b'{"allow": false, "reason": "not today"}'))
    assert ask(handler, issuer, "sensor-2")[1]["code"] == "webhook_refused"
    issuer.server.script(HOOK, plain(500))
    assert ask(handler, issuer, "sensor-2")[1]["code"] == "webhook_unavailable"
    assert ask(handler, issuer, "sensor-2", aud="other")[1]["code"] == "id_token_audience"
    assert ask(handler, issuer, "sensor-2", exp=1)[1]["code"] == "id_token_expired"


def test_a_key_that_changes_refuses_nobody_there_either(handler: LambdaHandler, issuer: Provider) -> None:
    issuer.server.script(HOOK, agreeing)
    assert ask(handler, issuer, "sensor-3")[0] == 201
    issuer.rotate("second")
    assert ask(handler, issuer, "sensor-4")[0] == 201
