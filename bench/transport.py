"""How fast does experience reach the learner, and do weights reach the robot?

    python -m bench.transport [--json FILE] [--rounds 3]

Learner and actor are two processes on this machine, each pinned to a core of its own, over TCP. What is measured is the
whole way a transition takes in a run: handed over one by one as a control loop does, spooled to disk, sent, checked,
stored in the learner's log, acknowledged. Beside it, in turn, the same bytes without any of that
(`bench/transport_others.py`): the limit of the socket library, with and without storing on both sides, and pickled
requests, one transition each and many, which is how actor-learner libraries work. Figures of some of those themselves
were measured elsewhere.

Bytes on the wire are those of the loopback interface with all its heads: nothing else may use it meanwhile.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from agent.memory import keep_freed_memory
from agent.record_log import RecordLog
from agent.transition import Records, TransitionSpec
from agent.transport.client import ActorClient
from agent.transport.limits import Limits
from agent.transport.quarantine import Quarantine
from agent.transport.server import LearnerServer
from bench.transport_others import ask, flood, pin

STATE, ACTION, IMAGES, SIDE = 18, 4, 2, 128
STATE_STEPS, IMAGE_STEPS, PACED_STEPS, PUBLICATIONS = 200_000, 2_000, 2_000, 50
PACE_S = 0.002
HIDDEN = (1024, 1024)  # Of a policy whose weights are 4.3 MB.
PATIENCE_S = 120.0

ELSEWHERE = {  # On another 2-core machine, with the libraries themselves.
    "state": {"agentlace": 5425.0, "LeRobot": 1674.0},
    "images": {"agentlace": 133.0, "LeRobot": 386.0},
    "weights": {"agentlace": 17.0},
}


def transition_spec(images: bool) -> TransitionSpec:
    """State alone, or with two camera images."""
    spaces: dict[str, gymnasium.Space] = {"state": gymnasium.spaces.Box(-1, 1, (STATE,))}
    for number in range(IMAGES if images else 0):
        spaces[f"camera_{number}"] = gymnasium.spaces.Box(0, 255, (SIDE, SIDE, 3), np.uint8)
    return TransitionSpec.of(gymnasium.spaces.Dict(spaces), gymnasium.spaces.Box(-1, 1, (ACTION,)))


def a_row(images: bool) -> Records:
    """A transition of noise that the learner takes."""
    row = np.zeros(1, transition_spec(images).dtype)
    row.view(np.uint8)[:] = np.random.default_rng(0).integers(0, 2, row.nbytes)
    return row


@cache  # What there was to choose from before this process was pinned: the learner's would else be the actor's.
def cores() -> tuple[int | None, int | None]:
    """Of actor and learner; none where there is but one."""
    available = sorted(os.sched_getaffinity(0))
    return (available[0], available[1]) if len(available) > 1 else (None, None)


def learn(pipe: Connection, core: int | None, images: bool, folder: Path) -> None:
    """The learner's process: takes all there is; publishes when told; ends when the pipe closes."""
    pin(core)
    keep_freed_memory()  # As a run's learner does; the others, too.
    spec = transition_spec(images)
    log = RecordLog.open(folder / "replay.log", spec.dtype)
    quarantine = Quarantine(folder / "quarantine.log", spec)
    limits = Limits(messages_per_s=1e5, megabytes_per_s=1e5)
    server = LearnerServer(
        "tcp://127.0.0.1:*", spec, {}, record_log=log, quarantine=quarantine, limits=limits
    )
    pipe.send(server.address)
    try:
        while True:
            server.wait(0.0 if pipe.poll() else 0.01)
            while server.poll() is not None:
                pass
            if pipe.poll():
                publish(server, pipe)
    except EOFError:
        server.close()


def publish(server: LearnerServer, pipe: Connection) -> None:
    """Publish a policy as often as told; tell when it began."""
    import torch  # Here, because it takes seconds, and every process of this program would wait.

    from agent.sac import SAC, SACConfig
    from agent.weights import encode_weights

    spec = transition_spec(images=False)
    algorithm = SAC(SACConfig(hidden_sizes=HIDDEN), spec, torch.device("cpu"), 1)
    while True:
        version = pipe.recv()
        began_s = time.monotonic()
        server.publish(version, encode_weights(algorithm.policy_weights()))
        pipe.send(began_s)


@contextmanager
def connected(images: bool) -> Iterator[tuple[ActorClient, Connection, Path]]:
    """An actor here and a learner in another process."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = context.Pipe()
        process = context.Process(target=learn, args=(theirs, cores()[1], images, Path(folder)))
        process.start()
        theirs.close()
        client = ActorClient(ours.recv(), "actor-0", transition_spec(images), {}, Path(folder) / "spool")
        client.wait_welcome(PATIENCE_S)
        try:
            yield client, ours, Path(folder)
        finally:
            client.close()
            ours.close()
            process.join()


def touch_memory(size: int) -> None:
    """Write a file and remove it, before each turn of anybody: a virtual machine may have to ask its host for memory.

    That takes ten times as long as writing there, and who comes first would pay for all.
    """
    with tempfile.TemporaryFile(buffering=0) as file:
        for _ in range(size >> 20):
            file.write(bytes(1 << 20))


def written_bytes() -> int:
    """What this process has written to files and pipes so far."""
    return int(Path("/proc/self/io").read_text().split("wchar:")[1].split()[0])


def wire_bytes() -> int:
    """What went over the loopback interface so far."""
    return int(Path("/proc/net/dev").read_text().split("lo:")[1].split()[0])


def stream(images: bool, steps: int, pace_s: float = 0.0) -> dict[str, float]:
    """Hand over transitions one by one, at a pace or as fast as it goes, until the learner has stored them all."""
    row = a_row(images)
    with connected(images) as (client, _, folder):
        touch_memory(2 * steps * row.nbytes)
        handed_over_s = np.empty(steps)
        before = written_bytes(), wire_bytes()
        started_s = time.perf_counter()
        for step in range(steps):
            row["step"] = step
            if pace_s:
                time.sleep(max(0.0, started_s + step * pace_s - time.perf_counter()))
            before_s = time.perf_counter()
            client.send(row)
            handed_over_s[step] = time.perf_counter() - before_s
        if not client.flush(PATIENCE_S):
            raise TimeoutError(f"{client.unacknowledged} transitions were not acknowledged.")
        wall_s = time.perf_counter() - started_s
        spooled, sent = written_bytes() - before[0], wire_bytes() - before[1]
        logged = (folder / "replay.log").stat().st_size
    return {
        "rate": steps / wall_s,
        "mb_per_s": steps * row.nbytes / wall_s / 1e6,
        "send_median_us": float(np.median(handed_over_s)) * 1e6,
        "send_p999_us": float(np.quantile(handed_over_s, 0.999)) * 1e6,
        "raw_bytes": row.nbytes,
        "spool_bytes": spooled / steps,
        "wire_bytes": sent / steps,
        "log_bytes": logged / steps,
    }


def weights_latency_ms() -> list[float]:
    """From before the learner encodes its policy until the actor's policy has the weights and has acted by them."""
    from agent.fitness import Agent
    from agent.sac import SAC, SACConfig

    latencies_ms = []
    spec = transition_spec(images=False)
    observation = {"state": np.zeros(STATE, np.float32)}
    with connected(images=False) as (client, learner, _):
        agent = Agent(SAC.make_policy(SACConfig(hidden_sizes=HIDDEN), spec, 0), client)
        for version in range(PUBLICATIONS):
            learner.send(version)
            while agent.policy_version != version:
                client.wait(PATIENCE_S)
                agent.take_new_weights()
            agent.policy.act(observation, deterministic=True)
            latencies_ms.append((time.monotonic() - learner.recv()) * 1e3)
    return latencies_ms


def others(images: bool, steps: int) -> dict[str, Callable[[], float]]:
    """Transitions per second of everybody else."""
    spawn, row = multiprocessing.get_context("spawn"), a_row(images)
    at_once = 5 if images else 50
    return {
        "loopback": lambda: flood(spawn, cores(), row, steps, stores=False),
        "loopback, both store": lambda: flood(spawn, cores(), row, steps, stores=True),
        "pickled request each": lambda: ask(spawn, cores(), row, min(steps, 10_000), 1),
        f"pickled, {at_once} a request": lambda: ask(spawn, cores(), row, min(steps, 20_000), at_once),
    }


def measure(images: bool, steps: int, rounds: int) -> dict[str, Any]:
    """Medians over rounds in which everybody has a turn."""
    ours: list[dict[str, float]] = []
    theirs: dict[str, list[float]] = {}
    for _ in range(rounds):
        ours.append(stream(images, steps))
        for name, rate in others(images, steps).items():
            touch_memory(2 * steps * a_row(images).nbytes)
            theirs.setdefault(name, []).append(rate())
    median = {name: statistics.median(one[name] for one in ours) for name in ours[0]}
    return {
        "journeyman": median,
        "paced": stream(images, PACED_STEPS, PACE_S),
        "others": {name: statistics.median(rates) for name, rates in theirs.items()},
        "rounds": {"journeyman": ours, "others": theirs},
    }


def show(what: str, unit: str, scale: float, result: dict[str, Any], elsewhere: dict[str, float]) -> None:
    """One table."""
    ours, paced = result["journeyman"], result["paced"]
    rows = {"journeyman": ours["rate"], **result["others"]}
    print(f"\n{what + ', ' + unit:<36} {'':>12}  ours is")
    for name, rate in rows.items():
        print(f"  {name:<34} {rate * scale:12,.0f} {ours['rate'] / rate:7.2f} x")
    for name, value in elsewhere.items():
        print(f"  {name + ' (measured elsewhere)':<34} {value:12,.0f} {ours['rate'] * scale / value:7.2f} x")
    print(
        f"  a hand-over: {ours['send_median_us']:.0f} us (99.9 %: {ours['send_p999_us']:.0f} us); {1 / PACE_S:.0f} a "
        f"second: {paced['send_median_us']:.0f} us (99.9 %: {paced['send_p999_us']:.0f} us)\n"
        f"  bytes of a transition: {ours['raw_bytes']:,.0f} raw; of that "
        + ", ".join(
            f"{100 * ours[f'{where}_bytes'] / ours['raw_bytes']:.1f} % {said}"
            for where, said in (("spool", "to the spool"), ("wire", "on the wire"), ("log", "in the log"))
        )
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    pin(cores()[0])
    keep_freed_memory()  # As a run's actor does.
    states = measure(False, STATE_STEPS, options.rounds)
    images = measure(True, IMAGE_STEPS, options.rounds)
    latencies_ms = weights_latency_ms()
    show("state", "transitions/s", 1.0, states, ELSEWHERE["state"])
    show("images", "MB/s", images["journeyman"]["raw_bytes"] / 1e6, images, ELSEWHERE["images"])
    print(
        f"\nweights of 4.3 MB, from the learner's policy to the actor's acting: median "
        f"{statistics.median(latencies_ms):.1f} ms, the latest of {PUBLICATIONS} {max(latencies_ms):.1f} ms"
    )
    if options.json:
        everything = {"state": states, "images": images, "weights_ms": latencies_ms, "elsewhere": ELSEWHERE}
        options.json.write_text(json.dumps(everything, indent=1))


if __name__ == "__main__":
    main()
