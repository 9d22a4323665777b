"""A device for programs with asyncio: publish, subscribe, outcomes of messages, the device's status."""

import asyncio
import base64
import contextlib
import os
from collections.abc import Callable
from math import inf
from pathlib import Path
from typing import Any, Self, TypeVar
from weakref import WeakSet

from keyborn.device.agent.client import wake
from keyborn.device.api.conversation import Conversation
from keyborn.device.api.door import Door
from keyborn.device.api.own import WallClock
from keyborn.device.api.subscription import Subscription
from keyborn.device.api.values import Receipt, Status, fate_of, status_of
from keyborn.device.home import Home, locate_home
from keyborn.device.identity import require_identity
from keyborn.device.messages import Draft, Fate, Outcome
from keyborn.device.outbox import open_outbox
from keyborn.device.outbox_settings import outbox_settings
from keyborn.device.topics import check_filter, check_payload, check_topic
from keyborn.domain.errors import AgentGone, HomeBusy, InvalidTopic, OutboxFull

AT_ONCE = 100
"""Messages that may wait for the agent's disk together; more wait here, so that none waits too long."""
_SLICE = 10.0
"""Seconds for which one order waits at most: what was canceled occupies nothing for longer."""
_GLANCE = 0.1
_TRIES = 2
_Told = TypeVar("_Told")
Place = str | os.PathLike[str] | None


class Device:
    """One device's home, in use by the tasks of one event loop: ``async with Device.open() as device``.

    Through the home's agent where one runs; where none does, or it ends, this program has the home's session
    itself, as an agent has.
    """

    def __init__(self, home: Home, rate: float | None = None) -> None:
        self._home = home
        self._rate = rate
        self._door: Door | None = None
        self._conversation: Conversation | None = None
        self._subscriptions: WeakSet[Subscription] = WeakSet()

    @classmethod
    def open(cls, home: Place = None, *, rate: float | None = None) -> Self:
        """The device whose files lie in ``home``; without one, where the command line looks for it.

        ``rate``: messages a second, where this program itself has the session; 0 is without limit,
        None what the home's ``outbox.toml`` says, else 2.
        Raises HomeUnusable where this user has no home folder.
        """
        chosen = None if home is None else Path(home)
        return cls(locate_home(chosen, os.environ, root=os.geteuid() == 0), rate)

    async def __aenter__(self) -> Self:
        """Find the agent, or begin; raises NoIdentity, HomeUnusable and FileNotPrivate."""
        self._door = Door(self._home, self._rate)
        self._one = asyncio.Lock()
        self._turns = asyncio.Semaphore(AT_ONCE)
        try:
            with contextlib.suppress(HomeBusy):  # messages are kept meanwhile
                await self._talk()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close it."""
        await self.close()

    async def close(self) -> None:
        """End subscriptions and session; where it is our own, what waits is sent for up to three seconds."""
        for each in list(self._subscriptions):
            each.close()
        door = self._ready()
        try:
            if self._conversation is not None:
                await self._conversation.close()
        finally:
            await door.close()

    async def publish(
        self, topic: str, payload: bytes | str, *, qos: int = 1, lifetime: float | None = None
    ) -> Receipt:
        """Keep a message: on return it is on disk, and it is sent as soon as the broker can be reached.

        ``lifetime``: seconds after which nobody wants it any more. Canceled, it may be kept or not; where an
        agent ends in the middle, it may be kept twice. Raises InvalidTopic, MessageTooLarge, InvalidSetting,
        NoIdentity, OutboxFull, OutboxUnusable, or AgentRefused with the agent's code: then it is not kept.
        """
        body = payload.encode() if isinstance(payload, str) else payload
        draft = Draft(check_topic(topic), check_payload(body), qos, lifetime)
        told = base64.b64encode(body).decode()
        try:
            async with self._turns_of():
                answer = await self._ask(
                    "publish", topic=topic, payloadBase64=told, qos=qos, lifetime=lifetime
                )
            number, fate = self._read(lambda: (int(answer["id"]), fate_of(answer)))
        except (AgentGone, HomeBusy):  # whoever has the home sends it
            number, fate = await asyncio.to_thread(self._keep, draft)
        if fate.outcome is Outcome.DROPPED:
            raise OutboxFull(path=self._home.outbox)
        return Receipt(number, topic)

    async def outcome(self, message: Receipt | int, *, wait: float | None = None) -> Fate:
        """What became of a message, once it is known; after ``wait`` seconds, that it still waits.

        Raises OutboxUnusable, AgentRefused.
        """
        number = message if isinstance(message, int) else message.id
        clock = asyncio.get_running_loop().time
        deadline = inf if wait is None else clock() + wait
        while True:
            fate = await self._fate(number, min(max(deadline - clock(), 0.0), _SLICE))
            if not fate.waiting or clock() >= deadline:
                return fate
            await asyncio.sleep(min(_GLANCE, max(deadline - clock(), 0.0)))

    def subscribe(self, *filters: str, seconds: float | None = None) -> Subscription:
        """Messages that match one of the filters, for ``seconds`` or without end; raises InvalidTopic.

        ``async with device.subscribe("a/#") as messages: async for message in messages: …``
        """
        if not filters:
            raise InvalidTopic(detail="a subscription has one filter at least")
        chosen = tuple(dict.fromkeys(check_filter(each) for each in filters))
        made = Subscription(self._ready(), chosen, seconds)
        self._subscriptions.add(made)
        return made

    async def status(self) -> Status:
        """Where the device stands; raises HomeBusy, NoIdentity, AgentGone, AgentRefused."""
        answer = await self._ask("status")
        return self._read(lambda: status_of(answer["status"], own=self._ready().own))

    # ── the agent ──

    def _ready(self) -> Door:
        if self._door is None:
            raise RuntimeError("Open the device first: async with keyborn.Device.open() as device.")
        return self._door

    def _turns_of(self) -> asyncio.Semaphore:
        self._ready()
        return self._turns

    async def _ask(self, op: str, *, wait: float = 0.0, **members: object) -> dict[str, Any]:
        """As ``Conversation.ask``; an agent that ends is looked for again, and asked again, once."""
        for _ in range(_TRIES - 1):
            with contextlib.suppress(AgentGone):
                return await (await self._talk()).ask(op, wait=wait, **members)
        return await (await self._talk()).ask(op, wait=wait, **members)

    async def _talk(self) -> Conversation:
        door = self._ready()
        async with self._one:
            if self._conversation is None or not self._conversation.alive:
                self._conversation = Conversation(self._home, await door.streams())
            return self._conversation

    def _read(self, reading: Callable[[], _Told]) -> _Told:
        try:
            return reading()
        except (KeyError, TypeError, ValueError):
            raise AgentGone(path=self._home.path) from None

    async def _fate(self, number: int, wait: float) -> Fate:
        try:
            answer = await self._ask("outcome", id=number, wait=wait)
            return self._read(lambda: fate_of(answer))
        except (AgentGone, HomeBusy):
            return await asyncio.to_thread(self._look_up, number)

    # ── without one, because a command has the home ──

    def _keep(self, draft: Draft) -> tuple[int, Fate]:
        now = WallClock().now()
        require_identity(self._home, now)
        with open_outbox(self._home.outbox, outbox_settings(self._home).limits) as outbox:
            (number,) = outbox.append_many([draft], now)
            wake(self._home)  # an agent that has started since then does not know of it
            return number, outbox.fate(number)

    def _look_up(self, number: int) -> Fate:
        with open_outbox(self._home.outbox) as outbox:
            return outbox.fate(number)
