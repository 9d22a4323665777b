"""What a storm came to: the figures that are promised, and the curves over time."""

from dataclasses import dataclass, field

from keyborn.testing.storm.model import Storm


@dataclass(frozen=True, slots=True)
class Sample:
    """The counters at one moment, all since the beginning; ``waiting`` as it is."""

    at: float
    enrolled: int
    waiting: int
    queued: int
    bare: int
    rejected: int


@dataclass(slots=True)
class Report:
    """Counts, seconds, and the samples of the curves."""

    storm: Storm
    expected: int = 0
    enrolled: int = 0
    lost: int = 0
    seconds: float = 0.0
    """Until the last one had its certificate."""
    requests: int = 0
    queued: int = 0
    """429 with Retry-After, ours."""
    bare: int = 0
    """429 and 503 of the platform, without Retry-After."""
    calls: int = 0
    rejected: int = 0
    """Calls of AWS IoT, and those among them that were throttled."""
    line_writes: int = 0
    line_rejected: int = 0
    most_instances: int = 0
    early: int = 0
    """Claims on credit whose device had to come again."""
    waits: list[float] = field(default_factory=list)
    """For each device, from power-on to certificate."""
    lateness: list[float] = field(default_factory=list)
    """For each device that had a place, from its turn to its admission; below zero where a slot was spare."""
    samples: list[Sample] = field(default_factory=list)

    @property
    def slowdown(self) -> float:
        """The whole time as a multiple of devices ÷ binding quota; newcomers count as devices."""
        return self.seconds * self.storm.binding / max(1, self.expected)

    @property
    def rejected_share(self) -> float:
        """Throttled calls of AWS, those of the shared item among them, of all calls."""
        return (self.rejected + self.line_rejected) / max(1, self.calls + self.line_writes)

    def text(self) -> str:
        """The figures in a few lines."""
        late = sorted(self.lateness) or [0.0]
        late99 = late[int(len(late) * 0.99)]
        each = self.requests / max(1, self.expected)
        return (
            f"{self.expected:,} devices: {self.enrolled:,} enrolled in {self.seconds:,.1f} s = "
            f"{self.slowdown:.3f} times devices / quota; longest wait {max(self.waits, default=0):,.1f} s\n"
            f"  requests {self.requests:,} ({each:.1f} each): {self.queued:,} queued, {self.bare:,} bare; "
            f"instances ≤ {self.most_instances}; {self.early:,} claims on credit that waited\n"
            f"  AWS IoT calls {self.calls:,}, throttled {self.rejected:,}; writes of the line "
            f"{self.line_writes:,}, throttled {self.line_rejected:,}; together {self.rejected_share:.3%}\n"
            f"  behind its turn: p50 {late[len(late) // 2]:.1f} s, p99 {late99:.1f} s, most {late[-1]:.1f} s"
        )
