"""An agent in a thread of this process, for a home in which no other one runs.

It is the whole agent: it holds the home's lock, empties the outbox, renews the certificate, and other
programs may use it through its socket as long as this process runs.
"""

import logging
import socket
import threading
from datetime import UTC, datetime
from io import StringIO

from keyborn.device.agent.bridge import Call
from keyborn.device.agent.log import Log
from keyborn.device.agent.run import Agent, Options
from keyborn.device.home import Home
from keyborn.device.outbox_settings import OutboxSettings
from keyborn.device.surroundings import Surroundings

_logger = logging.getLogger("keyborn.agent")


class WallClock:
    """This machine's clock."""

    def now(self) -> datetime:
        """The time, aware, UTC, whole milliseconds."""
        now = datetime.now(UTC)
        return now.replace(microsecond=now.microsecond // 1000 * 1000)


class _Log(Log):
    """The agent's events, for the program's own logging; ``begun`` is set once the agent listens."""

    def __init__(self, begun: threading.Event) -> None:
        super().__init__(StringIO(), WallClock())
        self._begun = begun

    def __call__(self, event: str, **facts: object) -> None:
        """Log one event."""
        told = " ".join(f"{name}={value}" for name, value in facts.items() if value is not None)
        _logger.info("%s %s", event, told)
        if event == "started":
            self._begun.set()


class OwnAgent:
    """One such agent; ``start`` it once: an agent that never runs has nobody to close it."""

    def __init__(self, home: Home, settings: OutboxSettings) -> None:
        self._begun = threading.Event()
        self._wrong: BaseException | None = None
        log = _Log(self._begun)
        around = Surroundings(WallClock(), socket.gethostname(), log.say)
        self._agent = Agent(home, around, Options(settings.rate, settings.limits, patience=0), {}, log)
        self._thread = threading.Thread(target=self._run, name="keyborn-agent", daemon=True)

    @property
    def alive(self) -> bool:
        """Whether it has not ended."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Start it; returns at once."""
        self._thread.start()

    def begun(self) -> None:
        """Wait until programs can connect. Raises what ``Agent.run`` does."""
        self._begun.wait()
        if self._wrong is not None:
            raise self._wrong

    def stop(self) -> None:
        """Have it end, after up to three seconds of sending; waits for nothing."""
        self._agent.call(Call.STOP)

    def join(self) -> None:
        """Wait until it has ended."""
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            self._agent.run()
        except BaseException as wrong:  # noqa: BLE001 - told by ``begun``, or in the log
            if self._begun.is_set():
                _logger.warning("%s", wrong)
            self._wrong = wrong
        finally:
            self._begun.set()
