"""How fast one client may go: two token buckets, of packets and of bytes."""

from keyborn.adapters.broker.limits import Limits


class Meter:
    """Counts what has been received. It may run into debt; a debtor is not read from until it has paid.

    So nothing is lost: what a client sends too fast waits in its own kernel. The debt is bounded by what one
    read from the link can bring.
    """

    __slots__ = ("_bytes", "_limits", "_packets", "_then", "told")

    def __init__(self, limits: Limits, now: float) -> None:
        self._limits = limits
        self._packets = float(limits.packets_burst)
        self._bytes = float(limits.bytes_burst)
        self._then = now
        self.told = float("-inf")
        """When the log last said that this client was slowed down."""

    def spend(self, packets: int, size: int, now: float) -> float:
        """Count ``packets`` of ``size`` bytes together; returns the seconds until the debt is paid, or 0."""
        limits = self._limits
        elapsed = now - self._then
        self._then = now
        more = self._packets + elapsed * limits.packets_per_second
        self._packets = left = min(more, limits.packets_burst) - packets
        more = self._bytes + elapsed * limits.bytes_per_second
        self._bytes = bytes_left = min(more, limits.bytes_burst) - size
        if left >= 0 and bytes_left >= 0:
            return 0.0
        return max(-left / limits.packets_per_second, -bytes_left / limits.bytes_per_second)
