"""The shared bucket and the line in memory: for tests, and for the simulation of a storm."""

from keyborn.domain.quota import Pacing, Place, Slice, ceiling_of, floor_of


class MemoryLine:
    """``AdmissionLine`` of one process."""

    def __init__(self, pacing: Pacing) -> None:
        self._pacing = pacing
        self._free_at = 0.0
        self._end = 0.0
        self._due: dict[str, float] = {}

    async def take(self, now: float, latest: float) -> Slice:
        """Take the next slot if it begins by ``latest``. Raises ValueError for one that is never kept."""
        floor = floor_of(self._pacing, now)
        if floor > latest:
            raise ValueError("a slot that begins so early is not kept")
        if self._free_at > ceiling_of(self._pacing, now):
            self._free_at = floor
        begins = max(self._free_at, floor)
        if begins > latest:
            return Slice(None, self._free_at, self._end)
        self._free_at = begins + self._pacing.slot
        return Slice(begins, self._free_at, self._end)

    async def find(self, who: str, now: float) -> float | None:
        """When the turn of ``who`` is or was; None if it has no place, or one that is long past."""
        due = self._due.get(who)
        if due is not None and due + self._pacing.grace < now:
            del self._due[who]
            return None
        return due

    async def join(self, who: str, now: float) -> Place:
        """Give ``who`` the place at the end of the line."""
        due = max(self._end, now)
        self._end = due + self._pacing.place
        self._due[who] = due
        return Place(due, self._end)

    def due(self, who: str) -> float | None:
        """When the turn of ``who`` is or was, for those who look from outside."""
        return self._due.get(who)
