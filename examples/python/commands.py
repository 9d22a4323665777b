"""Obey commands, and tell that one is alive meanwhile: two tasks, one device.

python commands.py TOPIC                 (ends with the command "stop")

Commands come on TOPIC/commands; each is answered on TOPIC/answers, the heartbeat is on TOPIC/alive.
"""

import asyncio
import contextlib
import sys

import keyborn

EVERY = 30.0
"""Seconds; a heartbeat is worth nothing once the next one is there."""


async def beat(device: keyborn.Device, topic: str) -> None:
    """Tell again and again that we are there."""
    while True:
        await device.publish(f"{topic}/alive", "yes", lifetime=EVERY)
        await asyncio.sleep(EVERY)


async def obey(device: keyborn.Device, topic: str) -> None:
    """Answer each command, until it is "stop"."""
    async with device.subscribe(f"{topic}/commands") as commands:
        print(f"ready: {topic}/commands", flush=True)
        async for command in commands:
            word = command.payload.decode(errors="replace")
            print(f"command: {word}", flush=True)
            receipt = await device.publish(f"{topic}/answers", f"done: {word}")
            if word == "stop":
                await device.outcome(receipt, wait=10)
                return


async def main(topic: str) -> None:
    """Both at once, until there is no more to obey."""
    async with keyborn.Device.open() as device:
        heart = asyncio.create_task(beat(device, topic))
        try:
            await obey(device, topic)
        finally:
            heart.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await heart


if __name__ == "__main__":
    try:
        asyncio.run(main(sys.argv[1]))
    except keyborn.KeybornError as wrong:
        sys.exit(f"{wrong} [{wrong.code}]")
