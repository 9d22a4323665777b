"""Leaves: operators elsewhere, their API keys, and what they may do."""

from keyborn.domain.errors.tree import Forbidden, InputError, OperatorError, Unauthenticated


class ApiKeyMissing(Unauthenticated):
    """An operator's route was asked without a credential."""

    code = "api_key_missing"
    sentence = (
        "This is an operator's route, and the request carries no API key. Send it as "
        "`Authorization: Bearer kba1.…`; keyborn api-key create makes one."
    )


class ApiKeyRefused(Unauthenticated):
    """Unknown, withdrawn, or not an API key at all: told apart by nobody outside."""

    code = "api_key_refused"
    sentence = (
        "The API key is not valid. Ask for a new one: keyborn api-key create, on the machine of the service."
    )


class ApiKeyExpired(Unauthenticated):
    """The right secret, too late."""

    code = "api_key_expired"
    sentence = (
        "The API key expired at {expired}. Ask for a new one: keyborn api-key create, on the machine of the "
        "service."
    )


class RoleTooLow(Forbidden):
    """The key is good, and its role does not do this."""

    code = "role_too_low"
    sentence = "This API key's role is {role}, and this takes {wanted}. Use a key with that role."


class LocalOnly(Forbidden):
    """No key of any role does this from elsewhere."""

    code = "local_only"
    sentence = (
        "This can be done only on the machine of the service, in its data folder, whatever role a key has. "
        "Run the command there, with --data."
    )


class InvalidApiKey(InputError):
    """A word that is no API key."""

    code = "invalid_api_key"
    sentence = "The API key is not usable: {detail}. Copy the whole word that starts with `kba1.`"


class NotRemote(OperatorError):
    """A command that needs the data folder itself was asked for a service elsewhere."""

    code = "not_remote"
    sentence = (
        "The command keyborn {command} works in the data folder, on the machine of the service: it is not "
        "available with --url. Run it there, with --data."
    )


class RemoteUntrusted(OperatorError):
    """The address of a service elsewhere answered, and not as that service."""

    code = "remote_untrusted"
    sentence = (
        "The service at {url} cannot be trusted: {detail}. The API key was not sent. If the root was "
        "changed, ask for a new key; else check the URL."
    )


class RemoteUnreachable(OperatorError):
    """No usable answer from a service elsewhere; a change may or may not have happened."""

    code = "remote_unreachable"
    sentence = (
        "No answer from {url}: {detail}. Check the network and the URL; look before you repeat a change."
    )


class RemoteAnswer(OperatorError):
    """A service elsewhere answered something that no Keyborn answers."""

    code = "remote_answer"
    sentence = "{url} answered something unexpected: {detail}. Check the URL."
