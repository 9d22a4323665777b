"""Leaves: what ``keyborn aws smoke`` found."""

from keyborn.domain.errors.tree import OperatorError


class AssumptionsDiffer(OperatorError):
    """AWS does something else than Keyborn takes for granted."""

    code = "aws_assumptions_differ"
    sentence = (
        "{count} of {whole} checks found AWS to be otherwise than Keyborn assumes: {names}. What each means, "
        "and what to do, stands above; --report FILE writes it down for an issue."
    )


class SmokeLeftovers(OperatorError):
    """Something that the checks made could not be removed."""

    code = "smoke_leftovers"
    sentence = (
        "{count} things that the checks made could not be removed. The commands for it stand above; "
        "keyborn aws smoke --clean tries it once more."
    )
