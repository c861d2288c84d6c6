"""What many twins on one machine give: `python bench/twins.py [--json FILE]`.

Vector environments in one process and in several, on all cores; and, for physics alone, whether MuJoCo's own threads
(`mujoco.rollout`) would be the better way. Ways alternate, so that they have seen the same machine.
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import mujoco
import mujoco.rollout
import numpy as np

from sim.registration import make_env, make_vec_env

_ROUNDS = 8
_STEPS = 60
_TICKS = 100


def main() -> None:
    """Measure, print, and write JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args()
    figures = many_figures()
    print_table(figures)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


def many_figures() -> dict[str, Any]:
    """Environment steps per second of wall time, and microseconds per twin and control tick of physics alone."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "steps_per_s": _vector_rates(),
        "physics_us": _physics_times(),
    }


def _vector_rates() -> dict[str, float]:
    ways = {
        "1 twin, 1 process": (1, True),
        "2 twins, 2 processes": (2, True),
        "2 twins, this process": (2, False),
    }
    envs = {name: make_vec_env("lift_cube", twins, processes=apart) for name, (twins, apart) in ways.items()}
    rates: dict[str, list[float]] = {name: [] for name in envs}
    rng = np.random.default_rng(0)
    for seed in range(_ROUNDS):
        for name, env in envs.items():
            env.reset(seed=seed)
            actions = rng.uniform(-1.0, 1.0, (_STEPS, *env.action_space.shape)).astype(np.float32)
            seconds = _seconds(lambda env=env, actions=actions: [env.step(action) for action in actions])
            rates[name].append(env.num_envs * _STEPS / seconds)
    for env in envs.values():
        env.close()
    return {name: median(values) for name, values in rates.items()}


def _physics_times() -> dict[str, dict[str, float]]:
    """A control tick of several twins: a call of `mj_step` each, and one of `mujoco.rollout` for all."""
    twin = make_env("lift_cube").scene.twin
    return {f"{twins} twins": _race(twin.model, twins, twin.config.substeps_per_tick) for twins in (2, 16)}


def _race(model: mujoco.MjModel, twins: int, substeps: int) -> dict[str, float]:
    kind = mujoco.mjtState.mjSTATE_FULLPHYSICS.value
    each = [mujoco.MjData(model) for _ in range(twins)]
    start = np.empty((twins, mujoco.mj_stateSize(model, kind)))
    for data, state in zip(each, start, strict=True):
        mujoco.mj_getState(model, data, state, kind)
    control = np.zeros((twins, substeps, model.nu))
    threads = len(os.sched_getaffinity(0))
    per_thread = [mujoco.MjData(model) for _ in range(threads)]

    def one_by_one() -> None:
        for data, state in zip(each, start, strict=True):
            mujoco.mj_setState(model, data, state, kind)
        for _ in range(_TICKS):
            for data in each:
                mujoco.mj_step(model, data, substeps)

    with mujoco.rollout.Rollout(nthread=threads) as pool:

        def together() -> None:
            states = start
            for _ in range(_TICKS):
                # The law of control needs the state, so that no more than a tick can be rolled out at a time.
                states = pool.rollout(model, per_thread, states, control)[0][:, -1]

        ways: dict[str, Callable[[], None]] = {"mj_step": one_by_one, f"rollout, {threads} threads": together}
        times: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(_ROUNDS):
            for name, way in ways.items():
                times[name].append(1e6 * _seconds(way) / _TICKS / twins)
    return {name: median(values) for name, values in times.items()}


def _seconds(work: Callable[[], object]) -> float:
    started_s = time.perf_counter()
    work()
    return time.perf_counter() - started_s


def print_table(figures: dict[str, Any]) -> None:
    """The figures for people."""
    print(f"lift_cube, {figures['cores']} cores, by wall time, medians")
    for name, rate in figures["steps_per_s"].items():
        print(f"{name:<24}{rate:>11.0f} steps/s")
    for twins, row in figures["physics_us"].items():
        for name, time_us in row.items():
            print(f"{f'{twins}, {name}':<34}{time_us:>7.1f} us per twin and control tick, physics alone")


if __name__ == "__main__":
    main()
