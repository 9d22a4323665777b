"""The journey as a device runs it: real files, and a service and a broker that keep to a script."""

import errno
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509

from keyborn.device import files, identity, slots
from keyborn.device.identity import State
from keyborn.device.journey import CHECK_EVERY, FIRST_CHECK, Runner
from keyborn.device.told import Told
from keyborn.domain.errors import (
    ApprovalPending,
    BrokerUnreachable,
    EnrollmentRefused,
    HomeUnusable,
    KeybornError,
    RenewalRefused,
    ServiceUnreachable,
    SessionLost,
    SessionRefused,
    WrongCertificate,
)
from keyborn.domain.journey import Journey, Slot, Stage, Trouble
from keyborn.domain.journey.effects import AskRenewal
from keyborn.domain.journey.words import LAST_REFUSAL
from keyborn.domain.renewal_date import renew_at
from support.device_home import DAY, Crash, identify, now
from support.device_pki import Wanted
from support.device_slots import WHOLE, names_in, run, stage
from support.journey_stage import Scene, at
from support.pki import new_pki, shared_pki

OLD = Wanted(start=now() - 80 * DAY, end=now() + 10 * DAY)
"""A certificate whose time to be renewed has come."""
LONG = Wanted(start=now() - 5 * DAY, end=now() + 85 * DAY)
REFUSED = SessionRefused(broker="b", detail="closed", thing="gateway-1")
AWAY = BrokerUnreachable(broker="b", detail="no way")
SILENT = ServiceUnreachable(url="u", detail="nobody answers")
LOST = SessionLost(broker="b", detail="cut")


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def refused(code: str) -> RenewalRefused:
    return RenewalRefused(status=403, detail="because", code=code)


def renewed(runner: Runner) -> bool:
    return runner.renewed == 1 and runner.journey.stage is Stage.CONNECTED


def steps(runner: Runner, count: int) -> Journey:
    for _ in range(count):
        runner.step()
    return runner.journey


def until(runner: Runner, stage_: Stage, most: int = 60) -> Journey:
    for _ in range(most):
        if runner.step().stage is stage_:
            return runner.journey
    raise AssertionError(f"it never became {stage_}: {runner.journey}")


def until_renewed(runner: Runner, most: int = 60) -> None:
    for _ in range(most):
        runner.step()
        if renewed(runner):
            return
    raise AssertionError(f"it never renewed: {runner.journey}")


# ── the good way ──


def test_a_device_that_has_an_identity_connects_and_asks_for_nothing(scene: Scene) -> None:
    made = identify(scene.home, wanted=LONG)
    runner = scene.start()
    assert until(runner, Stage.CONNECTED).trouble is None
    assert scene.broker.connected == [f"device {made.certificate_id}"]
    assert scene.service.asked == []
    assert runner.own == identity.read_settings(scene.home)


def test_when_it_is_time_it_renews_and_the_session_goes_on_under_the_new_identity(scene: Scene) -> None:
    old = identify(scene.home, wanted=OLD)
    runner = scene.start()
    until_renewed(runner)
    new = identity.read_settings(scene.home).certificate_id
    assert new != old.certificate_id
    assert scene.broker.connected == [f"device {old.certificate_id}", f"next {new}"], "no third connection"
    assert scene.service.asked == ["time", f"renew by {old.certificate_id[:8]}", f"confirm by {new[:8]}"]
    assert names_in(scene.home) == WHOLE
    assert scene.broker.open == new


@pytest.mark.parametrize(
    ("kept", "asked"), [("/C=JP/O=Example/CN=gateway-1", "CN=gateway-1,O=Example,C=JP"), ("", "CN=gateway-1")]
)
def test_a_renewal_repeats_the_subject_of_the_enrolment(scene: Scene, kept: str, asked: str) -> None:
    made = identify(scene.home, wanted=OLD)
    scene.home.settings.write_text(identity.to_toml(replace(made, subject=kept)))
    until_renewed(scene.start())
    (csr,) = scene.service.csrs
    assert x509.load_pem_x509_csr(csr.encode()).subject.rfc4514_string() == asked
    assert identity.read_settings(scene.home).subject == kept, "and the next one will"


def test_it_serves_until_the_moment_comes(scene: Scene) -> None:
    made = identify(scene.home, wanted=LONG)
    scene.service.time = now()
    runner = scene.start()
    until(runner, Stage.CONNECTED)
    for _ in range(4):
        runner.step()
    assert sum(scene.broker.served[:2]) == pytest.approx(FIRST_CHECK / 2), "first of all it checks its clock"
    until(runner, Stage.CONNECTED)
    left = (renew_at(made.thing, made.not_before, made.not_after) - now()).total_seconds()
    assert left > CHECK_EVERY
    assert scene.service.asked == ["time"]


def test_a_renewal_may_be_asked_for_before_its_time(scene: Scene) -> None:
    identify(scene.home, wanted=LONG)
    scene.service.time = now()
    runner = scene.start(renew_now=True)
    until_renewed(runner)
    assert steps(runner, 4).stage is Stage.CONNECTED
    assert runner.renewed == 1, "once"


def test_every_start_says_nothing_where_all_is_well(scene: Scene) -> None:
    identify(scene.home, wanted=LONG)
    scene.run(at(Stage.CONNECTED))
    assert scene.machine.said == []
    assert scene.broker.open is None, "and the session was closed"


# ── reuse before request ──


def test_a_staged_identity_is_tried_and_nothing_is_asked(scene: Scene) -> None:
    identify(scene.home, wanted=OLD)
    made = stage(scene.home)
    runner = scene.start()
    until_renewed(runner)
    assert scene.service.asked == [f"confirm by {made.certificate_id[:8]}"]


def test_a_key_that_is_there_is_used(scene: Scene) -> None:
    from support.device_slots import ensure_next_key

    identify(scene.home, wanted=OLD)
    ensure_next_key(scene.home)
    key = scene.home.of(Slot.NEXT).key.read_bytes()
    until_renewed(scene.start())
    assert scene.home.key.read_bytes() == key


def test_the_same_answer_is_not_written_twice(scene: Scene) -> None:
    """The broker is away while the next identity is tried: later the service is asked, and says the same."""
    identify(scene.home, wanted=OLD)
    scene.broker.troubles.extend([None, AWAY])
    runner = scene.start()
    until(runner, Stage.STAGED)
    before = scene.home.of(Slot.NEXT).settings.stat().st_mtime_ns
    until(runner, Stage.ENROLLED)
    until(runner, Stage.STAGED)
    assert scene.home.of(Slot.NEXT).settings.stat().st_mtime_ns == before
    until_renewed(runner)
    assert len(scene.service.answers) == 1


# ── when the new one does not do ──


@pytest.mark.parametrize("trouble", [REFUSED, AWAY])
def test_if_the_new_one_does_not_connect_the_old_one_goes_on(scene: Scene, trouble: KeybornError) -> None:
    old = identify(scene.home, wanted=OLD)
    scene.broker.troubles.extend([None, trouble])
    runner = scene.start()
    until(runner, Stage.STAGED)
    until(runner, Stage.CONNECTED)
    assert scene.broker.open == old.certificate_id
    assert identity.read_settings(scene.home).certificate_id == old.certificate_id
    until_renewed(runner)
    assert scene.broker.served[1] >= 30, "not at once"


def test_a_certificate_that_is_withdrawn_before_its_confirmation_is_given_back(scene: Scene) -> None:
    old = identify(scene.home, wanted=OLD)
    scene.service.troubles.extend([None, None, refused("certificate_not_active")])
    runner = scene.start()
    until(runner, Stage.RETURNING)
    until(runner, Stage.CONNECTED)
    assert identity.read_settings(scene.home).certificate_id == old.certificate_id
    assert names_in(scene.home) == WHOLE
    assert scene.broker.connected[-1] == f"previous {old.certificate_id}", "proved before it was taken back"
    assert scene.broker.open == old.certificate_id


def test_where_neither_is_accepted_both_are_kept(scene: Scene) -> None:
    """Suspended: it looks again and again, and goes on once the operator has thought better of it."""
    identify(scene.home, wanted=OLD)
    made = stage(scene.home)
    run(slots.promotion(scene.home))
    scene.service.troubles.extend([refused("thing_revoked")] * 6)
    scene.broker.troubles.extend([REFUSED] * LAST_REFUSAL)
    runner = scene.start()
    assert until(runner, Stage.STRANDED).trouble is Trouble.BOTH
    assert not scene.broker.troubles
    assert "keyborn thing show" in scene.machine.said[-1]
    assert scene.survey().previous_usable
    scene.service.troubles.clear()
    until_renewed(runner)
    assert scene.broker.open == made.certificate_id


def test_a_next_identity_that_was_withdrawn_does_not_stand_in_the_way_of_another(scene: Scene) -> None:
    """The device was away: the current certificate has expired, and the next one was withdrawn meanwhile."""
    old = identify(scene.home, wanted=Wanted(start=now() - 90 * DAY, end=now() - DAY))
    dead = {old.certificate_id, stage(scene.home).certificate_id}
    scene.broker.refuses = dead.__contains__
    scene.service.troubles.extend([None, refused("key_revoked")])
    runner = scene.start()
    until(runner, Stage.STRANDED)
    until_renewed(runner, most=200)
    assert scene.broker.open not in dead


def test_what_a_stopped_promotion_kept_is_no_reason_to_confirm_what_was_there_before(scene: Scene) -> None:
    """Stopped while it kept the old identity, which has expired; the broker refuses both for a while."""
    old = identify(scene.home, wanted=Wanted(start=now() - 90 * DAY, end=now() - DAY))
    stage(scene.home)
    for step in slots.promotion(scene.home)[:2]:
        step.run()
    assert scene.survey().unconfirmed
    scene.broker.troubles.extend([REFUSED] * 9)
    until_renewed(scene.start(), most=200)
    assert scene.broker.open != old.certificate_id
    assert f"confirm by {old.certificate_id[:8]}" not in scene.service.asked


@pytest.mark.parametrize("code", ["key_in_use", "key_revoked"])
def test_a_key_that_is_refused_for_good_is_replaced_by_another(scene: Scene, code: str) -> None:
    identify(scene.home, wanted=OLD)
    scene.service.troubles.extend([None, refused(code)])
    runner = scene.start()
    until(runner, Stage.RENEWING)
    until(runner, Stage.CONNECTED)
    assert names_in(scene.home) == WHOLE
    assert runner.journey.trouble is Trouble.RENEWAL
    until_renewed(runner)


def test_a_wrong_certificate_is_not_stored(scene: Scene) -> None:
    identify(scene.home, wanted=OLD)
    scene.service.troubles.extend([None, WrongCertificate(detail="it is for another name")])
    runner = scene.start()
    until(runner, Stage.RENEWING)
    until(runner, Stage.CONNECTED)
    assert names_in(scene.home) == WHOLE
    assert any("another name" in said for said in scene.machine.said)


def test_a_next_key_that_others_could_read_is_not_used(scene: Scene) -> None:
    from support.device_slots import ensure_next_key

    identify(scene.home, wanted=OLD)
    ensure_next_key(scene.home)
    exposed = scene.home.of(Slot.NEXT).key.read_bytes()
    scene.home.of(Slot.NEXT).key.chmod(0o644)
    until_renewed(scene.start())
    assert scene.home.key.read_bytes() != exposed


# ── confirming ──


def test_an_outstanding_confirmation_is_sent_by_the_next_start(scene: Scene) -> None:
    identify(scene.home, wanted=OLD)
    made = stage(scene.home)
    run(slots.promotion(scene.home))
    until_renewed(scene.start())
    assert scene.service.asked == [f"confirm by {made.certificate_id[:8]}"]
    assert names_in(scene.home) == WHOLE


def test_while_the_service_is_away_messages_flow_and_it_is_asked_again(scene: Scene) -> None:
    identify(scene.home, wanted=OLD)
    scene.service.troubles.extend([None, None, SILENT, SILENT, refused("internal")])
    runner = scene.start()
    until(runner, Stage.CONFIRMING)
    until_renewed(runner)
    assert len([asked for asked in scene.service.asked if asked.startswith("confirm")]) == 4
    assert len(scene.broker.served) >= 3


# ── time ──


def test_where_nobody_tells_the_time_the_renewal_waits_and_the_session_goes_on(scene: Scene) -> None:
    identify(scene.home, wanted=OLD)
    scene.service.troubles.extend([SILENT, SILENT])
    runner = scene.start()
    until(runner, Stage.RENEWING)
    assert until(runner, Stage.CONNECTED).trouble is Trouble.SERVICE
    until_renewed(runner)
    assert len(scene.broker.connected) == 2, "one session until the next identity was tried"
    assert sum(scene.broker.served) >= 60


def test_the_service_s_clock_decides(scene: Scene) -> None:
    """This device's clock is a year ahead."""
    identify(scene.home, wanted=LONG)
    scene.machine.clock.at = now() + 365 * DAY
    scene.service.time = now()
    runner = scene.start()
    until(runner, Stage.RENEWING)
    until(runner, Stage.CONNECTED)
    assert scene.service.asked == ["time"]
    runner.step()
    runner.step()
    assert scene.broker.served[-1] >= 3600, "and it is not asked again at once"


def test_a_clock_that_is_behind_does_not_let_the_moment_pass(scene: Scene) -> None:
    """By this clock there are months; by the service's it is time."""
    identify(scene.home, wanted=OLD)
    scene.machine.clock.at = now() - 60 * DAY
    scene.service.time = now()
    until_renewed(scene.start())


def test_a_service_at_the_end_of_the_calendar_ends_no_device() -> None:
    """A Date header can say so; counting on from there must not end the agent."""
    last = datetime.max.replace(tzinfo=UTC)
    assert Told(last, now(), 5.0).now(now(), 70.0) == last


def test_a_clock_before_what_was_proved_asks_at_once(scene: Scene) -> None:
    identify(scene.home, wanted=OLD)
    scene.machine.clock.at = now() - 20 * 365 * DAY
    scene.service.time = now()
    runner = scene.start()
    until_renewed(runner)
    assert sum(scene.broker.served) < 60


def test_a_service_that_tells_no_time_is_renewed_with_by_the_device_s_clock(scene: Scene) -> None:
    identify(scene.home, wanted=LONG)
    runner = scene.start()
    until(runner, Stage.RENEWING)
    until(runner, Stage.CONNECTED)
    assert scene.service.asked == ["time"]


def test_a_process_that_runs_on_checks_its_clock_every_week(scene: Scene) -> None:
    identify(scene.home, wanted=LONG)
    scene.service.time = now()
    runner = scene.start()
    while scene.machine.seconds < 3 * CHECK_EVERY:
        runner.step()
    assert 3 <= len(scene.service.asked) <= 4


def test_an_expired_certificate_renews_by_grace(scene: Scene) -> None:
    """The broker does not take it any more; the service does, for a while, if an operator says so."""
    identify(scene.home, wanted=Wanted(start=now() - 90 * DAY, end=now() - DAY))
    scene.broker.troubles.extend([REFUSED])
    scene.service.troubles.extend([None, refused("certificate_expired"), None])
    runner = scene.start()
    until_renewed(runner)
    assert any("does not renew" in said for said in scene.machine.said)


def test_a_certificate_in_order_that_is_refused_makes_the_device_doubt_its_clock(scene: Scene) -> None:
    """Expired in truth, though not by a clock that has stopped."""
    identify(scene.home, wanted=LONG)
    scene.service.time = now() + 100 * DAY
    scene.broker.troubles.extend([REFUSED] * 5)
    until_renewed(scene.start())


# ── the first certificate ──


def test_without_an_identity_and_without_a_code_it_waits_for_a_person(scene: Scene) -> None:
    scene.home.prepare()
    runner = scene.start()
    journey = steps(runner, 5)
    assert (journey.stage, journey.trouble) == (Stage.UNPROVISIONED, Trouble.NOT_ENROLLED)
    identify(scene.home, wanted=LONG)
    until(runner, Stage.CONNECTED)


def test_with_a_code_it_enrolls_by_itself(scene: Scene) -> None:
    scene.home.prepare()
    troubles: list[KeybornError] = [ApprovalPending(seconds=30), SILENT]

    def enroll() -> None:
        if troubles:
            raise troubles.pop(0)
        identify(scene.home, wanted=LONG)

    scene.enroll = enroll
    runner = scene.start()
    assert until(runner, Stage.WAITING).stage is Stage.WAITING
    until(runner, Stage.CONNECTED)
    assert scene.machine.slept[0] >= 30
    assert [said.partition(".")[0] for said in scene.machine.said] == [
        "A person must approve this device first", "The service does not answer",
    ]  # fmt: skip


def test_a_code_that_is_refused_strands_it_with_what_to_do(scene: Scene) -> None:
    scene.home.prepare()

    def enroll() -> None:
        raise EnrollmentRefused(status=403, detail="The token expired.", code="token_expired")

    scene.enroll = enroll
    journey = until(scene.start(), Stage.STRANDED)
    assert journey.trouble is Trouble.ENROLLMENT
    assert "new enrolment code" in scene.machine.said[-1]
    assert "The token expired." in scene.machine.said[-1]


# ── files ──


def test_files_that_do_not_belong_together_are_named(scene: Scene) -> None:
    identify(scene.home, wanted=LONG)
    scene.home.certificate.write_text("?")
    journey = until(scene.start(), Stage.STRANDED)
    assert journey.trouble is Trouble.FILES
    assert "device.crt" in scene.machine.said[-1]
    assert scene.service.asked == []


def test_files_that_were_damaged_while_it_ran_are_found_at_the_next_connection(scene: Scene) -> None:
    identify(scene.home, wanted=LONG)
    runner = scene.start()
    until(runner, Stage.CONNECTED)
    scene.broker.losses.append(LOST)
    good = scene.home.certificate.read_bytes()
    scene.home.certificate.write_text("?")
    until(runner, Stage.STRANDED)
    scene.home.certificate.write_bytes(good)
    until(runner, Stage.CONNECTED)


def test_what_can_be_mended_is_mended_and_said(scene: Scene) -> None:
    identify(scene.home, wanted=LONG)
    scene.home.roots.chmod(0o644)
    scene.run(at(Stage.CONNECTED))
    assert scene.machine.said == ["roots.pem: others could read it; it is private again."]


def test_a_damaged_current_identity_is_replaced_by_a_whole_next_one(scene: Scene) -> None:
    identify(scene.home, wanted=OLD)
    made = stage(scene.home)
    scene.home.certificate.unlink()
    until_renewed(scene.start())
    assert scene.broker.open == made.certificate_id


def test_a_damaged_current_identity_is_replaced_by_the_previous_one_if_that_still_connects(
    scene: Scene,
) -> None:
    old = identify(scene.home, wanted=LONG)
    stage(scene.home)
    run(slots.promotion(scene.home))
    scene.home.certificate.unlink()
    runner = scene.start()
    until(runner, Stage.RETURNING)
    until(runner, Stage.CONNECTED)
    assert scene.broker.open == old.certificate_id
    assert identity.assess(scene.home, now()).state is State.READY


def test_a_damaged_next_identity_is_asked_for_again(scene: Scene) -> None:
    identify(scene.home, wanted=OLD)
    stage(scene.home)
    scene.home.of(Slot.NEXT).certificate.write_text("?")
    until_renewed(scene.start())


def test_a_disk_that_refuses_leaves_the_session_alone_and_half_files_behind_it(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    identify(scene.home, wanted=OLD)
    real, left = files.write_new, [3]

    def full(path: Path, data: bytes) -> None:
        if left[0]:
            left[0] -= 1
            real(path, data[:5])
            raise OSError(errno.ENOSPC, "No space left on device")
        real(path, data)

    monkeypatch.setattr(files, "write_new", full)
    runner = scene.start()
    until(runner, Stage.RENEWING)
    journey = until(runner, Stage.CONNECTED)
    assert (journey.trouble, journey.detail) == (Trouble.DISK, "No space left on device")
    assert names_in(scene.home) == WHOLE
    until_renewed(runner)


def test_a_home_that_cannot_be_used_is_a_trouble_of_the_disk(scene: Scene) -> None:
    identify(scene.home, wanted=LONG)
    scene.broker.troubles.append(HomeUnusable(path=scene.home.path, detail="Input/output error"))
    runner = scene.start()
    steps(runner, 2)
    assert runner.journey.trouble is Trouble.DISK
    assert "Input/output error" in runner.journey.detail
    until(runner, Stage.CONNECTED)


def test_a_disk_that_is_full_once_the_next_identity_is_proved_is_waited_for(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The session goes on meanwhile; when it is lost, what was proved stays proved."""
    identify(scene.home, wanted=OLD)
    real, left = files.keep, [3]

    def full(path: Path, kept: Path) -> None:
        if left[0]:
            left[0] -= 1
            raise OSError(errno.ENOSPC, "No space left on device")
        real(path, kept)

    monkeypatch.setattr(files, "keep", full)
    runner = scene.start()
    until(runner, Stage.PROVED)
    scene.broker.losses.append(LOST)
    until(runner, Stage.CONFIRMING)
    assert [entry.partition(" ")[0] for entry in scene.broker.connected] == ["device", "next"]
    until_renewed(runner)
    assert scene.broker.connected[-1].startswith("device ")


def test_a_next_key_that_vanishes_is_made_anew(scene: Scene) -> None:
    identify(scene.home, wanted=OLD)
    runner = scene.start()
    while not isinstance(runner.next_effect, AskRenewal):
        runner.step()
    scene.home.of(Slot.NEXT).key.unlink()
    until_renewed(runner)


def test_a_home_in_which_nothing_can_be_stored_is_tried_again(scene: Scene) -> None:
    scene.home.prepare()
    troubles: list[KeybornError] = [HomeUnusable(path=scene.home.path, detail="No space left on device")]

    def enroll() -> None:
        if troubles:
            raise troubles.pop()
        identify(scene.home, wanted=LONG)

    scene.enroll = enroll
    runner = scene.start()
    until(runner, Stage.CONNECTED)
    assert "No space left" in scene.machine.said[0]


# ── sessions ──


def test_a_lost_session_is_opened_again_after_a_pause(scene: Scene) -> None:
    identify(scene.home, wanted=LONG)
    runner = scene.start()
    until(runner, Stage.CONNECTED)
    scene.broker.losses.extend([LOST])
    assert until(runner, Stage.ENROLLED).trouble is Trouble.LOST
    until(runner, Stage.CONNECTED)
    assert scene.machine.slept == [0.25]


def test_a_crash_at_any_effect_is_followed_by_a_start_that_goes_on(tmp_path: Path) -> None:
    """The steps are enumerated from a run that nobody disturbs."""
    scene = Scene(tmp_path / "plan")
    identify(scene.home, wanted=OLD)
    until_renewed(scene.start())
    plan = list(dict.fromkeys(scene.machine.steps))
    assert "journey: Promote" in plan
    for number, step in enumerate(plan):
        one = Scene(tmp_path / f"{number}")
        first = identify(one.home, wanted=OLD).certificate_id
        one.machine.crash_before = step
        with pytest.raises(Crash):
            until_renewed(one.start())
        one.machine.crash_before = None
        runner = one.start()
        while identity.read_settings(one.home).certificate_id == first or names_in(one.home) != WHOLE:
            runner.step()
        assert len(one.service.answers) == 1, step
        assert one.survey().current.state is State.READY


# ── the roots ──


def test_roots_are_looked_at_while_the_service_is_asked_anyway(scene: Scene) -> None:
    identify(scene.home, wanted=LONG)
    scene.service.time = now()
    scene.service.bundle = (new_pki().root_pem + shared_pki().root_pem).encode()
    runner = scene.start()
    until(runner, Stage.CONNECTED)
    for _ in range(4):
        runner.step()
    assert scene.home.roots.read_bytes() == scene.service.bundle
    assert runner.own == identity.read_settings(scene.home)
    assert scene.service.believed == [identity.file_hash(scene.service.bundle)], "told once"
    assert slots.survey(scene.home, now()).current.whole
    assert [line for line in scene.machine.said if line.startswith("The roots")] == scene.machine.said != []


@pytest.mark.parametrize("check", [True, False])
def test_who_is_called_looks_at_the_roots_at_once_and_who_starts_does_not(
    scene: Scene, *, check: bool
) -> None:
    identify(scene.home)
    scene.service.time = now()
    scene.service.bundle = (new_pki().root_pem + shared_pki().root_pem).encode()
    runner = scene.start(check=check)
    until(runner, Stage.CONNECTED)
    for _ in range(3):
        runner.step()
    assert scene.home.roots.read_bytes() == scene.service.bundle
    assert (scene.machine.seconds < 60) is check


def test_a_service_that_does_not_ask_is_told_nothing_and_nobody_hears_of_it(scene: Scene) -> None:
    """As on AWS: the roots are followed there, too."""
    identify(scene.home, wanted=OLD)
    scene.service.deaf = refused("not_found")
    until_renewed(scene.start())
    assert (scene.machine.said, scene.service.believed) == ([], [])


def test_roots_that_cannot_be_believed_keep_no_renewal_from_its_time(scene: Scene) -> None:
    identify(scene.home, wanted=OLD)
    before = scene.home.roots.read_bytes()
    scene.service.roots_trouble = SILENT
    until_renewed(scene.start())
    assert scene.home.roots.read_bytes() == before
    assert "The roots stay as they are." in scene.machine.said[0]


def test_a_power_cut_while_roots_are_written_is_finished_by_the_next_start(scene: Scene) -> None:
    identify(scene.home, wanted=OLD)
    scene.service.bundle = (new_pki().root_pem + shared_pki().root_pem).encode()
    for step in ("rename roots.next", "rename device.toml", "rename roots.pem"):
        scene.machine.crash_before = step
        with pytest.raises(Crash):
            until_renewed(scene.start())
    scene.machine.crash_before = None
    until_renewed(scene.start())
    assert scene.home.roots.read_bytes() == scene.service.bundle
    assert slots.survey(scene.home, now()).current.whole
