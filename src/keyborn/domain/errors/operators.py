"""Leaves: the operator's commands, folder and authority."""

from keyborn.domain.errors.tree import OperatorError


# ── the operator ──
class CaMissing(OperatorError):
    """No certificate authority has been made here yet."""

    code = "ca_missing"
    sentence = "There is no certificate authority in {folder}. Make one by starting: keyborn serve --data DIR"


class CaLocked(OperatorError):
    """The passphrase is missing, wrong, or given for keys that have none."""

    code = "ca_locked"
    sentence = "The certificate authority's keys in {folder} do not open: {detail}."


class CaDamaged(OperatorError):
    """Files are missing, unreadable, or do not belong together."""

    code = "ca_damaged"
    sentence = (
        "The certificate authority in {folder} is damaged: {detail}. "
        "Restore the whole folder from one backup; never mix the files of two."
    )


class CaExposed(OperatorError):
    """A key file or its folder is open to other users, belongs to one, or is not a plain file."""

    code = "ca_exposed"
    sentence = "{path} is not private: {detail}. If nobody can have copied or changed it, run: {remedy}"


class CaExpired(OperatorError):
    """The root or an intermediate is not valid at this machine's time."""

    code = "ca_expired"
    sentence = (
        "The certificate authority's {role} certificate is valid from {begins} until {ends}, and this "
        "machine's clock says {now}. Correct the clock, or start with a new data folder."
    )


class CaFileTrouble(OperatorError):
    """The operating system refused to read or write a file of the certificate authority."""

    code = "ca_file"
    sentence = (
        "The certificate authority cannot use {path}: {reason}. Free the disk or correct the permissions."
    )


# ── the data folder ──
class DataFolderMissing(OperatorError):
    """No server ever ran there."""

    code = "data_folder_missing"
    sentence = (
        "There is no Keyborn data in {path}. Say where it is with --data DIR, or start the service there: "
        "keyborn serve --data {path}. For a stack on AWS, say --aws STACK."
    )


class DataFolderInUse(OperatorError):
    """Another process holds the folder's lock and does not answer on its control socket."""

    code = "data_folder_in_use"
    sentence = "{holder} is using {path}. Stop it, or wait until it has started, and try again."


class DataFolderUnsafe(OperatorError):
    """Others can read it, or it belongs to somebody else."""

    code = "data_folder_unsafe"
    sentence = (
        "The folder {path} is not safe: {detail}. It holds private keys: give it to yourself, mode 0700."
    )


class ServerNotRunning(OperatorError):
    """The command needs a running service."""

    code = "server_not_running"
    sentence = "No service is running on {path}. Start it with: keyborn serve --data {path}"


class ServerStopped(OperatorError):
    """The service ended, or was ended, while a command listened to it."""

    code = "server_stopped"
    sentence = "The service on {path} has stopped. Start it again with: keyborn serve --data {path}"


class SystemTrouble(OperatorError):
    """A file or a call that the operating system refused, where no command had a better word for it."""

    code = "system_trouble"
    sentence = "The operating system refuses: {reason}. Correct the path, its permissions or the disk."


class AddressUnavailable(OperatorError):
    """The port is taken, or the address is not this machine's."""

    code = "address_unavailable"
    sentence = "Cannot listen on {address}: {detail}. Choose another with --https or --mqtt HOST:PORT."


class RegistryTooNew(OperatorError):
    """``registry.db`` was written by a later Keyborn; nothing was changed."""

    code = "registry_too_new"
    sentence = (
        "The registry {path} has schema version {found}; this Keyborn knows up to {known}. "
        "Upgrade Keyborn, or restore an older backup."
    )


class RegistryUnusable(OperatorError):
    """``registry.db`` cannot be opened: not a database, damaged, a link, no permission, no space."""

    code = "registry_unusable"
    sentence = "The registry {path} cannot be opened: {detail}. Repair that, or restore a backup."


class BrokerFileUnusable(OperatorError):
    """``broker.db`` cannot be opened: not a database, damaged, a link, no permission, no space."""

    code = "broker_file_unusable"
    sentence = (
        "The broker's file {path} cannot be opened: {detail}. Repair that, or move the file away: without it "
        "waiting sessions and their messages are lost, and devices subscribe again."
    )


class AuditBroken(OperatorError):
    """The hash chain of the audit trail does not hold."""

    code = "audit_broken"
    sentence = (
        "The audit trail does not hold together at record {sequence}: {detail}. Somebody or something "
        "changed the registry: keep a copy, and compare it with a backup."
    )


class ServerPartsMissing(OperatorError):
    """The command needs a package that only the server extra brings."""

    code = "server_parts_missing"
    sentence = (
        "This is a device's installation: {package} is not here. "
        "To run the service on this machine: pip install 'keyborn[server]'"
    )


class IdentityTakenAway(OperatorError):
    """A service's folder holds an identity that the operator has revoked."""

    code = "identity_taken_away"
    sentence = (
        "The identity of {service} in {path} is revoked, and its key never returns. Move that folder away; "
        "then {remedy}."
    )


class UnexpectedVerdict(OperatorError):
    """``policy simulate --expect`` met the other verdict."""

    code = "unexpected_verdict"
    sentence = "The verdict is {verdict}, and {expected} was expected."


class PackageNotBuilt(OperatorError):
    """The functions' code for AWS could not be put together."""

    code = "package_not_built"
    sentence = "The code for Lambda could not be put together: {detail}. Nothing in AWS has changed."


# ── lists of keys ──
class ImportRefused(OperatorError):
    """A list of keys has lines that cannot be imported; nothing of it was."""

    code = "import_refused"
    sentence = (
        "{file} has {count} lines that cannot be imported, so nothing of it was: mend them, or leave them "
        "out with --keep-going."
    )


class ImportIncomplete(OperatorError):
    """Some keys are registered for another name or group already, or some lines were left out."""

    code = "import_incomplete"
    sentence = "{left} lines of {file} were not registered; the first ones are named above. All others are."


class ImportStopped(OperatorError):
    """The service could not be asked any further."""

    code = "import_stopped"
    sentence = (
        "The import of {file} stopped: {reason} Run the same command again, and it goes on; with "
        "--from-key {key} it leaves out what is registered already."
    )


class ImportFileUnusable(OperatorError):
    """Not a list of names and key hashes."""

    code = "import_file"
    sentence = (
        "{file} is no list of keys: {detail}. Write CSV with the heading name,keyHash, or on each line one "
        "JSON object with the members name and keyHash."
    )
