"""OIDC against a real identity provider: who is proved, who is refused, and how keys change in the middle."""

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from keyborn.adapters.outbound import HttpsOutbound
from keyborn.domain.errors import (
    CredentialMissing,
    CredentialNameUnfit,
    IdTokenAudience,
    IdTokenClaim,
    IdTokenExpired,
    IdTokenIssuer,
    IdTokenLifetime,
    IdTokenMalformed,
    IdTokenNotYet,
    IdTokenUnproved,
    IssuerUnavailable,
    KeybornError,
    MethodNotAccepted,
)
from keyborn.domain.group import EnrollmentGroup
from keyborn.domain.identity_token import ALGORITHMS
from keyborn.domain.method import Method, Way
from keyborn.domain.names import GroupName, NameScope, ThingName
from keyborn.ports import Credential
from keyborn.service.issuers import DISCOVERY, MOST_FRESH, PAUSE
from keyborn.service.methods import Proven
from keyborn.service.methods.oidc import OidcMethod
from keyborn.testing.time import VirtualClock
from support.issuer import JWKS, Provider, new_key, provider, public, sign
from support.rude_service import plain, silent

SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)


class Desk:
    """The method as the service has it, at a time of its own."""

    def __init__(self, issuer: Provider) -> None:
        self.issuer = issuer
        self.clock = VirtualClock()
        self.method = OidcMethod(HttpsOutbound(), self.clock)

    def token(self, **changes: Any) -> str:  # noqa: ANN401 - any claim
        return self.issuer.token(self.clock.now(), **changes)

    async def prove(self, token: str | None, group: EnrollmentGroup | None = None) -> Proven:
        return await self.method.prove(Credential(token, "192.0.2.1"), group or self.issuer.group())

    async def refusal(self, token: str | None, group: EnrollmentGroup | None = None) -> type[KeybornError]:
        with pytest.raises(KeybornError) as caught:
            await self.prove(token, group)
        assert token is None or token not in str(caught.value) + repr(caught.value.facts)
        return caught.type


@pytest.fixture
def desk(issuer: Provider) -> Desk:
    return Desk(issuer)


# ── who is proved ─────────────────────────────────────────────────────────────────────────────────────


async def test_a_token_gives_a_right_to_the_name_that_its_claims_make_once_until_it_expires(
    desk: Desk,
) -> None:
    proven = await desk.prove(desk.token())
    assert proven.scope == NameScope("sensor-1")
    assert proven.uses == 1
    assert proven.expires_at == desk.clock.now() + timedelta(minutes=10)
    assert not proven.is_known
    assert not proven.may_replace
    assert proven.account == (await desk.prove(desk.token())).account, "shown again it is the same"
    assert proven.details == {"issuer": desk.issuer.url, "subject": "sensor-1"}


@pytest.mark.parametrize("algorithm", sorted(ALGORITHMS))
async def test_every_algorithm_that_is_accepted_is_verified(tmp_path: Path, algorithm: str) -> None:
    with provider(tmp_path, algorithm=algorithm) as issuer:
        desk = Desk(issuer)
        good = desk.token()
        assert (await desk.prove(good)).scope == NameScope("sensor-1")
        head, body, signature = good.split(".")
        other = issuer.claims(desk.clock.now(), sub="sensor-2")
        forged = base64.urlsafe_b64encode(json.dumps(other).encode()).decode().rstrip("=")
        assert await desk.refusal(f"{head}.{forged}.{signature}") is IdTokenUnproved
        flipped = ("A" if signature[9] != "A" else "B") + signature[10:]
        assert await desk.refusal(f"{head}.{body}.{signature[:9]}{flipped}") is IdTokenUnproved


async def test_a_pattern_with_a_claim_in_it_is_a_scope(desk: Desk) -> None:
    proven = await desk.prove(desk.token(line=7), desk.issuer.group(name="line-{line}-*"))
    assert proven.scope.covers(ThingName("line-7-x"))
    assert not proven.scope.covers(ThingName("line-70-x"))


# ── who is refused ────────────────────────────────────────────────────────────────────────────────────

NOON = 1767225600  # testing.time.DAWN
WRONG: dict[str, tuple[dict[str, Any], type[KeybornError]]] = {
    "issuer": ({"iss": "https://id.example"}, IdTokenIssuer),
    "audience": ({"aud": "somebody-else"}, IdTokenAudience),
    "expired": ({"iat": NOON - 700, "nbf": None, "exp": NOON - 1}, IdTokenExpired),
    "not yet": ({"nbf": NOON + 300}, IdTokenNotYet),
    "from the future": ({"iat": NOON + 300}, IdTokenNotYet),
    "too long": ({"exp": NOON + 90_000}, IdTokenLifetime),
    "for ever": ({"exp": None}, IdTokenMalformed),
    "of no time": ({"iat": None}, IdTokenMalformed),
    "of nobody": ({"sub": None}, IdTokenMalformed),
    "claim": ({"factory": "8"}, IdTokenClaim),
    "no claim": ({"factory": None}, IdTokenClaim),
    "name": ({"sub": "repo:org/app:ref"}, CredentialNameUnfit),
    "wildcard": ({"sub": "*"}, CredentialNameUnfit),
    "half a wildcard": ({"sub": "sensor-?"}, CredentialNameUnfit),
    "long name": ({"sub": "s" * 65}, CredentialNameUnfit),
}


@pytest.mark.parametrize("case", WRONG)
async def test_a_token_that_its_issuer_signed_is_held_to_the_rule_all_the_same(desk: Desk, case: str) -> None:
    changes, refusal = WRONG[case]
    assert await desk.refusal(desk.token(**changes)) is refusal


def unsigned(desk: Desk) -> str:
    head = base64.urlsafe_b64encode(b'{"alg":"none","kid":"first"}').decode().rstrip("=")
    return f"{head}.{desk.token().split('.')[1]}."


def keyed_with_the_public_key(desk: Desk) -> str:
    """The classic confusion: HMAC with the issuer's published key as the secret."""
    pem = desk.issuer.keys["first"].as_pem(private=False)
    head = base64.urlsafe_b64encode(b'{"alg":"HS256","kid":"first"}').decode().rstrip("=")
    signed = f"{head}.{desk.token().split('.')[1]}"
    mac = hmac.new(pem, signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"


def of_another_key(desk: Desk, **header: object) -> str:
    claims = desk.issuer.claims(desk.clock.now())
    return sign(new_key("ES256"), {"alg": "ES256", "kid": "first", **header}, claims)


def with_its_own_key(desk: Desk) -> str:
    key = new_key("ES256")
    header = {"alg": "ES256", "kid": "first", "jwk": public(key)}
    return sign(key, header, desk.issuer.claims(desk.clock.now()))


FORGED: dict[str, tuple[Callable[[Desk], str], type[KeybornError]]] = {
    "unsigned": (unsigned, IdTokenMalformed),
    "keyed with the public key": (keyed_with_the_public_key, IdTokenMalformed),
    "of another key": (of_another_key, IdTokenUnproved),
    "with its own key": (with_its_own_key, IdTokenUnproved),
    "cut": (lambda desk: desk.token()[:-8], IdTokenUnproved),
    "without signature": (lambda desk: desk.token().rpartition(".")[0] + ".", IdTokenUnproved),
    "too large": (lambda desk: desk.token(padding="x" * 9000), IdTokenMalformed),
    "not one": (lambda _: "a.b.c", IdTokenMalformed),
}


@pytest.mark.parametrize("case", FORGED)
async def test_a_token_that_its_issuer_did_not_sign_proves_nothing(desk: Desk, case: str) -> None:
    forge, refusal = FORGED[case]
    await desk.prove(desk.token())
    assert await desk.refusal(forge(desk)) is refusal


async def test_nothing_shown_and_no_rule_are_refusals_too(desk: Desk) -> None:
    assert await desk.refusal(None) is CredentialMissing
    ways = (Way(frozenset({Method.TOKEN})),)
    bare = EnrollmentGroup(GroupName("g"), NameScope("*"), ways)
    assert await desk.refusal(desk.token(), bare) is MethodNotAccepted
    assert desk.issuer.fetched == 0


async def test_no_address_of_a_token_is_ever_asked(desk: Desk) -> None:
    lure = desk.issuer.url + "/lure"
    header = {"jku": lure, "x5u": lure}
    assert await desk.prove(desk.token(header=header)), "some good issuers write such headers"
    forged = of_another_key(desk, **header)
    assert await desk.refusal(forged) is IdTokenUnproved
    assert await desk.refusal(desk.token(iss=lure)) is IdTokenIssuer
    assert {each.path for each in desk.issuer.server.seen} == {DISCOVERY, JWKS}


# ── keys come, stay, and go ───────────────────────────────────────────────────────────────────────────


async def test_the_keys_are_fetched_once_for_many_callers_at_once(desk: Desk) -> None:
    token = desk.token()
    proven = await asyncio.gather(*(desk.prove(token) for _ in range(50)))
    assert len({each.account for each in proven}) == 1
    assert desk.issuer.fetched == 1


async def test_a_key_that_changes_in_the_middle_of_traffic_refuses_no_valid_caller(desk: Desk) -> None:
    """300 callers; the key changes twice, the first one is taken back; valid ones pass, the old key dies."""
    proved = 0
    for number in range(300):
        if number in (100, 200):
            desk.clock.advance(PAUSE + SECOND)
            desk.issuer.rotate(f"key-{number}")
        kid = "first" if 100 <= number < 110 else None  # made just before the change, shown just after
        await desk.prove(desk.token(kid=kid, jti=str(number)))
        proved += 1
    assert proved == 300
    assert desk.issuer.fetched == 3
    old = desk.token(kid="first")
    del desk.issuer.keys["first"]
    desk.clock.advance(HOUR)
    assert await desk.refusal(desk.token(kid="key-200", exp=1)) is IdTokenExpired
    assert await desk.refusal(old) in (IdTokenUnproved, IssuerUnavailable)
    desk.clock.advance(PAUSE)
    assert await desk.refusal(old) is IdTokenUnproved
    await desk.prove(desk.token())


async def test_a_key_that_changes_twice_within_half_a_minute_makes_callers_wait_but_refuses_none(
    desk: Desk,
) -> None:
    await desk.prove(desk.token())
    desk.issuer.rotate("second")
    await desk.prove(desk.token())
    desk.issuer.rotate("third")
    with pytest.raises(IssuerUnavailable) as caught:
        await desk.prove(desk.token())
    assert caught.value.retry_after == 30
    desk.clock.advance(timedelta(seconds=caught.value.retry_after))
    await desk.prove(desk.token())
    assert desk.issuer.fetched == 3


async def test_a_flood_of_unknown_keys_makes_one_fetch_in_half_a_minute(desk: Desk) -> None:
    stranger = new_key("ES256")
    await desk.prove(desk.token())
    for minute in range(3):
        desk.clock.advance(PAUSE)
        claims = desk.issuer.claims(desk.clock.now())
        for number in range(100):
            forged = sign(stranger, {"alg": "ES256", "kid": f"x{number}"}, claims)
            wanted = IdTokenUnproved if number == 0 else IssuerUnavailable
            assert await desk.refusal(forged) is wanted
        await desk.prove(desk.token())
        assert desk.issuer.fetched == minute + 2


@pytest.mark.parametrize(
    ("told", "minutes"),
    [
        ("max-age=600", 10),
        ('public, Max-Age="600", x=1', 10),
        ("max-age=1", 5),
        ("max-age=999999999", 24 * 60),
        ("s-maxage=7200, no-transform", 60),
        ("max-age=-5", 60),
        ("", 60),
    ],
)
async def test_keys_are_fetched_anew_when_they_are_as_old_as_their_issuer_says_within_bounds(
    desk: Desk, told: str, minutes: int
) -> None:
    desk.issuer.headers = {"Cache_Control": told} if told else {}
    await desk.prove(desk.token())
    desk.clock.advance(timedelta(minutes=minutes) - SECOND)
    await desk.prove(desk.token())
    assert desk.issuer.fetched == 1
    desk.clock.advance(SECOND)
    await desk.prove(desk.token())
    assert desk.issuer.fetched == 2


async def test_the_last_keys_serve_through_an_outage_and_end_after_a_day(desk: Desk) -> None:
    await desk.prove(desk.token())
    desk.issuer.server.script(DISCOVERY, plain(500))
    for _ in range(23):
        desk.clock.advance(HOUR)
        await desk.prove(desk.token())
        await desk.prove(desk.token())
    assert len(desk.issuer.server.asked(DISCOVERY)) == 24, "asked again each hour, once"
    desk.clock.advance(HOUR)
    with pytest.raises(IssuerUnavailable) as caught:
        await desk.prove(desk.token())
    assert caught.value.retry_after == 5
    assert desk.issuer.url in str(caught.value)


async def test_an_issuer_that_does_not_answer_holds_nobody_up_twice(desk: Desk) -> None:
    desk.issuer.server.script(DISCOVERY, plain(503))
    for _ in range(50):
        assert await desk.refusal(desk.token()) is IssuerUnavailable
    assert len(desk.issuer.server.asked(DISCOVERY)) == 1
    desk.clock.advance(timedelta(seconds=5))
    desk.issuer.server.script(DISCOVERY, desk.issuer._discovery)
    await desk.prove(desk.token())


async def test_who_is_told_to_stop_leaves_the_fetch_to_the_others(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keyborn.service.issuers.SECONDS", 0.5)
    desk.issuer.server.script(DISCOVERY, silent)
    first, second = (asyncio.create_task(desk.prove(desk.token())) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    results = await asyncio.gather(first, second, return_exceptions=True)
    assert [type(each) for each in results] == [asyncio.CancelledError, IssuerUnavailable]
    assert len(desk.issuer.server.asked(DISCOVERY)) == 1


async def test_a_clock_that_is_set_back_makes_nobody_wait_for_days(desk: Desk) -> None:
    desk.clock.advance(timedelta(days=400))
    await desk.prove(desk.token())
    back = VirtualClock()
    desk.method._clock = desk.method._issuers._clock = desk.clock = back
    desk.issuer.rotate("second")
    await desk.prove(desk.token())
    assert timedelta(days=2) > MOST_FRESH


# ── what an issuer may say ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "document",
    [
        {"issuer": "https://other.example"},
        {"issuer": None},
        {"jwks_uri": None},
        {"jwks_uri": "http://localhost/keys"},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": "https://user@localhost/keys"},
        {"jwks_uri": "https://169.254.169.254/latest/meta-data"},
        {"jwks_uri": "https://127.0.0.1/keys"},
        {"jwks_uri": "https://nobody.invalid/keys"},
    ],
)
async def test_a_discovery_document_that_leads_astray_is_not_followed(
    desk: Desk, document: dict[str, object]
) -> None:
    desk.issuer.document = document
    assert await desk.refusal(desk.token()) is IssuerUnavailable
    assert desk.issuer.fetched == 0


async def test_keys_on_another_port_of_this_network_are_not_fetched(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with provider(tmp_path / "other") as inside:
        desk.issuer.document = {"jwks_uri": inside.url + JWKS}
        assert await desk.refusal(desk.token()) is IssuerUnavailable
        assert inside.server.seen == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b'{"keys": {}}',
        b'{"keys": []}',
        b'{"keys": [7]}',
        b"\xff",
        b" " * 70_000,
        b"[" * 9000,
    ],
)
async def test_a_key_set_that_is_none_leaves_the_last_one_in_force(desk: Desk, body: bytes) -> None:
    await desk.prove(desk.token())
    desk.issuer.server.script(JWKS, plain(200, body))
    desk.clock.advance(HOUR)
    await desk.prove(desk.token())
    assert desk.issuer.fetched == 2


async def test_a_redirect_to_keys_is_not_followed(desk: Desk) -> None:
    desk.issuer.server.script(JWKS, plain(302, b"", Location=desk.issuer.url + "/elsewhere"))
    assert await desk.refusal(desk.token()) is IssuerUnavailable
    assert desk.issuer.server.asked("/elsewhere") == []


async def test_two_groups_with_one_issuer_share_its_keys_unless_they_believe_other_roots(desk: Desk) -> None:
    await desk.prove(desk.token(), desk.issuer.group())
    await desk.prove(desk.token(), desk.issuer.group(audience="keyborn", name="sensor-*"))
    assert desk.issuer.fetched == 1
    assert await desk.refusal(desk.token(), desk.issuer.group(roots_pem=None)) is IssuerUnavailable


async def test_only_so_many_issuers_are_kept(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keyborn.service.issuers.MOST_ISSUERS", 3)
    desk.issuer.server.script(DISCOVERY, plain(500))
    for number in range(9):
        group = desk.issuer.group(issuer=f"{desk.issuer.url}/{number}")
        assert await desk.refusal(desk.token(), group) is IssuerUnavailable
    assert len(desk.method._issuers._held) == 3
