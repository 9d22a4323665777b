"""``python -m support.outbox_child FOLDER WORK``: a process that works on an outbox until it is killed.

``append-N`` keeps N messages in batches of 1 to 20 and prints each number once it is durable; ``drain`` sends
what waits, over one session after the other.
"""

import random
import sys
from pathlib import Path

from keyborn.adapters.system import SystemClock
from keyborn.device.home import Home
from keyborn.device.messages import UNBOUNDED, Draft
from keyborn.device.messenger import Messenger
from keyborn.device.outbox import open_outbox
from keyborn.device.pace import Pace
from keyborn.device.surroundings import Surroundings
from keyborn.domain.errors import BrokerUnreachable, HomeBusy
from support.device_home import now

TOPICS = tuple(f"certtest/gateway-1/{name}" for name in "abc")


def append(home: Home, count: int) -> None:
    """Numbers go on where the last process stopped: what it has printed, or one batch more."""
    dice = random.Random(count)
    with open_outbox(home.outbox, UNBOUNDED) as outbox:
        ((done,),) = outbox._connection.execute("SELECT coalesce(max(seq), 0) FROM sqlite_sequence")
        while done < count:
            numbers = range(done + 1, min(done + dice.randint(1, 20), count) + 1)
            drafts = [Draft(TOPICS[number % len(TOPICS)], b"%d" % number) for number in numbers]
            assert outbox.append_many(drafts, now()) == list(numbers)
            done = numbers[-1]
            sys.stdout.write(f"{done}\n")
            sys.stdout.flush()


def drain(home: Home) -> None:
    """Until it is killed."""
    around = Surroundings(SystemClock(), "host", lambda _text: None, Pace(fraction=lambda: 0.01))
    while True:
        try:
            for _ in Messenger(home, around, 0, UNBOUNDED).listen("certtest/gateway-1/none"):
                pass
        except (BrokerUnreachable, HomeBusy):
            around.pace.sleep(0.02)


if __name__ == "__main__":
    place, work = Home(Path(sys.argv[1])), sys.argv[2]
    if work == "drain":
        drain(place)
    append(place, int(work.partition("-")[2]))
