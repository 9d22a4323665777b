"""Roots that change: what of a bundle is believed, and that a power cut leaves the old set or the new."""

import contextlib
from dataclasses import replace
from pathlib import Path
from ssl import DER_cert_to_PEM_cert, PEM_cert_to_DER_cert

import pytest
from cryptography import x509
from hypothesis import given, strategies as st

from keyborn.device import files, identity, roots, slots, verify
from keyborn.device.forget import forget
from keyborn.device.home import Home
from keyborn.device.identity import State
from keyborn.domain.errors import WrongAnswer
from support.device_home import DAY, Crash, home_in, identify, now
from support.device_pki import Wanted, certify
from support.device_slots import WHOLE, names_in, run, stage
from support.pki import Authority, Pki, new_pki, pem, shared_pki

OTHER = new_pki()
OLD, NEW = shared_pki().root_pem, OTHER.root_pem
BOTH = NEW + OLD


def weigh(bundle: str, present: str = OLD) -> roots.Change | None:
    return roots.weigh(bundle.encode(), present, now(), url="https://localhost")


def changed(bundle: str, present: str = OLD) -> roots.Change:
    change = weigh(bundle, present)
    assert change is not None
    return change


def root(**wanted: object) -> str:
    """A certificate of its own key, as wanted."""
    issuer: Authority = OTHER.root
    defaults = Wanted(authority=True, usages=None, signs=False, signs_certificates=True)
    return pem(certify(issuer, issuer.key.public_key(), replace(defaults, **wanted)))  # type: ignore[arg-type] # fields


# ── what is believed ──


def test_the_same_set_changes_nothing_in_any_order_and_number() -> None:
    assert weigh(OLD) is None
    assert weigh(OLD + OLD) is None
    assert weigh(BOTH, OLD + NEW) is None


def test_a_new_root_stands_beside_the_old_one() -> None:
    change = changed(BOTH)
    assert change.roots_pem == BOTH, "in the service's order"
    assert change.kept_pem == OLD
    assert [name.split(" (")[0] for name in change.added] == ["CN=test root"]
    assert change.dropped == ()
    assert "new: CN=test root" in change.told


def test_a_root_that_is_gone_is_dropped() -> None:
    change = changed(NEW, BOTH)
    assert (change.roots_pem, change.kept_pem) == (NEW, NEW)
    assert len(change.dropped) == 1
    assert change.told.startswith("gone: ")


def test_an_altogether_other_set_keeps_nothing_and_says_so() -> None:
    assert changed(NEW).kept_pem == ""


@pytest.mark.parametrize(
    "bundle",
    [
        "",
        "no certificate at all",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        OLD[:-40],
        OLD + root(authority=False),
        OLD + root(signs_certificates=False, signs=True),
        OLD + root(basic=False),
        OLD + root(strange=True),
        root(start=now() - 9 * DAY, end=now() - DAY),
        OLD * (verify.MAX_CHAIN + 1),
    ],
)
def test_a_bundle_that_no_device_should_believe_is_refused_whole(bundle: str) -> None:
    with pytest.raises(WrongAnswer, match="trust bundle"):
        weigh(bundle)


def test_what_has_no_future_is_left_out() -> None:
    assert weigh(root(start=now() - 9 * DAY, end=now() - DAY) + OLD) is None


def test_the_moment_is_the_services_not_the_clocks() -> None:
    ends = root(start=now() - 9 * DAY, end=now() - DAY)
    change = roots.weigh((OLD + ends).encode(), OLD, now() - 2 * DAY, url="u")
    assert change is not None
    assert len(change.added) == 1


def test_a_name_in_a_bundle_cannot_write_on_a_terminal() -> None:
    change = changed(OLD + root(name="\x1b[2Jroot"))
    assert "\x1b" not in change.told


def renamed(before: bytes, after: bytes) -> str:
    """A root with other bytes in the place of its names: nobody looks at a root's signature."""
    return DER_cert_to_PEM_cert(PEM_cert_to_DER_cert(root(name="evil")).replace(before, after))


def test_a_name_that_cannot_be_read_ends_no_device() -> None:
    """It would end every agent, again after each start: at the very look that a renewal begins with."""
    bundle = OLD + renamed(b"\x0c\x04evil", b"\x0c\x04\xff\xfe\xff\xfe")
    with contextlib.suppress(WrongAnswer):
        assert "a name that cannot be read" in changed(bundle).told


def test_roots_that_tls_cannot_read_are_not_believed() -> None:
    """Stored, they would be the last ones: no service could prove itself to this device any more."""
    with pytest.raises(WrongAnswer, match="TLS itself cannot read"):
        weigh(OLD + renamed(b"\x0c\x04evil", b"\x04\x04evil"))


@given(st.binary(max_size=300), st.integers(0, 600))
def test_whatever_bytes_come_it_is_a_refusal_or_the_same_roots(noise: bytes, at: int) -> None:
    bundle = OLD.encode()
    try:
        change = roots.weigh(bundle[:at] + noise + bundle[at:], OLD, now(), url="u")
    except WrongAnswer:
        return
    assert change is None


# ── how it is written ──


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = home_in(tmp_path)
    identify(home)
    return home


def switch(home: Home, checkpoint: files.Checkpoint = files.no_checkpoint) -> None:
    """As a device does, whatever a crash left."""
    slots.settle(home, checkpoint)
    change = weigh(BOTH, home.roots.read_text())
    if change is not None:
        run(roots.steps(home, change), checkpoint)


def steps_of(folder: Path) -> list[str]:
    twin = Home(folder)
    seen: list[str] = []
    identify(twin)
    switch(twin, seen.append)
    return seen


def test_the_new_roots_are_stored_and_bound(home: Home) -> None:
    switch(home)
    assert home.roots.read_text() == BOTH
    assert home.roots.stat().st_mode & 0o777 == 0o600
    assert slots.survey(home, now()).current.state is State.READY
    assert names_in(home) == WHOLE


def test_a_power_cut_at_any_step_leaves_one_set_or_the_other_whole(tmp_path: Path) -> None:
    steps = steps_of(tmp_path / "twin")
    commit = steps.index("rename device.toml")
    assert len(steps) == 8
    for number, step in enumerate(steps):
        home = Home(tmp_path / str(number))
        identify(home)

        def cut(name: str, step: str = step) -> None:
            if name == step:
                raise Crash

        with pytest.raises(Crash):
            switch(home, cut)
        assert slots.is_settled(home) is (not (home.path / "roots.next").exists())
        slots.settle(home)
        assert home.roots.read_text() == (BOTH if number > commit else OLD), step
        assert slots.survey(home, now()).current.state is State.READY, step
        assert names_in(home) == WHOLE, step
        switch(home)
        assert home.roots.read_text() == BOTH
        assert slots.survey(home, now()).current.state is State.READY


def test_a_power_cut_while_a_crash_is_mended_is_mended_too(tmp_path: Path) -> None:
    for first in ("sync the folder of device.toml", "rename roots.pem", "sync the folder of roots.pem"):
        for second in ("rename roots.pem", "sync the folder of roots.pem"):
            home = Home(tmp_path / f"{first} {second}".replace(" ", "-"))
            identify(home)

            def cut(name: str, step: str = first) -> None:
                if name == step:
                    raise Crash

            with pytest.raises(Crash):
                switch(home, cut)
            try:
                slots.settle(home, lambda name, step=second: cut(name, step))  # type: ignore[misc] # a default
            except Crash:
                slots.settle(home)
            assert home.roots.read_text() == BOTH
            assert slots.survey(home, now()).current.state is State.READY


def test_who_reads_without_the_lock_waits_until_the_change_is_whole(home: Home) -> None:
    with pytest.raises(Crash):
        switch(home, _before("rename roots.pem"))
    assert identity.require_identity(home, now()).roots_hash == identity.file_hash(BOTH.encode())
    assert home.roots.read_text() == BOTH


def test_roots_that_nothing_binds_are_forgotten(home: Home) -> None:
    files.write_new(home.next_roots, NEW.encode())
    slots.settle(home)
    assert home.roots.read_text() == OLD
    assert names_in(home) == WHOLE


def test_a_link_in_the_place_of_the_next_roots_is_not_followed(home: Home, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text(NEW)
    home.next_roots.symlink_to(elsewhere)
    slots.settle(home)
    assert home.roots.read_text() == OLD
    assert not home.next_roots.is_symlink()


def test_a_next_identity_is_bound_to_the_new_roots_when_it_takes_over(home: Home) -> None:
    made = stage(home)
    switch(home)
    run(slots.promotion(home))
    seen = slots.survey(home, now())
    assert seen.current.state is State.READY
    assert seen.current.identity == replace(made, roots_hash=identity.file_hash(BOTH.encode()))
    run(slots.going_back(home))
    assert slots.survey(home, now()).current.state is State.READY


def test_a_factory_reset_takes_them_along(home: Home) -> None:
    with pytest.raises(Crash):
        switch(home, _before("rename device.toml"))
    forget(home)
    assert names_in(home) == set()


def test_both_sets_are_read_by_tls(home: Home, tmp_path: Path) -> None:
    switch(home)
    assert [each.subject for each in verify.read_many(home.roots.read_text())] == [
        _root(OTHER).subject,
        _root(shared_pki()).subject,
    ]


def _root(pki: Pki) -> x509.Certificate:
    return pki.root.certificate


def _before(step: str) -> files.Checkpoint:
    def cut(name: str) -> None:
        if name == step:
            raise Crash

    return cut
