"""What does a replay of images cost? Memory of 100,000 steps, and a batch beside an update that learns from it.

    python bench/replay.py [--json FILE] [--steps 100000] [--size 128] [--cameras 2] [--batch 256] [--device auto]

Episodes of 50 steps. Memory is what the process holds more after filling than before. Sampling (with the copy to the
device) and updates of DrQ (convolutions, 2 critics, one thread) alternate in one process; their costs are CPU time, on
a GPU wall time. A step is both in wall time: one after the other, and with the next batch sampled meanwhile.
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
from agent.prefetch import Prefetcher
from agent.processor import use_processor
from agent.replay import MixedSampler, ReplayBuffer, replay_bytes
from agent.transition import TransitionSpec
from journeyman.wiring import make_device

_EPISODE_STEPS = 50
_ROUNDS = 6
_STEPS_PER_ROUND = 4


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


def wall_s(act: Callable[[], object]) -> float:
    """Wall time of a call and of what it leaves to the GPU, if there is one."""
    started = time.perf_counter()
    act()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def step_s(algorithm: DrQ, prefetcher: Prefetcher) -> float:
    """Wall time of a step of the learner in the middle of a run: what was begun before is there, and another begins."""

    def step() -> None:
        algorithm.update(prefetcher.sample(1, algorithm.batch_size, another=True))

    step()
    spent_s = wall_s(lambda: [step() for _ in range(_STEPS_PER_ROUND)])
    prefetcher.set_random_state(
        prefetcher.random_state()
    )  # Nothing is under way beside what is measured next.
    return spent_s / _STEPS_PER_ROUND


def measure(algorithm: DrQ, sampler: MixedSampler) -> dict[str, float]:
    """Median costs of sampling, of an update, and of both without and with overlap, in ms."""
    cost_s = cpu_s if sampler.device.type == "cpu" else wall_s
    apart, overlapped = (Prefetcher(sampler, ahead) for ahead in (False, True))
    step_s(algorithm, overlapped)  # The first are slower.
    spent: dict[str, list[float]] = {
        name: [] for name in ("sample_ms", "update_ms", "step_ms", "step_overlapped_ms")
    }
    for _ in range(_ROUNDS):
        spent["sample_ms"].append(cost_s(lambda: sampler.sample(1, algorithm.batch_size)))
        batch = sampler.sample(1, algorithm.batch_size)
        spent["update_ms"].append(cost_s(lambda batch=batch: algorithm.update(batch)))
        for name, prefetcher in (("step_ms", apart), ("step_overlapped_ms", overlapped)):
            spent[name].append(step_s(algorithm, prefetcher))
    overlapped.close()
    return {name: 1e3 * float(np.median(times)) for name, times in spent.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path)
    for name, default in (("steps", 100_000), ("size", 128), ("cameras", 2), ("batch", 256)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    use_processor(threads=1)
    spec = make_spec(options.cameras, options.size)
    before = resident_bytes()
    buffer = ReplayBuffer(spec, options.steps, 0)
    filling_s = cpu_s(lambda: fill(buffer, spec, options.steps))
    held = resident_bytes() - before
    device = make_device(options.device)
    sampler = MixedSampler(spec, buffer, ReplayBuffer(spec, 1, 0), 0.0, device)
    algorithm = DrQ(DrQConfig(batch_size=options.batch, utd_ratio=1), spec, device, 0)
    figures = {
        "transitions": len(buffer),
        "memory_gb": held / 1e9,
        "expected_gb": replay_bytes(spec, options.steps) / 1e9,
        "two_frames_per_transition_gb": options.steps * spec.dtype.itemsize / 1e9,
        "append_ms": 1e3 * filling_s / options.steps,
        **measure(algorithm, sampler),
    }
    print(
        f"{options.steps:,} steps, {options.cameras} cameras of {options.size} x {options.size}, "
        f"batch {options.batch}, learning on {device}"
    )
    for name, value in figures.items():
        print(f"  {name:<30} {value:10,.3f}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
