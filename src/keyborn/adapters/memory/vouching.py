"""Signed checkpoints in memory."""

from collections.abc import Sequence

from keyborn.adapters.memory.state import State
from keyborn.domain.checkpoint import Checkpoint
from keyborn.ports import page_size


class MemoryCheckpoints:
    """Implements ``keyborn.ports.Checkpoints`` over the tables of a registry."""

    _state: State

    async def add_checkpoint(self, checkpoint: Checkpoint) -> None:
        """See ``Checkpoints.add_checkpoint``."""
        self._state.checkpoints.setdefault(checkpoint.head.sequence, checkpoint)

    async def latest_checkpoint(self) -> Checkpoint | None:
        """See ``Checkpoints.latest_checkpoint``."""
        kept = self._state.checkpoints
        return kept[max(kept)] if kept else None

    async def checkpoints(self, *, after: int = 0, limit: int = 1000) -> Sequence[Checkpoint]:
        """See ``Checkpoints.checkpoints``."""
        kept = self._state.checkpoints
        return [kept[number] for number in sorted(kept) if number > after][: page_size(limit)]
