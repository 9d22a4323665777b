"""A device that shows an identity token: read anew for each try, and never seen anywhere else."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from keyborn.device import identity_token
from keyborn.device.enroll import Outcome, Wish, enroll
from keyborn.device.home import Home
from keyborn.device.identity_token import IdentityTokenSource
from keyborn.domain import errors
from keyborn.domain.identity_token import MAX_TOKEN
from keyborn.domain.method import Method
from keyborn.domain.names import GroupName
from keyborn.domain.token import CodeFacts, EnrollmentCode, encode_secret
from support.device import keyborn
from support.device_home import Machine
from support.issuer import new_key, sign
from support.rude_service import SECRET, Exchange, RudeService, plain, polite, problem

ENROLL = "/v1/enroll"
KEY = new_key("ES256")


def token(**claims: Any) -> str:  # noqa: ANN401 - any claim
    return sign(
        KEY, {"alg": "ES256", "kid": "first"}, {"iat": int(time.time()), "sub": "gateway-1", **claims}
    )


def oidc(service: RudeService) -> EnrollmentCode:
    """A code that brings no secret of its own."""
    return replace(service.code(), secret=b"", facts=CodeFacts(Method.OIDC, GroupName("line-7")))


def run(
    home: Home,
    service: RudeService,
    machine: Machine,
    source: IdentityTokenSource | None,
    *,
    bare: bool = True,
) -> Outcome:
    code = oidc(service) if bare else service.code()
    wish = Wish(thing="gateway-1", identity_token=source)
    return enroll(home, wish, lambda: code, machine.surroundings(), timeout=60)


def shown(service: RudeService) -> list[str | None]:
    return [each.headers.get("Authorization") for each in service.asked(ENROLL)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "token.jwt"
    path.write_text(token() + "\n")
    return path


def test_the_token_in_the_file_is_the_bearer_and_the_code_names_the_group(
    home: Home, service: RudeService, machine: Machine, file: Path
) -> None:
    assert run(home, service, machine, IdentityTokenSource(file)).obtained
    assert shown(service) == [f"Bearer {file.read_text().strip()}"]
    assert b'"group": "line-7"' in service.asked(ENROLL)[0].body
    assert "Authorization" not in service.asked("/v1/trust-bundle")[0].headers


def test_each_try_reads_it_anew(home: Home, service: RudeService, machine: Machine, file: Path) -> None:
    first, second = token(jti="1"), token(jti="2")
    file.write_text(first)

    def busy(exchange: Exchange) -> None:
        file.write_text(second)
        problem(503, "issuer_unavailable", "later", Retry_After="1")(exchange)

    service.script(ENROLL, busy, polite)
    assert run(home, service, machine, IdentityTokenSource(file)).obtained
    assert shown(service) == [f"Bearer {first}", f"Bearer {second}"]
    bodies = [each.body for each in service.asked(ENROLL)]
    assert bodies[0] == bodies[1], "what is asked for stays the same"


def test_a_file_takes_the_place_of_a_code_s_secret_the_environment_does_not(
    home: Home, service: RudeService, machine: Machine, file: Path
) -> None:
    service.script(ENROLL, problem(403, "no", "no"))
    with pytest.raises(errors.EnrollmentRefused):
        run(home, service, machine, IdentityTokenSource(text=token()), bare=False)
    assert shown(service) == [f"Bearer {encode_secret(SECRET)}"]
    service.script(ENROLL, polite)
    run(home, service, machine, IdentityTokenSource(file, token(jti="other")), bare=False)
    assert shown(service)[-1] == f"Bearer {file.read_text().strip()}"


def test_where_the_code_brings_no_secret_the_environment_does(
    home: Home, service: RudeService, machine: Machine
) -> None:
    word = token()
    run(home, service, machine, IdentityTokenSource(text=word))
    assert shown(service) == [f"Bearer {word}"]


@pytest.mark.parametrize("source", [None, IdentityTokenSource(), IdentityTokenSource(text="")])
def test_a_code_that_needs_one_says_so_before_anything_is_made(
    home: Home, service: RudeService, machine: Machine, source: IdentityTokenSource | None
) -> None:
    with pytest.raises(errors.InvalidSetting, match="--jwt-file"):
        run(home, service, machine, source)
    assert service.seen == []
    assert not home.key.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b" \n",
        b"secret-word",
        b"a.b",
        b"a.b.c.d",
        b"a.b.c\r\nX-Evil: 1",
        "ä.b.c".encode(),
        b"a.b." + b"c" * MAX_TOKEN,
        b"\x00" * 100_000,
    ],
)
def test_what_is_no_token_is_neither_sent_nor_shown(
    home: Home, service: RudeService, machine: Machine, file: Path, content: bytes
) -> None:
    file.write_bytes(content)
    with pytest.raises(errors.IdentityTokenUnusable) as caught:
        run(home, service, machine, IdentityTokenSource(file))
    assert "secret-word" not in str(caught.value)
    assert service.seen == []
    assert not home.key.exists()


def test_a_file_that_is_not_there_is_a_refusal_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(errors.IdentityTokenUnusable, match="No such file"):
        IdentityTokenSource(tmp_path / "none").read()


def test_device_and_service_agree_on_how_large_one_may_be() -> None:
    assert identity_token.MAX_TOKEN == MAX_TOKEN


def test_a_link_as_orchestrators_mount_it_is_followed(tmp_path: Path, file: Path) -> None:
    (tmp_path / "link").symlink_to(file)
    assert IdentityTokenSource(tmp_path / "link").read() == file.read_text().strip()


def test_it_is_in_no_words_of_ours_whatever_the_service_says(
    home: Home, service: RudeService, machine: Machine, file: Path
) -> None:
    word = file.read_text().strip()
    service.script(ENROLL, plain(503, b"", Retry_After="1"), problem(401, "odd", f"You sent Bearer {word}!"))
    with pytest.raises(errors.EnrollmentRefused) as caught:
        run(home, service, machine, IdentityTokenSource(file))
    told = str(caught.value) + repr(caught.value.facts) + "".join(machine.said)
    assert "You sent Bearer ***!" in told
    assert not any(part in told for part in word.split("."))
    assert word not in repr(Wish(identity_token=IdentityTokenSource(text=word)))


def test_a_long_answer_without_dots_is_looked_through_at_once(
    home: Home, service: RudeService, machine: Machine, file: Path
) -> None:
    service.script(ENROLL, problem(403, "odd", "eyJ" + "a" * 60_000))
    began = time.monotonic()
    with pytest.raises(errors.EnrollmentRefused):
        run(home, service, machine, IdentityTokenSource(file))
    assert time.monotonic() - began < 5


def test_the_command_takes_the_file_and_the_environment(
    home: Home, service: RudeService, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("enroll", "-", "--thing", "gateway-1", "--home", home.path)
    typed = oidc(service).encode()
    refused = keyborn(*words, typed=typed, expect=1)
    assert "--jwt-file" in refused.stderr
    monkeypatch.setenv("KEYBORN_JWT", file.read_text().strip())
    service.script(ENROLL, problem(401, "id_token_expired", "The identity token expired."))
    told = keyborn(*words, typed=typed, expect=1)
    assert "The identity token expired." in told.stderr
    service.script(ENROLL, polite)
    done = keyborn(*words, "--jwt-file", file, typed=typed)
    assert file.read_text().strip() not in done.stdout + done.stderr + told.stderr + told.stdout
    assert len(shown(service)) == 2
