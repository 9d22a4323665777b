"""The scripts of the page for boards without Python: they survive what the page says they survive."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from keyborn.domain import errors
from keyborn.domain.errors import KeybornError
from keyborn.domain.jws import MEDIA_TYPE
from support.board import KILLED, PAGE, Board, make_board, scripts
from support.csr_make import make_csr
from support.figures import Figure
from support.server import Server, running
from support.signing import Signer
from support.walks import FULL

LATER = 75
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""The order of P-256: r and s are below (FIPS 186-5)."""
NUMBERS = [1, 0x7F, 0x80, 0xFF00, 2**239, 2**247 - 1, 2**248 - 1, 2**248, 2**255 - 1, 2**255, N - 1]
walks = pytest.mark.needs("openssl", "curl", "mosquitto_pub")
EVERY = 1 if FULL else 4


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("served")) as server:
        yield server


def settle(board: Board) -> None:
    """Run it again as a board would, until it says that it is done; whatever happens it has an identity."""
    for _ in range(4):
        assert board.publishes(), board.state
        done = board.renew()
        if done.returncode == 0:
            return
        assert done.returncode == LATER, done.stderr
    raise AssertionError(done.stderr)


def require_one_identity(server: Server, board: Board) -> None:
    """One on both sides, and nothing waits."""
    assert board.state in ("a", "b")
    assert board.files == {f"{board.state}.key", f"{board.state}.crt"}
    assert board.publishes()
    assert len(server.active(board.name)) == 1


# ── a power cut ──


@walks
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_power_cut_before_or_after_any_effect_leaves_a_working_identity(
    server: Server, tmp_path: Path, figure: Figure
) -> None:
    whole = make_board(server, "whole", tmp_path)
    assert whole.renew().returncode == 0
    require_one_identity(server, whole)
    points = whole.counted
    assert points >= 20
    cuts = range(1, points + 1, EVERY)
    for cut_at in cuts:
        board = make_board(server, f"cut-{cut_at}", tmp_path)
        assert board.renew(cut_at).returncode == KILLED
        settle(board)
        require_one_identity(server, board)
    figure(f"points at which a board's renewal in shell is cut off: {len(cuts)} of {points}")


@walks
@pytest.mark.whole
def test_ten_renewals_in_a_row_go_from_slot_to_slot(server: Server, tmp_path: Path) -> None:
    board = make_board(server, "ten", tmp_path)
    for count in range(1, 11):
        assert board.renew().returncode == 0
        assert board.state == "ab"[count % 2]
    require_one_identity(server, board)
    assert len(server.thing("ten")["certificates"]) == 11


# ── what the service takes back ──


def staged(server: Server, folder: Path) -> Board:
    """A board that was cut off when it had stored a successor, and had not connected with it."""
    for cut_at in range(1, 30):
        board = make_board(server, f"staged-{folder.name[-20:]}-{cut_at}", folder)
        assert board.renew(cut_at).returncode == KILLED
        if (board.flash / "b.crt").exists():
            return board
    raise AssertionError("it never had")


def take_successor(server: Server, board: Board) -> None:
    """The same current key asks for another successor, in the place of the one that never connected."""
    key = load_pem_private_key((board.flash / "a.key").read_bytes(), None)
    assert isinstance(key, EllipticCurvePrivateKey)
    (current,) = [row for row in server.active(board.name) if row["slot"] == "current"]
    signer = Signer(board.name, key, current["certificateId"])
    nonce = server.request("GET", "/v1/nonce").headers["replay-nonce"]
    wish = {"csr": make_csr(board.name)[1]}
    body = signer.body(f"{server.about['url']}/v1/renew", nonce, wish)
    answer = server.request("POST", "/v1/renew", body, {"Content-Type": MEDIA_TYPE})
    assert answer.status == 201, answer.body


@walks
def test_a_staged_successor_that_was_taken_back_is_given_up_and_another_is_made(
    server: Server, tmp_path: Path
) -> None:
    board = staged(server, tmp_path)
    first = (board.flash / "b.key").read_text()
    take_successor(server, board)
    settle(board)
    assert board.state == "b"
    assert (board.flash / "b.key").read_text() != first
    require_one_identity(server, board)


@walks
def test_an_unconfirmed_one_that_was_taken_back_makes_way_for_the_one_before(
    server: Server, tmp_path: Path
) -> None:
    board = staged(server, tmp_path)
    take_successor(server, board)
    (board.flash / "state").write_text("b unconfirmed\n")  # as it is after a week without network
    done = board.renew()
    assert (done.returncode, "certificate_not_active" in done.stderr) == (LATER, True)
    assert (board.state, board.files) == ("a", {"a.key", "a.crt"})
    settle(board)
    require_one_identity(server, board)


@walks
def test_without_a_service_nothing_is_lost(server: Server, tmp_path: Path) -> None:
    board = make_board(server, "alone", tmp_path)
    url = (board.flash / "url").read_text()
    (board.flash / "url").write_text("https://127.0.0.1:1\n")
    assert board.renew().returncode == LATER
    assert (board.state, board.files) == ("a", {"a.key", "a.crt", "b.key"})
    (board.flash / "url").write_text(url)
    settle(board)
    require_one_identity(server, board)


# ── the two traps ──


@pytest.mark.needs("openssl")
@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_a_signature_becomes_64_bytes_however_long_its_numbers_are(shell: str, tmp_path: Path) -> None:
    (tmp_path / "jws.sh").write_text(scripts()["jws.sh"])
    for r, s in zip(NUMBERS, reversed(NUMBERS), strict=True):
        done = subprocess.run(
            [shell, "-c", ". ./jws.sh; raw"],
            cwd=tmp_path,
            input=encode_dss_signature(r, s),
            capture_output=True,
            timeout=30,
            check=True,
        )
        assert done.stdout == r.to_bytes(32) + s.to_bytes(32)


@pytest.mark.needs("openssl")
def test_what_is_no_signature_becomes_nothing(tmp_path: Path) -> None:
    (tmp_path / "jws.sh").write_text(scripts()["jws.sh"])
    done = subprocess.run(
        ["sh", "-c", ". ./jws.sh; raw"], cwd=tmp_path, input=b"", capture_output=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout) == (1, b"")


# ── the table of codes ──


def codes() -> set[str]:
    """Every code of the error tree."""
    classes = [each for each in vars(errors).values() if isinstance(each, type)]
    return {each.code for each in classes if issubclass(each, KeybornError) and "code" in vars(each)}


def test_every_code_that_the_page_names_exists() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if re.match(r"\| \d{3} `", line)]
    named = {code for row in rows for code in re.findall(r"`([a-z_*]+)`", row.split("|")[1])}
    assert len(named) >= 15
    for code in named:
        assert any(each == code or (code.endswith("*") and each.startswith(code[:-1])) for each in codes()), (
            code
        )
