"""What bench/transport.py compares with: the same bytes by the same socket library, without what makes a run safe.

`flood` is the limit of this machine: blocks of records, one after the other, without numbers, checks or answers; with
`stores` each side also appends them to a file, as ours do. `ask` is the pattern of actor-learner libraries that send
pickled transitions and wait for the answer; it is written here after what such a library does, in its plainest form:
nothing is stored, checked, numbered or sent again.
"""

import os
import pickle
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import zmq

from agent.memory import keep_freed_memory
from agent.transition import Records

BLOCK_BYTES = 1 << 20


def _drain(pipe: Connection, core: int | None, folder: str, blocks: int, stores: bool) -> None:
    pin(core)
    keep_freed_memory()  # As our learner does.
    with zmq.Context() as context, context.socket(zmq.PULL) as socket:
        pipe.send(socket.bind_to_random_port("tcp://127.0.0.1"))
        with (Path(folder) / "received").open("wb", buffering=0) as file:
            for _ in range(blocks):
                frame = socket.recv(copy=False)
                if stores:
                    file.write(frame.buffer)
        pipe.send("all")


def flood(spawn: Any, cores: tuple[int | None, int | None], row: Records, steps: int, stores: bool) -> float:
    """Transitions per second from one process to another, at most."""
    records = np.repeat(row, max(1, BLOCK_BYTES // row.nbytes))
    blocks = -(-steps // len(records))
    ours, theirs = spawn.Pipe()
    with (
        tempfile.TemporaryDirectory() as folder,
        zmq.Context() as context,
        context.socket(zmq.PUSH) as socket,
    ):
        process = spawn.Process(target=_drain, args=(theirs, cores[1], folder, blocks, stores))
        process.start()
        socket.sndhwm = 16
        socket.connect(f"tcp://127.0.0.1:{ours.recv()}")
        with (Path(folder) / "sent").open("wb", buffering=0) as file:
            started_s = time.perf_counter()
            for _ in range(blocks):
                if stores:
                    file.write(records.view(np.uint8).data)
                socket.send(records.view(np.uint8).data, copy=False)
            ours.recv()
            wall_s = time.perf_counter() - started_s
        process.join()
    return blocks * len(records) / wall_s


def _answer(pipe: Connection, core: int | None) -> None:
    pin(core)
    keep_freed_memory()  # As our learner does.
    stored: list[dict[str, Any]] = []
    with zmq.Context() as context, context.socket(zmq.REP) as socket:
        pipe.send(socket.bind_to_random_port("tcp://127.0.0.1"))
        while transitions := pickle.loads(socket.recv()):  # Both ends are this program.
            stored.extend(transitions)
            del stored[:-1000]
            socket.send(pickle.dumps({"success": True}))


def ask(spawn: Any, cores: tuple[int | None, int | None], row: Records, steps: int, at_once: int) -> float:
    """Transitions per second, so many pickled into each request."""
    names = row.dtype.names or ()
    transition = {name: row[name][0] for name in names}
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_answer, args=(theirs, cores[1]))
    process.start()
    with zmq.Context() as context, context.socket(zmq.REQ) as socket:
        socket.connect(f"tcp://127.0.0.1:{ours.recv()}")
        started_s = time.perf_counter()
        for _ in range(steps // at_once):
            transitions = [
                {name: np.array(value) for name, value in transition.items()} for _ in range(at_once)
            ]
            socket.send(pickle.dumps(transitions))
            socket.recv()
        wall_s = time.perf_counter() - started_s
        socket.send(pickle.dumps([]))
        process.join()
    return steps // at_once * at_once / wall_s


def pin(core: int | None) -> None:
    """Run all that this process does on one core; on any if None."""
    if core is not None:
        os.sched_setaffinity(0, {core})
