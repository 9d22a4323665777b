"""Messages outlive whatever is killed: agent, broker and network, at moments that a seed chooses.

Real programs publish through a real agent, a real network of ours lies between it and a real broker, a client
with a persistent session notes what arrives. What was accepted arrives, in order within its topic, and what
comes twice was not acknowledged. ``KEYBORN_SEED`` replays a run's schedule.
"""

import os
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from keyborn.device.courier import RECORDED_AT_ONCE
from keyborn.device.drain import WINDOW
from keyborn.device.home import Home
from support.device import enroll
from support.device_home import home_in, identify
from support.mosquitto_broker import Mosquitto
from support.rough_network import RoughNetwork, rough_network
from support.server import Server, running
from support.survival import Account, Agent, Place, Recorder, Voice, World, account, led_through, suffer
from support.talker import LISTENS, V5, Identity, Party, Talker
from support.walks import FULL

pytestmark = pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning")
"""paho lets go of a socket whose handshake the network has broken, without closing it."""
SEED = int(os.environ.get("KEYBORN_SEED", "5"))
MESSAGES = 10_600 if FULL else 300
"""What programs try to publish; some of it is sent to an agent that dies before it has answered."""
COMMANDS = 40 if FULL else 2
PATIENCE = 300.0 if FULL else 60.0
PAUSE = 0.06 if FULL else 0.01
DAY = 86400
OF_RECORDER = 100
"""Messages that a broker has on the way to one client, at most."""
NETWORK = ("connection reset", "half closed", "silence")


def voices(thing: str) -> list[Voice]:
    """Programs of each kind, on topics of their own."""
    others = (MESSAGES - COMMANDS) // 4
    return [
        Voice("command", f"certtest/{thing}/command", COMMANDS),
        Voice("api", f"certtest/{thing}/api", others),
        Voice("socket", f"certtest/{thing}/socket", MESSAGES - COMMANDS - others),
    ]


def schedule(dice: random.Random, *brokers: str) -> list[str]:
    """Each kind of fault at least once; which comes when is drawn."""
    faults = ["agent killed", *NETWORK, *brokers[:1]]
    if FULL:
        faults += ["agent killed"] * 11 + [*NETWORK] * 4 + ["long silence"] * 2 + [*brokers] * 2
        faults += ["agent looks anew"] * 2
    dice.shuffle(faults)
    return faults


def told(world: World, found: Account) -> str:
    """The figures, as a sentence."""
    faults = ", ".join(f"{name} {count}x" for name, count in sorted(world.faults.items()))
    return (
        f"seed {SEED}: {found.distinct:,} messages through {faults}: none lost, topics in order,"
        f" {found.kept - found.distinct} kept twice by programs, {found.arrivals - found.kept} repeated"
        f" over {world.network.connections} connections, {found.furthest} behind at most"
    )


def check_repeats(world: World, found: Account) -> None:
    """What comes twice was on the way to the broker, or from it, or its acknowledgement not on disk."""
    ours = world.network.connections * (WINDOW + RECORDED_AT_ONCE)
    theirs = world.recorder.returns * OF_RECORDER
    assert found.arrivals - found.kept <= ours + theirs
    assert found.distinct >= (10_000 if FULL else MESSAGES // 2)
    assert found.furthest <= WINDOW + RECORDED_AT_ONCE + OF_RECORDER


@contextmanager
def world_of(
    tmp_path: Path,
    broker: Server | Mosquitto,
    network: RoughNetwork,
    identity: Identity,
    thing: str,
) -> Iterator[World]:
    """Agent and recorder run until the end of the block."""
    home = home_in(tmp_path)
    led_through(home, network.port)
    agent = Agent(home, tmp_path / "agent.log")
    place = Place(broker.mqtt)
    recorder = Recorder(lambda: Talker(place, identity, "recorder", V5, DAY), f"certtest/{thing}/#")
    with ExitStack() as stack:
        stack.callback(agent.stop)
        stack.callback(recorder.stop)
        agent.start()
        recorder.start()
        yield World(home, agent, network, broker, recorder, random.Random(SEED))


@pytest.mark.slow
@pytest.mark.timeout(PATIENCE + 60)
def test_what_was_accepted_arrives_though_agent_broker_and_network_are_killed(
    tmp_path: Path, figure: Callable[[str], None]
) -> None:
    """The embedded broker, with SIGKILL too: it has acknowledged nothing that was not on its disk."""
    thing = "survivor"
    with running(tmp_path) as server, ExitStack() as stack:
        home = home_in(tmp_path)
        enroll(home.path, server.token(thing=thing)["code"], thing)
        party = Party(server, tmp_path)
        network = stack.enter_context(rough_network(server.mqtt))
        recorder = party.service("recorder", *LISTENS)
        with world_of(tmp_path, server, network, recorder, thing) as world:
            spoken = voices(thing)
            faults = schedule(world.dice, "broker killed", "broker stopped")
            suffer(world, spoken, faults, PAUSE, PATIENCE)
            found = account(world, spoken)
    figure(told(world, found))
    assert world.recorder.forgotten == 0
    check_repeats(world, found)


@pytest.mark.slow
@pytest.mark.needs("mosquitto")
@pytest.mark.timeout(PATIENCE + 60)
def test_the_same_with_mosquitto(tmp_path: Path, figure: Callable[[str], None]) -> None:
    """It is ended by SIGTERM alone: what it acknowledges is in its memory, until it ends in peace."""
    thing, folder = "gateway-1", tmp_path / "mosquitto"
    folder.mkdir()
    home = home_in(tmp_path)
    broker = Mosquitto(folder, lasting=True)
    with ExitStack() as stack:
        stack.callback(broker.stop)
        broker.start()
        identify(home, broker=broker.mqtt)
        network = stack.enter_context(rough_network(broker.mqtt))
        recorder = _recorder(tmp_path / "recorder")
        with world_of(tmp_path, broker, network, recorder, thing) as world:
            spoken = voices(thing)
            suffer(world, spoken, schedule(world.dice, "broker stopped"), PAUSE, PATIENCE)
            found = account(world, spoken)
    figure(told(world, found))
    assert world.recorder.forgotten == 0
    check_repeats(world, found)


def _recorder(folder: Path) -> Identity:
    home = Home(folder)
    made = identify(home, "recorder")
    return Identity("recorder", made.certificate_id, home.key, home.certificate, home.roots)
