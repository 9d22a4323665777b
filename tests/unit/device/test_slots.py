"""Identities beside each other: at every step of every change there is a whole one, and it is known which."""

import errno
import os
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations, count
from pathlib import Path

import pytest

from keyborn.device import files, identity, slots
from keyborn.device.home import Home
from keyborn.device.identity import Identity, State, require_identity
from keyborn.device.keystore import FileKeyStore
from keyborn.domain.errors import HomeBusy, NoIdentity
from keyborn.domain.names import ThingName
from keyborn.domain.slots import Slot
from support.device_home import DAY, Crash, home_in, identify, now
from support.device_pki import Wanted
from support.device_slots import WHOLE, certified, change_mind, ensure_next_key, names_in, renew, run, stage

NEXT = {"next.key", "next.crt", "next.toml"}
PREVIOUS = {"previous.key", "previous.crt", "previous.toml"}
Work = Callable[[Home, str, files.Checkpoint], None]
CHANGES: dict[str, Work] = {"renew": renew, "change_mind": change_mind}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return home_in(tmp_path)


def current(home: Home) -> str:
    """The certificate in use; asserts that it works."""
    standing = identity.assess(home, now())
    assert standing.state is State.READY, standing.problems
    assert standing.identity is not None
    return standing.identity.certificate_id


# ── paths ──


def test_every_slot_has_its_files_and_the_rest_is_there_once(home: Home) -> None:
    for slot in Slot:
        other = home.of(slot)
        assert {other.key.name, other.certificate.name, other.settings.name} == {
            f"{slot.value}.key", f"{slot.value}.crt", f"{slot.value}.toml",
        }  # fmt: skip
        assert (other.roots, other.outbox, other.path) == (home.roots, home.outbox, home.path)


# ── staging ──


def test_a_staged_identity_stands_beside_the_current_one(home: Home) -> None:
    old = identify(home)
    made = stage(home)
    seen = slots.survey(home, now())
    assert current(home) == old.certificate_id
    assert seen.next_usable
    assert seen.next.identity is not None
    assert seen.next.identity.certificate_id == made.certificate_id
    assert not seen.unconfirmed
    assert names_in(home) == WHOLE | NEXT
    assert all((home.path / name).stat().st_mode & 0o777 == 0o600 for name in NEXT)


def test_a_next_identity_is_whole_only_with_its_last_file(home: Home) -> None:
    identify(home)
    ensure_next_key(home)
    for step in slots.staging(home, *certified(home)):
        assert (home.of(Slot.NEXT).settings.exists()) == slots.survey(home, now()).next_usable
        step.run()
    assert slots.survey(home, now()).next_usable


@pytest.mark.parametrize("what", ["another thing", "the same certificate", "another key"])
def test_what_is_no_successor_is_not_taken_for_one(home: Home, what: str) -> None:
    old = identify(home)
    made = stage(home)
    after = home.of(Slot.NEXT)
    if what == "another thing":
        after.settings.write_text(identity.to_toml(replace(made, thing=ThingName("other"))))
    elif what == "the same certificate":
        after.key.write_bytes(home.key.read_bytes())
        after.certificate.write_bytes(home.certificate.read_bytes())
        after.settings.write_text(identity.to_toml(old))
    else:
        after.key.unlink()
        ensure_next_key(home)
    assert not slots.survey(home, now()).next_usable
    assert current(home) == old.certificate_id


def test_a_renewal_that_is_given_up_leaves_nothing(home: Home) -> None:
    old = identify(home)
    stage(home)
    run(slots.discarding(home))
    assert names_in(home) == WHOLE
    assert current(home) == old.certificate_id
    assert slots.discarding(home) == [], "nothing to remove is no step at all"


# ── promotion ──


def test_a_promoted_identity_is_the_current_one_and_the_old_one_is_kept(home: Home) -> None:
    old = identify(home)
    made = stage(home)
    run(slots.promotion(home))
    seen = slots.survey(home, now())
    assert current(home) == made.certificate_id
    assert seen.previous_usable
    assert seen.unconfirmed
    assert seen.previous.identity is not None
    assert seen.previous.identity.certificate_id == old.certificate_id
    assert names_in(home) == WHOLE | PREVIOUS
    assert home.key.stat().st_nlink == home.of(Slot.PREVIOUS).key.stat().st_nlink == 1


def test_once_it_is_retired_only_the_new_identity_is_there(home: Home) -> None:
    identify(home)
    made = stage(home)
    run(slots.promotion(home))
    run(slots.retirement(home))
    assert names_in(home) == WHOLE
    assert current(home) == made.certificate_id
    assert not slots.survey(home, now()).unconfirmed


def test_going_back_brings_the_old_identity_and_forgets_the_refused_one(home: Home) -> None:
    old = identify(home)
    stage(home)
    key = home.key.read_bytes()
    run(slots.promotion(home))
    run(slots.going_back(home))
    assert current(home) == old.certificate_id
    assert home.key.read_bytes() == key
    assert names_in(home) == WHOLE


def test_what_an_earlier_promotion_left_is_not_in_the_way_of_a_later_one(home: Home) -> None:
    identify(home)
    for name in PREVIOUS:
        (home.path / name).write_bytes(b"old")
    made = stage(home)
    run(slots.promotion(home))
    assert current(home) == made.certificate_id
    assert slots.survey(home, now()).previous_usable


def test_a_damaged_current_identity_can_be_succeeded(home: Home) -> None:
    """The next one has been proved by connecting: what is kept of the damaged one does not matter."""
    identify(home)
    made = stage(home)
    home.certificate.unlink()
    home.settings.write_text("?")
    run(slots.promotion(home))
    assert current(home) == made.certificate_id
    assert slots.survey(home, now()).unconfirmed, "the service is asked to confirm all the same"


def test_an_identity_is_bound_to_the_roots_of_the_day_it_becomes_current(home: Home) -> None:
    """Roots change while a renewal waits; the next identity must not point to the old set."""
    old = identify(home)
    made = stage(home)
    roots = home.roots.read_text() + "\n# one more\n"
    changed = replace(old, roots_hash=identity.file_hash(roots.encode()))
    run(identity.storage_steps(home, home.certificate.read_text(), roots, changed))
    run(slots.promotion(home))
    assert current(home) == made.certificate_id
    run(slots.going_back(home))
    assert current(home) == old.certificate_id


def test_a_file_system_without_hard_links_copies_instead(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_options: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    old = identify(home)
    made = stage(home)
    run(slots.promotion(home))
    assert current(home) == made.certificate_id
    run(slots.going_back(home))
    assert current(home) == old.certificate_id
    assert names_in(home) == WHOLE


# ── crashes ──


def crash_before(number: int) -> files.Checkpoint:
    """A checkpoint that dies at its ``number``-th step."""
    steps = count()

    def checkpoint(name: str) -> None:
        if next(steps) == number:
            raise Crash(name)

    return checkpoint


@pytest.mark.parametrize("change", CHANGES)
def test_between_any_two_steps_the_device_has_a_whole_identity_and_the_change_goes_on(
    tmp_path: Path, change: str
) -> None:
    """The crash is followed by a second one in the settling, and only then by a run that ends."""
    for number in count():
        home = Home(tmp_path / f"{number}")
        first = identify(home).certificate_id
        try:
            CHANGES[change](home, first, crash_before(number))
        except Crash:
            for again in range(3):
                settle_and_crash(home, again)
            slots.settle(home)
            current(home)
            CHANGES[change](home, first, files.no_checkpoint)
        else:
            break
        assert (current(home) == first) is (change == "change_mind")
        assert names_in(home) <= WHOLE
    assert number > 20


def settle_and_crash(home: Home, number: int) -> None:
    try:
        slots.settle(home, crash_before(number))
    except Crash:
        return
    current(home)


def test_a_power_cut_may_keep_any_of_the_renames_that_were_not_synced(tmp_path: Path) -> None:
    """Names are durable only from sync to sync: between two of them any subset may have reached the disk."""
    for group in synced_groups(tmp_path):
        for size in range(len(group[1]) + 1):
            for kept in combinations(range(len(group[1])), size):
                lose_all_but(tmp_path, group[0], kept)


def synced_groups(tmp_path: Path) -> list[tuple[int, list[int]]]:
    """For each stretch between two syncs of a promotion: where it begins, and its steps."""
    home = Home(tmp_path / "plan")
    identify(home)
    stage(home)
    groups: list[tuple[int, list[int]]] = [(0, [])]
    for number, step in enumerate(slots.promotion(home)):
        if step.name.startswith("sync"):
            groups.append((number + 1, []))
        else:
            groups[-1][1].append(number)
    return [group for group in groups if group[1]]


def lose_all_but(tmp_path: Path, begin: int, kept: tuple[int, ...]) -> None:
    home = Home(tmp_path / f"{begin}-{'-'.join(map(str, kept))}")
    old = identify(home)
    made = stage(home)
    steps = slots.promotion(home)
    for step in [*steps[:begin], *(steps[begin + each] for each in kept)]:
        step.run()
    slots.settle(home)
    assert current(home) in {old.certificate_id, made.certificate_id}
    renew(home, old.certificate_id)
    assert current(home) != old.certificate_id


# ── a full disk ──


def full_after(writes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk takes so many files more, then half of one, then nothing."""
    left, real = [writes], files.write_new

    def write(path: Path, data: bytes) -> None:
        if left[0] <= 0:
            real(path, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        left[0] -= 1
        real(path, data)

    monkeypatch.setattr(files, "write_new", write)


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("change", CHANGES)
def test_a_full_disk_at_any_write_leaves_the_identity_and_the_change_goes_on_once_there_is_room(
    tmp_path: Path,
    change: str,
    links: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    def refuse(*_args: object, **_options: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    for writes in count():
        home = Home(tmp_path / f"{writes}")
        first = identify(home).certificate_id
        with pytest.MonkeyPatch.context() as patch:
            if not links:
                patch.setattr(os, "link", refuse)
            full_after(writes, patch)
            try:
                CHANGES[change](home, first, files.no_checkpoint)
            except OSError as wrong:
                assert wrong.errno == errno.ENOSPC  # noqa: PT017 - the last round raises nothing
            else:
                break
        slots.settle(home)
        current(home)
        CHANGES[change](home, first, files.no_checkpoint)
        assert (current(home) == first) is (change == "change_mind")
    assert writes >= (6 if not links else 3)


# ── settling ──


def test_settling_what_is_settled_changes_nothing(home: Home) -> None:
    identify(home)
    stage(home)
    before = {path.name: path.read_bytes() for path in home.path.iterdir()}
    assert slots.settle(home) == ()
    assert {path.name: path.read_bytes() for path in home.path.iterdir()} == before


def test_what_a_crash_left_half_written_is_removed(home: Home) -> None:
    identify(home)
    for slot in Slot:
        for path in (home.of(slot).key, home.of(slot).certificate, home.of(slot).settings):
            files.write_new(files.temporary_of(path), b"half")
    slots.settle(home)
    assert names_in(home) == WHOLE


def test_a_file_that_others_could_only_read_is_mended_and_said(home: Home) -> None:
    old = identify(home)
    for path in (home.certificate, home.roots, home.settings):
        path.chmod(0o644)
    mended = [f"{name}: others could read it" for name in ("device.crt", "roots.pem", "device.toml")]
    assert list(slots.settle(home)) == mended
    assert current(home) == old.certificate_id


@pytest.mark.parametrize(
    ("name", "mode"), [("device.key", 0o640), ("device.toml", 0o622), ("roots.pem", 0o666)]
)
def test_a_key_that_others_could_read_or_a_file_they_could_write_is_never_mended(
    home: Home, name: str, mode: int
) -> None:
    identify(home)
    (home.path / name).chmod(mode)
    assert slots.settle(home) == ()
    assert (home.path / name).stat().st_mode & 0o777 == mode
    assert identity.assess(home, now()).state is State.INCOMPLETE


def test_a_link_in_the_place_of_a_file_is_not_followed_to_mend_it(home: Home, tmp_path: Path) -> None:
    identify(home)
    (tmp_path / "other").write_bytes(home.certificate.read_bytes())
    (tmp_path / "other").chmod(0o644)
    home.certificate.unlink()
    home.certificate.symlink_to(tmp_path / "other")
    assert slots.settle(home) == ()
    assert (tmp_path / "other").stat().st_mode & 0o777 == 0o644


def half_promoted(home: Home) -> tuple[Identity, Identity]:
    """A promotion that was stopped with the new key over the old certificate."""
    old = identify(home)
    made = stage(home)
    for step in slots.promotion(home):
        if step.name == "rename next.crt":
            break
        step.run()
    assert identity.assess(home, now()).state is State.INCOMPLETE
    return old, made


def test_a_command_that_meets_an_interrupted_promotion_finishes_it(home: Home) -> None:
    _, made = half_promoted(home)
    assert require_identity(home, now()).certificate_id == made.certificate_id
    assert slots.is_settled(home)


def test_a_command_waits_for_who_is_just_promoting(home: Home) -> None:
    """Another holds the lock, and is done in a moment."""
    import threading

    _, made = half_promoted(home)
    held, seen = threading.Event(), threading.Event()

    def promote() -> None:
        with home.session():
            held.set()
            seen.wait(10)
            slots.settle(home)

    other = threading.Thread(target=promote)
    other.start()
    held.wait(10)
    timer = threading.Timer(0.2, seen.set)
    timer.start()
    assert require_identity(home, now()).certificate_id == made.certificate_id
    other.join()
    timer.join()


def test_a_command_does_not_wait_for_ever(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    half_promoted(home)
    monkeypatch.setattr(slots, "_GLANCE", 0.001)
    with home.session(), pytest.raises(HomeBusy):
        require_identity(home, now())


def test_a_home_that_cannot_be_settled_says_why(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    half_promoted(home)

    def refuse(*_args: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(files, "move", refuse)
    from keyborn.domain.errors import HomeUnusable

    with pytest.raises(HomeUnusable, match="Read-only"):
        require_identity(home, now())


# ── surveys ──


def test_an_expired_identity_is_whole_all_the_same(home: Home) -> None:
    identify(home, wanted=Wanted(start=now() - 9 * DAY, end=now() - DAY))
    stage(home)
    seen = slots.survey(home, now())
    assert seen.current.state is State.EXPIRED
    assert seen.current.whole
    assert seen.next_usable


def test_whatever_is_left_of_a_previous_identity_means_that_a_confirmation_may_be_outstanding(
    home: Home,
) -> None:
    identify(home)
    for name in sorted(PREVIOUS):
        assert not slots.survey(home, now()).unconfirmed
        (home.path / name).write_bytes(b"x")
        seen = slots.survey(home, now())
        assert seen.unconfirmed
        assert not seen.previous_usable
        (home.path / name).unlink()


def test_an_empty_home_holds_nothing(home: Home) -> None:
    home.prepare()
    seen = slots.survey(home, now())
    assert {seen.current.state, seen.next.state, seen.previous.state} == {State.NONE}
    assert (seen.next_usable, seen.previous_usable, seen.unconfirmed) == (False, False, False)
    with pytest.raises(NoIdentity):
        require_identity(home, now())


def test_the_key_in_every_slot_is_refused_where_others_could_read_it(home: Home) -> None:
    identify(home)
    stage(home)
    home.of(Slot.NEXT).key.chmod(0o640)
    assert not slots.survey(home, now()).next_usable
    assert FileKeyStore(home.of(Slot.NEXT).key).exists()


# ── changes that were stopped, carried on by who is still running ──


@pytest.mark.parametrize("stopped", ["rename next.key", "rename next.crt", "rename device.toml"])
def test_a_promotion_that_the_disk_stopped_is_carried_on_when_asked_for_again(
    home: Home, stopped: str
) -> None:
    """The same process, with no start between: the mark says where it was."""
    identify(home)
    made = stage(home)
    for step in slots.promotion(home):
        if step.name == stopped:
            break
        step.run()
    run(slots.promotion(home))
    assert current(home) == made.certificate_id
    assert slots.survey(home, now()).previous_usable


@pytest.mark.parametrize("stopped", ["rename previous.key", "rename previous.crt", "rename device.toml"])
def test_a_return_that_the_disk_stopped_is_carried_on_when_asked_for_again(home: Home, stopped: str) -> None:
    old = identify(home)
    stage(home)
    run(slots.promotion(home))
    for step in slots.going_back(home):
        if step.name == stopped:
            break
        step.run()
    run(slots.going_back(home))
    assert current(home) == old.certificate_id
    assert names_in(home) == WHOLE


def test_settings_that_cannot_be_read_are_nobody_s_successor(home: Home) -> None:
    identify(home)
    stage(home)
    home.of(Slot.NEXT).settings.write_text("?")
    seen = slots.survey(home, now())
    assert not seen.next_usable
    assert seen.next.identity is None
