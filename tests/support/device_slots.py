"""Identities beside each other: a next one, as a renewal would stage it, and a device that changes them."""

from collections.abc import Callable
from datetime import timedelta

from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from keyborn.device import files, identity, slots
from keyborn.device.home import Home
from keyborn.device.identity import Identity
from keyborn.device.keystore import FileKeyStore
from keyborn.domain.names import certificate_id
from keyborn.domain.slots import Slot
from support.device_home import now
from support.device_pki import Wanted, certify
from support.pki import Pki, pem, shared_pki

Change = Callable[[Home], list[files.Step]]


def run(steps: list[files.Step], checkpoint: files.Checkpoint = files.no_checkpoint) -> None:
    files.run_steps(steps, checkpoint)


def ensure_next_key(home: Home, checkpoint: files.Checkpoint = files.no_checkpoint) -> None:
    store = FileKeyStore(home.of(Slot.NEXT).key)
    if not store.exists():
        run(store.creation("p256"), checkpoint)


def certified(home: Home, *, pki: Pki | None = None, wanted: Wanted | None = None) -> tuple[str, Identity]:
    """A certificate for the home's next key, and what would bind it."""
    from dataclasses import replace

    pki, old = pki or shared_pki(), identity.read_settings(home)
    key = load_pem_private_key(home.of(Slot.NEXT).key.read_bytes(), None).public_key()
    leaf = certify(pki.devices, key, wanted or Wanted(name=old.thing))
    text = pem(leaf, pki.devices.certificate)
    made = replace(
        old,
        certificate_id=certificate_id(leaf.public_bytes(Encoding.DER)),
        not_before=leaf.not_valid_before_utc,
        not_after=leaf.not_valid_after_utc,
        certificate_hash=identity.file_hash(text.encode()),
        proved_time=leaf.not_valid_before_utc,
    )
    return text, made


def stage(
    home: Home, checkpoint: files.Checkpoint = files.no_checkpoint, *, wanted: Wanted | None = None
) -> Identity:
    """A whole next identity."""
    ensure_next_key(home, checkpoint)
    text, made = certified(home, wanted=wanted)
    run(slots.staging(home, text, made), checkpoint)
    return made


def renew(home: Home, first: str, checkpoint: files.Checkpoint = files.no_checkpoint) -> None:
    """From the identity ``first`` to another, whatever a crash left: as a device does, without a service."""
    slots.settle(home, checkpoint)
    seen = slots.survey(home, now())
    assert seen.current.identity is not None, seen.current.problems
    if seen.current.identity.certificate_id == first:
        if not seen.next_usable:
            stage(home, checkpoint)
        run(slots.promotion(home), checkpoint)
    run(slots.retirement(home), checkpoint)


def change_mind(home: Home, first: str, checkpoint: files.Checkpoint = files.no_checkpoint) -> None:
    """Promote, and go back to ``first``, whatever a crash left."""
    slots.settle(home, checkpoint)
    seen = slots.survey(home, now())
    assert seen.current.identity is not None, seen.current.problems
    if not seen.unconfirmed:
        if not seen.next_usable:
            stage(home, checkpoint)
        run(slots.promotion(home), checkpoint)
        seen = slots.survey(home, now())
    if seen.previous.identity is not None and seen.previous_usable:
        run(slots.going_back(home), checkpoint)
    run([*slots.retirement(home), *slots.discarding(home)], checkpoint)


def names_in(home: Home) -> set[str]:
    """The files of the home, but for its lock."""
    return {path.name for path in home.path.iterdir()} - {"lock"}


WHOLE = {"device.key", "device.crt", "roots.pem", "device.toml"}
LATER = timedelta(days=1)
