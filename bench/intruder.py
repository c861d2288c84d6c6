"""What does a peer without a listed key get from a learner on a network, and what does it cost it?

    python bench/intruder.py [--seconds 10] [--json FILE]

A learner with CURVE keys and an honest actor, each in a process of its own; beside them an intruder of each kind below.
Printed is the processor time that the learner spent beyond what it spends without an intruder, as a share of one core,
what it handed out, and whether the honest actor's transitions arrived.
"""

import argparse
import json
import multiprocessing
import shutil
import socket
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlsplit

import gymnasium
import numpy as np
import zmq

from agent.transition import TransitionSpec
from agent.transport.client import ActorClient
from agent.transport.curve import ClientKeys, ServerKeys, create_keys, secure_client
from agent.transport.messages import Heartbeat, WeightsRequest, encode
from agent.transport.server import LearnerServer

SPEC = TransitionSpec.of(gymnasium.spaces.Box(-1, 1, (18,)), gymnasium.spaces.Box(-1, 1, (4,)))
PATIENCE_S = 60.0
RATE_HZ = 20.0

Intrusion: TypeAlias = Callable[[str, ClientKeys, float], int]


@dataclass(frozen=True)
class Outcome:
    """What one intruder achieved.

    Attributes:
        intruder: Which.
        core_percent: Processor time of the learner beyond that without it, in percent of one core.
        attempts: How often it tried, or how much it said.
        received: Messages it was given.
        delivered: Share of the honest actor's transitions that the learner has.
    """

    intruder: str
    core_percent: float
    attempts: int
    received: int
    delivered: float


def nobody(_address: str, _keys: ClientKeys, seconds: float) -> int:
    """Nothing: the cost of an idle learner and one honest actor."""
    time.sleep(seconds)
    return 0


def _talk(address: str, seconds: float, secure: Callable[[zmq.Socket[bytes]], None], pause_s: float) -> int:
    """Connect once, and say again and again what would make a learner answer. Returns how often."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
        dealer.linger = 0
        secure(dealer)
        dealer.connect(address)
        said, end_s = 0, time.monotonic() + seconds
        while time.monotonic() < end_s:
            with suppress(zmq.Again):
                dealer.send(encode(Heartbeat() if said % 2 else WeightsRequest(-1)), zmq.NOBLOCK)
            said += 1
            if dealer.poll(0):
                raise AssertionError(f"the learner answered: {dealer.recv_multipart()[0]!r}")
            time.sleep(pause_s)
        return said


def unlisted_key(address: str, keys: ClientKeys, seconds: float) -> int:
    """ZeroMQ's own client with a pair of keys that is not listed."""
    return _talk(address, seconds, lambda dealer: secure_client(dealer, keys), 0.01)


def actor_with_unlisted_key(address: str, keys: ClientKeys, seconds: float) -> int:
    """This program's actor with such keys: it connects anew every few seconds."""
    with tempfile.TemporaryDirectory() as folder:
        client = ActorClient(address, "intruder", SPEC, {}, Path(folder) / "spool", keys=keys)
        client.send(np.zeros(100, SPEC.dtype))
        time.sleep(seconds)
        welcomed = client.connected or client.latest_weights() is not None
        client.close()
    if welcomed:
        raise AssertionError("the learner welcomed it")
    return 1


def without_keys(address: str, _keys: ClientKeys, seconds: float) -> int:
    """A client without keys, which connects again and again."""
    return _talk(address, seconds, lambda _: None, 0.01)


def _raw(address: str, seconds: float, say: bytes, pause_s: float, most: int = 1 << 30) -> int:
    """Open a connection, say something, leave it open; again and again."""
    place = urlsplit(address)
    opened: list[socket.socket] = []
    tried, end_s = 0, time.monotonic() + seconds
    while time.monotonic() < end_s:
        if tried < most:
            with suppress(OSError):
                opened.append(socket.create_connection((place.hostname or "", place.port or 0), timeout=1.0))
                opened[-1].sendall(say)
            tried += 1
        while len(opened) > 200:
            opened.pop(0).close()
        time.sleep(pause_s)
    for connection in opened:
        connection.close()
    return tried


def silent_connections(address: str, _keys: ClientKeys, seconds: float) -> int:
    """200 connections that say nothing."""
    return _raw(address, seconds, b"", 0.001, most=200)


def web_browser(address: str, _keys: ClientKeys, seconds: float) -> int:
    """Another protocol, ten times a second."""
    return _raw(address, seconds, b"GET / HTTP/1.1\r\nHost: learner\r\n\r\n", 0.1)


def noise(address: str, _keys: ClientKeys, seconds: float) -> int:
    """A valid greeting and 64 KiB of random bytes, ten times a second."""
    greeting = b"\xff" + bytes(8) + b"\x7f\x03\x01" + b"CURVE".ljust(20, b"\0") + b"\0" + bytes(31)
    return _raw(address, seconds, greeting + np.random.default_rng(0).bytes(1 << 16), 0.1)


def flood_of_handshakes(address: str, keys: ClientKeys, seconds: float) -> int:
    """Whole handshakes with an unlisted key, one after the other, as fast as they go."""
    tried, end_s = 0, time.monotonic() + seconds
    with zmq.Context() as context:
        while time.monotonic() < end_s:
            with context.socket(zmq.DEALER) as dealer:
                dealer.linger = 0
                secure_client(dealer, keys)
                monitor = dealer.get_monitor_socket(zmq.EVENT_HANDSHAKE_FAILED_AUTH)
                dealer.connect(address)
                monitor.poll(1000)
                dealer.disable_monitor()
                tried += 1
    return tried


# Those that are measured against the aim, and those that only show what is beyond it.
PEERS: tuple[Intrusion, ...] = (
    unlisted_key,
    actor_with_unlisted_key,
    without_keys,
    silent_connections,
    web_browser,
    noise,
)
FLOODS: tuple[Intrusion, ...] = (flood_of_handshakes,)


def learn(pipe: Connection, folder: Path) -> None:
    """The learner's process: says its address, then processor seconds and stored steps whenever asked."""
    keys = ServerKeys(folder / "learner.key_secret", folder / "actors")
    server = LearnerServer("tcp://127.0.0.1:*", SPEC, {}, keys=keys)
    server.publish(1, bytes(1 << 20))
    pipe.send(server.address)
    with suppress(EOFError):
        while True:
            while server.poll() is not None:
                pass
            if pipe.poll(0.05):
                pipe.recv()
                pipe.send((time.process_time(), server.environment_steps))
    server.close()


def intrude(intrusion: Intrusion, address: str, keys: ClientKeys, seconds: float, pipe: Connection) -> None:
    """The intruder's process: says how often it tried, and what it was given."""
    try:
        pipe.send((intrusion(address, keys, seconds), 0))
    except AssertionError as error:
        print(error)
        pipe.send((0, 1))


class Scene:
    """A learner in its process, and an honest actor in this one."""

    def __init__(self, folder: Path) -> None:
        self._spawn = multiprocessing.get_context("spawn")
        public, _ = create_keys(folder, "learner")
        honest, honest_secret = create_keys(folder, "honest")
        _, other_secret = create_keys(folder, "intruder")
        (folder / "actors").mkdir()
        shutil.move(honest, folder / "actors")
        self._intruder_keys = ClientKeys(other_secret, public)
        self._pipe, theirs = self._spawn.Pipe()
        self._learner = self._spawn.Process(target=learn, args=(theirs, folder), daemon=True)
        self._learner.start()
        self._address: str = self._pipe.recv()
        keys = ClientKeys(honest_secret, public)
        self._client = ActorClient(self._address, "honest", SPEC, {}, folder / "spool", keys=keys)
        self._client.wait_welcome(PATIENCE_S)
        self._sent = 0

    def measure(self, intrusion: Intrusion, seconds: float) -> Outcome:
        """Let it intrude while the honest actor acts."""
        ours, theirs = self._spawn.Pipe()
        arguments = (intrusion, self._address, self._intruder_keys, seconds, theirs)
        process = self._spawn.Process(target=intrude, args=arguments, daemon=True)
        process.start()
        before_s, _ = self._ask()
        begin_s = time.monotonic()
        while not ours.poll(1 / RATE_HZ):
            self._client.send(np.zeros(1, SPEC.dtype))
            self._sent += 1
        after_s, _ = self._ask()
        share = (after_s - before_s) / (time.monotonic() - begin_s)
        attempts, received = ours.recv()
        process.join()
        self._client.flush(PATIENCE_S)
        stored = self._ask()[1]
        return Outcome(intrusion.__name__, 100 * share, attempts, received, stored / max(1, self._sent))

    def close(self) -> None:
        """End both."""
        self._client.close()
        self._pipe.close()
        self._learner.join()

    def _ask(self) -> tuple[float, int]:
        self._pipe.send(None)
        answer: tuple[float, int] = self._pipe.recv()
        return answer


def main() -> None:
    """Measure all and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=10.0, help="of each intruder")
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scene = Scene(Path(folder))
        quiet = [scene.measure(nobody, options.seconds) for _ in range(2)]
        base = sum(outcome.core_percent for outcome in quiet) / len(quiet)
        spread = abs(quiet[0].core_percent - quiet[1].core_percent)
        print(
            f"Learner with one honest actor at {RATE_HZ:g} Hz: {base:.2f} % of a core (twice: {spread:.2f} apart)."
        )
        print(
            f"{'intruder':26} {'more, % of a core':>18} {'attempts':>9} {'received':>9} {'honest, stored':>15}"
        )
        outcomes = []
        for intrusion in (*PEERS, *FLOODS):
            found = scene.measure(intrusion, options.seconds)
            row = Outcome(**{**asdict(found), "core_percent": found.core_percent - base})
            outcomes.append(row)
            print(
                f"{row.intruder:26} {row.core_percent:18.2f} {row.attempts:9} {row.received:9} {row.delivered:15.1%}",
                flush=True,
            )
        scene.close()
    worst = max(row.core_percent for row in outcomes[: len(PEERS)])
    print(f"Aim: below 1 % of a core. Worst: {worst:.2f} %, floods apart.")
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in outcomes], indent=1))


if __name__ == "__main__":
    main()
