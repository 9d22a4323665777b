"""A check: one assumption about AWS, where Keyborn relies on it, and an experiment that decides."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from keyborn.adapters.aws.smoke.lab import Lab


@dataclass(frozen=True, slots=True)
class Holds:
    """It is as assumed."""

    seen: str


@dataclass(frozen=True, slots=True)
class Differs:
    """It is not. Where ``means`` or ``remedy`` is empty, the check's own words hold."""

    seen: str
    means: str = ""
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class NotDecided:
    """The experiment could not be done, or says nothing."""

    why: str


Verdict = Holds | Differs | NotDecided
Experiment = Callable[["Lab"], Verdict]

REPORT = "Report it as an issue, with this report attached."


@dataclass(frozen=True, slots=True)
class Check:
    """One assumption and its experiment."""

    name: str
    assumption: str
    """One sentence."""
    relied: str
    """The module that relies on it, below ``keyborn``."""
    means: str
    """What it means for Keyborn if it is not so."""
    remedy: str
    """And what to do then."""
    burst: bool
    """Whether it sends many calls at once; done only if asked for."""
    experiment: Experiment


def check(
    name: str, assumption: str, *, relied: str, means: str, remedy: str = REPORT, burst: bool = False
) -> Callable[[Experiment], Check]:
    """Make a check of an experiment (a decorator)."""

    def _make(experiment: Experiment) -> Check:
        return Check(name, assumption, relied, means, remedy, burst, experiment)

    return _make


def holds_if(fact: object, seen: str) -> Verdict:
    """The verdict where one fact decides."""
    return Holds(seen) if fact else Differs(seen)
