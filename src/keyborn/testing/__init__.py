"""A simulated world, public for other people's tests: seeded faults, virtual clock, crashes between effects.

Everything follows from one seed, and nothing sleeps::

    world = World(seed=7, rudeness=Rudeness(refusal=0.1, lost_reply=0.1, crash=0.05))
    registry = world.registry(MemoryRegistry())
    try:
        await registry.claim(attempt)
    except Crash:
        world.reboot()  # what was durable is still in the real registry behind it
"""

from keyborn.testing.grouping import FaultyGroupingRegistry
from keyborn.testing.stepping import SteppedLoop, interleave, pause, run
from keyborn.testing.time import SeededEntropy, SkewedClock, VirtualClock
from keyborn.testing.world import POLITE, Crash, Moment, Point, Rudeness, World, every_crash
from keyborn.testing.wrappers import (
    FaultyAuthority,
    FaultyBeliefs,
    FaultyCheckpoints,
    FaultyKeys,
    FaultyRegistry,
    FaultyRenewingRegistry,
    FaultyScale,
)

__all__ = [
    "POLITE",
    "Crash",
    "FaultyAuthority",
    "FaultyBeliefs",
    "FaultyCheckpoints",
    "FaultyGroupingRegistry",
    "FaultyKeys",
    "FaultyRegistry",
    "FaultyRenewingRegistry",
    "FaultyScale",
    "Moment",
    "Point",
    "Rudeness",
    "SeededEntropy",
    "SkewedClock",
    "SteppedLoop",
    "VirtualClock",
    "World",
    "every_crash",
    "interleave",
    "pause",
    "run",
]
