"""A device for programs without asyncio: the same names, each of which waits; for any number of threads."""

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, Self, TypeVar

from keyborn.device.api.device import Device, Place
from keyborn.device.api.subscription import Subscription
from keyborn.device.api.values import Receipt, Status
from keyborn.device.messages import Fate
from keyborn.device.session import Received

_Told = TypeVar("_Told")


class _Background:
    """An event loop in a thread, which does what other threads wait for."""

    def __init__(self) -> None:
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keyborn", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Start it; returns once it works."""
        self._thread.start()
        self._ready.wait()

    def do(self, work: Coroutine[Any, Any, _Told]) -> _Told:
        """Do it there; an interrupt here cancels it there."""
        loop = self._loop
        if loop is None:
            work.close()
            raise RuntimeError("Open the device first: with keyborn.SyncDevice.open() as device.")
        future = asyncio.run_coroutine_threadsafe(work, loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def stop(self) -> None:
        """End it; what other threads still wait for is canceled."""
        loop, self._loop = self._loop, None
        if loop is not None:
            loop.call_soon_threadsafe(self._end.set)
        self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner() as runner:
            runner.run(self._wait())

    async def _wait(self) -> None:
        self._end = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._ready.set()
        await self._end.wait()


class SyncSubscription:
    """An iterator of messages, for one thread; ``with`` closes it for certain. See ``Subscription``."""

    def __init__(self, background: _Background, inner: Subscription) -> None:
        self._background = background
        self._inner = inner

    def __enter__(self) -> Self:
        """Ask the broker; raises AgentRefused, HomeBusy, NoIdentity, HomeUnusable."""
        self._background.do(self._inner.__aenter__())
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self._background.do(self._inner.__aexit__())

    def __iter__(self) -> Self:
        """Itself."""
        return self

    def __next__(self) -> Received:
        """The next message; raises as entering does."""
        received = self._background.do(self._inner.take())
        if received is None:
            raise StopIteration
        return received


class SyncDevice:
    """One device's home, in use by the threads of a program: ``with SyncDevice.open() as device``."""

    def __init__(self, inner: Device) -> None:
        self._inner = inner
        self._background = _Background()

    @classmethod
    def open(cls, home: Place = None, *, rate: float | None = None) -> Self:
        """See ``Device.open``."""
        return cls(Device.open(home, rate=rate))

    def __enter__(self) -> Self:
        """Find the agent, or begin; raises NoIdentity, HomeUnusable and FileNotPrivate."""
        self._background.start()
        try:
            self._background.do(self._inner.__aenter__())
        except BaseException:
            self._background.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """See ``Device.close``."""
        try:
            self._background.do(self._inner.close())
        finally:
            self._background.stop()

    def publish(
        self, topic: str, payload: bytes | str, *, qos: int = 1, lifetime: float | None = None
    ) -> Receipt:
        """See ``Device.publish``."""
        return self._background.do(self._inner.publish(topic, payload, qos=qos, lifetime=lifetime))

    def outcome(self, message: Receipt | int, *, wait: float | None = None) -> Fate:
        """See ``Device.outcome``."""
        return self._background.do(self._inner.outcome(message, wait=wait))

    def subscribe(self, *filters: str, seconds: float | None = None) -> SyncSubscription:
        """See ``Device.subscribe``; ``for message in device.subscribe("a/#"): …``."""
        made = self._background.do(self._subscribed(filters, seconds))
        return SyncSubscription(self._background, made)

    def status(self) -> Status:
        """See ``Device.status``."""
        return self._background.do(self._inner.status())

    async def _subscribed(self, filters: tuple[str, ...], seconds: float | None) -> Subscription:
        return self._inner.subscribe(*filters, seconds=seconds)
