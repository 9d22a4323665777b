"""Word to systemd as sd_notify(3) describes it: a datagram to ``$NOTIFY_SOCKET``, where there is one."""

import contextlib
import os
import socket
from collections.abc import Callable, Mapping
from math import inf

_ABSTRACT = "@"


class Notifier:
    """Says that the agent is ready, that it lives, and that it ends."""

    def __init__(self, environment: Mapping[str, str], monotonic: Callable[[], float]) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        self._monotonic = monotonic
        self.every = self._interval(environment) / 4
        """Seconds after which it should say again that it lives; infinite where nobody watches."""
        self._next = -inf

    def ready(self) -> None:
        """It works."""
        self._say("READY=1")

    def stopping(self) -> None:
        """It ends."""
        self._say("STOPPING=1")

    def status(self, text: str) -> None:
        """A line for ``systemctl status``."""
        self._say("STATUS=" + " ".join(text.split()))

    def beat(self) -> None:
        """It lives; said no more often than needed."""
        if self.every < inf and (now := self._monotonic()) >= self._next:
            self._next = now + self.every
            self._say("WATCHDOG=1")

    def _interval(self, environment: Mapping[str, str]) -> float:
        mine = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        microseconds = environment.get("WATCHDOG_USEC", "")
        return int(microseconds) / 1e6 if self._address and mine and microseconds.isdecimal() else inf

    def _say(self, text: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith(_ABSTRACT) else self._address
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(text.encode(), address)
