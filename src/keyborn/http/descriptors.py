"""What an event loop says where no descriptor is left for a connection."""

import asyncio
import errno
import logging
from typing import Any

_NO_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_TELL_AGAIN = 10.0
"""Seconds between two warnings that no descriptor is left."""
_log = logging.getLogger("keyborn.serve")


class OutOfDescriptors:
    """The event loop's handler of troubles: asyncio would log thousands of traces a second for this one."""

    def __init__(self) -> None:
        self._told = float("-inf")

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Log ``EMFILE`` and its like once in ten seconds, everything else as asyncio does."""
        trouble = context.get("exception")
        if not isinstance(trouble, OSError) or trouble.errno not in _NO_DESCRIPTORS:
            loop.default_exception_handler(context)
        elif loop.time() - self._told > _TELL_AGAIN:
            self._told = loop.time()
            _log.error("too many open files: new connections wait. Raise the limit (ulimit -n, LimitNOFILE=)")
