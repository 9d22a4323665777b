"""Factory reset: everything that makes this home a thing's, removed for ever."""

from pathlib import Path

from keyborn.device import files
from keyborn.device.agent.client import agent_of
from keyborn.device.home import Home
from keyborn.domain.errors import AgentRunning
from keyborn.domain.slots import Slot

_OTHERS = (
    "next.promoting", "previous.returning", "roots.next", "roots.pem",
    "enroll.code", "outbox.db", "outbox.db-wal", "outbox.db-shm", "outbox.db-journal", "agent.sock",
)  # fmt: skip


def holdings(home: Home) -> list[Path]:
    """What there is to remove; the settings first, for what they no longer bind is no identity."""
    slots = [home.of(slot) for slot in (Slot.NEXT, Slot.PREVIOUS, Slot.CURRENT)]
    listed = [path for slot in slots for path in (slot.settings, slot.key, slot.certificate)]
    listed += [home.path / name for name in _OTHERS]
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
