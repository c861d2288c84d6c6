"""How fast the twin is: `python bench/twin.py [--json FILE]`.

Raw physics and environment steps run side by side, in blocks that alternate on one core, from the same states:
what is compared has seen the same machine.
"""

import argparse
import json
import os
import time
from pathlib import Path

import msgspec
import mujoco
import numpy as np

from controllers.config import InputError
from sim.cameras import TRAINING, VIDEO, Studio, TwinCamera
from sim.registration import load, make_env

_BLOCKS = 60
_STEPS_PER_BLOCK = 20
_FRAMES_PER_BLOCK = 20
_RATES_HZ = (20.0, 10.0)


def main() -> None:
    """Measure, print, and write JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    figures: dict[str, object] = {"mujoco": mujoco.__version__}
    for rate_hz in _RATES_HZ:
        figures[f"steps_at_{rate_hz:g}_hz"] = step_figures(rate_hz)
    figures["rendering"] = rendering_figures()
    print_table(figures)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


def step_figures(rate_hz: float) -> dict[str, float]:
    """Medians over blocks, in microseconds per environment step: raw physics, and the whole environment."""
    task = msgspec.structs.replace(load("lift_cube"), control_rate_hz=rate_hz, episode_length_s=1e6)
    env = make_env(task)
    env.reset(seed=0)
    model = env.scene.twin.model
    substeps = round(1.0 / rate_hz / model.opt.timestep)
    actions = np.random.default_rng(0).uniform(-1.0, 1.0, (_STEPS_PER_BLOCK, 4)).astype(np.float32)
    raw_us, env_us = [], []
    for block in range(_BLOCKS):
        env.reset(seed=block)
        # The same states as the environment passes through, with the motors where it left them.
        data = mujoco.MjData(model)
        start = time.thread_time()
        for action in actions:
            env.step(action)
        env_us.append(1e6 * (time.thread_time() - start) / _STEPS_PER_BLOCK)
        raw_us.append(_raw_block_us(env, block, actions, substeps, data))
    raw, whole = float(np.median(raw_us)), float(np.median(env_us))
    ratio = float(np.median(np.array(env_us) / np.array(raw_us)))
    return {"raw_us": raw, "env_us": whole, "ratio": ratio, "env_steps_per_s": 1e6 / whole}


def _raw_block_us(env, seed: int, actions, substeps: int, data: mujoco.MjData) -> float:
    """Time of `mj_step` alone over the same episode: each step starts from the environment's own state."""
    twin = env.scene.twin
    env.reset(seed=seed)
    total_s = 0.0
    kind = mujoco.mjtState.mjSTATE_INTEGRATION.value
    state = np.empty(mujoco.mj_stateSize(twin.model, kind))
    for action in actions:
        mujoco.mj_getState(twin.model, twin.data, state, kind)
        mujoco.mj_setState(twin.model, data, state, kind)
        start = time.thread_time()
        for _ in range(substeps):
            mujoco.mj_step(twin.model, data)
        total_s += time.thread_time() - start
        env.step(action)
    return 1e6 * total_s / len(actions)


def rendering_figures() -> dict[str, float] | str:
    """Median milliseconds per frame and camera; the reason where nothing can be rendered."""
    env = make_env("lift_cube")
    env.reset(seed=0)
    twin = env.scene.twin
    studio = Studio(twin.model, twin.data)
    cameras = {
        "front 128 x 128": TwinCamera(studio, "front", 128, 128, TRAINING),
        "wrist 128 x 128": TwinCamera(studio, "wrist", 128, 128, TRAINING),
        "video 640 x 480, pretty": TwinCamera(studio, "video", 640, 480, VIDEO),
    }
    figures: dict[str, list[float]] = {name: [] for name in cameras}
    try:
        for name in cameras:
            cameras[name].read()
    except InputError as error:
        return str(error)
    for _ in range(_BLOCKS // 10):
        for name, camera in cameras.items():
            for _ in range(_FRAMES_PER_BLOCK):
                start = time.perf_counter()
                camera.read()
                figures[name].append(1e3 * (time.perf_counter() - start))
    return {name: float(np.median(milliseconds)) for name, milliseconds in figures.items()}


def print_table(figures) -> None:
    """The figures for people."""
    print(f"MuJoCo {figures['mujoco']}, one core, medians")
    print(f"{'lift_cube, state only':<24}{'raw mj_step':>14}{'env.step':>14}{'ratio':>8}{'steps/s':>10}")
    for rate_hz in _RATES_HZ:
        row = figures[f"steps_at_{rate_hz:g}_hz"]
        label = f"{rate_hz:g} Hz control"
        times = f"{row['raw_us']:>11.0f} us{row['env_us']:>11.0f} us"
        print(f"{label:<24}{times}{row['ratio']:>8.2f}{row['env_steps_per_s']:>10.0f}")
    rendering = figures["rendering"]
    if isinstance(rendering, str):
        print(f"rendering: {rendering}")
        return
    for name, milliseconds in rendering.items():
        print(f"{name:<24}{milliseconds:>11.2f} ms")


if __name__ == "__main__":
    main()
