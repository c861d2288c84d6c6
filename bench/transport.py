"""How fast does experience reach the learner, and do weights reach the robot?

    python bench/transport.py [--json FILE]

Learner and actor are two processes on this machine, over TCP. What is measured is the whole way a transition
takes in a run: handed over one by one as a control loop does, spooled to disk, sent, checked, stored in the
learner's log, acknowledged. The peers' figures were measured elsewhere; they store nothing on disk.
"""

import argparse
import json
import multiprocessing
import struct
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import gymnasium
import numpy as np

from agent.record_log import RecordLog
from agent.transition import TransitionSpec
from agent.transport.client import ActorClient
from agent.transport.server import LearnerServer

STATE, ACTION, IMAGES, SIDE = 18, 4, 2, 128
STATE_STEPS, IMAGE_STEPS, PUBLICATIONS = 200_000, 1_500, 50
WEIGHTS_BYTES = 5_000_000
PATIENCE_S = 120.0

PEERS = {  # Measured elsewhere, on another 2-core machine; not run here.
    "state transitions/s": {"agentlace": 5425.0, "LeRobot": 1674.0},
    "images, MB/s": {"agentlace": 133.0, "LeRobot": 386.0},
    "weights of 5 MB, ms": {"agentlace": 17.0},
}


def transition_spec(images: bool) -> TransitionSpec:
    """State alone, or with two camera images."""
    spaces: dict[str, gymnasium.Space] = {"state": gymnasium.spaces.Box(-1, 1, (STATE,))}
    for number in range(IMAGES if images else 0):
        spaces[f"camera_{number}"] = gymnasium.spaces.Box(0, 255, (SIDE, SIDE, 3), np.uint8)
    return TransitionSpec.of(gymnasium.spaces.Dict(spaces), gymnasium.spaces.Box(-1, 1, (ACTION,)))


def learn(pipe: Connection, images: bool, directory: Path) -> None:
    """The learner's process: takes all there is; publishes when told; ends when the pipe closes."""
    spec = transition_spec(images)
    log = RecordLog.open(directory / "replay.log", spec.dtype)
    server = LearnerServer("tcp://127.0.0.1:*", spec, {}, record_log=log)
    pipe.send(server.address)
    version = 0
    try:
        while True:
            server.wait(0.0 if pipe.poll() else 0.01)
            while server.poll() is not None:
                pass
            if pipe.poll():
                pipe.recv()
                payload = bytes(WEIGHTS_BYTES)
                server.publish(version, struct.pack("<d", time.monotonic()) + payload)
                version += 1
    except EOFError:
        server.close()


@contextmanager
def connected(images: bool) -> Iterator[tuple[ActorClient, Connection]]:
    """An actor here and a learner in another process."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = context.Pipe()
        process = context.Process(target=learn, args=(theirs, images, Path(folder)))
        process.start()
        theirs.close()
        client = ActorClient(ours.recv(), "actor-0", transition_spec(images), {}, Path(folder) / "spool")
        client.wait_welcome(PATIENCE_S)
        try:
            yield client, ours
        finally:
            client.close()
            ours.close()
            process.join()


def stream(images: bool, steps: int) -> dict[str, float]:
    """Hand over transitions one by one until the learner has stored them all."""
    with connected(images) as (client, _):
        row = np.zeros(1, transition_spec(images).dtype)
        row.view(np.uint8)[:] = np.random.default_rng(0).integers(0, 2, row.nbytes)
        handed_over_s = np.empty(steps)
        started_s = time.perf_counter()
        for step in range(steps):
            row["step"] = step
            before_s = time.perf_counter()
            client.send(row)
            handed_over_s[step] = time.perf_counter() - before_s
        if not client.flush(PATIENCE_S):
            raise TimeoutError(f"{client.unacknowledged} transitions were not acknowledged.")
        wall_s = time.perf_counter() - started_s
    return {
        "rate": steps / wall_s,
        "mb_per_s": steps * row.nbytes / wall_s / 1e6,
        "send_median_us": float(np.median(handed_over_s)) * 1e6,
        "send_p999_us": float(np.quantile(handed_over_s, 0.999)) * 1e6,
    }


def weights_latency_ms() -> list[float]:
    """From `publish` in the learner to `latest_weights` in the actor; both read this machine's monotonic clock."""
    latencies_ms = []
    with connected(images=False) as (client, learner):
        for _ in range(PUBLICATIONS):
            learner.send("publish")
            while (newest := client.latest_weights()) is None:
                client.wait(PATIENCE_S)
            (published_s,) = struct.unpack_from("<d", newest[1])
            latencies_ms.append((time.monotonic() - published_s) * 1e3)
    return latencies_ms


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    states, images = stream(False, STATE_STEPS), stream(True, IMAGE_STEPS)
    latencies_ms = weights_latency_ms()
    ours = {
        "state transitions/s": states["rate"],
        "images, MB/s": images["mb_per_s"],
        "weights of 5 MB, ms": float(np.median(latencies_ms)),
    }
    print(f"{'':<24} {'journeyman':>12} {'agentlace*':>12} {'LeRobot*':>12}")
    for name, value in ours.items():
        peers = [PEERS[name].get(peer) for peer in ("agentlace", "LeRobot")]
        columns = [f"{'-':>12}" if peer is None else f"{peer:12,.0f}" for peer in peers]
        print(f"{name:<24} {value:12,.0f}", *columns)
    print("* measured elsewhere, on another 2-core machine, without storing on disk\n")
    for name, values in (("state", states), ("images", images)):
        print(
            f"{name}: the control loop spends {values['send_median_us']:.0f} us on a hand-over "
            f"(99.9 %: {values['send_p999_us']:.0f} us)"
        )
    if options.json:
        everything = {"state": states, "images": images, "weights_ms": sorted(latencies_ms), "peers": PEERS}
        options.json.write_text(json.dumps(everything, indent=1))


if __name__ == "__main__":
    main()
