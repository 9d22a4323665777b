"""How fast one client may go: two token buckets, of packets and of bytes."""

from keyborn.adapters.broker.limits import Limits


class Meter:
    """Counts what has been received. It may run into debt; a debtor is not read from until it has paid.

    So nothing is lost: what a client sends too fast waits in its own kernel. The debt is bounded by
    what one turn handles.
    """

    __slots__ = (
        "_byte_burst",
        "_byte_rate",
        "_bytes",
        "_packet_burst",
        "_packet_rate",
        "_packets",
        "_then",
    )

    def __init__(self, limits: Limits, now: float) -> None:
        self._packet_rate, self._packet_burst = limits.packets_per_second, float(limits.packets_burst)
        self._byte_rate, self._byte_burst = limits.bytes_per_second, float(limits.bytes_burst)
        self._packets, self._bytes = self._packet_burst, self._byte_burst
        self._then = now

    def spend(self, packets: int, size: int, now: float) -> float:
        """Count ``packets`` of ``size`` bytes together; returns the seconds until the debt is paid, or 0."""
        elapsed = now - self._then
        self._then = now
        left = self._packets + elapsed * self._packet_rate
        if left > self._packet_burst:  # noqa: PLR1730 - min() would double the cost of every read
            left = self._packet_burst
        bytes_left = self._bytes + elapsed * self._byte_rate
        if bytes_left > self._byte_burst:  # noqa: PLR1730 - as above
            bytes_left = self._byte_burst
        self._packets = left = left - packets
        self._bytes = bytes_left = bytes_left - size
        if left >= 0 and bytes_left >= 0:
            return 0.0
        return max(-left / self._packet_rate, -bytes_left / self._byte_rate)
