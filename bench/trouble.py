"""How often the detectors of trouble are wrong: `python bench/trouble.py [--episodes N] [--task NAME] [--json FILE]`.

Episodes of the scripted expert, of the expert with noise and of random actions on the twin, in which nothing is broken.
Episodes go on to their time limit, also after success, and every detector looks on, whatever the others say.
"""

import argparse
import json
from collections import Counter
from pathlib import Path

import numpy as np

from robot_env.trouble.watch import TroubleConfig, Watch
from sim.registration import make_env

_NOISE = 0.5
_DETECTORS = ("stuck", "contact", "object_out", "gripper_jammed", "camera_frozen")


def main() -> None:
    """Measure, print, and write JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", default="lift_cube")
    parser.add_argument("--episodes", type=int, default=200, help="of each policy")
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args()
    env = make_env(options.task)
    policies = {"expert": 0.0, f"expert, noise {_NOISE:g}": _NOISE, "random": None}
    figures = {name: measure(env, options.episodes, noise) for name, noise in policies.items()}
    print_table(options.task, options.episodes, figures)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


def measure(env, episodes: int, noise: float | None) -> dict[str, float]:
    """Episodes with an alarm, by detector, and the greatest force that was measured."""
    watches = {name: Watch(env, only(name)) for name in _DETECTORS}
    alarms: Counter[str] = Counter()
    forces_n = []
    for seed in range(episodes):
        rng = np.random.default_rng(seed)
        observation, _ = env.reset(seed=seed)
        expert = env.scene.make_expert()
        raised = set()
        for watch in watches.values():
            watch.restart()
        for _ in range(env.task.episode_steps):
            before, action = env.state, choose(env, expert, rng, noise)
            observation, _, _, _, info = env.step(action)
            frames = {name: observation[name] for name in env.task.cameras}
            looks = {n: w.look(before, action, frames, info["reward_terms"]) for n, w in watches.items()}
            raised |= {name for name, complaint in looks.items() if complaint}
            forces_n.append(float(np.linalg.norm(env.state.ee_wrench[:3])))
        alarms.update(raised)
    return {name: alarms[name] for name in _DETECTORS} | {"greatest force N": max(forces_n)}


def choose(env, expert, rng: np.random.Generator, noise: float | None):
    """An action: the expert's with noise, or none of the expert's."""
    if noise is None:
        return rng.uniform(-1.0, 1.0, env.action_space.shape).astype(np.float32)
    action = expert.act()
    return np.clip(action + rng.normal(0.0, noise, action.shape), -1.0, 1.0).astype(np.float32)


def only(name: str) -> TroubleConfig:
    """A configuration with one detector, as it is by default."""
    default = TroubleConfig()
    others = dict.fromkeys(default.__struct_fields__)
    return TroubleConfig(**{**others, name: getattr(default, name)})


def print_table(task: str, episodes: int, figures: dict[str, dict[str, float]]) -> None:
    """The figures for people."""
    print(f"{task}: episodes of {episodes} with an alarm, nothing being broken")
    print(f"{'':<22}" + "".join(f"{name:>17}" for name in (*_DETECTORS, "greatest force N")))
    for policy, row in figures.items():
        print(f"{policy:<22}" + "".join(f"{value:>17.3g}" for value in row.values()))


if __name__ == "__main__":
    main()
