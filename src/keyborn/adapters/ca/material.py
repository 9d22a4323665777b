"""The certificate authority's files: made whole on first start, checked whole on every start.

First start builds everything in ``ca.new`` beside the folder, syncs it, and renames the folder: a crash at
any moment leaves either no ``ca`` (the next start begins again) or a complete one. Rename never replaces a
folder that holds anything, so two first starts cannot mix.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from keyborn.adapters.ca.certificates import (
    Contents,
    Signer,
    Stamp,
    basic_constraints,
    extended_key_usage,
    key_usage,
    random_serial,
    self_signed,
    validity_of,
)
from keyborn.adapters.ca.files import (
    PRIVATE,
    PRIVATE_FOLDER,
    PUBLIC,
    check_private_folder,
    read_private,
    read_public,
    require_private_folder,
    sync_folder,
    translated,
    write_new,
)
from keyborn.adapters.ca.keyfile import KeyLockedError, decode_key, encode_key
from keyborn.adapters.ca.standing import (
    Standing,
    folder_of,
    forget_keys,
    read_standing,
    write_standing,
)
from keyborn.domain.errors import (
    CaDamaged,
    CaExpired,
    CaLocked,
    CaMissing,
    NoNextRoot,
    NoOldRoot,
    OldRootThere,
)
from keyborn.domain.profile import DEVICE_INTERMEDIATE, ROOT, SERVER_INTERMEDIATE, CertificateProfile
from keyborn.ports import Entropy


class Role(StrEnum):
    """The three authorities; also the names of their files (``root.key``, ``root.crt`` …)."""

    ROOT = "root"
    DEVICES = "devices"
    SERVERS = "servers"


PROFILES = {Role.ROOT: ROOT, Role.DEVICES: DEVICE_INTERMEDIATE, Role.SERVERS: SERVER_INTERMEDIATE}


@dataclass(frozen=True, slots=True)
class Believed:
    """A set that does not issue: devices believe its root, and servers its device certificates."""

    root: x509.Certificate
    devices: x509.Certificate


@dataclass(frozen=True, slots=True)
class Material:
    """What the running authority holds. The root's key is checked at start and then let go."""

    root: x509.Certificate
    devices: Signer
    servers: Signer
    introduced: Believed | None = None
    """What a change of the root has introduced."""
    outgoing: Believed | None = None
    """What issued before, and has not been retired."""


def introduce_root(
    folder: Path, *, now: datetime, entropy: Entropy, passphrase: bytes | None = None
) -> Material:
    """Make a next root with its intermediates beside those in ``folder``, or find the one that is there.

    As on a first start: whatever crashes, there is no next one, or a whole one. Raises CaMissing,
    OldRootThere, and what ``open_material`` raises.
    """
    standing = _require_made(folder)
    material = open_material(folder, now=now, entropy=entropy, passphrase=passphrase)  # nothing broken
    if standing.outgoing is not None:
        raise OldRootThere
    if standing.introduced is not None:
        return material
    following = folder_of(folder, standing.newest + 1)
    _create(following, now, entropy, passphrase)
    return _beside(folder, material)


def switch_root(
    folder: Path, *, now: datetime, passphrase: bytes | None = None, back: bool = False
) -> Material:
    """Issue from the next root from now on, or ``back`` from the one before; one file is replaced.

    The set that is to issue is opened first, keys and all. Raises CaMissing, NoNextRoot, NoOldRoot, and what
    ``open_material`` raises.
    """
    standing = _require_made(folder)
    following = standing.outgoing if back else standing.introduced
    if following is None:
        raise (NoOldRoot if back else NoNextRoot)
    material = _load(folder_of(folder, following), now, passphrase)
    write_standing(folder, oldest=standing.oldest, issuing=following)
    return _beside(folder, material)


def retire_root(folder: Path, *, now: datetime, passphrase: bytes | None = None) -> Material:
    """Believe the root before the present one no more, and destroy its keys.

    Raises CaMissing, NoOldRoot, and what ``open_material`` raises.
    """
    standing = _require_made(folder)
    if standing.outgoing is None:
        raise NoOldRoot
    material = _load(folder_of(folder, standing.issuing), now, passphrase)
    write_standing(folder, oldest=standing.issuing, issuing=standing.issuing)
    forget_keys(folder, read_standing(folder))
    return _beside(folder, material)


def _require_made(folder: Path) -> Standing:
    if not has_material(folder):
        raise CaMissing(folder=folder)
    require_private_folder(folder)
    return read_standing(folder)


def open_material(
    folder: Path, *, now: datetime, entropy: Entropy, passphrase: bytes | None = None
) -> Material:
    """Load the material in ``folder``, which is made first if it does not exist (its parent must).

    Raises CaLocked, CaDamaged, CaExposed, CaExpired or CaFileTrouble.
    """
    if not has_material(folder):
        _create(folder, now, entropy, passphrase)
    require_private_folder(folder)
    standing = read_standing(folder)
    forget_keys(folder, standing)  # a crash may have come before
    if standing.introduced is not None:
        _load(folder_of(folder, standing.introduced), now, passphrase)  # it is to issue one day
    return _beside(folder, _load(folder_of(folder, standing.issuing), now, passphrase))


def _beside(folder: Path, material: Material) -> Material:
    """What issues, with what is believed besides."""
    standing = read_standing(folder)
    beside = [standing.introduced, standing.outgoing]
    introduced, outgoing = (
        None if number is None else _believed(folder_of(folder, number)) for number in beside
    )
    return replace(material, introduced=introduced, outgoing=outgoing)


def _believed(folder: Path) -> Believed:
    """Without keys and dates: one that has expired does no harm until it is retired."""
    require_private_folder(folder)
    certificates = read_certificates(folder)
    return Believed(certificates[Role.ROOT], certificates[Role.DEVICES])


def _load(folder: Path, now: datetime, passphrase: bytes | None) -> Material:
    require_private_folder(folder)
    with translated(folder):
        sync_folder(folder.parent)  # a crash may have come between the rename and its sync
    certificates = read_certificates(folder)
    for role, certificate in certificates.items():
        _require_valid(role, certificate, now)
    signers = {role: _signer(folder, role, certificates[role], passphrase) for role in Role}
    return Material(certificates[Role.ROOT], signers[Role.DEVICES], signers[Role.SERVERS])


def read_certificates(folder: Path) -> dict[Role, x509.Certificate]:
    """Read the three certificates and check that they belong together; raises CaDamaged or CaExposed."""
    found = {role: _read_certificate(folder, role) for role in Role}
    for role, certificate in found.items():
        _require_family(folder, role, certificate, found[Role.ROOT])
    return found


def has_material(folder: Path) -> bool:
    """Whether anything is in ``folder``; an empty folder counts as none, as rename(2) has it."""
    with translated(folder):
        try:
            return any(folder.iterdir())
        except FileNotFoundError:
            return False


# ── first start ───────────────────────────────────────────────────────────────────────────────────────


def _create(folder: Path, now: datetime, entropy: Entropy, passphrase: bytes | None) -> None:
    scratch = folder.with_name(f"{folder.name}.new")
    # FileNotFoundError: another first start was quicker and renamed the folder; loading has the last word
    with translated(scratch), suppress(FileNotFoundError), _locked(scratch):
        if has_material(folder):
            scratch.rmdir()
            return
        for leftover in scratch.iterdir():
            leftover.unlink()
        for name, content, mode in _files(now, entropy, passphrase):
            write_new(scratch / name, content, mode)
        sync_folder(scratch)
        scratch.rename(folder)


@contextmanager
def _locked(scratch: Path) -> Iterator[None]:
    """Hold ``scratch``, made where it is missing, against another first start; a crash lets go of it.

    Raises CaExposed, or OSError: FileNotFoundError where the other one renamed or removed it meanwhile.
    """
    try:
        scratch.mkdir(PRIVATE_FOLDER)
    except FileExistsError:
        check_private_folder(scratch)
    descriptor = os.open(scratch, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _files(now: datetime, entropy: Entropy, passphrase: bytes | None) -> Iterator[tuple[str, bytes, int]]:
    for role, signer in _generate(now, entropy).items():
        yield f"{role}.key", encode_key(signer.key, passphrase, entropy), PRIVATE
        yield f"{role}.crt", signer.certificate.public_bytes(Encoding.PEM), PUBLIC


def _generate(now: datetime, entropy: Entropy) -> dict[Role, Signer]:
    """Make the three; their names carry eight hex digits, so that no two installations share one."""
    tag = entropy.token_bytes(4).hex()
    root_key = ec.generate_private_key(ec.SECP256R1())
    root = Signer(self_signed(ROOT, _contents(Role.ROOT, tag, root_key, now, entropy), root_key), root_key)
    signers = {Role.ROOT: root}
    for role in (Role.DEVICES, Role.SERVERS):
        key = ec.generate_private_key(ec.SECP256R1())
        stamp = Stamp(PROFILES[role], root)
        signers[role] = Signer(stamp.certificate(_contents(role, tag, key, now, entropy)), key)
    return signers


def _contents(
    role: Role, tag: str, key: ec.EllipticCurvePrivateKey, now: datetime, entropy: Entropy
) -> Contents:
    return Contents(
        common_name=f"Keyborn {role.title()} {tag}",
        public_key=key.public_key(),
        serial=random_serial(entropy),
        validity=PROFILES[role].validity(now),
    )


# ── every start ───────────────────────────────────────────────────────────────────────────────────────


def _read_certificate(folder: Path, role: Role) -> x509.Certificate:
    path = folder / f"{role}.crt"
    pem = read_public(path)
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        certificate.extensions  # noqa: B018 (pyca parses them late; here is where a damaged file must show)
    except ValueError as trouble:
        raise CaDamaged(folder=folder, detail=f"{path.name} is not a certificate") from trouble
    return certificate


def _require_family(folder: Path, role: Role, certificate: x509.Certificate, root: x509.Certificate) -> None:
    """Check signature and profile: files of two installations, or two roles, do not mix."""
    try:
        certificate.verify_directly_issued_by(root)
    except (ValueError, TypeError, InvalidSignature) as trouble:
        raise CaDamaged(folder=folder, detail=f"{role}.crt is not signed by root.crt") from trouble
    if not _fits(PROFILES[role], certificate):
        raise CaDamaged(folder=folder, detail=f"{role}.crt is not a certificate for that role")


def _fits(profile: CertificateProfile, certificate: x509.Certificate) -> bool:
    wanted: list[x509.ExtensionType] = [basic_constraints(profile), key_usage(profile)]
    if profile.purposes:
        wanted.append(extended_key_usage(profile))
    held = [extension.value for extension in certificate.extensions]
    return all(value in held for value in wanted)


def _require_valid(role: Role, certificate: x509.Certificate, now: datetime) -> None:
    validity = validity_of(certificate)
    if not validity.holds(now):
        begins, ends = validity.not_before.date(), validity.not_after.date()
        raise CaExpired(role=role, begins=begins, ends=ends, now=now.date())


def _signer(folder: Path, role: Role, certificate: x509.Certificate, passphrase: bytes | None) -> Signer:
    name = f"{role}.key"
    pem = read_private(folder / name)
    try:
        key = decode_key(pem, passphrase)
    except KeyLockedError as trouble:
        raise CaLocked(folder=folder, detail=trouble) from trouble
    except ValueError as trouble:
        raise CaDamaged(folder=folder, detail=f"{name} is not a P-256 private key") from trouble
    if key.public_key() != certificate.public_key():
        raise CaDamaged(folder=folder, detail=f"{name} is not the key of {role}.crt")
    return Signer(certificate, key)
