"""The root of the error tree and its branches; the leaves stand beside it, by whom they concern."""

from typing import ClassVar


class KeybornError(Exception):
    """Root of the tree. ``facts`` fill the sentence; they never hold secrets, keys or whole requests."""

    code: ClassVar[str] = "internal"
    sentence: ClassVar[str] = "Something went wrong inside Keyborn."
    retry_after: float | None = None

    def __init__(self, **facts: object) -> None:
        self.facts = facts
        super().__init__(self.sentence.format(**facts))


class InputError(KeybornError):
    """The input itself is wrong; sending it again will not help."""

    code = "invalid_input"


class TooLarge(KeybornError):
    """More bytes than the limit; refused without reading the rest."""

    code = "too_large"
    sentence = "The request body is larger than {limit} bytes. Send only thingName, csr and attributes."


class Unauthenticated(KeybornError):
    """No credential, or none that we know."""

    code = "unauthenticated"


class Forbidden(KeybornError):
    """The caller is known and not allowed."""

    code = "forbidden"


class Conflict(KeybornError):
    """The request contradicts what the registry holds."""

    code = "conflict"


class NotFound(KeybornError):
    """There is no such record."""

    code = "not_found"
    sentence = "There is no {what} called {name}. List what there is with: keyborn {what} list"


class Throttled(KeybornError):
    """Too many failures from this source or with this token; what is in order still passes."""

    code = "too_many_failures"
    sentence = (
        "Too many failed attempts from this address or with this token. "
        "Wait {seconds} s, then use a valid token for what it permits."
    )

    def __init__(self, *, seconds: int) -> None:
        super().__init__(seconds=seconds)
        self.retry_after = float(seconds)


class Queued(KeybornError):
    """Others are first: a quota admits so many devices a second."""

    code = "queued"
    sentence = (
        "Many devices enroll at this moment, and they are admitted one after the other. "
        "Repeat the same request in {seconds} s."
    )

    def __init__(self, *, seconds: int) -> None:
        super().__init__(seconds=seconds)
        self.retry_after = float(seconds)


class Unavailable(KeybornError):
    """Not now; the same request may succeed after ``retry_after`` seconds."""

    code = "unavailable"
    sentence = "The service cannot answer now. Repeat the same request in {seconds} s."

    def __init__(self, *, seconds: int = 1, **facts: object) -> None:
        super().__init__(seconds=seconds, **facts)
        self.retry_after = float(seconds)


class DeviceError(KeybornError):
    """Something on the device: its files, whom it trusts, its session."""

    code = "device_error"


class OperatorError(KeybornError):
    """Something about the operator's own command or data folder."""

    code = "operator_error"
