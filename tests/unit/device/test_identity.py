"""The identity on disk: whole, or not there."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from keyborn.device import files, identity
from keyborn.device.answer import Fallback
from keyborn.device.home import Home
from keyborn.device.identity import Identity, State, assess, from_toml, require_identity, to_toml
from keyborn.device.keystore import FileKeyStore
from keyborn.domain.errors import HomeUnusable, KeybornError, NoIdentity
from support.device_home import DAY, home_in, identify, now
from support.device_pki import Wanted
from support.pki import new_pki, pem


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return home_in(tmp_path)


def problems(home: Home) -> str:
    standing = assess(home, now())
    assert standing.state is State.INCOMPLETE
    return "; ".join(standing.problems)


# ── standing ──


def test_an_empty_home_is_none(home: Home) -> None:
    home.prepare()
    assert assess(home, now()).state is State.NONE


def test_a_key_alone_is_a_key_alone(home: Home) -> None:
    home.prepare()
    files.run_steps(FileKeyStore(home.key).creation("p256"), files.no_checkpoint)
    assert assess(home, now()).state is State.KEY_ONLY


def test_all_files_that_fit_are_ready(home: Home) -> None:
    made = identify(home)
    standing = assess(home, now())
    assert (standing.state, standing.problems) == (State.READY, ())
    assert standing.identity == replace(
        made, proved_time=made.proved_time.replace(microsecond=0), not_before=made.not_before
    )


def test_looking_changes_nothing(home: Home) -> None:
    identify(home)
    before = {path.name: path.stat().st_mtime_ns for path in home.path.iterdir()}
    assess(home, now())
    assert {path.name: path.stat().st_mtime_ns for path in home.path.iterdir()} == before


def test_a_certificate_without_its_key_is_none(home: Home) -> None:
    identify(home)
    home.key.unlink()
    assert assess(home, now()).state is State.NONE


@pytest.mark.parametrize("name", ["device.crt", "roots.pem"])
def test_a_missing_changed_or_open_file_is_named(home: Home, name: str) -> None:
    identify(home)
    path = home.path / name
    before = path.read_bytes()
    path.write_bytes(before + b"\n")
    assert f"{name}: it is not the file" in problems(home)
    path.write_bytes(before)
    path.chmod(0o644)
    assert f"{name}: its mode is 0644" in problems(home)
    path.unlink()
    assert f"{name}: No such file" in problems(home)


def test_a_linked_file_is_named(home: Home, tmp_path: Path) -> None:
    identify(home)
    home.certificate.rename(tmp_path / "elsewhere")
    home.certificate.symlink_to(tmp_path / "elsewhere")
    assert "symbolic link" in problems(home)


def test_another_key_is_found(home: Home) -> None:
    identify(home)
    home.key.unlink()
    files.run_steps(FileKeyStore(home.key).creation("p256"), files.no_checkpoint)
    assert "does not fit" in problems(home)


def test_another_certificate_of_the_same_key_is_found(home: Home) -> None:
    made = identify(home)
    other = new_pki()
    text = pem(other.devices.leaf("gateway-1").certificate)
    home.certificate.write_text(text)
    home.settings.write_text(to_toml(replace(made, certificate_hash=identity.file_hash(text.encode()))))
    assert "not the certificate that device.toml names" in problems(home)


def test_a_damaged_certificate_with_the_right_hash_is_found(home: Home) -> None:
    made = identify(home)
    home.certificate.write_text("!")
    home.settings.write_text(to_toml(replace(made, certificate_hash=identity.file_hash(b"!"))))
    assert "device.crt" in problems(home)


@pytest.mark.parametrize(
    "text", ["", "{", "version = 2", "version = 1", 'version = "1"', "version = 1\nthing = 7", "\x00"]
)
def test_settings_that_make_no_sense_are_named(home: Home, text: str) -> None:
    identify(home)
    home.settings.write_text(text)
    assert problems(home).startswith("device.toml: ")


def test_a_file_of_many_bytes_is_not_read(home: Home) -> None:
    identify(home)
    home.settings.write_bytes(b"#" * 300_000)
    assert "larger than" in problems(home)


# ── time ──


def test_an_expired_identity_is_expired(home: Home) -> None:
    made = identify(home)
    assert assess(home, made.not_after).state is State.READY
    assert assess(home, made.not_after + timedelta(seconds=1)).state is State.EXPIRED


def test_a_clock_that_runs_behind_is_lifted_to_the_time_that_was_proved(home: Home) -> None:
    made = identify(home)
    assert assess(home, made.not_before - 9999 * DAY).state is State.READY
    assert made.time(made.not_before - 9999 * DAY) == made.proved_time
    assert made.time(made.not_after) == made.not_after


def test_the_clock_alone_never_raises_what_is_proved(home: Home) -> None:
    made = identify(home)
    assess(home, now() + 9999 * DAY)
    assert assess(home, now()).state is State.READY
    assert from_toml(home.settings.read_text()).proved_time == made.proved_time.replace(microsecond=0)


@given(st.integers(-4000, 4000), st.booleans())
def test_a_clock_is_doubted_only_outside_the_dates_and_only_under_a_pinned_root(
    days: int,
    pinned: bool,  # noqa: FBT001 - drawn
) -> None:
    made = replace(_base(), root_fingerprint="ab" * 32 if pinned else "")
    wall = made.not_before + days * DAY
    inside = made.not_before <= wall <= made.not_after
    assert made.doubts(wall) is (pinned and not inside)
    dates = made.peer_dates(wall)
    assert (dates is None) is (not pinned or inside)
    assert dates is None or dates[0] == made.proved_time


def test_a_clock_that_is_behind_is_moved_on_only_by_who_has_a_root(home: Home) -> None:
    made = identify(home)
    wall = made.not_before + DAY
    behind = made.peer_dates(wall, behind=True)
    assert behind is not None
    assert behind[0] == wall, "what has expired by it stays expired"
    assert replace(made, root_fingerprint="").peer_dates(wall, behind=True) is None


# ── working with it ──


def test_an_identity_that_is_not_there_says_what_to_do(home: Home) -> None:
    with pytest.raises(NoIdentity, match="no such folder"):
        require_identity(home, now())
    home.prepare()
    with pytest.raises(NoIdentity, match="never enrolled"):
        require_identity(home, now())
    identify(home)
    home.roots.unlink()
    with pytest.raises(NoIdentity, match=r"roots\.pem"):
        require_identity(home, now())
    home.path.chmod(0o755)
    with pytest.raises(HomeUnusable):
        require_identity(home, now())


def test_an_expired_identity_may_still_try(home: Home) -> None:
    """The broker decides; a device with a wrong clock must not lock itself out."""
    made = identify(home, wanted=Wanted(start=now() - 9 * DAY, end=now() - DAY))
    assert require_identity(home, now()).certificate_id == made.certificate_id


# ── device.toml ──


def test_what_is_written_reads_back(home: Home) -> None:
    made = identify(home, pinned=False, alpn="x-amzn-mqtt-ca")
    assert from_toml(to_toml(made)) == replace(made, proved_time=made.proved_time.replace(microsecond=0))
    assert not made.pinned


def test_a_person_can_read_it(home: Home) -> None:
    identify(home)
    text = home.settings.read_text()
    assert 'thing = "gateway-1"' in text
    assert "[broker]" in text
    assert "Do not edit" in text


BASE: Identity | None = None
PRINTABLE = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=60)
HOSTS = st.from_regex(r"[a-zA-Z0-9_]{1,63}(\.[a-z0-9]{1,9}){0,9}", fullmatch=True)


@given(HOSTS, PRINTABLE, PRINTABLE, st.integers(1, 65_535))
def test_every_printable_text_survives(endpoint: str, topic: str, url: str, port: int) -> None:
    made = _base()
    changed = replace(
        made, service_url=url, broker=replace(made.broker, endpoint=endpoint, topic=topic, port=port)
    )
    assert from_toml(to_toml(changed)) == changed


NAMES = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=60)


@given(NAMES)
def test_a_subject_survives_in_every_script(name: str) -> None:
    changed = replace(_base(), subject=f"/O={name}/CN=gateway-1")
    assert from_toml(to_toml(changed)) == changed


def test_a_file_from_before_subjects_were_kept_has_none() -> None:
    assert "subject" not in to_toml(_base())
    assert from_toml(to_toml(_base())).subject == ""


@given(st.text(max_size=200))
def test_no_text_does_anything_but_read_or_be_refused(text: str) -> None:
    with pytest.raises((ValueError, KeybornError)):
        from_toml(text)


def _base() -> Identity:
    """Made once: Hypothesis and temporary folders do not go together."""
    import tempfile

    global BASE  # noqa: PLW0603 - a cache
    if BASE is None:
        with tempfile.TemporaryDirectory() as folder:
            made = identify(home_in(Path(folder)))
        BASE = replace(made, proved_time=made.proved_time.replace(microsecond=0))
    return BASE


# ── the order of writing ──


def test_the_file_that_binds_them_is_written_last(home: Home) -> None:
    made = identify(home)
    names = [step.name for step in identity.storage_steps(home, "c", "r", made)]
    assert [name for name in names if name.startswith("rename")] == [
        "rename device.crt",
        "rename roots.pem",
        "rename device.toml",
    ]


@pytest.mark.parametrize("stop", range(9))
def test_between_any_two_steps_a_new_identity_is_whole_or_not_there(home: Home, stop: int) -> None:
    made = identify(home)
    contents = home.certificate.read_text(), home.roots.read_text()
    for name in ("device.crt", "roots.pem", "device.toml"):
        (home.path / name).unlink()
    for step in identity.storage_steps(home, *contents, made)[:stop]:
        step.run()
    state = assess(home, now()).state
    assert state is (State.READY if stop >= 8 else State.KEY_ONLY)


@pytest.mark.parametrize(
    "host", ["", "a..b", ".a", "-", "a" * 64, "a b", "[::1]", "::1%lo", "\u00e9", "a\\b"]
)
def test_settings_without_a_broker_to_connect_to_are_refused(host: str) -> None:
    made = _base()
    with pytest.raises(ValueError, match="broker"):
        from_toml(to_toml(replace(made, broker=replace(made.broker, endpoint=host))))


@pytest.mark.parametrize("port", [-1, 0, 65_536])
def test_settings_without_a_port_are_refused(port: int) -> None:
    made = _base()
    with pytest.raises(ValueError, match="broker"):
        from_toml(to_toml(replace(made, broker=replace(made.broker, port=port))))


# ── the broker's second port ──


def test_a_second_port_is_kept(home: Home) -> None:
    made = identify(home, fallback=Fallback(443, "x-amzn-mqtt-ca"))
    read = require_identity(home, now())
    assert read.broker == made.broker
    assert 'fallback_alpn = "x-amzn-mqtt-ca"' in home.settings.read_text()


def test_a_file_without_a_second_port_reads_as_ever(home: Home) -> None:
    identify(home)
    assert "fallback" not in home.settings.read_text()
    assert require_identity(home, now()).on_fallback() is None


def test_the_second_port_takes_the_place_of_the_first_and_nothing_else_changes(home: Home) -> None:
    made = identify(home, alpn="mqtt", fallback=Fallback(443, "x-amzn-mqtt-ca"))
    second = made.on_fallback()
    assert second is not None
    assert (second.broker.port, second.broker.alpn) == (443, "x-amzn-mqtt-ca")
    assert second.on_fallback() is None
    assert replace(second, broker=made.broker) == made
    assert second.broker.endpoint == made.broker.endpoint


@pytest.mark.parametrize(
    ("line", "instead"),
    [
        ("fallback_port = 443", "fallback_port = 0"),
        ("fallback_port = 443", 'fallback_port = "443"'),
        ('fallback_alpn = "mqtt"', ""),
        ('fallback_alpn = "mqtt"', 'fallback_alpn = ""'),
        ('fallback_alpn = "mqtt"', f'fallback_alpn = "{"a" * 256}"'),
        ('fallback_alpn = "mqtt"', 'fallback_alpn = "ä"'),
        ('\nalpn = ""', f'\nalpn = "{"a" * 256}"'),
    ],
)
def test_a_place_that_could_not_be_tried_is_no_identity(home: Home, line: str, instead: str) -> None:
    identify(home, fallback=Fallback(443, "mqtt"))
    text = home.settings.read_text()
    assert line in text
    home.settings.write_text(text.replace(line, instead))
    assert "device.toml" in problems(home)
