"""Secrets appear in nothing that a stack writes down: everything that a run left is searched for them."""

import base64
import json
import re
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from keyborn.domain.token import EnrollmentCode, encode_secret
from support.aws_party import Party
from support.csr_make import make_csr
from support.figures import Figure
from support.pki import pem

SHAPES = [
    re.compile(r"(?i)bearer +[a-z0-9_-]{20}"),
    re.compile(r"(?i)authorization[\"']?\s*[:=]"),
    re.compile(r"kb1\.[A-Za-z0-9_-]{20}"),
    re.compile("BEGIN (NEW )?CERTIFICATE REQUEST"),
    re.compile("PRIVATE KEY"),
]
"""What nothing may look like, whoever's it is."""


@dataclass
class Canaries:
    """What must be found nowhere, by what it is."""

    words: dict[str, str] = field(default_factory=dict)

    def token(self, name: str, code: str) -> bytes:
        """A token in every form that a log could give it; its secret."""
        secret = EnrollmentCode.decode(code).secret
        forms = [
            encode_secret(secret),
            secret.hex(),
            base64.b64encode(secret).decode(),
            str(secret)[2:-1],
            code,
        ]
        self.words |= dict.fromkeys(forms, f"token of {name}")
        return secret

    def lines(self, name: str, text: str) -> None:
        """Every line of a PEM block's inside."""
        inside = [line for line in text.splitlines() if line and "-----" not in line]
        self.words |= {
            line: f"{name}, line {number}" for number, line in enumerate(inside, 1) if len(line) > 16
        }

    def found_in(self, text: str) -> set[str]:
        """What of it is there."""
        shapes = {shape.pattern for shape in SHAPES if shape.search(text)}
        return {what for word, what in self.words.items() if word in text} | shapes


@pytest.mark.timeout(300)
@pytest.mark.whole
def test_no_secret_is_in_anything_that_a_run_left(stack: Party, tmp_path: Path, figure: Figure) -> None:
    canaries = Canaries()
    told = a_day(stack, tmp_path, canaries)
    assert canaries.found_in("\n".join(told)) >= {f"token of canary-{one}" for one in (1, 2)}, (
        "the search works"
    )
    searched, places = 0, dict(left_by(stack, told))
    for place, lines in places.items():
        for line in lines:
            assert not canaries.found_in(line), (place, canaries.found_in(line))
        searched += len(lines)
    assert all(places[f"/aws/lambda/{stack.stack}-{one}"] for one in ("enroll", "sweep"))
    assert places["table"]
    figure(
        f"canaries: {len(canaries.words)} words and {len(SHAPES)} shapes sought in {searched} lines of "
        f"{len(places)} places ({', '.join(f'{name} {len(lines)}' for name, lines in places.items())}): none"
    )


def a_day(stack: Party, tmp_path: Path, canaries: Canaries) -> list[str]:
    """Everything in which secrets are handled, well and badly; what the makers of tokens printed."""
    aws, home = ("--aws", stack.stack), tmp_path / "home"
    names = ("canary-1", "canary-2")
    told = [stack.keyborn("token", "create", "--thing", name, *aws).stdout for name in names]
    first, second = (one.splitlines()[-1] for one in told)
    canaries.token("canary-1", first)
    secret = canaries.token("canary-2", second)
    stack.keyborn("enroll", "-", "--thing", "canary-1", "--home", home, typed=first)
    canaries.lines("key of canary-1", (home / "device.key").read_text())
    stack.keyborn("publish", "certtest/canary-1", "tweet", "--home", home)

    key, csr = make_csr("canary-2")
    canaries.lines("CSR of canary-2", csr)
    plain = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    canaries.lines("key of canary-2", plain)
    bearer = encode_secret(secret)
    assert ask(stack, bearer, {"thingName": "canary-3", "csr": make_csr("canary-3")[1]}) == 403
    assert ask(stack, bearer, {"thingName": "canary-2", "csr": csr[:-40]}) == 400
    assert ask(stack, bearer, {"thingName": "canary-2", "csr": plain}) == 400
    assert ask(stack, bearer[::-1], {"thingName": "canary-2", "csr": csr}) == 401
    canaries.words[bearer[::-1]] = "a token that nobody made"
    assert ask(stack, bearer, {"thingName": "canary-2", "csr": csr}) == 201
    assert ask(stack, bearer, {"thingName": "canary-2", "csr": csr}) == 200

    stack.sweep()
    for words in (["thing", "list"], ["token", "list"], ["audit", "show"], ["thing", "show", "canary-2"]):
        stack.keyborn(*words, *aws, "--json")
        stack.keyborn(*words, *aws)
    stack.keyborn("thing", "suspend", "canary-2", *aws, expect=None)
    stack.keyborn("thing", "revoke", "canary-1", *aws, expect=None)
    stack.keyborn("publish", "certtest/canary-1", "gone", "--home", home, expect=1)
    stack.sweep()
    return told


def ask(stack: Party, bearer: str, body: dict[str, str]) -> int:
    """A request with a token; the status."""
    context = ssl.create_default_context(cadata=pem(stack.front.root.certificate))
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {bearer}"}
    request = urllib.request.Request(f"{stack.front.url}/v1/enroll", json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=60, context=context) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        with refused:
            stack.said.append(refused.read().decode())
            return refused.code


def left_by(stack: Party, told: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Everything that was written down, by place, in lines."""
    yield from stack.logs().items()
    yield "stand-in's log", stack.aws.log.splitlines()
    yield "table", [json.dumps(item, default=text_of) for item in stack.items()]
    yield "commands", [line for said in stack.said if said not in told for line in said.splitlines()]
    cloud = stack.aws.root("cloudformation")
    yield (
        "stack",
        [
            json.dumps(cloud.describe_stacks(StackName=stack.stack)["Stacks"], default=str),
            json.dumps(cloud.describe_stack_events(StackName=stack.stack)["StackEvents"], default=str),
            str(cloud.get_template(StackName=stack.stack)["TemplateBody"]),
        ],
    )
    functions = stack.aws.root("lambda").list_functions()["Functions"]
    yield "functions", [json.dumps(one, default=str) for one in functions]


def text_of(value: Any) -> str:  # noqa: ANN401 - whatever botocore makes of an attribute
    """Bytes as a search would meet them."""
    if isinstance(value, bytes):
        return f"{value.decode('latin-1')} {value.hex()} {base64.b64encode(value).decode()}"
    return str(value)
