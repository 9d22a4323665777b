"""The operator's commands say the same about a stack on AWS as about a server's data folder.

One day of an operator is typed twice, at both desks: exit codes, columns, JSON and sentences must agree.
"""

import json
import re
from collections.abc import Iterator
from difflib import unified_diff
from pathlib import Path

import pytest

from support import ministack
from support.aws_sessions import SessionPlane, session_plane
from support.csr_make import make_csr
from support.desks import Backend, Folder, OnStack, Said, alike, on_stack, read_descriptions_once, told, typed
from support.server import running

LAMP, PUMP = "lamp-1", "pump-1"
NARROW = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Action": "iot:Publish",
            "Resource": "arn:aws:iot:*:*:topic/narrow/${iot:Connection.Thing.ThingName}",
        }
    ],
}
DAY = (
    "token create --match x-* --uses 5 --ttl 2h",
    "token create --thing new-1 --json",
    "token create --thing a/b",
    "token create --thing a --match b",
    "token create --uses 20000000 --json",
    "token list",
    "token list --all --json",
    "token withdraw {token}",
    "token withdraw {token} --json",
    "token withdraw t0000000000000000",
    "token list",
    "thing list",
    "thing list --json",
    "thing show lamp-1",
    "thing show lamp-1 --json",
    "thing show nobody",
    "thing show nobody --json",
    "policy list",
    "policy list --json",
    "policy put narrow {narrow}",
    "policy put narrow {narrow} --json",
    "policy put narrow {broken}",
    "policy put a/b {narrow}",
    "policy show narrow",
    "policy show narrow --json",
    "policy show narrow --document",
    "policy show keyborn-default",
    "policy show nothing",
    "policy attach narrow --thing lamp-1 --json",
    "policy attach nothing --thing lamp-1",
    "policy attach narrow --thing nobody",
    "policy simulate --thing lamp-1 --action publish --topic narrow/lamp-1",
    "policy simulate --thing lamp-1 --action subscribe --topic certtest/pump-1 --expect allowed",
    "policy simulate --thing lamp-1 --action connect --json",
    "policy remove narrow",
    "policy detach narrow --thing lamp-1 --json",
    "policy remove narrow",
    "policy remove narrow --json",
    "thing suspend lamp-1 --reason looked-odd",
    "thing suspend lamp-1 --json",
    "thing activate lamp-1",
    "thing revoke lamp-1 --reason stolen",
    "thing revoke lamp-1 --json",
    "thing activate lamp-1",
    "thing retire pump-1",
    "thing suspend {lamp}",
    "thing list",
    "thing show pump-1",
    "service add dash --policy {narrow} --code",
    "service add dash --policy {narrow} --code --json",
    "service add lamp-1 --policy {narrow} --code",
    "service list",
    "service list --json",
    "service revoke dash",
    "service revoke lamp-1",
    "thing revoke dash --json",
    "audit show",
    "audit show --json",
    "audit show --last 2",
    "audit show --thing lamp-1 --action enroll",
    "audit show --action token --since 1h --outcome done --json",
    "audit show --outcome refused",
    "audit show --since yesterday",
    "audit export {export}",
    "audit export {export} --after 1000000",
    "audit export {export} --json",
    "audit export --json",
    "audit verify",
    "audit verify {export}",
    "audit verify {export} --key 00",
    "audit verify --expect 1:2",
    "audit verify --key {key}",
    "audit verify --expect {key}",
    "audit verify {export} --expect 3:{key}",
    "thing frobnicate",
    "thing show",
)


@pytest.fixture(scope="module")
def aws() -> Iterator[ministack.Ministack]:
    """A stand-in of this module's own."""
    running_one = ministack.start()
    yield running_one
    running_one.stop()


@pytest.fixture(autouse=True)
def descriptions(monkeypatch: pytest.MonkeyPatch) -> None:
    read_descriptions_once(monkeypatch)


@pytest.fixture
def plane() -> Iterator[SessionPlane]:
    with session_plane() as one:
        yield one


@pytest.fixture
def stacked(aws: ministack.Ministack, plane: SessionPlane, tmp_path: Path) -> Iterator[OnStack]:
    aws.reset()
    with on_stack(aws, plane, tmp_path) as desk:
        yield desk


def enrolled(desk: Backend, name: str) -> str:
    """A device that has its identity; its certificate's id."""
    secret = told(desk, "token", "create", "--thing", name)["secret"]
    assert desk.enroll(name, make_csr(name)[1], secret) == 201
    (held,) = told(desk, "thing", "show", name)["certificates"]
    certificate: str = held["certificateId"]
    return certificate


def a_day(desk: Backend, folder: Path) -> dict[str, Said]:
    """Type it all; what each command said."""
    narrow, broken = folder / "narrow.json", folder / "broken.json"
    narrow.write_text(json.dumps(NARROW, indent=2))
    broken.write_text('{"Version": "2012-10-17", "Statement": [], "Principal": "*"}')
    facts = {"narrow": narrow, "broken": broken, "lamp": enrolled(desk, LAMP)}
    facts |= {"export": folder / "audit.jsonl", "key": "0" * 64}
    enrolled(desk, PUMP)
    facts["token"] = told(desk, "token", "create", "--thing", "gone-1")["id"]
    return {
        f"{number}: {line}": typed(desk, *line.format(**facts).split())
        for number, line in enumerate(DAY, start=1)
    }


def told_alike(said: Said) -> list[str]:
    """Its lines; rows stand in the order of ids that are drawn by chance."""
    text = alike(said.out)
    if text.startswith("["):
        text = "\n".join(json.dumps(row) for row in json.loads(text))
    if text.startswith("SEQUENCE"):  # an ARN is wider than the word "operator"
        text = re.sub(" {2,}", "  ", text)
    return [f"exit {said.code}", *sorted(text.splitlines()), *alike(said.err).splitlines()]


def differences(here: dict[str, Said], there: dict[str, Said]) -> Iterator[str]:
    """What the stack says otherwise than the folder, as a diff."""
    for line, said in here.items():
        one, other = (told_alike(each) for each in (said, there[line]))
        yield from unified_diff(one, other, f"{line} (folder)", f"{line} (stack)", lineterm="", n=0)


@pytest.mark.timeout(240)
def test_a_day_of_an_operator_reads_the_same_on_both(stacked: OnStack, tmp_path: Path) -> None:
    with running(tmp_path) as server:
        here = a_day(Folder(server), tmp_path)
    there = a_day(stacked, tmp_path)
    assert "\n".join(differences(here, there)) == ""
    assert {said.code for said in there.values()} == {0, 1, 2}
