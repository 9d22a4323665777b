"""The roots, looked after while the service is asked anyway: taken over as it shows them, and told to it.

Nothing that is wrong with either keeps a renewal from its time.
"""

from datetime import datetime
from typing import Protocol

from keyborn.device import files, identity, roots
from keyborn.device.home import Home
from keyborn.device.identity import Identity
from keyborn.device.surroundings import Surroundings
from keyborn.domain.errors import HomeUnusable, KeybornError


class RootsService(Protocol):
    """What this needs of the service; ``RenewalClient`` is it."""

    def new_roots(self, own: Identity, moment: datetime) -> roots.Change | None:
        """Another set of roots, where the service shows one that can be believed."""
        ...

    def tell_roots(self, own: Identity) -> None:
        """Say which roots this device believes."""
        ...


class Believer:
    """The roots of one home, whose lock is held by whoever calls."""

    def __init__(self, home: Home, around: Surroundings, service: RootsService) -> None:
        self._home = home
        self._around = around
        self._service = service
        self._told: str | None = None

    def look(self, own: Identity, moment: datetime) -> Identity:
        """Take over other roots, and tell which ones it is now: once, and again when they change.

        Returns the identity that binds them. ``moment`` is the service's. Raises HomeUnusable, OSError.
        """
        own = self._refresh(own, moment)
        if own.roots_hash != self._told and self._tell(own):
            self._told = own.roots_hash
        return own

    def _refresh(self, own: Identity, moment: datetime) -> Identity:
        try:
            change = self._service.new_roots(own, moment)
        except HomeUnusable:
            raise
        except KeybornError as wrong:
            self._around.say(f"The roots stay as they are. {wrong}")
            return own
        if change is None:
            return own
        files.run_steps(roots.steps(self._home, change), self._around.checkpoint)
        self._around.say(f"The roots that this device believes are others now ({change.told}).")
        return identity.read_settings(self._home)

    def _tell(self, own: Identity) -> bool:
        """Whether the service knows; one that does not ask answers as for any other strange route."""
        try:
            self._service.tell_roots(own)
        except HomeUnusable:
            raise
        except KeybornError:
            return False
        return True
