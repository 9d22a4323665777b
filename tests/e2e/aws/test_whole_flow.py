"""The whole flow on AWS as people walk it, on the stand-in: every command a real process.

A cloud engineer deploys, an operator hands out a code, a device enrols and speaks, somebody listens, the
device is revoked, everything is taken away.
"""

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.aws_party import Party, open_party
from support.figures import Figure
from support.stack import everything

THING = "gateway-1"


@pytest.fixture
def party(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Party]:
    """An empty account; what is deployed there is what the command built itself."""
    with open_party(tmp_path_factory) as opened:
        opened.built = None
        yield opened


@pytest.mark.timeout(400)
def test_from_an_empty_account_to_an_empty_account(party: Party, tmp_path: Path, figure: Figure) -> None:
    began, empty = time.monotonic(), inventory(party)
    made = party.deploy()
    assert made["changed"] is True
    home = tmp_path / "home"
    certificate = enrolled(party, home)
    assert seen_of(party, home, "hello") == (THING, f"certtest/{THING}", "hello")
    nothing_changes(party)
    revoked(party, home, certificate)
    party.keyborn("aws", "destroy", "--stack", party.stack, "--yes")
    assert inventory(party) == empty
    again = party.keyborn("aws", "destroy", "--stack", party.stack, "--yes")
    assert "There is nothing to remove" in again.stdout
    spent = time.monotonic() - began
    figure(f"AWS, deploy to destroy: {len(made['changes'])} resources made and gone, {spent:.0f} s")


def enrolled(party: Party, home: Path) -> str:
    """The operator's code becomes the device's identity; the certificate's id."""
    told = party.keyborn("token", "create", "--thing", THING, "--aws", party.stack)
    code = told.stdout.splitlines()[-1]
    done = party.keyborn("enroll", "-", "--thing", THING, "--home", home, "--json", typed=code)
    certificate: str = json.loads(done.stdout)["certificateId"]
    shown = json.loads(party.keyborn("thing", "show", THING, "--json", "--aws", party.stack).stdout)
    assert shown["status"] == "active"
    assert [one["certificateId"] for one in shown["certificates"]] == [certificate]
    assert certificate in party.active()
    return certificate


def seen_of(party: Party, home: Path, message: str) -> tuple[str, str, str]:
    """What the operator sees of a message that the device sends: thing, topic, payload."""
    words = party.order("watch", f"certtest/{THING}", "--count", "1", "--json", "--aws", party.stack)
    with subprocess.Popen(
        words, env=party.surroundings(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as watch:
        assert watch.stderr is not None
        line = watch.stderr.readline()
        assert "Watching" in line, line + watch.stderr.read()
        party.keyborn("publish", f"certtest/{THING}", message, "--home", home)
        seen = json.loads(watch.communicate(timeout=60)[0])
    return seen["thing"], seen["topic"], seen["payload"]


def nothing_changes(party: Party) -> None:
    """A second deploy, with all options said again, and one with none of them."""
    again = party.deploy()
    assert (again["changed"], again["changes"]) == (False, []), again
    bare = party.keyborn("aws", "deploy", "--stack", party.stack, "--yes", "--json")
    assert json.loads(bare.stdout)["changed"] is False, bare.stdout


def revoked(party: Party, home: Path, certificate: str) -> None:
    """The device does not return. The stand-in has no DeleteConnection, so the command says that, too."""
    done = party.keyborn("thing", "revoke", THING, "--aws", party.stack)
    assert "[session_left_open]" in done.stderr
    assert party.certificates()[certificate] == "REVOKED"
    refused = party.keyborn("publish", f"certtest/{THING}", "again", "--home", home, expect=1)
    assert "[session_refused]" in refused.stderr


def inventory(party: Party) -> dict[str, list[str]]:
    """Everything in the account that anything of ours could have left, as each service lists it."""
    iot, s3 = party.aws.root("iot"), party.aws.root("s3")
    return everything(party.aws) | {
        "certificates": sorted(party.certificates()),
        "things": [one["thingName"] for one in iot.list_things()["things"]],
        "buckets": [one["Name"] for one in s3.list_buckets()["Buckets"]],
        "stacks": party.stacks(),
    }
