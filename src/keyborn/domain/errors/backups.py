"""Leaves: backups, restoring them, and the copy of revocations that no backup undoes."""

from keyborn.domain.errors.tree import OperatorError, Unavailable


class BackupExists(OperatorError):
    """A backup never takes the place of another file."""

    code = "backup_exists"
    sentence = "There is something at {path} already. Name a new file, or move that one away."


class BackupDamaged(OperatorError):
    """The file is not, byte for byte, what ``keyborn backup`` wrote."""

    code = "backup_damaged"
    sentence = (
        "{path} cannot be restored: {detail}. Nothing was changed. Take the file once more from where it is "
        "kept, or take another backup."
    )


class BackupTooNew(OperatorError):
    """A later Keyborn wrote the backup."""

    code = "backup_too_new"
    sentence = (
        "{path} was written by Keyborn {version}, in a format that this one does not know. Upgrade Keyborn."
    )


class BackupElsewhere(OperatorError):
    """A stack on AWS keeps its own backups."""

    code = "backup_elsewhere"
    sentence = (
        "A stack on AWS is not backed up with this command: DynamoDB keeps every second of its table for 35 "
        "days (point-in-time recovery), AWS IoT keeps the certificates. For a data folder, say --data DIR."
    )


class NothingToPrune(OperatorError):
    """A stack on AWS forgets by itself."""

    code = "nothing_to_prune"
    sentence = (
        "A stack on AWS is not pruned with this command: its certificates are good until 2049, and DynamoDB "
        "removes by itself what has a time to live. For a data folder, say --data DIR."
    )


class RestoreOccupied(OperatorError):
    """Something is where the backup would go."""

    code = "restore_occupied"
    sentence = (
        "{path} is not empty. Name a new folder, or say --replace: what is there is moved aside and kept."
    )


class RevocationsMissing(OperatorError):
    """Nobody knows what was revoked after the backup."""

    code = "revocations_missing"
    sentence = (
        "What was revoked after this backup is not known: {detail}. Name the copy of it with --revocations "
        "FILE. With --without-revocations whatever was revoked or withdrawn since {taken} is good again."
    )


class MirrorForeign(OperatorError):
    """A copy of revocations is another registry's."""

    code = "mirror_foreign"
    sentence = "{path} is a copy of another registry's revocations: {detail}. Take the one that belongs here."


class MirrorDamaged(OperatorError):
    """A copy of revocations has a line in its midst that does not fit."""

    code = "mirror_damaged"
    sentence = (
        "The copy of revocations does not hold at line {line}: {detail}. Take another copy of it; without "
        "one, what was revoked is not known."
    )


class RegistryRolledBack(OperatorError):
    """The registry is older than the copy of its revocations, or went another way since."""

    code = "registry_rolled_back"
    sentence = (
        "The registry knows {known} revocations and {path} {copied}, or others: an older registry was put "
        "back by hand, and what was revoked since would be good again. Put it back with: keyborn restore"
    )


class MirrorUnwritable(Unavailable):
    """An order is in force, and its copy outside the registry is not written."""

    code = "mirror_unwritable"
    sentence = (
        "What was ordered is in force, but its copy in {path} cannot be written ({detail}): a backup that is "
        "restored without that copy would undo it. Mend that; the copy is tried again each minute, and when "
        "the same command is repeated."
    )
