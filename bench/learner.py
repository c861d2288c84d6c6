"""How fast is one update? Critic updates per CPU second, beside Stable-Baselines3 in the same run.

    python bench/learner.py [--json FILE] [--seconds 8]

State 18, action 4, batch 256, hidden 256 x 256, one thread. Blocks of the contestants are interleaved, so that a
machine that slows down slows all of them.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import gymnasium
import numpy as np
import torch
from stable_baselines3 import SAC as PeerSAC  # noqa: N811
from stable_baselines3.common.logger import Logger

from agent.replay import MixedSampler, ReplayBuffer
from agent.sac import SAC, SACConfig
from agent.transition import TransitionSpec

STATE, ACTION, ROWS = 18, 4, 4096
OBSERVATIONS = gymnasium.spaces.Box(-1, 1, (STATE,), np.float32)
ACTIONS = gymnasium.spaces.Box(-1, 1, (ACTION,), np.float32)


def ours(critics: int, utd_ratio: int, compile_losses: bool) -> Callable[[], int]:
    """Our update, sampling included; returns critic updates made."""
    spec = TransitionSpec.of(OBSERVATIONS, ACTIONS)
    config = SACConfig(critics=critics, utd_ratio=utd_ratio, compile=compile_losses)
    algorithm = SAC(config, spec, torch.device("cpu"), 0)
    replay = ReplayBuffer(spec, ROWS, 0)
    rng = np.random.default_rng(0)
    rows = np.zeros(ROWS, spec.dtype)
    for name in ("observation.state", "next_observation.state", "action", "reward"):
        rows[name] = rng.uniform(-1, 1, rows[name].shape)
    replay.append(rows)
    sampler = MixedSampler(spec, replay, ReplayBuffer(spec, 1, 0), 0.0, torch.device("cpu"))

    def update() -> int:
        algorithm.update(sampler.sample(utd_ratio, config.batch_size))
        return utd_ratio

    return update


class _Nothing(gymnasium.Env):
    observation_space, action_space = OBSERVATIONS, ACTIONS

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        return np.zeros(STATE, np.float32), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        return self.observation_space.sample(), 0.0, False, False, {}


def peer(critics: int) -> Callable[[], int]:
    """Stable-Baselines3's update: one critic and one actor update each."""
    model = PeerSAC(
        "MlpPolicy", _Nothing(), device="cpu", buffer_size=ROWS, policy_kwargs={"n_critics": critics}
    )
    model.set_logger(Logger(None, []))
    rng = np.random.default_rng(0)
    for _ in range(ROWS):
        observation, after = (rng.uniform(-1, 1, (1, STATE)).astype(np.float32) for _ in range(2))
        action = rng.uniform(-1, 1, (1, ACTION)).astype(np.float32)
        model.replay_buffer.add(observation, after, action, np.zeros(1), np.zeros(1), [{}])

    def update() -> int:
        model.train(1, batch_size=256)
        return 1

    return update


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--seconds", type=float, default=8.0, help="CPU seconds per contestant")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision("medium")
    contestants = {
        "journeyman, 2 critics, UTD 1, compiled": ours(2, 1, True),
        "journeyman, 2 critics, UTD 4, compiled": ours(2, 4, True),
        "journeyman, 2 critics, UTD 4, eager": ours(2, 4, False),
        "Stable-Baselines3, 2 critics, UTD 1": peer(2),
        "journeyman, 10 critics, UTD 20, compiled": ours(10, 20, True),
        "journeyman, 10 critics, UTD 20, eager": ours(10, 20, False),
        "Stable-Baselines3, 10 critics, UTD 1": peer(10),
    }
    spent = dict.fromkeys(contestants, 0.0)
    made = dict.fromkeys(contestants, 0)
    for update in contestants.values():  # Compilation and first calls are not counted.
        update()
        update()
    while min(spent.values()) < options.seconds:
        for name, update in contestants.items():
            started = time.process_time()
            while time.process_time() - started < 0.5:
                made[name] += update()
            spent[name] += time.process_time() - started
    rates = {name: made[name] / spent[name] for name in contestants}
    print(f"{'critic updates per CPU second':<44} {'rate':>8} {'x SB3':>7}")
    for name, rate in rates.items():
        base = rates[f"Stable-Baselines3, {'10' if '10 critics' in name else '2'} critics, UTD 1"]
        print(f"{name:<44} {rate:8.1f} {rate / base:7.2f}")
    if options.json:
        options.json.write_text(json.dumps(rates, indent=1))


if __name__ == "__main__":
    main()
