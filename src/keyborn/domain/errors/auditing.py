"""Leaves: what does not prove itself, of the audit trail or of an export of it."""

from keyborn.domain.errors.tree import OperatorError


class AuditHeadMissing(OperatorError):
    """The trail, or the export, does not hold the head that was noted."""

    code = "audit_head_missing"
    sentence = (
        "The head {expected} is not in what was checked: {detail}. If it was noted from this service, records"
        " were cut off or written anew since: keep a copy, and compare it with a backup or an older export."
    )


class AuditKeyDiffers(OperatorError):
    """What was checked is whole, and signed by somebody else."""

    code = "audit_key_differs"
    sentence = (
        "It holds together, but the key that signed its end is {found}, not {wanted}. Either the service has "
        "another key since that one was noted, or somebody else signed."
    )


class ExportBroken(OperatorError):
    """An export is not, byte for byte, what a service wrote and signed."""

    code = "export_broken"
    sentence = (
        "The export does not hold at line {line}: {detail}. It is not as it was written: do not rely on it, "
        "and get it once more from where it was kept, or from the service."
    )
