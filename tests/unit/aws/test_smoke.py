"""The smoke's own workings: the list of what was made, its removal, a run, the report, the printed policy."""

import fcntl
import json
import re
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from keyborn.adapters.aws.smoke.catalog import ALL, THEMES
from keyborn.adapters.aws.smoke.check import Differs, Holds, NotDecided, Verdict, holds_if
from keyborn.adapters.aws.smoke.lab import PREFIX, Lab, Undecided
from keyborn.adapters.aws.smoke.ledger import Owed, abandoned, open_ledger
from keyborn.adapters.aws.smoke.report import Mask, Report
from keyborn.adapters.aws.smoke.run import Finding, clear, examine, rounds_within
from keyborn.adapters.aws.smoke.undo import Undo, signing, subject_of
from keyborn.adapters.aws.stack.orders import Place
from keyborn.adapters.aws.stack.permissions import MOST, smoke_policy
from keyborn.cli.main import cli
from keyborn.domain.errors import AwsCallFailed, AwsRegionMissing, RegistryUnavailable
from support.aws_smoke import DIFFERS_THERE, NOT_DECIDED_THERE, listed
from support.smoke_world import (
    ARN,
    OUTPUTS,
    QUICK,
    Answer,
    Authority,
    World,
    after,
    always,
    check_of,
    lab,
    refusing,
    silent,
)

SOURCE = Path(__file__).resolve().parents[3] / "src" / "keyborn"

# ── the catalog ───────────────────────────────────────────────────────────────────────────────────────


def test_every_check_has_a_name_of_its_own_and_says_all_of_itself() -> None:
    names = [one.name for one in ALL]
    assert len(set(names)) == len(names) >= 60
    for one in ALL:
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", one.name)
        assert one.assumption.endswith(".")
        assert one.relied
        assert one.means or one.name == "revoked-to-active"  # which holds, whatever is seen


def test_what_relies_on_an_assumption_exists() -> None:
    for one in ALL:
        named = re.findall(r"(?<![\w/.])(?:[a-z_]+\.)+[a-zA-Z_]+", one.relied)
        for dotted in named:
            assert is_there(dotted), (one.name, dotted)


def is_there(dotted: str) -> bool:
    """Whether ``adapters.aws.iot.sign`` is a module, or a name in one."""
    parts = dotted.split(".")
    if dotted.endswith((".json", ".md", ".yaml")):
        return True
    for length in range(len(parts), 0, -1):
        place = SOURCE.joinpath(*parts[:length])
        if place.is_dir() and length == len(parts):
            return True
        file = place.with_suffix(".py")
        if file.is_file():
            return all(word in file.read_text() for word in parts[length:])
    return False


def test_checks_that_send_many_calls_at_once_are_marked() -> None:
    assert [one.name for one in ALL if one.burst] == ["stage-throttling", "throttling"]


def test_what_takes_longest_comes_last() -> None:
    assert list(THEMES)[-1] == "sessions"
    assert ALL[-1].name == "revoked-session"


# ── the documents ─────────────────────────────────────────────────────────────────────────────────────


def not_proved_live() -> set[str]:
    """The checks that the documents name where they say what is not proved live."""
    text = (SOURCE.parents[1] / "docs" / "aws-how-it-works.md").read_text()
    _, _, chapter = text.partition("\n## Not proved live\n")
    rows = [line for line in chapter.partition("\n## ")[0].splitlines() if line.startswith("|")]
    return {name for row in rows for name in re.findall(r"`([a-z0-9-]+)`", row.rsplit("|", 2)[1])}


def test_the_documents_name_checks_that_there_are() -> None:
    assert not_proved_live() <= {one.name for one in ALL}
    assert len(not_proved_live()) > 40


def test_what_the_stand_in_does_not_show_is_in_the_documents() -> None:
    by_right = {"endpoint"}  # a domain of one's own
    assert (set(DIFFERS_THERE) | set(NOT_DECIDED_THERE)) - by_right <= not_proved_live()


# ── the list of what was made ─────────────────────────────────────────────────────────────────────────


class Hands:
    """Removes things, or fails to."""

    def __init__(self, *stubborn: str, times: int = 10**6) -> None:
        self.stubborn, self.times = set(stubborn), times
        self.removed: list[str] = []

    def __call__(self, one: Owed) -> None:
        if one.name in self.stubborn and self.times > 0:
            self.times -= 1
            raise RegistryUnavailable
        self.removed.append(one.name)


def test_what_was_made_last_is_removed_first(tmp_path: Path) -> None:
    hands = Hands()
    with open_ledger(tmp_path, "run") as ledger:
        for name in ("a", "b", "c"):
            ledger.owe("thing", name)
        assert clear(ledger, hands, pause=0.0) == []
    assert hands.removed == ["c", "b", "a"]
    assert list(tmp_path.iterdir()) == []


def test_what_does_not_go_is_tried_again_and_the_rest_goes_meanwhile(tmp_path: Path) -> None:
    hands = Hands("b", times=2)
    with open_ledger(tmp_path, "run") as ledger:
        for name in ("a", "b", "c"):
            ledger.owe("thing", name)
        assert clear(ledger, hands, pause=0.0) == []
    assert hands.removed == ["c", "a", "b"]


def test_what_does_not_go_at_all_stays_on_the_list_for_the_next_run(tmp_path: Path) -> None:
    with open_ledger(tmp_path, "run") as ledger:
        ledger.owe("thing", "a")
        ledger.owe("table", "b")
        assert clear(ledger, Hands("a"), rounds=2, pause=0.0) == [Owed("thing", "a")]
    (found,) = (one.owed for one in abandoned(tmp_path))
    assert found == (Owed("thing", "a"),)
    for again in abandoned(tmp_path):
        assert clear(again, Hands(), pause=0.0) == []
    assert list(abandoned(tmp_path)) == []


@pytest.mark.parametrize(("patience", "rounds"), [(1, 2), (2, 2), (9, 5), (14, 8), (120, 8)])
def test_removing_is_repeated_as_long_as_a_run_waits_for_aws_but_no_longer_than_it_helps(
    patience: float, rounds: int
) -> None:
    assert rounds_within(patience) == rounds


def test_an_error_that_is_no_failure_of_aws_is_not_hidden(tmp_path: Path) -> None:
    def _break(_one: Owed) -> None:
        raise ZeroDivisionError

    with open_ledger(tmp_path, "run") as ledger:
        ledger.owe("thing", "a")
        with pytest.raises(ZeroDivisionError):
            clear(ledger, _break, pause=0.0)
    assert len(list(tmp_path.iterdir())) == 1


def test_an_interruption_leaves_the_list(tmp_path: Path) -> None:
    def _run() -> None:
        with open_ledger(tmp_path, "run") as ledger:
            ledger.owe("policy", "p")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _run()
    assert [one.owed for one in abandoned(tmp_path)] == [(Owed("policy", "p"),)]


def test_the_list_of_a_living_run_is_nobody_else_s(tmp_path: Path) -> None:
    with open_ledger(tmp_path, "run") as ledger:
        ledger.owe("thing", "a")
        assert list(abandoned(tmp_path)) == []
    assert len(list(abandoned(tmp_path))) == 1


def test_while_one_removes_what_was_left_another_does_not(tmp_path: Path) -> None:
    with open_ledger(tmp_path, "run") as ledger:
        ledger.owe("thing", "a")
    for _ in abandoned(tmp_path):
        assert list(abandoned(tmp_path)) == []


def test_a_list_that_breaks_off_in_a_line_is_read_up_to_there(tmp_path: Path) -> None:
    with open_ledger(tmp_path, "run") as ledger:
        ledger.owe("thing", "a")
        ledger.strike(ledger.owe("thing", "b"))
        ledger.owe("policy", "c")
    (file,) = tmp_path.iterdir()
    file.write_text(file.read_text() + '["owe", "thi')
    assert [one.owed for one in abandoned(tmp_path)] == [(Owed("thing", "a"), Owed("policy", "c"))]


def test_an_entry_is_on_disk_before_the_thing_is_made(tmp_path: Path) -> None:
    seen: list[str] = []
    with open_ledger(tmp_path, "run") as ledger:
        (file,) = tmp_path.iterdir()

        def _create(**_: object) -> Mapping[str, Any]:
            seen.append(file.read_text())
            return {}

        world = World(iot_CreateThing=_create)
        lab(world, ledger).thing("lamp")
    assert seen == ['["owe", "thing", "keyborn-smoke-test-lamp"]\n']


def test_lists_are_for_their_owner_s_eyes(tmp_path: Path) -> None:
    with open_ledger(tmp_path / "deep" / "er", "run"):
        assert (tmp_path / "deep" / "er").stat().st_mode & 0o077 == 0


def test_two_runs_have_two_lists(tmp_path: Path) -> None:
    with open_ledger(tmp_path, "run"), pytest.raises(FileExistsError), open_ledger(tmp_path, "run"):
        pass


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "services").write_text("x")
    assert list(abandoned(tmp_path)) == []
    assert (tmp_path / "services").exists()


def test_a_lock_is_what_tells_the_living_from_the_dead(tmp_path: Path) -> None:
    with open_ledger(tmp_path, "run") as ledger:
        ledger.owe("thing", "a")
    (path,) = tmp_path.iterdir()
    with path.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert list(abandoned(tmp_path)) == []


# ── removing ──────────────────────────────────────────────────────────────────────────────────────────


def undo(world: World) -> Undo:
    return Undo(world, ARN)  # type: ignore[arg-type] # a session's part


def test_a_certificate_is_revoked_set_free_and_deleted() -> None:
    world = World(
        iot_ListAttachedPolicies=always(policies=[{"policyName": "p"}]),
        iot_ListPrincipalThings=always(things=["t"]),
    )
    undo(world)(Owed("certificate", "c" * 64))
    assert [name for name, _ in world.calls] == [
        "iot_UpdateCertificate",
        "iot_ListAttachedPolicies",
        "iot_DetachPolicy",
        "iot_ListPrincipalThings",
        "iot_DetachThingPrincipal",
        "iot_DeleteCertificate",
    ]
    assert world.calls[0][1]["newStatus"] == "REVOKED"


@pytest.mark.parametrize(
    ("one", "operation", "gone"),
    [
        (Owed("certificate", "c" * 64), "iot_DeleteCertificate", "ResourceNotFoundException"),
        (Owed("policy", "keyborn-smoke-p"), "iot_DeletePolicy", "ResourceNotFoundException"),
        (Owed("table", "keyborn-smoke-t"), "dynamodb_DeleteTable", "ResourceNotFoundException"),
    ],
)
def test_what_is_gone_already_is_removed(one: Owed, operation: str, gone: str) -> None:
    world = World(**{operation: refusing(gone, 404), "iot_ListPolicyVersions": refusing(gone, 404)})
    undo(world)(one)
    assert world.called(operation)


@pytest.mark.parametrize(
    ("one", "operation"),
    [
        (Owed("thing", "keyborn-smoke-t"), "iot_DeleteThing"),
        (Owed("table", "keyborn-smoke-t"), "dynamodb_DeleteTable"),
    ],
)
def test_what_aws_does_not_let_go_of_yet_fails_and_can_be_repeated(one: Owed, operation: str) -> None:
    world = World(**{operation: after(1, refusing("ResourceInUseException"), always())})
    with pytest.raises(AwsCallFailed):
        undo(world)(one)
    undo(world)(one)
    assert len(world.called(operation)) == 2


def test_a_policy_goes_with_its_versions() -> None:
    versions = [{"versionId": "1", "isDefaultVersion": False}, {"versionId": "2", "isDefaultVersion": True}]
    world = World(iot_ListPolicyVersions=always(policyVersions=versions))
    undo(world)(Owed("policy", "keyborn-smoke-p"))
    assert [one["policyVersionId"] for one in world.called("iot_DeletePolicyVersion")] == ["1"]
    assert [one["policyName"] for one in world.called("iot_DeletePolicy")] == ["keyborn-smoke-p"]


def listing(*certificates: Mapping[str, Any], made: datetime) -> dict[str, Any]:
    by_id = {one["certificateId"]: one["certificatePem"] for one in certificates}
    rows = [{"certificateId": one, "creationDate": made} for one in by_id]

    def _describe(certificateId: str) -> Mapping[str, Any]:  # noqa: N803 - AWS's name
        return {"certificateDescription": {"certificatePem": by_id[certificateId]}}

    return {"iot_ListCertificates": always(certificates=rows), "iot_DescribeCertificate": _describe}


def two_certificates(folder: Path) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """One of a run's own, and one of somebody else's."""
    authority = Authority()
    with open_ledger(folder, "making") as ledger:
        hands = lab(World(iot_CreateCertificateFromCsr=authority), ledger)
        hands.certificate("lost")
        hands.certificate("found")
        for one in ledger.owed:
            ledger.strike(one)
    first, second = authority.made.values()
    return first, second


def test_of_certificates_whose_answer_may_be_lost_only_the_one_with_the_subject_is_deleted(
    tmp_path: Path,
) -> None:
    lost, other = two_certificates(tmp_path)
    world = World(**listing(other, lost, made=datetime.now(UTC)))
    undo(world)(Owed("signing", signing(f"{PREFIX}test-lost")))
    assert [one["certificateId"] for one in world.called("iot_DeleteCertificate")] == [lost["certificateId"]]


def test_certificates_from_before_the_run_are_not_even_looked_at(tmp_path: Path) -> None:
    lost, other = two_certificates(tmp_path)
    world = World(**listing(other, lost, made=datetime.now(UTC) - timedelta(hours=1)))
    undo(world)(Owed("signing", signing(f"{PREFIX}test-lost")))
    assert world.called("iot_DescribeCertificate") == []
    assert world.called("iot_DeleteCertificate") == []


CERTIFICATE_COMMAND = """\
aws iot update-certificate --certificate-id c --new-status INACTIVE --region eu-central-1 && \
aws iot delete-certificate --certificate-id c --force-delete --region eu-central-1"""


@pytest.mark.parametrize(
    ("one", "command"),
    [
        (Owed("thing", "t"), "aws iot delete-thing --thing-name t --region eu-central-1"),
        (Owed("policy", "p"), "aws iot delete-policy --policy-name p --region eu-central-1"),
        (Owed("table", "b"), "aws dynamodb delete-table --table-name b --region eu-central-1"),
        (
            Owed("certificate", "c"),
            CERTIFICATE_COMMAND,
        ),
        (Owed("signing", "s@2026-01-01T00:00:00+00:00"), "keyborn aws smoke --clean"),
    ],
)
def test_for_each_kind_there_is_a_command_that_a_person_can_type(one: Owed, command: str) -> None:
    assert undo(World()).command(one) == command


def test_what_is_no_certificate_has_no_subject() -> None:
    assert subject_of(b"nonsense") == ""


# ── the lab ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_certificate_that_was_asked_for_is_on_the_list_until_its_answer_is_there(tmp_path: Path) -> None:
    seen: list[tuple[Owed, ...]] = []
    authority = Authority()
    with open_ledger(tmp_path, "run") as ledger:

        def _sign(**given: Any) -> Mapping[str, Any]:  # noqa: ANN401 - AWS's
            seen.append(ledger.owed)
            return authority(**given)

        one = lab(World(iot_CreateCertificateFromCsr=_sign), ledger).certificate("lamp")
        assert [each.kind for each in seen[0]] == ["signing"]
        assert ledger.owed == (Owed("certificate", one.id),)


@pytest.mark.parametrize(
    ("answer", "left"), [(silent, ["signing"]), (refusing("InvalidRequestException"), [])]
)
def test_a_lost_answer_stays_on_the_list_and_a_refusal_does_not(
    tmp_path: Path,
    answer: Answer,
    left: list[str],
) -> None:
    with open_ledger(tmp_path, "run") as ledger:
        with pytest.raises(Exception, match=r"no answer|refused"):
            lab(World(iot_CreateCertificateFromCsr=answer), ledger).certificate("lamp")
        assert [one.kind for one in ledger.owed] == left


def test_everything_that_is_made_has_the_prefix(tmp_path: Path) -> None:
    world = World(dynamodb_DescribeTable=always(Table={"TableStatus": "ACTIVE"}))
    with open_ledger(tmp_path, "run") as ledger:
        hands = lab(world, ledger)
        names = [hands.thing("t"), hands.policy("p", "{}"), hands.table(), hands.certificate("c").name]
    assert all(one.startswith("keyborn-smoke-test-") for one in names)


def test_a_table_that_is_never_ready_leaves_its_checks_undecided_and_is_removed(tmp_path: Path) -> None:
    world = World(dynamodb_DescribeTable=always(Table={"TableStatus": "CREATING"}))
    with open_ledger(tmp_path, "run") as ledger:
        hands = lab(world, ledger, replace(QUICK, whole=0.1))
        with pytest.raises(Undecided, match="the table for it was not ready"):
            hands.table()
        assert ledger.owed == (Owed("table", hands.name("table")),)


def test_waiting_ends_with_the_run_s_time(tmp_path: Path) -> None:
    with open_ledger(tmp_path, "run") as ledger:
        hands = lab(World(), ledger, replace(QUICK, whole=0.05))
        begun = time.monotonic()
        assert not hands.wait(lambda: False, 60.0)
        assert time.monotonic() - begun < 10


def test_what_is_shared_is_made_once(tmp_path: Path) -> None:
    with open_ledger(tmp_path, "run") as ledger:
        hands = lab(World(), ledger)
        made = [hands.shared("a", object) for _ in range(2)]
        assert made[0] is made[1]


# ── a run ─────────────────────────────────────────────────────────────────────────────────────────────


def judged(experiment: Any, folder: Path, pace: Any = QUICK) -> Finding:  # noqa: ANN401 - experiment and pace
    with open_ledger(folder, "run") as ledger:
        (found,) = examine(lab(World(), ledger, pace), [check_of(experiment)], lambda _: None)
    return found


def test_a_difference_has_the_check_s_words_unless_it_has_its_own(tmp_path: Path) -> None:
    plain = judged(lambda _: Differs("x"), tmp_path)
    assert (plain.means, plain.remedy) == ("That.", "This.")
    own = judged(lambda _: Differs("x", "Other.", "Else."), tmp_path)
    assert (own.means, own.remedy) == ("Other.", "Else.")
    assert (
        judged(lambda _: Holds("x"), tmp_path).means,
        judged(lambda _: NotDecided("x"), tmp_path).remedy,
    ) == (
        "",
        "",
    )


def test_trouble_on_this_machine_decides_nothing(tmp_path: Path) -> None:
    def _lost(_lab: Lab) -> Verdict:
        raise AwsRegionMissing

    found = judged(_lost, tmp_path)
    assert found.word == "not decided"
    assert "Which AWS region?" in found.seen


def test_what_no_time_is_left_for_is_not_decided(tmp_path: Path) -> None:
    over = replace(QUICK, whole=0.0)
    found = judged(lambda _: Holds("x"), tmp_path, over)
    assert (found.word, found.seen) == (
        "not decided",
        "the 0 seconds of a run are over; try it alone with --only",
    )


def test_a_difference_at_the_moment_when_the_time_ends_is_none(tmp_path: Path) -> None:
    def _late(hands: Lab) -> Verdict:
        hands.wait(lambda: False, 60.0)
        return Differs("nothing came")

    found = judged(_late, tmp_path, replace(QUICK, whole=0.05))
    assert found.word == "not decided"
    assert "ended meanwhile" in found.seen


def test_what_is_open_is_closed_after_the_checks_and_after_an_interruption(tmp_path: Path) -> None:
    closed: list[str] = []

    def _interrupted(hands: Lab) -> Verdict:
        hands.at_end(lambda: closed.append("first"))
        hands.at_end(lambda: closed.append("second"))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        judged(_interrupted, tmp_path)
    assert closed == ["second", "first"]


def test_each_finding_is_told_at_once(tmp_path: Path) -> None:
    told: list[str] = []
    with open_ledger(tmp_path, "run") as ledger:
        checks = [check_of(lambda _: Holds("a")), check_of(lambda _: holds_if(None, "b"))]
        examine(lab(World(), ledger), checks, lambda one: told.append(f"{one.word} {one.seen}"))
    assert told == ["holds a", "differs b"]


# ── the report ────────────────────────────────────────────────────────────────────────────────────────


def finding(name: str, verdict: Verdict) -> Finding:
    (one,) = [each for each in ALL if each.name == name]
    return Finding(one, verdict, 1.25)


def report(*findings: Finding, **more: Any) -> Report:  # noqa: ANN401 - a report's fields
    versions = {"keyborn": "1", "botocore": "2"}
    return Report("kb", "eu-central-1", versions, "2026-11-23T00:00:00+00:00", 61.0, findings, **more)


MIXED = (
    finding("clock", Holds("0.1 s ahead")),
    finding("exclusive-thing", Differs("a | b <script>\x1b[31m")),
    finding("iot-quotas", NotDecided("nobody says")),
)


def test_a_report_counts_and_divides_by_theme() -> None:
    text = report(*MIXED).markdown()
    assert "1 holds, 1 differs, 1 not decided." in text
    assert text.index("## Stack") < text.index("| clock | holds | 0.1 s ahead |") < text.index("## Things")
    assert "| iot-quotas | not decided | nobody says |" in text
    assert "## Left behind" not in text


def test_what_aws_said_cannot_break_the_table_or_the_page() -> None:
    text = report(*MIXED).markdown()
    assert "| exclusive-thing | **differs** | a \\| b &lt;script> [31m |" in text
    assert "\x1b" not in text


def test_a_difference_is_explained_with_who_relies_on_it_and_what_to_do() -> None:
    text = report(*MIXED).markdown()
    assert "### exclusive-thing" in text
    assert (
        "- Assumed: A certificate that is exclusively one thing's cannot be bound to another thing." in text
    )
    assert "- Do: Give iot:AttachThingPrincipal to nobody but the enrolment function." in text
    assert "What differs" not in report(MIXED[0]).markdown()


def test_what_was_left_behind_is_in_the_report_with_its_command() -> None:
    left = report(MIXED[0], left=[("thing t", "aws iot delete-thing")])
    assert "- thing t: `aws iot delete-thing`" in left.markdown()
    assert left.document()["left"] == [{"what": "thing t", "command": "aws iot delete-thing"}]


def test_programs_get_every_word() -> None:
    found = report(*MIXED).document()
    assert found["counts"] == {"holds": 1, "differs": 1, "not decided": 1}
    assert found["seconds"] == 61.0
    holds, differs, undecided = found["checks"]
    assert holds["verdict"] == "holds"
    assert "remedy" not in holds
    assert differs["means"]
    assert undecided["seen"] == "nobody says"
    assert json.loads(json.dumps(found)) == found


def test_account_endpoint_and_api_are_masked() -> None:
    mask = Mask(OUTPUTS)
    said = f"{ARN}:cert/0 at {OUTPUTS.mqtt_host}, {OUTPUTS.url}/x, a1b2c3-ats of abc123"
    masked = mask(said)
    for secret in ("123456789012", "a1b2c3", "abc123"):
        assert secret not in masked
    assert masked.startswith("arn:aws:iot:eu-central-1:(ACCOUNT):cert/0 at (ENDPOINT), https://(DOOR)/x")


def test_nothing_is_masked_that_is_not_known() -> None:
    bare = replace(OUTPUTS, api_id="")
    assert Mask(bare)("plain text") == "plain text"


# ── the command ───────────────────────────────────────────────────────────────────────────────────────


def smoke(*words: str) -> Result:
    return CliRunner().invoke(cli, ["aws", "smoke", *words])


def test_the_checks_are_listed_without_asking_aws() -> None:
    done = smoke("--list")
    assert done.exit_code == 0
    assert [line.split()[0] for line in done.stdout.splitlines()[1:]] == [one.name for one in ALL]
    rows = json.loads(smoke("--list", "--json", "--only", "throttling").stdout)
    assert [(row["check"], row["burst"]) for row in rows] == [("throttling", True)]


def test_an_unknown_check_is_a_mistake_in_usage() -> None:
    done = smoke("--only", "clocks", "--list")
    assert done.exit_code == 2
    assert "There is no check called clocks. List them with --list." in done.stderr


@pytest.mark.parametrize("content", [None, b"no certificate"])
def test_roots_that_are_none_are_a_mistake_in_usage(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "roots.pem"
    if content is not None:
        file.write_bytes(content)
    done = smoke("--mqtt-roots", str(file))
    assert done.exit_code == 2
    assert "is not a readable file of certificates in PEM" in done.stderr


# ── the printed policy ────────────────────────────────────────────────────────────────────────────────


def test_the_policy_is_printed_for_one_stack_in_one_account() -> None:
    words = ("permissions", "--smoke", "--region", "eu-central-1", "--account", "123456789012")
    done = CliRunner().invoke(cli, ["aws", *words, "--stack", "plant"])
    text = json.dumps(json.loads(done.stdout))
    assert "thingtype/plant_device" in text
    assert not re.search(r"PARTITION|REGION|ACCOUNT|STACK", text)


def test_the_policy_fits_and_lets_nobody_make_or_delete_what_is_not_the_smoke_s() -> None:
    text = smoke_policy("kb", Place("aws", "123456789012", "eu-central-1", ""))
    assert len(text) < MOST
    for one in json.loads(text)["Statement"]:
        resources = [one["Resource"]] if isinstance(one["Resource"], str) else one["Resource"]
        for action in listed(one):
            if re.search(r":(Create|Delete|Put)", action) and action not in UNNAMED:
                assert all("keyborn-smoke-" in each or "thingtype/" in each for each in resources), action


UNNAMED = {"iot:CreateCertificateFromCsr", "iot:DeleteCertificate"}
"""A certificate has no name that could be known before."""
