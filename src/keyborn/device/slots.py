"""The device's identities beside each other: the current one, the next one, and the one before.

Every change is a list of named steps (``files.Step``). Wherever a power cut ends one of them, the next start
finds a whole identity, and knows what to finish:

- ``next.key``, ``next.crt``, ``next.toml`` are written in this order: the last file makes an identity whole.
- A promotion first keeps the current identity as ``previous.*`` under second names, with nothing taken away.
  Then ``next.toml`` becomes ``next.promoting``: from here it is finished, not undone. What follows are
  renames, for which no room on the disk is needed: the next key and certificate over the current ones, and
  last the settings.
- To go back is the same, from ``previous.*``, with ``previous.returning``; nothing of it is kept.
- ``previous.*`` is there until the service has confirmed: whatever is left of it means "ask again", and that
  is answered the same every time.
- Roots that change (``keyborn.device.roots``) wait as ``roots.next`` until the settings bind them.

All of it needs the home's lock. Files that replace others have been checked by whoever calls.
"""

import contextlib
import os
import time
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path

from keyborn.device import files, identity, roots
from keyborn.device.home import Home
from keyborn.device.identity import Identity, Standing
from keyborn.domain.errors import FileNotPrivate, HomeBusy
from keyborn.domain.slots import Slot

_GLANCES = 60
_GLANCE = 0.05
_MARKS = {Slot.NEXT: "next.promoting", Slot.PREVIOUS: "previous.returning"}


@dataclass(frozen=True, slots=True)
class Survey:
    """What lies in every slot."""

    current: Standing
    next: Standing
    previous: Standing
    unconfirmed: bool
    """Whether anything of a previous identity is there: for all one knows, the service has not confirmed."""

    @property
    def next_usable(self) -> bool:
        """Whether there is a whole next identity, another one than the current, of the same thing."""
        return self.next.whole and _succeeds(self.next.identity, self.current.identity)

    @property
    def previous_usable(self) -> bool:
        """Whether the previous identity is whole, and of the same thing."""
        old, new = self.previous.identity, self.current.identity
        return self.previous.whole and old is not None and (new is None or old.thing == new.thing)


def survey(home: Home, wall: datetime) -> Survey:
    """Look at every slot, changing nothing; ``settle`` comes first."""
    standings = {slot: identity.assess(home.of(slot), wall) for slot in Slot}
    left = any(os.path.lexists(path) for path in _files(home.of(Slot.PREVIOUS)))
    return Survey(standings[Slot.CURRENT], standings[Slot.NEXT], standings[Slot.PREVIOUS], left)


def _succeeds(new: Identity | None, old: Identity | None) -> bool:
    if new is None:
        return False
    return old is None or (new.thing == old.thing and new.certificate_id != old.certificate_id)


# ── after a crash ──


def settle(home: Home, checkpoint: files.Checkpoint = files.no_checkpoint) -> tuple[str, ...]:
    """Finish what a crash interrupted, remove what it left half written, and mend modes where that is safe.

    Returns what was mended, for people. Raises OSError.
    """
    home.clean()
    for slot in _MARKS:
        if _mark(home, slot).exists():
            files.run_steps(_taking(home, slot), checkpoint)
    files.run_steps(roots.finish(home), checkpoint)
    return _mend_modes(home)


def is_settled(home: Home) -> bool:
    """Whether no identity is just being replaced, by a process that is at it or was stopped in it."""
    return not any(os.path.lexists(path) for path in changes(home))


def changes(home: Home) -> list[Path]:
    """What lies in a home while an identity, or its roots, are just being replaced."""
    return [*(_mark(home, slot) for slot in _MARKS), home.next_roots]


def ensure_settled(home: Home) -> None:
    """Wait for who is replacing the identity, or finish it for one who was stopped; without the lock held.

    Raises HomeBusy where somebody holds the home for much longer than that takes, HomeUnusable.
    """
    for _ in range(_GLANCES):
        if is_settled(home):
            return
        try:
            with contextlib.suppress(HomeBusy), home.session():
                settle(home)
        except OSError as wrong:
            raise files.trouble(home.path, wrong) from None
        time.sleep(0 if is_settled(home) else _GLANCE)
    raise HomeBusy(path=home.path)


def _mend_modes(home: Home) -> tuple[str, ...]:
    """Certificates are no secret: that others could read one does no harm.

    A key, or a file that others could write, is never mended: it stays refused (``files.require_private``).
    """
    public = [home.certificate, home.roots, home.settings]
    return tuple(f"{path.name}: others could read it" for path in public if files.narrow(path))


# ── changes, as steps ──


def staging(home: Home, certificate_pem: str, made: Identity) -> list[files.Step]:
    """Store the next identity, whose key is there: the certificate, and last what binds them."""
    after = home.of(Slot.NEXT)
    return [
        *files.replacement_steps(after.certificate, certificate_pem.encode()),
        *files.replacement_steps(after.settings, identity.to_toml(made).encode()),
    ]


def promotion(home: Home) -> list[files.Step]:
    """Make the next identity the current one, and keep the current one as the previous."""
    if _mark(home, Slot.NEXT).exists():
        return _taking(home, Slot.NEXT)
    before = home.of(Slot.PREVIOUS)
    return [
        *_removal(before),
        *_rebinding(home, Slot.NEXT),
        *(_keeping(*pair) for pair in zip(_files(home), _files(before), strict=True)),
        _syncing(home, "keep"),
        *_marking(home, Slot.NEXT),
        *_taking(home, Slot.NEXT),
    ]


def going_back(home: Home) -> list[files.Step]:
    """Make the previous identity the current one again, in the place of the one that is refused."""
    if _mark(home, Slot.PREVIOUS).exists():
        return _taking(home, Slot.PREVIOUS)
    return [
        *_rebinding(home, Slot.PREVIOUS),
        *_marking(home, Slot.PREVIOUS),
        *_taking(home, Slot.PREVIOUS),
    ]


def retirement(home: Home) -> list[files.Step]:
    """Remove the previous identity."""
    return _removal(home.of(Slot.PREVIOUS))


def discarding(home: Home) -> list[files.Step]:
    """Remove the next identity, or what there is of it."""
    return _removal(home.of(Slot.NEXT))


def _files(home: Home) -> tuple[Path, Path, Path]:
    """Of one identity, in the order of writing."""
    return home.key, home.certificate, home.settings


def _mark(home: Home, slot: Slot) -> Path:
    return home.path / _MARKS[slot]


def _removal(home: Home) -> list[files.Step]:
    """Settings first: what they no longer bind is no identity."""
    there = [path for path in reversed(_files(home)) if os.path.lexists(path)]
    steps = [files.Step(f"remove {path.name}", partial(files.remove, path)) for path in there]
    return [*steps, _syncing(home, f"remove {home.slot}.*")] if steps else []


def _rebinding(home: Home, slot: Slot) -> list[files.Step]:
    """Bind an identity to the roots that the current one has by now."""
    try:
        own, current = identity.read_settings(home.of(slot)), identity.read_settings(home)
    except (OSError, ValueError, FileNotPrivate):
        return []
    if own.roots_hash == current.roots_hash:
        return []
    bound = replace(own, roots_hash=current.roots_hash)
    return files.replacement_steps(home.of(slot).settings, identity.to_toml(bound).encode())


def _keeping(path: Path, kept: Path) -> files.Step:
    return files.Step(f"keep {path.name} as {kept.name}", partial(files.keep, path, kept))


def _marking(home: Home, slot: Slot) -> list[files.Step]:
    """The point after which the change is finished, not undone."""
    settings, mark = home.of(slot).settings, _mark(home, slot)
    begin = files.Step(f"rename {mark.name}", partial(files.move, settings, mark))
    return [begin, _syncing(home, mark.name)]


def _taking(home: Home, slot: Slot) -> list[files.Step]:
    """What a mark stands for; any part of it may have been done already."""
    source, mark = home.of(slot), _mark(home, slot)
    return [
        files.Step(f"rename {source.key.name}", partial(files.move, source.key, home.key)),
        files.Step(
            f"rename {source.certificate.name}", partial(files.move, source.certificate, home.certificate)
        ),
        _syncing(home, f"{slot} over {home.slot}"),
        files.Step(f"rename {home.settings.name}", partial(files.move, mark, home.settings)),
        _syncing(home, home.settings.name),
    ]


def _syncing(home: Home, what: str) -> files.Step:
    return files.Step(f"sync the folder of {what}", partial(files.sync_folder, home.path))
