"""One run: check after check, and then nothing of it is left."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from keyborn.adapters.aws.smoke.catalog import THEME_OF
from keyborn.adapters.aws.smoke.check import Check, Differs, Holds, NotDecided, Verdict
from keyborn.adapters.aws.smoke.lab import Lab, Refused, Undecided
from keyborn.adapters.aws.smoke.ledger import Ledger, Owed
from keyborn.adapters.aws.smoke.undo import FAILURES
from keyborn.domain.errors import OperatorError

_ROUNDS, _PAUSE = 8, 2.0


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found."""

    check: Check
    verdict: Verdict
    seconds: float

    @property
    def theme(self) -> str:
        """Where it belongs."""
        return THEME_OF.get(self.check.name, "")

    @property
    def word(self) -> str:
        """``holds``, ``differs`` or ``not decided``."""
        return {Holds: "holds", Differs: "differs", NotDecided: "not decided"}[type(self.verdict)]

    @property
    def seen(self) -> str:
        """What was seen, or why nothing was."""
        return self.verdict.why if isinstance(self.verdict, NotDecided) else self.verdict.seen

    @property
    def means(self) -> str:
        """What a difference means; empty if there is none."""
        return (self.verdict.means or self.check.means) if isinstance(self.verdict, Differs) else ""

    @property
    def remedy(self) -> str:
        """What to do about it."""
        return (self.verdict.remedy or self.check.remedy) if isinstance(self.verdict, Differs) else ""


def examine(lab: Lab, checks: Iterable[Check], tell: Callable[[Finding], None]) -> list[Finding]:
    """Do the checks one by one. Raises KeyboardInterrupt; what was made stands in the ledger then."""
    findings = []
    try:
        for one in checks:
            begun = time.monotonic()
            verdict = _judge(lab, one)
            findings.append(Finding(one, verdict, time.monotonic() - begun))
            tell(findings[-1])
    finally:
        lab.close()
    return findings


def _judge(lab: Lab, one: Check) -> Verdict:
    if time.monotonic() >= lab.until:
        return NotDecided(f"the {lab.pace.whole:g} seconds of a run are over; try it alone with --only")
    try:
        return _in_time(lab, one.experiment(lab))
    except Undecided as reason:
        return NotDecided(str(reason))
    except OperatorError as error:
        return NotDecided(str(error))
    except Refused as refused:
        said = f": {refused.message[:160]}" if refused.message else ""
        return Differs(f"{refused}{said}", means="A call that Keyborn relies on is refused.")


def _in_time(lab: Lab, verdict: Verdict) -> Verdict:
    """What was not seen because the run's time ended says nothing."""
    if isinstance(verdict, Differs) and time.monotonic() >= lab.until:
        return NotDecided(
            f"the {lab.pace.whole:g} seconds of a run ended meanwhile; try it alone with --only"
        )
    return verdict


def rounds_within(patience: float) -> int:
    """How often removing is tried in so many seconds: twice at least, eight times at most."""
    return max(2, min(_ROUNDS, 1 + int(patience / _PAUSE)))


def clear(
    ledger: Ledger, undo: Callable[[Owed], None], *, rounds: int = _ROUNDS, pause: float = _PAUSE
) -> list[Owed]:
    """Remove all that the ledger lists, again and again for a while; returns what is still there."""
    for number in range(rounds):
        if number:
            time.sleep(pause)
        ledger.settle(undo, FAILURES)
        if not ledger.owed:
            break
    return list(ledger.owed)
