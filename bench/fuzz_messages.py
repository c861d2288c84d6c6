"""Damaged messages, sent to a learner in its own process beside an honest actor. No bench itself; see bench/fuzz.py."""

import logging
import multiprocessing
import os
import random
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

import gymnasium
import msgspec
import numpy as np
import zmq
from scipy.stats import linregress

from agent.record_log import FrameKind, RecordLog
from agent.transition import TransitionSpec
from agent.transport import messages as m
from agent.transport.client import ActorClient
from agent.transport.ledger import look_into
from agent.transport.limits import Limits
from agent.transport.server import LearnerServer
from bench.fuzz_mutations import BINARY, mutated

SPEC = TransitionSpec.of(gymnasium.spaces.Box(-1, 1, (3,)), gymnasium.spaces.Box(-1, 1, (2,)))
TASK = {"name": "fuzz"}
PATIENCE_S = 120.0
# The rates are what is not to help here.
UNLIMITED = Limits(actors=64, messages_per_s=1e9, megabytes_per_s=1e9)
PER_CONNECTION = 250


@dataclass
class Findings:
    """What became of the learner.

    Attributes:
        sent: Messages sent to it; those on their way when it closes a connection, for a frame too long, are lost.
        received: Messages that reached it.
        malformed: Of these it dropped.
        honest: Transitions that the honest actor handed over.
        stored: Of these that are in the learner's log, in order and once each.
        updates: How far learning went on meanwhile, as the honest actor was told.
        memory: Its resident bytes after so many messages.
        cpu_s: Its processor time.
        streams: Streams that it remembers at the end.
    """

    sent: int = 0
    received: int = 0
    malformed: int = 0
    honest: int = 0
    stored: int = 0
    updates: int = 0
    memory: list[tuple[int, int]] = field(default_factory=list)
    cpu_s: float = 0.0
    streams: int = 0

    @property
    def bytes_per_message(self) -> tuple[float, float]:
        """Slope of the memory over the last three quarters, and half of its 95 % interval."""
        later = np.array([point for point in self.memory if point[0] >= self.received / 4], np.float64)
        if len(later) < 4:
            return float("nan"), float("nan")
        fit = linregress(later[:, 0], later[:, 1])
        return float(fit.slope), float(1.96 * fit.stderr)


def learn(pipe: Connection, folder: Path) -> None:
    """The learner's process: takes what comes and counts updates; says how it is whenever asked."""
    logging.disable(logging.WARNING)  # It says what it drops.
    log = RecordLog.open(folder / "replay.log", SPEC.dtype)
    server = LearnerServer("tcp://127.0.0.1:*", SPEC, TASK, record_log=log, limits=UNLIMITED, lease_s=1.0)
    pipe.send(server.address)
    updates = 0
    with suppress(EOFError):
        while True:
            server.wait(0.02)
            server.poll_reports()
            while server.poll() is not None:
                updates += 1
                server.set_progress(updates, updates)
            if pipe.poll():
                pipe.recv()
                pages = int(Path("/proc/self/statm").read_text().split()[1])
                memory = pages * resource.getpagesize()
                pipe.send(
                    (
                        memory,
                        server.messages,
                        server.malformed_messages,
                        time.process_time(),
                        len(log.cursors),
                    )
                )
    server.close()
    log.close()


@contextmanager
def learner(folder: Path) -> Iterator[Connection]:
    """A learner in a process of its own; the first thing it says is its address."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=learn, args=(theirs, folder), daemon=True)
    process.start()
    theirs.close()
    try:
        yield ours
    finally:
        ours.close()
        process.join(PATIENCE_S)


def fuzz_messages(count: int, seed: int, folder: Path) -> Findings:
    """Send damage until `count` messages have come; see what becomes of the learner, and of an honest actor.

    Raises:
        EOFError: The learner died.
        TimeoutError: It answers no more.
    """
    found, rng = Findings(), random.Random(seed)
    with learner(folder) as pipe:
        address = pipe.recv()
        client = ActorClient(address, "honest", SPEC, TASK, folder / "spool")
        client.wait_welcome(PATIENCE_S)
        while found.received < count:
            _converse(address, PER_CONNECTION, rng)
            found.sent += PER_CONNECTION
            _hand_over(client, found, rng)
            memory, found.received, *_ = _ask(pipe)
            if found.received >= len(found.memory) * count / 40:
                found.memory.append((found.received, memory))
        if not client.flush(PATIENCE_S):
            raise TimeoutError("The learner did not store what the honest actor sent.")
        stream, _ = look_into(folder / "spool" / "stream")
        found.updates = client.updates
        client.close()
        _, found.received, found.malformed, found.cpu_s, found.streams = _ask(pipe)
    found.stored = _stored_once_in_order(folder / "replay.log", stream)
    return found


def _ask(pipe: Connection) -> tuple[int, int, int, float, int]:
    pipe.send(None)
    if not pipe.poll(PATIENCE_S):
        raise TimeoutError("The learner answers no more.")
    answer: tuple[int, int, int, float, int] = pipe.recv()
    return answer


def _hand_over(client: ActorClient, found: Findings, rng: random.Random) -> None:
    """What an honest actor does meanwhile: some transitions, now and then a report."""
    records = np.zeros(rng.choice((1, 1, 3)), SPEC.dtype)
    records["step"] = np.arange(found.honest, found.honest + len(records))
    client.send(records)
    found.honest += len(records)
    if rng.random() < 0.1:
        client.report({"kind": "episode", "steps": found.honest})


def _stored_once_in_order(path: Path, stream: bytes) -> int:
    """How many transitions of the stream the log holds.

    Raises:
        AssertionError: One is missing, there twice, or not in order.
    """
    log = RecordLog.open(path, SPEC.dtype)
    frames = [f for f in log.frames() if f.stream == stream and f.kind is FrameKind.RECORDS]
    steps = np.concatenate([np.frombuffer(frame.payload, SPEC.dtype)["step"] for frame in frames])
    log.close()
    if not np.array_equal(steps, np.arange(len(steps))):
        raise AssertionError("The honest actor's transitions are not in the log once each and in order.")
    return len(steps)


def _converse(address: str, count: int, rng: random.Random) -> None:
    """One connection: perhaps a valid introduction, then damage. Ends when the learner answers, so it has seen all.

    Raises:
        TimeoutError: It answers no more.
    """
    stream = rng.randbytes(m.IDENTITY_BYTES)
    hello = m.Hello(
        m.PROTOCOL_VERSION, f"fuzz-{rng.randrange(100)}", stream, SPEC.description(), TASK, 0, 1 << 40
    )
    valid = _valid_messages(hello, rng)
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.linger = 0
        socket.sndtimeo = int(1000 * PATIENCE_S)
        socket.connect(address)
        if rng.random() < 0.7:
            socket.send(m.encode(hello))
        for number in range(count):
            socket.send_multipart(_damaged(rng.choice(valid), rng))
            if number % 20 == 0:
                _drain(socket)
        _end(socket, hello)


def _end(socket: zmq.Socket[bytes], hello: m.Hello) -> None:
    """Wait for the answer to one more introduction; a connection that was closed for a frame too long says it anew."""
    deadline_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline_s:
        socket.send(m.encode(hello))
        end_s = time.monotonic() + 1.0
        while socket.poll(int(1000 * max(0.0, end_s - time.monotonic()))):
            message, _ = m.decode_from_learner(socket.recv_multipart())
            if isinstance(message, m.Welcome | m.Refused) and message:
                socket.send(m.encode(m.Goodbye()))
                return
    raise TimeoutError("The learner answers no more.")


def _drain(socket: zmq.Socket[bytes]) -> None:
    with suppress(zmq.Again):
        while True:
            m.decode_from_learner(socket.recv_multipart(zmq.NOBLOCK))


def _valid_messages(hello: m.Hello, rng: random.Random) -> list[list[bytes]]:
    """One of each type, of this connection's stream."""
    stream, count = hello.stream, rng.choice((1, 2, 5))
    report = m.encode_report(
        {"kind": "episode", "steps": 5, "return": -1.5, "ended": None, "terms": [1, 2.5, "a"]}
    )
    return [
        [m.encode(hello)],
        [m.encode(m.Transitions(stream, rng.randrange(3), count)), bytes(count * SPEC.dtype.itemsize)],
        [m.encode(m.EpisodeReport(stream, rng.randrange(3))), report],
        [m.encode(m.WeightsRequest(-1))],
        [m.encode(m.Heartbeat())],
        [m.encode(m.Goodbye())],
        [m.encode(m.Stop("not an actor's"))],
    ]


def _damaged(frames: list[bytes], rng: random.Random) -> list[bytes]:
    """A message with something wrong; now and then with nothing wrong."""
    kind = rng.random()
    if kind < 0.6:
        at = rng.randrange(len(frames))
        return [*frames[:at], mutated(frames[at], rng, BINARY), *frames[at + 1 :]]
    if kind < 0.75:
        return [rng.randbytes(rng.choice((0, 1, 5, 40, 400))) for _ in range(rng.choice((1, 1, 2, 3)))]
    if kind < 0.9:
        return [msgspec.msgpack.encode(_random_value(rng, 4)), *frames[1:]]
    if kind < 0.97:
        return rng.choice((frames * 2, frames[1:] or [b""], [*frames, b""], [b"", *frames], frames[::-1]))
    if kind < 0.9995:
        return frames
    return rng.choice(([os.urandom(1)] * 3000, [bytes(m.BATCH_BYTES)], [frames[0], bytes(m.BATCH_BYTES + 1)]))


def _random_value(rng: random.Random, depth: int) -> object:
    """Something that msgpack can say."""
    kind = rng.randrange(9 if depth else 7)
    if kind < 7:
        scalars = (
            None,
            rng.random() < 0.5,
            rng.randrange(-(1 << 63), 1 << 64),
            rng.random() * 1e300,
            "x" * rng.randrange(40),
        )
        return (*scalars, rng.randbytes(rng.randrange(40)), float("nan"))[kind]
    if kind == 7:
        return [_random_value(rng, depth - 1) for _ in range(rng.randrange(6))]
    names = ("type", "stream", "first_sequence", "count", "actor", "spec", "newer_than", "x")
    inner = {rng.choice(names): _random_value(rng, depth - 1) for _ in range(rng.randrange(8))}
    if rng.random() < 0.7:
        inner["type"] = rng.choice(
            ("Hello", "Transitions", "EpisodeReport", "WeightsRequest", "Heartbeat", "Goodbye", "Stop")
        )
    return inner
