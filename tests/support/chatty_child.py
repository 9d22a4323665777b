"""``python -m support.chatty_child HOME HOW PREFIX COUNT PAUSE SEED``: a program that publishes numbers.

HOW is ``socket`` (the agent's socket, in bursts) or ``api`` (the Python API, a task for each topic). Number N
goes to topic PREFIX/N%TOPICS; ``kept N`` is printed once it was accepted. What was sent to an agent that
ended before it had answered is not sent again: nobody knows whether it was kept. PAUSE is the mean one, in
seconds.
"""

import asyncio
import random
import sys
import time
from pathlib import Path

from keyborn import Device
from keyborn.device.agent.client import AgentClient, agent_of
from keyborn.device.home import Home
from keyborn.domain.errors import AgentGone

TOPICS = 3
BURST = 30
SITTING = 60
"""Messages between opening and closing a device: where no agent runs, the program is the agent that long."""


def topic_of(prefix: str, number: int) -> str:
    return f"{prefix}/{number % TOPICS}"


def kept(number: int) -> None:
    sys.stdout.write(f"kept {number}\n")
    sys.stdout.flush()


class Chatty:
    """The program."""

    def __init__(self, home: Home, prefix: str, count: int, pause: float, seed: int) -> None:
        self.home, self.prefix, self.count, self.pause = home, prefix, count, pause
        self.dice = random.Random(seed)

    def socket(self) -> None:
        """Burst after burst, over one conversation as long as that lasts."""
        done = 0
        while done < self.count:
            with agent_of(self.home) as agent:
                while agent is not None and done < self.count:
                    burst = range(done, min(done + self.dice.randint(1, BURST), self.count))
                    done = burst.stop
                    if not self._burst(agent, burst):
                        break
                    time.sleep(self.dice.random() * 2 * self.pause)
            time.sleep(0.05)

    def _burst(self, agent: AgentClient, burst: range) -> bool:
        try:
            for number in burst:
                agent.send("publish", topic=topic_of(self.prefix, number), payload=str(number), ref=number)
            for _ in burst:
                answer = agent.line(20)
                assert answer is not None, "the agent does not answer"
                assert answer["outcome"] in ("waiting", "delivered"), answer
                kept(answer["ref"])
        except AgentGone:
            return False
        return True

    def api(self) -> None:
        asyncio.run(self._sittings())

    async def _sittings(self) -> None:
        for begin in range(0, self.count, SITTING):
            numbers = range(begin, min(begin + SITTING, self.count))
            async with Device.open(self.home.path, rate=0) as device, asyncio.TaskGroup() as tasks:
                for place in range(TOPICS):
                    tasks.create_task(self._say(device, [each for each in numbers if each % TOPICS == place]))

    async def _say(self, device: Device, numbers: list[int]) -> None:
        for number in numbers:
            await device.publish(topic_of(self.prefix, number), str(number))
            kept(number)
            await asyncio.sleep(self.dice.random() * 2 * self.pause)


if __name__ == "__main__":
    folder, how, name, many, mean, start = sys.argv[1:]
    program = Chatty(Home(Path(folder)), name, int(many), float(mean), int(start))
    {"socket": program.socket, "api": program.api}[how]()
