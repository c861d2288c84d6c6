"""A learner or an actor as a process, to be killed. Prints what it has done, line by line.

peer.py learner ADDRESS LOG          prints its address, then how many records it has taken, after each batch
peer.py actor ADDRESS NAME SPOOL N   hands over items until its stream has N of them, prints after each
                                     hundredth, then `stored` once the learner has them all
peer.py guest ADDRESS NAME SPOOL N   the same, but waits for its welcome first, and never leaves
peer.py hopper SPOOL                 goes from run to run with three items each, prints after each
peer.py stuck SPOOL                  hands over item after item while its disk takes nothing, prints the number of
                                     each that it has handed over
peer.py held_learner ADDRESS LOG GATE
peer.py held_actor ADDRESS NAME SPOOL N GATE
                                     a learner, an actor, whose disk holds up the thread that reads the socket
                                     until the file GATE is there; prints `held` when that begins
"""

import os
import signal
import sys
import time
from pathlib import Path

import gymnasium
import numpy as np

from agent.record_log import RecordLog
from agent.transition import TransitionSpec
from agent.transport.client import ActorClient
from agent.transport.server import LearnerServer
from agent.transport.spool import Spool

SPEC = TransitionSpec.of(gymnasium.spaces.Box(-1, 1, (3,)), gymnasium.spaces.Box(-1, 1, (2,)))
TASK = {"name": "lift_cube", "control_rate_hz": "20"}
RUN = b"r" * 16


def learner(address: str, log: str) -> None:
    record_log = RecordLog.open(Path(log), SPEC.dtype)
    server = LearnerServer(address, SPEC, TASK, run_id=RUN, record_log=record_log)
    print(server.address, flush=True)
    taken = 0
    while True:
        server.wait(1.0)
        while (records := server.poll()) is not None:
            taken += len(records)
            print(taken, flush=True)


def actor(address: str, name: str, spool: str, count: str) -> None:
    client = ActorClient(address, name, SPEC, TASK, Path(spool))
    hand_over(client, int(count))
    client.close()


def guest(address: str, name: str, spool: str, count: str) -> None:
    client = ActorClient(address, name, SPEC, TASK, Path(spool))
    client.wait_welcome(60.0)
    hand_over(client, int(count))
    signal.pause()


def hand_over(client: ActorClient, count: int) -> None:
    """Item i is a record of step i, but every hundredth is a report."""
    record = np.zeros(1, SPEC.dtype)
    while (number := client.next_sequence) < count:
        if number % 100 == 99:
            client.report({"number": number})
            print(number + 1, flush=True)
        else:
            record["step"] = number
            client.send(record)
    if client.flush(60.0):
        print("stored", flush=True)


def hold(owner: type, name: str, gate: str) -> None:
    """Let a method wait for the gate."""
    method = getattr(owner, name)

    def held(*arguments: object, **options: object) -> object:
        if not Path(gate).exists():
            print("held", flush=True)
        while not Path(gate).exists():
            time.sleep(0.01)
        return method(*arguments, **options)

    setattr(owner, name, held)


def held_learner(address: str, log: str, gate: str) -> None:
    hold(RecordLog, "append_raw", gate)
    learner(address, log)


def held_actor(address: str, name: str, spool: str, count: str, gate: str) -> None:
    hold(Spool, "next_batch", gate)
    actor(address, name, spool, count)


def stuck(directory: str) -> None:
    spool = Spool(Path(directory), SPEC.dtype, patience_s=0.0, staged=True)
    hold(RecordLog, "append_raw", "/nowhere")
    for number in range(1000):
        record = np.zeros(1, SPEC.dtype)
        record["step"] = number
        spool.append(record)
        print(number, flush=True)
    signal.pause()


def hopper(directory: str) -> None:
    spool = Spool(Path(directory), SPEC.dtype, segment_bytes=1)
    while True:
        spool.acknowledge(spool.next_sequence)
        spool.enter_run(os.urandom(16))
        print("hop", flush=True)
        for _ in range(3):
            spool.append(np.zeros(1, SPEC.dtype))
            spool.tidy()


if __name__ == "__main__":
    signal.alarm(100)  # nothing stays behind, whatever happens to the test
    verbs = (learner, actor, guest, held_learner, held_actor, stuck, hopper)
    {verb.__name__: verb for verb in verbs}[sys.argv[1]](*sys.argv[2:])
