"""Factory reset: everything that makes this home a thing's, removed for ever."""

from pathlib import Path

from keyborn.device import files, slots
from keyborn.device.agent import enrolling, place
from keyborn.device.agent.client import agent_of
from keyborn.device.home import Home
from keyborn.domain.errors import AgentRunning
from keyborn.domain.slots import Slot

_OF_SQLITE = ("", "-wal", "-shm", "-journal")
"""What a database's file and those beside it end with."""


def holdings(home: Home) -> list[Path]:
    """What there is to remove; the settings first, for what they no longer bind is no identity."""
    identities = [home.of(slot) for slot in (Slot.NEXT, Slot.PREVIOUS, Slot.CURRENT)]
    listed = [path for one in identities for path in (one.settings, one.key, one.certificate)]
    listed += [*slots.changes(home), home.roots, home.path / enrolling.FILE, home.waiting]
    listed += [home.path / f"{home.outbox.name}{end}" for end in _OF_SQLITE]
    listed.append(home.path / place.NAME)
    return [path for path in listed if path.is_symlink() or path.exists()]


def forget(home: Home) -> list[Path]:
    """Remove all of it, and return it. The service still knows the thing: an operator revokes it there.

    Raises AgentRunning, HomeBusy, HomeUnusable.
    """
    with agent_of(home) as agent:
        if agent is not None:
            raise AgentRunning(path=home.path)
    with home.session():
        try:
            home.clean()
            gone = holdings(home)
            for path in gone:
                files.remove(path)
            files.sync_folder(home.path)
        except OSError as wrong:
            raise files.trouble(home.path, wrong) from None
    return gone
