"""An address that cannot be listened on is named, in a sentence."""

import contextlib
from collections.abc import Iterator

from keyborn.domain.errors import AddressUnavailable
from keyborn.settings import Address


@contextlib.contextmanager
def listening(address: Address) -> Iterator[None]:
    """Raise AddressUnavailable for what the system says of ``address``."""
    try:
        yield
    except OSError as error:
        detail = (error.strerror or str(error)).rpartition(": ")[2]  # asyncio tells the address once more
        raise AddressUnavailable(address=address, detail=detail) from None
