"""``keyborn aws smoke`` against the stand-in.

The table of what differs there is the list of what the tests of this repository cannot prove about AWS: our
documents call it "not proved live". A stand-in that learns one of these makes this test fail, and us glad.
"""

import json
import signal
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from keyborn.adapters.aws.smoke.catalog import ALL
from keyborn.adapters.aws.smoke.check import Check
from keyborn.adapters.aws.smoke.ledger import open_ledger
from keyborn.adapters.aws.smoke.run import Finding, clear, examine
from keyborn.adapters.aws.smoke.undo import Undo
from support.aws_party import Party, open_party
from support.aws_smoke import (
    ACCOUNT,
    DIFFERS_THERE,
    NOT_DECIDED_THERE,
    Smoker,
    listed,
    smoker,
    snapshot,
    stop,
    until,
)
from support.csr_make import make_csr
from support.figures import Figure
from support.ministack import REGION
from support.pki import pem
from support.walks import FULL

ACTIONS = {
    ("dynamodb", "TransactWriteItems"): {"dynamodb:ConditionCheckItem", "dynamodb:PutItem"},
    ("apigateway", "GetStage"): {"apigateway:GET"},
    ("sts", "GetCallerIdentity"): set(),
}
"""Operations whose permission has another name."""
SERVICES = {"iotdata": "iot"}


@pytest.fixture(scope="module")
def party(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Party]:
    with open_party(tmp_path_factory) as opened:
        opened.deploy()
        yield opened


@pytest.fixture
def user(party: Party, tmp_path: Path) -> Smoker:
    return smoker(party, tmp_path)


# ── the whole ─────────────────────────────────────────────────────────────────────────────────────────


def sample() -> tuple[Check, ...]:
    """Every check, or with the quick tests every twelfth."""
    return ALL if FULL else ALL[::12]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_on_the_stand_in_exactly_what_it_does_not_model_differs_and_nothing_is_left(
    user: Smoker, monkeypatch: pytest.MonkeyPatch, figure: Figure
) -> None:
    before, checks = snapshot(user.party), sample()
    found: list[Finding] = []
    with open_ledger(user.folder, "whole") as ledger:
        lab = user.lab(monkeypatch, ledger)
        examine(lab, checks, found.append)
        assert ledger.owed
        assert clear(ledger, Undo(lab.session, lab.outputs.iot_arn), pause=0.2) == []
    words = {one.check.name: one.word for one in found}
    assert [name for name, word in words.items() if word == "differs"] == in_order(DIFFERS_THERE, checks)
    assert [name for name, word in words.items() if word == "not decided"] == in_order(
        NOT_DECIDED_THERE, checks
    )
    assert list(words) == [one.name for one in checks]
    assert not [one.seen for one in found if "credentials" in one.seen]
    assert snapshot(user.party) == before
    assert user.ledgers == []
    unused = unused_permissions(user)
    assert not unused or checks != ALL
    count = Counter(words.values())
    figure(f"aws smoke on the stand-in: {count['holds']} of {len(checks)} hold, {count['differs']} differ")


def in_order(names: dict[str, str], checks: tuple[Check, ...]) -> list[str]:
    return [one.name for one in checks if one.name in names]


def unused_permissions(user: Smoker) -> set[str]:
    """Actions of the printed policy that no check and no removal needed."""
    from keyborn.adapters.aws.stack.orders import Place
    from keyborn.adapters.aws.stack.permissions import smoke_policy

    policy = json.loads(smoke_policy(user.party.stack, Place("aws", ACCOUNT, REGION, "")))
    granted = {action for one in policy["Statement"] for action in listed(one)}
    used = set().union(
        *(ACTIONS.get(call, {f"{SERVICES.get(call[0], call[0])}:{call[1]}"}) for call in user.calls)
    )
    assert used <= granted
    return granted - used


# ── the command ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.whole
def test_where_all_holds_the_command_says_so_and_succeeds(user: Smoker) -> None:
    done = user.smoke("--only", "certificate-id", "--only", "thing-repeat", "--only", "connect")
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["CHECK", "VERDICT", "SEEN"]
    assert [line.split()[:2] for line in lines[1:4]] == [
        ["certificate-id", "holds"],
        ["thing-repeat", "holds"],
        ["connect", "holds"],
    ]
    assert lines[-1] == "3 holds, 0 differs, 0 not decided."
    assert "holds        certificate-id: id " in done.stderr
    assert done.stderr.rstrip().endswith("Removing what was made.")
    assert user.made() == []


def test_what_differs_is_explained_and_fails_the_command(user: Smoker) -> None:
    done = user.smoke("--only", "policy-length", expect=1)
    assert "Keyborn refuses policies that AWS IoT would take." in done.stdout
    assert "1 of 1 checks found AWS to be otherwise than Keyborn assumes: policy-length." in done.stderr
    assert "[aws_assumptions_differ]" in done.stderr


@pytest.mark.whole
def test_programs_get_json_and_the_error_s_code(user: Smoker) -> None:
    done = user.smoke("--only", "will-unlisted", "--only", "clock", "--json", expect=1)
    said = json.loads(done.stdout)
    assert said["counts"] == {"holds": 1, "differs": 1, "not decided": 0}
    assert [one["check"] for one in said["checks"]] == ["clock", "will-unlisted"]
    assert said["checks"][1]["theme"] == "broker"
    assert said["checks"][1]["remedy"]
    assert said["left"] == []
    assert json.loads(done.stderr.splitlines()[-1])["code"] == "aws_assumptions_differ"


def test_the_report_is_fit_for_an_issue(user: Smoker) -> None:
    file = user.folder / "smoke.md"
    user.smoke("--only", "endpoint", "--only", "door", "--report", file, expect=1)
    text = file.read_text()
    assert text.startswith("# Keyborn's assumptions about AWS, tried\n")
    assert "| endpoint | **differs** |" in text
    assert "### endpoint" in text
    assert "- Relied on by: adapters/aws/stack/template.yaml (MqttEndpoint)" in text
    assert ACCOUNT not in text
    assert "localhost" not in text


def test_account_and_addresses_are_shown_only_if_asked_for(user: Smoker) -> None:
    masked = user.smoke("--only", "endpoint", "--json", expect=1)
    whole = user.smoke("--only", "endpoint", "--json", "--full", expect=1)
    assert "localhost" not in masked.stdout
    assert "localhost" in whole.stdout


def test_without_a_permission_the_check_is_not_decided_and_the_permission_is_named(
    party: Party, tmp_path: Path
) -> None:
    poor = smoker(party, tmp_path, without="iot:CreatePolicy")
    done = poor.smoke("--only", "policy-repeat", "--only", "thing-repeat")
    assert "these credentials may not call iot:CreatePolicy" in done.stdout
    assert "1 holds, 0 differs, 1 not decided." in done.stdout


@pytest.mark.whole
def test_a_broker_that_the_given_roots_do_not_cover_is_not_decided(user: Smoker) -> None:
    other = user.folder / "other.pem"
    other.write_text(pem(user.party.front.root.certificate))
    done = user.smoke("--mqtt-roots", other, "--only", "connect")
    assert "the broker's certificate is not trusted" in done.stdout
    assert "--mqtt-roots says whom to trust" in done.stdout


# ── nothing is left ───────────────────────────────────────────────────────────────────────────────────


LONG = ("--only", "revoked-session", "--patience", "60")
"""On the stand-in this one waits to the end."""


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM] if FULL else [signal.SIGTERM])
@pytest.mark.whole
def test_a_run_that_is_interrupted_removes_what_it_made(user: Smoker, how: signal.Signals) -> None:
    before = snapshot(user.party)
    with user.smoking(*LONG) as running:
        until(lambda: "REVOKED" in user.party.certificates().values())
        code, said = stop(running, how)
    assert code == 130
    assert said.rstrip().endswith("Removing what was made.\n\nInterrupted.")
    assert snapshot(user.party) == before
    assert user.ledgers == []


@pytest.mark.whole
def test_what_a_killed_run_left_is_removed_by_clean_alone(user: Smoker) -> None:
    before = snapshot(user.party)
    with user.smoking(*LONG) as running:
        until(lambda: "REVOKED" in user.party.certificates().values())
        stop(running, signal.SIGKILL)
    assert snapshot(user.party) != before
    assert len(user.ledgers) == 1
    done = user.smoke("--clean")
    assert "An earlier run left" in done.stderr
    assert done.stdout == ""
    assert snapshot(user.party) == before
    assert user.ledgers == []


@pytest.mark.whole
def test_what_a_living_run_made_is_left_alone(user: Smoker) -> None:
    with user.smoking(*LONG) as running:
        until(lambda: "REVOKED" in user.party.certificates().values())
        there = snapshot(user.party)
        user.smoke("--clean")
        assert snapshot(user.party) == there
        stop(running, signal.SIGINT)
    assert user.made() == []


def test_a_certificate_whose_answer_was_lost_is_found_by_its_subject(user: Smoker) -> None:
    iot = user.party.aws.client("iot")
    for name in ("keyborn-smoke-lost", "lamp-1"):
        iot.create_certificate_from_csr(certificateSigningRequest=make_csr(name)[1])
    ours, foreign = ids_by_name(user.party, "keyborn-smoke-lost"), ids_by_name(user.party, "lamp-1")
    since = datetime.now(UTC).isoformat(timespec="seconds")
    folder = user.folder / "keyborn" / "aws" / f"{ACCOUNT}-{REGION}"
    with open_ledger(folder, "dead") as ledger:
        ledger.owe("signing", f"keyborn-smoke-lost@{since}")
    user.smoke("--clean")
    left = set(user.party.certificates())
    assert not ours & left
    assert foreign <= left
    for one in foreign:
        iot.delete_certificate(certificateId=one)


def ids_by_name(party: Party, name: str) -> set[str]:
    from cryptography import x509

    iot = party.aws.client("iot")
    found = set()
    for one in party.certificates():
        text = iot.describe_certificate(certificateId=one)["certificateDescription"]["certificatePem"]
        if f"CN={name}" in x509.load_pem_x509_certificate(text.encode()).subject.rfc4514_string():
            found.add(one)
    return found


@pytest.mark.timeout(180)
@pytest.mark.whole
def test_what_cannot_be_removed_is_told_with_its_command(party: Party, tmp_path: Path) -> None:
    poor = smoker(party, tmp_path, without="iot:DeleteThing")
    done = poor.smoke("--only", "thing-repeat", expect=1)
    (left,) = [one for one in poor.made() if one.endswith("-twice")]
    assert f"Do it with: aws iot delete-thing --thing-name {left} --region {REGION}" in done.stderr
    assert "[smoke_leftovers]" in done.stderr
    rich = smoker(party, tmp_path)
    rich.smoke("--clean")
    assert rich.made() == []
