"""Enrolments that a device signs, against a real TLS service: nonces that fail, answers that are lost."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from keyborn.device.code_file import read_code
from keyborn.device.enroll import Outcome, Wish, enroll
from keyborn.device.home import Home
from keyborn.device.keystore import FileKeyStore
from keyborn.device.proof import FactoryFiles, FactoryProof, KeyProof, proof_of
from keyborn.domain import errors
from keyborn.domain.group_key import device_key, group_key_id, is_signed
from keyborn.domain.jws_enroll import Place
from keyborn.domain.jws_signature import verify_bytes
from keyborn.domain.method import Method
from keyborn.domain.token import CodeFacts, EnrollmentCode, encode_secret
from support.csr_make import make_key
from support.device_home import Machine
from support.factory import Maker, manufacturer
from support.rude_service import Reply, RudeService, plain, problem
from support.signed_service import ENROLL, KEY, LINE, NAME, NONCE, Signed

THING = Wish(thing=NAME)
ROOT = manufacturer()
PLANT = ROOT.authority("Plant")


@pytest.fixture
def signed(service: RudeService) -> Signed:
    return Signed(service)


def run(
    home: Home, code: EnrollmentCode, machine: Machine, wish: Wish = THING, *, once: bool = False
) -> Outcome:
    return enroll(home, wish, lambda: code, machine.surroundings(), timeout=60, once=once)


def given(folder: Path, device: Maker, *above: Maker) -> FactoryFiles:
    """What a manufacturer leaves on a device."""
    files = FactoryFiles(folder / "idevid.pem", folder / "idevid.key")
    files.certificate.write_text("".join(each.pem for each in (device, *above)))
    files.key.touch(mode=0o600)
    files.key.write_bytes(device.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return files


# ── with a group key's code ───────────────────────────────────────────────────────────────────────────


def test_a_device_signs_with_the_key_in_its_code_and_never_shows_it(
    home: Home, signed: Signed, machine: Machine
) -> None:
    code = signed.code()
    assert run(home, code, machine).obtained
    ((request, said),) = signed.asked()
    assert is_signed(code.secret, request.signing_input, request.signature)
    assert request.group_key == group_key_id(KEY)
    assert (request.url, request.nonce) == (signed.service.url + ENROLL, "nonce-0")
    wish = json.loads(said)
    assert wish.keys() == {"thingName", "csr", "group"}
    assert (wish["thingName"], wish["group"]) == (NAME, LINE)
    for seen in signed.service.seen:
        assert "Authorization" not in seen.headers
        for shape in (code.secret, encode_secret(code.secret).encode(), KEY):
            assert shape not in seen.body


def test_nothing_is_signed_before_the_service_is_known(home: Home, signed: Signed, machine: Machine) -> None:
    with pytest.raises(errors.UntrustedService):
        run(home, signed.code(fingerprint=bytes(32)), machine)
    assert signed.service.asked(ENROLL) == []
    assert signed.service.asked(NONCE) == []


def test_a_refused_nonce_is_replaced_at_once(home: Home, signed: Signed, machine: Machine) -> None:
    signed.refused = 1
    assert run(home, signed.code(), machine, once=True).obtained
    assert [request.nonce for request, _ in signed.asked()] == ["nonce-0", "nonce-1"]
    assert len(signed.service.asked(NONCE)) == 1
    assert machine.slept == []


def test_a_service_that_refuses_its_own_nonces_is_tried_again_later(
    home: Home, signed: Signed, machine: Machine
) -> None:
    signed.refused = 4
    assert run(home, signed.code(), machine).obtained
    assert len(signed.asked()) == 5
    assert len(machine.slept) == 2
    signed.refused = 1000
    with pytest.raises(errors.ServiceUnreachable, match="nonces"):
        run(Home(home.path.parent / "other"), signed.code(), machine, once=True)


@pytest.mark.parametrize("trouble", [plain(503), plain(502, b"<html>"), problem(503, "overloaded", "later")])
def test_a_nonce_that_cannot_be_had_now_is_asked_for_again(
    home: Home, signed: Signed, machine: Machine, trouble: Reply
) -> None:
    signed.service.script(NONCE, trouble, trouble, signed.nonce)
    assert run(home, signed.code(), machine).obtained
    assert len(machine.slept) == 2


def test_a_service_without_nonces_is_said_to_be_no_service_for_this(
    home: Home, signed: Signed, machine: Machine
) -> None:
    signed.service.script(NONCE, problem(404, "not_found", "no such route"))
    with pytest.raises(errors.EnrollmentRefused):
        run(home, signed.code(), machine)
    signed.service.script(NONCE, plain(200, b"{}"))
    with pytest.raises(errors.WrongAnswer):
        run(home, signed.code(), machine)
    assert signed.service.asked(ENROLL) == []


def test_a_lost_answer_is_asked_for_with_the_same_request_and_a_fresh_nonce(
    home: Home, signed: Signed, machine: Machine
) -> None:
    signed.service.script(ENROLL, lambda exchange: exchange.hang_up(), signed.enroll)
    assert run(home, signed.code(), machine).obtained
    (first, said), (second, again) = signed.asked()
    assert first.nonce != second.nonce
    one, other = json.loads(said), json.loads(again)
    assert (one["thingName"], one["csr"]) == (other["thingName"], other["csr"])


def test_a_refusal_is_told_as_it_came(home: Home, signed: Signed, machine: Machine) -> None:
    signed.service.script(ENROLL, problem(401, "group_key_refused", "Say the name."))
    with pytest.raises(errors.EnrollmentRefused, match="Say the name") as refusal:
        run(home, signed.code(), machine)
    assert refusal.value.code == "group_key_refused"


def test_a_code_in_a_file_is_as_good(home: Home, signed: Signed, machine: Machine, tmp_path: Path) -> None:
    file = tmp_path / "enroll.code"
    file.touch(mode=0o600)
    file.write_text(f"{NAME} {signed.code().encode()}\n")
    assert run(home, read_code(file), machine).obtained


# ── with what the manufacturer gave ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["p256", "p384", "p521", "rsa2048"])
def test_a_device_signs_with_its_manufacturers_key(
    home: Home, signed: Signed, machine: Machine, tmp_path: Path, kind: str
) -> None:
    device = PLANT.below("widget", key=make_key(kind))
    wish = replace(THING, factory=given(tmp_path, device, PLANT))
    code = signed.code(secret=b"", facts=CodeFacts(Method.FACTORY, LINE))
    assert run(home, code, machine, wish).obtained
    ((request, said),) = signed.asked()
    assert request.chain == (device.der, PLANT.der)
    verify_bytes(request.algorithm, request.signature, request.signing_input, device.key.public_key())
    assert json.loads(said)["group"] == LINE
    assert all("Authorization" not in seen.headers for seen in signed.service.seen)


def test_a_token_and_a_manufacturers_key_go_together(
    home: Home, signed: Signed, machine: Machine, tmp_path: Path
) -> None:
    wish = replace(THING, factory=given(tmp_path, PLANT.device(), PLANT))
    code = signed.service.code()
    assert run(home, code, machine, wish).obtained
    (seen,) = signed.service.asked(ENROLL)
    assert seen.headers["Authorization"] == f"Bearer {encode_secret(code.secret)}"
    ((request, said),) = signed.asked()
    assert request.chain
    assert "group" not in json.loads(said)


def test_the_manufacturers_key_does_not_become_the_devices_own(
    home: Home, signed: Signed, machine: Machine, tmp_path: Path
) -> None:
    files = given(tmp_path, PLANT.device(), PLANT)
    code = signed.code(secret=b"", facts=CodeFacts(Method.FACTORY, LINE))
    with pytest.raises(errors.KeyUnusable, match="another one"):
        run(home, code, machine, replace(THING, factory=files, adopt=files.key))
    assert not FileKeyStore(home.key).exists()
    assert signed.service.seen == []


def test_files_that_are_not_there_or_do_not_fit_are_named(signed: Signed, tmp_path: Path) -> None:
    code = signed.code(secret=b"", facts=CodeFacts(Method.FACTORY, LINE))
    files = given(tmp_path, PLANT.device(), PLANT)
    with pytest.raises(errors.ProofMissing):
        proof_of(code, None)
    with pytest.raises(errors.FactoryCertificateUnusable, match="No such file"):
        proof_of(code, replace(files, certificate=tmp_path / "none"))
    with pytest.raises(errors.KeyUnusable):
        proof_of(code, replace(files, key=tmp_path / "none"))
    files.certificate.write_text(PLANT.device().pem)
    with pytest.raises(errors.FactoryCertificateUnusable, match="not the one of the factory key"):
        proof_of(code, files)
    long = given(tmp_path, PLANT.device(), *[PLANT] * 5)
    with pytest.raises(errors.FactoryCertificateUnusable, match="more than 5"):
        proof_of(code, long)


def test_what_signs_is_chosen_by_the_code_and_the_files(signed: Signed, tmp_path: Path) -> None:
    files = given(tmp_path, PLANT.device(), PLANT)
    assert isinstance(proof_of(signed.code(), None), KeyProof)
    assert isinstance(proof_of(signed.code(), files), KeyProof)
    assert isinstance(proof_of(signed.service.code(), files), FactoryProof)
    assert proof_of(signed.service.code(), None) is None
    assert repr(device_key(KEY, NAME))[2:20] not in repr(proof_of(signed.code(), None))
    body = KeyProof(group_key_id(KEY), KEY).signed(Place(signed.service.url + ENROLL, "n"), b"{}")
    assert signed.read(body)[1] == b"{}"


# ── start ─────────────────────────────────────────────────────────────────────────────────────────────


def test_who_enrols_with_a_token_loads_nothing_of_this() -> None:
    program = (
        "import sys, keyborn.device.enroll, keyborn.cli.enroll, keyborn.device.agent.enrolling\n"
        "print([each for each in ('proof', 'nonces', 'signed') if f'keyborn.device.{each}' in sys.modules],"
        " [each for each in ('jws', 'jws_enroll', 'group_key') if f'keyborn.domain.{each}' in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert told.stdout == "[] []\n"
