"""What does a replay of images cost? Memory of 100,000 steps, and a batch beside an update that learns from it.

    python bench/replay.py [--json FILE] [--steps 100000] [--size 128] [--cameras 2] [--batch 256]

Episodes of 50 steps. Memory is what the process holds more after filling than before. Sampling and updates of DrQ
(convolutions, 2 critics, one thread) alternate in one process; their costs are CPU time.
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import gymnasium
import numpy as np
import torch

from agent.drq import DrQ, DrQConfig
from agent.replay import MixedSampler, ReplayBuffer, replay_bytes
from agent.transition import TransitionSpec

_EPISODE_STEPS = 50
_ROUNDS = 6


def make_spec(cameras: int, size: int) -> TransitionSpec:
    """Camera images and a vector of 7, as `lift_cube_pixels`."""
    spaces: dict[str, gymnasium.Space] = {
        f"camera_{i}": gymnasium.spaces.Box(0, 255, (size, size, 3), np.uint8) for i in range(cameras)
    }
    spaces["state"] = gymnasium.spaces.Box(-np.inf, np.inf, (7,), np.float32)
    return TransitionSpec.of(gymnasium.spaces.Dict(spaces), gymnasium.spaces.Box(-1, 1, (4,), np.float32))


def fill(buffer: ReplayBuffer, spec: TransitionSpec, steps: int) -> None:
    """Episodes whose frames all differ, as a camera's do."""
    rng = np.random.default_rng(0)
    # Noise once, then moved along: making it anew for every step would take longer than what is measured.
    noise = {
        key: rng.integers(0, 256, (512, *spec.dtype[f"observation.{key}"].shape), np.uint8)
        for key in spec.image_keys
    }
    row = np.zeros(1, spec.dtype)
    for step in range(steps):
        episode, moment = divmod(step, _EPISODE_STEPS)
        row["episode"], row["step"] = episode, moment
        for key, frames in noise.items():
            row[f"observation.{key}"] = frames[(13 * episode + moment) % 512]
            row[f"next_observation.{key}"] = frames[(13 * episode + moment + 1) % 512]
        buffer.append(row)


def resident_bytes() -> int:
    """What this process holds in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def cpu_s(act: Callable[[], object]) -> float:
    """CPU time of a call."""
    started = time.process_time()
    act()
    return time.process_time() - started


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path)
    for name, default in (("steps", 100_000), ("size", 128), ("cameras", 2), ("batch", 256)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision("medium")
    spec = make_spec(options.cameras, options.size)
    before = resident_bytes()
    buffer = ReplayBuffer(spec, options.steps, 0)
    filling_s = cpu_s(lambda: fill(buffer, spec, options.steps))
    held = resident_bytes() - before
    sampler = MixedSampler(spec, buffer, ReplayBuffer(spec, 1, 0), 0.0, torch.device("cpu"))
    algorithm = DrQ(DrQConfig(batch_size=options.batch, utd_ratio=1), spec, torch.device("cpu"), 0)
    algorithm.update(sampler.sample(1, options.batch))  # The first is slower.
    sampling, updating = [], []
    for _ in range(_ROUNDS):
        sampling.append(cpu_s(lambda: sampler.sample(1, options.batch)))
        batch = sampler.sample(1, options.batch)
        updating.append(cpu_s(lambda batch=batch: algorithm.update(batch)))
    figures = {
        "transitions": len(buffer),
        "memory_gb": held / 1e9,
        "expected_gb": replay_bytes(spec, options.steps) / 1e9,
        "two_frames_per_transition_gb": options.steps * spec.dtype.itemsize / 1e9,
        "append_ms": 1e3 * filling_s / options.steps,
        "sample_ms": 1e3 * float(np.median(sampling)),
        "update_ms": 1e3 * float(np.median(updating)),
    }
    print(
        f"{options.steps:,} steps, {options.cameras} cameras of {options.size} x {options.size}, batch {options.batch}"
    )
    for name, value in figures.items():
        print(f"  {name:<30} {value:10,.3f}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
