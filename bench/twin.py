"""How fast the twin is: `python bench/twin.py [--peer-python PATH] [--json FILE]`.

Raw physics, environment steps and, with `--peer-python`, those of gym-hil's PandaPickCube run side by side, in blocks
that alternate on one core: what is compared has seen the same machine. PATH is the Python of an environment that has
gym-hil, such as .venv-external/bin/python after `make external`; its steps are made by bench/twin_peer.py.
"""

import argparse
import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import msgspec
import mujoco
import numpy as np

from controllers.config import InputError
from robot_env.task import CameraConfig
from sim.cameras import TRAINING, VIDEO, Studio, TwinCamera
from sim.registration import load, make_env

_BLOCKS = 60
_STEPS_PER_BLOCK = 20
_FRAMES_PER_BLOCK = 20
_RATES_HZ = (20.0, 10.0)
_SIDE = 128
# Rate, whether there are images, blocks, steps in a block of ours and of the peer: about a second of the peer's each.
_CONTESTS = ((20.0, False, 16, 40, 40), (10.0, False, 16, 40, 20), (10.0, True, 8, 20, 2))
_NO_PEER = "gym-hil: not run; `make external`, then --peer-python .venv-external/bin/python"


def main() -> None:
    """Measure, print, and write JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--peer-python", type=Path, help="Python of an environment that has gym-hil")
    options = parser.parse_args()
    figures: dict[str, Any] = {"mujoco": mujoco.__version__}
    if hasattr(os, "sched_setaffinity"):  # The peer's process inherits it.
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    for rate_hz in _RATES_HZ:
        figures[f"steps_at_{rate_hz:g}_hz"] = step_figures(rate_hz)
    figures["rendering"] = rendering_figures()
    if options.peer_python:
        try:
            figures["peer"] = peer_figures(options.peer_python)
        except InputError as error:
            parser.error(str(error))
    print_table(figures)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


def step_figures(rate_hz: float) -> dict[str, float]:
    """Medians over blocks, in microseconds per environment step: raw physics, and the whole environment."""
    env = make_env(_task(rate_hz, images=False))
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


def _task(rate_hz: float, images: bool) -> Any:
    task = msgspec.structs.replace(load("lift_cube"), control_rate_hz=rate_hz, episode_length_s=1e6)
    camera = CameraConfig(width=_SIDE, height=_SIDE)
    return msgspec.structs.replace(task, cameras={"front": camera, "wrist": camera} if images else {})


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
        "front 128 x 128": TwinCamera(studio, "front", _SIDE, _SIDE, TRAINING),
        "wrist 128 x 128": TwinCamera(studio, "wrist", _SIDE, _SIDE, TRAINING),
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


def peer_figures(python: Path) -> dict[str, Any]:
    """Ours and gym-hil's, by CPU time of their processes, in blocks that alternate.

    Raises:
        InputError: That Python cannot run gym-hil.
    """
    worker = Path(__file__).with_name("twin_peer.py")
    # Not in this folder, and without PYTHONPATH: nothing of this environment may be imported there.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [python, worker], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd="/"
    ) as process:

        def ask(**request: Any) -> dict[str, Any]:
            print(json.dumps(request), file=process.stdin, flush=True)
            answer = process.stdout.readline()
            if not answer:
                raise InputError(
                    f"{python} cannot run gym-hil, see above; `make external` makes one that can."
                )
            return json.loads(answer)

        figures = {_title(rate_hz, images): _contest(ask, rate_hz, images, *sizes)
                   for rate_hz, images, *sizes in _CONTESTS}  # fmt: skip
        process.stdin.close()
    return figures


def _title(rate_hz: float, images: bool) -> str:
    return f"{rate_hz:g} Hz, {f'2 x {_SIDE} x {_SIDE}' if images else 'state only'}"


def _contest(
    ask, rate_hz: float, images: bool, blocks: int, our_steps: int, peer_steps: int
) -> dict[str, Any]:
    env = make_env(_task(rate_hz, images))
    rng = np.random.default_rng(0)
    peer = ask(control_rate_hz=rate_hz, images=images)
    ours_us, peer_us = [], []
    for seed in range(-1, blocks):
        env.reset(seed=max(seed, 0))
        actions = rng.uniform(-1.0, 1.0, (our_steps, 4)).astype(np.float32)
        started_s = time.process_time()
        for action in actions:
            env.step(action)
        spent_s = time.process_time() - started_s
        answer = ask(control_rate_hz=rate_hz, images=images, steps=peer_steps, seed=max(seed, 0))
        if seed >= 0:  # The first block of both warms up.
            ours_us.append(1e6 * spent_s / our_steps)
            peer_us.append(answer["us"])
    ratios = np.array(peer_us) / np.array(ours_us)
    twin = env.scene.twin
    ours = {
        "substeps": round(1.0 / rate_hz / twin.model.opt.timestep),
        "timestep_s": twin.model.opt.timestep,
        "control_laws": round(1.0 / rate_hz / twin.tick_s),
        "dofs": twin.model.nv,
        "us": float(np.median(ours_us)),
    }
    return {
        "ours": ours,
        "gym_hil": peer | {"us": float(np.median(peer_us))},
        "times_as_fast": float(np.median(ratios)),
        "quartiles": np.percentile(ratios, [25, 75]).tolist(),
    }


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
    else:
        for name, milliseconds in rendering.items():
            print(f"{name:<24}{milliseconds:>11.2f} ms")
    print_peer(figures.get("peer"))


def print_peer(figures: dict[str, Any] | None) -> None:
    """Ours beside gym-hil's."""
    if figures is None:
        print(f"\n{_NO_PEER}")
        return
    columns = f"{'steps/s':>9}{'substeps':>10}{'of':>7}{'control laws':>14}{'dofs':>6}"
    print(f"\n{'per CPU second, one core':<42}{columns}")
    for title, row in figures.items():
        peer = f"gym-hil {row['gym_hil']['gym_hil']}, MuJoCo {row['gym_hil']['mujoco']}"
        for name, side in (("lift_cube", row["ours"]), (peer, row["gym_hil"])):
            substeps = f"{side['substeps']:>10}{1e3 * side['timestep_s']:>4.0f} ms"
            work = f"{substeps}{side['control_laws']:>14}{side['dofs']:>6}"
            print(f"{f'{title}: {name}':<42}{1e6 / side['us']:>9.1f}{work}")
        low, high = row["quartiles"]
        print(f"{'':<24}{row['times_as_fast']:.1f} times as fast (quartiles {low:.1f} to {high:.1f})")


if __name__ == "__main__":
    main()
