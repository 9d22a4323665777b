"""The functions' code, built once for each target in a test process: pip takes seconds for it."""

import platform
import sys
from functools import cache

from keyborn.adapters.aws.package import MACHINES, Package, Target, build_package


@cache
def built(target: Target) -> Package:
    """The package for a target."""
    return build_package(target)


def own_target() -> Target:
    """What runs here: the stand-in runs functions with this machine's Python."""
    machine = next(name for name, tag in MACHINES.items() if tag == platform.machine())
    return Target(machine, f"python3.{sys.version_info.minor}")
