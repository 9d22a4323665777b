"""Keyborn gives IoT devices their identity: the key is born on the device and never leaves it.

``async with keyborn.Device.open() as device: await device.publish(topic, payload)``; without asyncio,
``keyborn.SyncDevice``. Importing this package costs nothing; every room is imported where it is used.
"""

__version__ = "0.1.0"

_PLACES = {
    "AgentRefused": "keyborn.domain.errors",
    "Counts": "keyborn.device.messages",
    "Device": "keyborn.device.api.device",
    "Fate": "keyborn.device.messages",
    "KeybornError": "keyborn.domain.errors",
    "Outcome": "keyborn.device.messages",
    "Receipt": "keyborn.device.api.values",
    "Received": "keyborn.device.session",
    "Status": "keyborn.device.api.values",
    "Subscription": "keyborn.device.api.subscription",
    "SyncDevice": "keyborn.device.api.sync",
    "SyncSubscription": "keyborn.device.api.sync",
}
"""Where the public names are; their types are in ``__init__.pyi``."""

__all__ = ["__version__", *_PLACES]  # noqa: PLE0604 - loaded by __getattr__ when they are used


def __getattr__(name: str) -> object:
    """A public name, imported when it is first used (PEP 562)."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - it costs more than this package

    value: object = getattr(import_module(_PLACES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Public names, loaded or not."""
    return sorted({*globals(), *_PLACES})
