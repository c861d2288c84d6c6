"""Small transitions that carry their own number; learners and actors that are closed at the end."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import zmq

from agent.record_log import RecordLog
from agent.transition import Records, TransitionSpec
from agent.transport.client import ActorClient
from agent.transport.server import LearnerServer

TASK = {"name": "lift_cube", "control_rate_hz": "20"}
PATIENCE_S = 20.0
RUN = b"r" * 16


@pytest.fixture
def spec() -> TransitionSpec:
    return TransitionSpec.of(gymnasium.spaces.Box(-1, 1, (3,)), gymnasium.spaces.Box(-1, 1, (2,)))


@pytest.fixture
def rows(spec) -> Callable[[int, int], Records]:
    """Records whose `step` counts up."""

    def make(start: int, count: int) -> Records:
        records = np.zeros(count, spec.dtype)
        records["step"] = np.arange(start, start + count)
        records["observation.state"] = records["step"][:, None]
        return records

    return make


@pytest.fixture
def open_log(spec, tmp_path) -> Iterator[Callable[..., RecordLog]]:
    with ExitStack() as stack:

        def make(path: Path = tmp_path / "replay.log") -> RecordLog:
            log = RecordLog.open(path, spec.dtype)
            stack.callback(log.close)
            return log

        yield make


@pytest.fixture
def serve(spec) -> Iterator[Callable[..., LearnerServer]]:
    with ExitStack() as stack:

        def make(address: str = "tcp://127.0.0.1:*", **options) -> LearnerServer:
            arguments = options.pop("spec", spec), options.pop("task", TASK)
            server = LearnerServer(address, *arguments, **{"run_id": RUN, **options})
            stack.callback(server.close)
            return server

        yield make


@pytest.fixture
def join(spec, tmp_path) -> Iterator[Callable[..., ActorClient]]:
    with ExitStack() as stack:

        def make(address: str, actor: str = "actor-0", spool: str | None = None, **options) -> ActorClient:
            directory = tmp_path / "spools" / (spool or actor)
            arguments = options.pop("spec", spec), options.pop("task", TASK), directory
            client = ActorClient(address, actor, *arguments, **options)
            stack.callback(client.close)
            return client

        yield make


@pytest.fixture
def stranger() -> Iterator[Callable[[str], zmq.Socket]]:
    """Plain sockets that may say anything to the learner."""
    with zmq.Context() as context, ExitStack() as stack:

        def make(address: str) -> zmq.Socket:
            socket = stack.enter_context(context.socket(zmq.DEALER))
            socket.linger = 0
            socket.rcvtimeo = int(PATIENCE_S * 1000)
            socket.connect(address)
            return socket

        yield make


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen]]:
    """Run `peer.py` with these arguments as a process."""
    with ExitStack() as stack:

        def make(*arguments: object) -> subprocess.Popen:
            command = [sys.executable, str(Path(__file__).with_name("peer.py")), *map(str, arguments)]
            root = Path(__file__).parents[3]
            environment = {**os.environ, "PYTHONPATH": str(root)}
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
            stack.callback(process.communicate)
            stack.callback(process.kill)
            return process

        yield make


@pytest.fixture
def take() -> Callable[[LearnerServer, int], list[int]]:
    """Poll until so many records have come; return their steps."""

    def steps(server: LearnerServer, count: int) -> list[int]:
        taken: list[int] = []
        deadline_s = time.monotonic() + PATIENCE_S
        while len(taken) < count:
            assert time.monotonic() < deadline_s, f"only {len(taken)} of {count} records came"
            server.wait(1.0)
            while (records := server.poll()) is not None:
                taken += records["step"].tolist()
        return taken

    return steps


@pytest.fixture
def until() -> Callable[[ActorClient, Callable[[], bool]], None]:
    """Wait for what the learner tells an actor."""

    def wait(client: ActorClient, condition: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline_s
            client.wait(1.0)

    return wait
