"""How long does one update from images take? Ours beside others', in the same run and on the same core.

    python -m bench.images [--json FILE] [--cameras 2] [--size 128] [--batch 64] [--rounds 7] [--peer-python PYTHON]

CPU time of one critic and one actor update, sampling and random shifts included. All run on one core, with one thread
each, and take turns, so that a machine that slows down slows all of them. State 7, action 4, 2 critics of 256 x 256.

Ours: DrQ as `algorithm=drq` makes it, its encoder trained by the critics' loss; a frozen ResNet-10 whose features are
computed again in every update; and the same with `encoder.cache`, where the replay keeps them. Stable-Baselines3: SAC
with a NatureCNN for each camera, one set for the actor, one for the critics. LeRobot: its SAC with its default
convolutions, trained and frozen, where `--peer-python` names the Python of an environment that has it (it is a process
of its own, since its dependencies conflict with ours). The networks differ, as docs/performance.md says.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from safetensors.torch import save_file
from stable_baselines3 import SAC as PeerSAC  # noqa: N811
from stable_baselines3.common.logger import Logger

from agent.backbones import ResNet10Backbone
from agent.drq import DrQ, DrQConfig
from agent.encoders import EncoderConfig
from agent.processor import use_processor
from agent.replay import MixedSampler, ReplayBuffer
from bench.lerobot_peer import LeRobot
from bench.replay import fill, make_spec

_ROWS = 128
_UPDATES = 1
Block = Callable[[int], float]
"""Makes so many updates; returns the CPU seconds that they took."""


def timed(update: Callable[[], object]) -> Block:
    """Of an update in this process."""

    def block(updates: int) -> float:
        started_s = time.process_time()
        for _ in range(updates):
            update()
        return time.process_time() - started_s

    return block


def ours(options: argparse.Namespace, **choices: Any) -> Block:
    """DrQ with some options chosen."""
    spec, cpu = make_spec(options.cameras, options.size), torch.device("cpu")
    algorithm = DrQ(DrQConfig(batch_size=options.batch, utd_ratio=1, **choices), spec, cpu, 0)
    replay = ReplayBuffer(spec, _ROWS, 0, algorithm.kept_of_frames)
    fill(replay, spec, _ROWS)
    sampler = MixedSampler(spec, replay, ReplayBuffer(spec, 1, 0), 0.0, cpu)
    return timed(lambda: algorithm.update(sampler.sample(1, options.batch)))


class _Nothing(gymnasium.Env):
    """An environment to make a learner for."""

    def __init__(self, options: argparse.Namespace) -> None:
        spec = make_spec(options.cameras, options.size)
        image = gymnasium.spaces.Box(0, 255, (options.size, options.size, 3), np.uint8)
        self.observation_space = gymnasium.spaces.Dict(
            dict.fromkeys(spec.image_keys, image)
            | {"state": gymnasium.spaces.Box(-np.inf, np.inf, (7,), np.float32)}
        )
        self.action_space = spec.action_space


def sb3(options: argparse.Namespace) -> Block:
    """Stable-Baselines3, without random shifts, which it has not."""
    env = _Nothing(options)
    model = PeerSAC("MultiInputPolicy", env, device="cpu", buffer_size=_ROWS)
    model.set_logger(Logger(None, []))
    images = {key: space for key, space in env.observation_space.items() if key != "state"}
    rng = np.random.default_rng(0)
    for _ in range(_ROWS):
        before, after = (
            {key: rng.integers(0, 256, (1, 3, *space.shape[:2]), np.uint8) for key, space in images.items()}
            | {"state": rng.normal(size=(1, 7)).astype(np.float32)}
            for _ in range(2)
        )
        action = rng.uniform(-1, 1, (1, 4)).astype(np.float32)
        model.replay_buffer.add(before, after, action, np.zeros(1), np.zeros(1), [{}])
    return timed(lambda: model.train(1, batch_size=options.batch))


def lerobot(options: argparse.Namespace) -> LeRobot:
    """LeRobot's learner at its defaults."""
    shape = {"state": 7, "cameras": options.cameras, "size": options.size, "batch": options.batch}
    return LeRobot(options.peer_python, rows=_ROWS, critics=2, utd_ratio=1, **shape)


def measure(blocks: dict[str, Block], rounds: int) -> dict[str, float]:
    """Median time of an update in ms, by the name of who makes it."""
    for block in blocks.values():  # Compilation and first calls are not counted.
        block(2)
    spent: dict[str, list[float]] = {name: [] for name in blocks}
    for _ in range(rounds):
        for name, block in blocks.items():
            spent[name].append(block(_UPDATES) / _UPDATES)
    return {name: 1e3 * float(np.median(times)) for name, times in spent.items()}


def contestants(options: argparse.Namespace, weights: Path) -> dict[str, Block]:
    """Those of this process."""
    save_file(ResNet10Backbone().state_dict(), weights)
    frozen = {"kind": "resnet10", "weights": str(weights), "frozen": True}
    kept = EncoderConfig(**frozen, cache=True)
    return {
        "journeyman, trained": ours(options),
        "journeyman, frozen ResNet-10": ours(options, encoder=EncoderConfig(**frozen)),
        "journeyman, features kept": ours(options, encoder=kept, shift_pixels=0),
        "Stable-Baselines3, trained": sb3(options),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path)
    for name, default in (("cameras", 2), ("size", 128), ("batch", 64), ("rounds", 7)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--peer-python", help="of an environment with LeRobot, such as peer/bin/python")
    options = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # And with it every process that this one starts.
    use_processor(threads=1)
    with tempfile.TemporaryDirectory() as folder:
        blocks = contestants(options, Path(folder) / "resnet10.safetensors")
        peer = lerobot(options) if options.peer_python else None
        if peer is not None:
            blocks |= {f"LeRobot, {kind}": partial(peer.make, kind=kind) for kind in ("trained", "frozen")}
        figures = measure(blocks, options.rounds)
        if peer is not None:
            peer.close()
    print(
        f"{options.cameras} cameras of {options.size} x {options.size}, batch {options.batch}\n"
        f"{'':<32} {'ms':>8}  times ours, trained"
    )
    for name, spent in figures.items():
        print(f"{name:<32} {spent:8.1f}  {spent / figures['journeyman, trained']:.2f}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
