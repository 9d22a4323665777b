"""The copy of revocations: whatever happens to its bytes, it tells a beginning of what was told."""

import io
from contextlib import suppress

import pytest
from hypothesis import given, settings, strategies as st

from keyborn.domain.errors import MirrorDamaged
from keyborn.domain.revocation import MAX_LINE, Act, MirrorReader, begin_mirror, read_header
from support.walks import examples

LINEAGE = "0123456789abcdef" * 2
ACTS = [
    Act(1, 1_700_000_000_000, "certificate", "a" * 64, "lamp-1"),
    Act(2, 1_700_000_000_001, "key", "b" * 64, "lamp-1"),
    Act(3, 1_700_000_000_001, "device-revoked", "lamp-1", "b" * 64),
    Act(4, -5, "token", "t0123456789abcdef"),
    Act(5, 1_700_000_000_002, "suspended", "N:a_m-e", "c" * 64),
]


def written(acts: list[Act], lineage: str = LINEAGE) -> bytes:
    end, text = begin_mirror(lineage)
    for act in acts:
        end, line = end.after(act)
        text += line
    return text.encode()


WHOLE = written(ACTS)


def read(content: bytes) -> list[Act]:
    source = io.BytesIO(content)
    return list(MirrorReader().read(iter(lambda: source.readline(MAX_LINE + 1), b"")))


def read_as_far(content: bytes) -> list[Act]:
    """What is told until the copy is found damaged, if it is."""
    source, told = io.BytesIO(content), list[Act]()
    with suppress(MirrorDamaged):
        told.extend(MirrorReader().read(iter(lambda: source.readline(MAX_LINE + 1), b"")))
    return told


def test_what_is_written_is_read() -> None:
    assert read(WHOLE) == ACTS


@pytest.mark.parametrize("length", range(len(WHOLE)))
def test_a_copy_torn_at_any_byte_tells_the_acts_before_the_tear(length: int) -> None:
    content = WHOLE[:length]
    assert read(content) == ACTS[: max(0, content.count(b"\n") - 1)]


def test_zeros_that_a_power_cut_left_are_a_tear() -> None:
    assert read(WHOLE + bytes(5000)) == ACTS


@settings(max_examples=examples(600), deadline=None)
@given(st.integers(0, len(WHOLE) - 1), st.integers(1, 255))
def test_a_changed_byte_never_makes_another_act(place: int, change: int) -> None:
    content = bytearray(WHOLE)
    content[place] ^= change
    told = read_as_far(bytes(content))
    assert told == ACTS[: len(told)]
    if place < len(WHOLE) - 1:  # the last newline alone may be a tear
        with pytest.raises(MirrorDamaged):
            read(bytes(content))


@given(st.binary(max_size=300))
def test_foreign_bytes_tell_nothing(content: bytes) -> None:
    assert read_as_far(content) == []
    assert read_header(content) is None


@pytest.mark.parametrize("gone", range(len(ACTS)))
def test_a_line_that_is_left_out_is_noticed(gone: int) -> None:
    lines = WHOLE.splitlines(keepends=True)
    del lines[gone + 1]
    told = read_as_far(b"".join(lines))
    assert told == ACTS[:gone]
    if gone < len(ACTS) - 1:
        with pytest.raises(MirrorDamaged, match=f"line {gone + 2}"):
            read(b"".join(lines))


def test_lines_of_another_registry_do_not_fit() -> None:
    other = written(ACTS, "f" * 32).splitlines(keepends=True)
    first, *_ = WHOLE.splitlines(keepends=True)
    with pytest.raises(MirrorDamaged, match="line 2"):
        read(first + b"".join(other[1:]))


def test_a_number_that_jumps_is_noticed_although_its_digest_fits() -> None:
    with pytest.raises(MirrorDamaged, match="does not follow"):
        read(written([ACTS[0], ACTS[2]]))
