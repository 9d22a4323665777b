"""A device that waits for a person: what it shows is its own, what the service says is only compared."""

import json
from pathlib import Path

import pytest

from keyborn.device.enroll import Outcome, Wish, enroll
from keyborn.device.forget import forget
from keyborn.device.home import Home
from keyborn.device.keystore import FileKeyStore
from keyborn.device.waiting import PATIENCE, noted
from keyborn.domain import errors
from keyborn.domain.approval import approval_code, key_words
from keyborn.domain.method import Method
from keyborn.domain.names import GroupName, ThingName
from keyborn.domain.token import CodeFacts, EnrollmentCode
from support.device_home import Machine
from support.rude_service import Exchange, Reply, RudeService, plain, polite, problem

ENROLL = "/v1/enroll"
LINE, THING = GroupName("line-7"), ThingName("gateway-1")
FOREIGN_WORDS, FOREIGN_CODE = "babab-babab-babab-babab", "0000-0000"


def pending(seconds: int | None = 5, **said: object) -> Reply:
    """A 202 as the service gives it; without ``said`` a body that says nothing."""
    headers = {} if seconds is None else {"Retry_After": str(seconds)}
    body = json.dumps({"status": "pending", "detail": "x", **said}).encode() if said else b""
    return plain(202, body, Content_Type="application/json", **headers)


def own(home: Home) -> tuple[str, str]:
    """Code and words of this home's key."""
    key = FileKeyStore(home.key).facts().key_hash
    return approval_code(LINE, THING, key), key_words(key)


def truly(home: Home, seconds: int | None = 5) -> Reply:
    """A 202 about the key that this home has."""

    def reply(exchange: Exchange) -> None:
        code, words = own(home)
        pending(seconds, approval=code, words=words)(exchange)

    return reply


def asking(service: RudeService) -> EnrollmentCode:
    """The code of a group that asks first; no secret is in it."""
    return service.code(secret=b"", facts=CodeFacts(Method.ASK, LINE))


def run(
    home: Home,
    service: RudeService,
    machine: Machine,
    *,
    timeout: float | None = None,
    code: EnrollmentCode | None = None,
    once: bool = False,
    group: str | None = None,
) -> Outcome:
    wish = Wish(thing=THING, group=group)
    given = code or asking(service)
    return enroll(home, wish, lambda: given, machine.surroundings(), timeout=timeout, once=once)


def test_it_shows_its_own_code_and_words_once_and_is_enrolled_when_somebody_agrees(
    home: Home, service: RudeService, machine: Machine
) -> None:
    service.script(ENROLL, truly(home), truly(home), polite)
    assert run(home, service, machine).obtained
    code, words = own(home)
    assert [line for line in machine.said if line.strip() == f"code       {code}"] != []
    assert len([line for line in machine.said if line.strip() == f"key words  {words}"]) == 1
    assert machine.slept == [pytest.approx(5.25), pytest.approx(5.25)]
    assert noted(home) is None


def test_it_says_its_group_and_shows_no_credential(
    home: Home, service: RudeService, machine: Machine
) -> None:
    run(home, service, machine)
    [asked] = service.asked(ENROLL)
    assert json.loads(asked.body)["group"] == LINE
    assert "Authorization" not in asked.headers


def test_a_token_with_a_group_of_ones_own_choice_says_both(
    home: Home, service: RudeService, machine: Machine
) -> None:
    run(home, service, machine, code=service.code(), group=LINE)
    [asked] = service.asked(ENROLL)
    assert json.loads(asked.body)["group"] == LINE
    assert asked.headers["Authorization"].startswith("Bearer ")


def test_a_code_of_one_group_is_not_taken_to_another(
    home: Home, service: RudeService, machine: Machine
) -> None:
    with pytest.raises(errors.InvalidSetting, match="line-7"):
        run(home, service, machine, group="line-8")
    with pytest.raises(errors.InvalidGroupName):
        run(home, service, machine, code=service.code(), group="Line 8")
    assert service.seen == []


@pytest.mark.parametrize(
    ("said", "what"),
    [
        ({"words": FOREIGN_WORDS, "approval": FOREIGN_CODE}, "another key"),
        ({"words": FOREIGN_WORDS}, "another key"),
        ({"words": 7}, "something unreadable"),
        ({"words": "\x1b[2Jx"}, "something unreadable"),
        ({"approval": FOREIGN_CODE}, "another request"),
        ({"approval": ["x"]}, "something unreadable"),
    ],
)
def test_a_service_that_asks_about_another_key_is_told_on_and_asked_no_more(
    home: Home, service: RudeService, machine: Machine, said: dict[str, object], what: str
) -> None:
    service.script(ENROLL, pending(5, **said))
    with pytest.raises(errors.ApprovalForeign, match=what) as raised:
        run(home, service, machine)
    assert "refuse that request" in str(raised.value)
    assert str(raised.value).isprintable()
    assert len(service.asked(ENROLL)) == 1
    assert noted(home) is None


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b"\xff", b"[" * 60000])
def test_an_answer_that_says_nothing_of_a_key_cannot_be_compared_and_the_device_shows_its_own(
    home: Home, service: RudeService, machine: Machine, body: bytes
) -> None:
    service.script(ENROLL, plain(202, body), polite)
    run(home, service, machine)
    assert any(own(home)[1] in line for line in machine.said)


def test_where_only_the_service_knows_the_group_its_code_is_shown_with_the_own_words(
    home: Home, service: RudeService, machine: Machine
) -> None:
    service.script(ENROLL, pending(approval="7K3M-9QXZ"), pending(approval="\x1b[2J"), polite)
    run(home, service, machine, code=service.code())
    assert any("7K3M-9QXZ" in line for line in machine.said)
    assert all(line.isprintable() for line in machine.said)


@pytest.mark.parametrize(
    ("told", "waited"), [(None, 5.25), (0, 1.05), (1, 1.05), (200, 210.0), (99999, 315.0)]
)
def test_it_waits_as_long_as_the_service_says_within_bounds(
    home: Home, service: RudeService, machine: Machine, told: int | None, waited: float
) -> None:
    service.script(ENROLL, truly(home, told), polite)
    run(home, service, machine)
    expected = 5.25 if told == 0 else waited
    assert machine.slept == [pytest.approx(expected)]


def test_a_person_has_a_day_and_a_service_that_does_not_answer_has_not(
    home: Home, service: RudeService, machine: Machine
) -> None:
    service.script(ENROLL, truly(home, 300))
    with pytest.raises(errors.ApprovalPending) as raised:
        run(home, service, machine)
    assert PATIENCE - 330 < machine.seconds < PATIENCE
    code, words = own(home)
    assert code in str(raised.value)
    assert words in str(raised.value)
    silent = problem(503, "registry_unavailable", "not now")
    service.script(ENROLL, silent)
    machine.seconds = 0.0
    with pytest.raises(errors.EnrollmentRefused):
        run(home, service, machine)
    assert machine.seconds < 90


def test_a_service_that_is_away_for_a_while_does_not_end_the_waiting(
    home: Home, service: RudeService, machine: Machine
) -> None:
    away = problem(503, "registry_unavailable", "not now", Retry_After="120")
    service.script(ENROLL, truly(home), away, away, truly(home), polite)
    assert run(home, service, machine).obtained


def test_a_limit_that_somebody_named_holds(home: Home, service: RudeService, machine: Machine) -> None:
    service.script(ENROLL, truly(home))
    with pytest.raises(errors.ApprovalPending):
        run(home, service, machine, timeout=20)
    assert machine.seconds < 20


def test_it_says_now_and_then_that_it_still_waits(home: Home, service: RudeService, machine: Machine) -> None:
    service.script(ENROLL, *[truly(home, 10)] * 20, polite)
    run(home, service, machine)
    still = [line for line in machine.said if line.startswith("Still waiting")]
    assert 2 <= len(still) <= 4


def test_interrupted_it_goes_on_with_the_same_request(
    home: Home, service: RudeService, machine: Machine
) -> None:
    service.script(ENROLL, truly(home))
    shown = []
    for _ in range(2):
        with pytest.raises(errors.ApprovalPending) as raised:
            run(home, service, machine, timeout=3)
        shown.append(str(raised.value))
    assert shown[0] == shown[1]
    assert noted(home) is not None
    service.script(ENROLL, polite)
    assert run(home, service, machine).obtained
    assert noted(home) is None


def test_who_was_refused_is_told_so_and_shows_nothing_any_more(
    home: Home, service: RudeService, machine: Machine
) -> None:
    service.script(ENROLL, truly(home), problem(403, "approval_refused", "An operator refused this device."))
    with pytest.raises(errors.EnrollmentRefused, match="refused this device"):
        run(home, service, machine)
    assert noted(home) is None


def test_one_try_shows_what_is_new_and_not_what_was_shown_before(
    home: Home, service: RudeService, machine: Machine
) -> None:
    service.script(ENROLL, truly(home))
    for _ in range(3):
        with pytest.raises(errors.ApprovalPending):
            run(home, service, machine, once=True)
    assert len([line for line in machine.said if "key words" in line and "Tell" not in line]) == 1
    assert machine.slept == []


def test_what_is_noted_is_ours_alone_and_goes_with_a_factory_reset(
    home: Home, service: RudeService, machine: Machine
) -> None:
    service.script(ENROLL, truly(home))
    with pytest.raises(errors.ApprovalPending):
        run(home, service, machine, once=True)
    code, words = own(home)
    note = noted(home)
    assert note is not None
    assert (note["approval"], note["words"], note["group"], note["thing"]) == (code, words, LINE, THING)
    assert home.waiting.stat().st_mode & 0o777 == 0o600
    assert home.waiting in forget(home)
    assert noted(home) is None


@pytest.mark.parametrize("left", [b"", b"{", b"[]", b"\xff" * 5000])
def test_a_note_that_was_cut_short_is_none(home: Home, left: bytes) -> None:
    home.prepare()
    home.waiting.write_bytes(left)
    home.waiting.chmod(0o600)
    assert noted(home) is None


def test_a_note_that_others_can_read_is_none(home: Home, tmp_path: Path) -> None:
    home.prepare()
    (tmp_path / "elsewhere").write_text("{}")
    home.waiting.symlink_to(tmp_path / "elsewhere")
    assert noted(home) is None
