"""How fast is one update? Critic updates per CPU second, ours beside others' in the same run.

    python -m bench.learner [--json FILE] [--seconds 8] [--settings 10x20 2x20 2x1] [--peer-python PYTHON]

State 18, action 4, batch 256, hidden 256 x 256, LayerNorm where the contestant has it, one thread on one core; sampling
from the replay is part of each update. A setting is critics x updates per step. Blocks of all contestants of a setting
alternate, so that a machine that slows down slows all of them. Contestants: our SAC compiled and eager, a hand-written
jitted update in JAX (`bench/jax_update.py`), sbx, Stable-Baselines3. JAX and sbx take part where they are installed:
`pip install -e '.[peers]'`. LeRobot takes part where `--peer-python` names the Python of an environment that has it.
"""

import argparse
import importlib.util
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from stable_baselines3 import SAC as PeerSAC  # noqa: N811
from stable_baselines3.common.logger import Logger

from agent.processor import use_processor
from agent.replay import MixedSampler, ReplayBuffer
from agent.sac import SAC, SACConfig
from agent.transition import TransitionSpec
from bench.lerobot_peer import LeRobot

STATE, ACTION, ROWS, BATCH = 18, 4, 4096, 256
OBSERVATIONS = gymnasium.spaces.Box(-1, 1, (STATE,), np.float32)
ACTIONS = gymnasium.spaces.Box(-1, 1, (ACTION,), np.float32)
BLOCK_S, CRITIC_UPDATES = 0.5, 20  # Of a turn; the second where nobody here can look at a clock.
HAS_JAX = importlib.util.find_spec("sbx") is not None
Update = Callable[[], int]
"""Makes one update, sampling included; returns how many critic updates that were."""
Block = Callable[[], tuple[int, float]]
"""Makes updates for about half a second; returns how many critic updates, and their CPU seconds."""


def our_sampler() -> tuple[TransitionSpec, MixedSampler]:
    """Random transitions in our replay."""
    spec = TransitionSpec.of(OBSERVATIONS, ACTIONS)
    replay = ReplayBuffer(spec, ROWS, 0)
    rng = np.random.default_rng(0)
    rows = np.zeros(ROWS, spec.dtype)
    for name in ("observation.state", "next_observation.state", "action", "reward"):
        rows[name] = rng.uniform(-1, 1, rows[name].shape)
    replay.append(rows)
    return spec, MixedSampler(spec, replay, ReplayBuffer(spec, 1, 0), 0.0, torch.device("cpu"))


def ours(critics: int, utd_ratio: int, compiled: bool) -> Update:
    """Our update."""
    spec, sampler = our_sampler()
    config = SACConfig(critics=critics, utd_ratio=utd_ratio, batch_size=BATCH, compile=compiled)
    algorithm = SAC(config, spec, torch.device("cpu"), 0)

    def update() -> int:
        algorithm.update(sampler.sample(utd_ratio, BATCH))
        return utd_ratio

    return update


def by_hand(critics: int, utd_ratio: int) -> Update:
    """The update in JAX, from our replay."""
    from bench.jax_update import JaxRLPD

    _, sampler = our_sampler()
    learner = JaxRLPD(STATE, ACTION, critics, 2, utd_ratio)

    def update() -> int:
        batch = sampler.sample(utd_ratio, BATCH)
        learner.update(
            {
                "observation": batch["observation.state"].numpy(),
                "action": batch["action"].numpy(),
                "reward": batch["reward"].numpy(),
                "next_observation": batch["next_observation.state"].numpy(),
                "not_terminated": 1.0 - batch["terminated"].numpy().astype(np.float32),
            }
        )
        return utd_ratio

    return update


class _Nothing(gymnasium.Env):
    observation_space, action_space = OBSERVATIONS, ACTIONS

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        return np.zeros(STATE, np.float32), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        return self.observation_space.sample(), 0.0, False, False, {}


def _filled(model: Any) -> Any:
    """With random transitions in its replay, and nothing that it would log to."""
    model.set_logger(Logger(None, []))
    rng = np.random.default_rng(0)
    for _ in range(ROWS):
        observation, after = (rng.uniform(-1, 1, (1, STATE)).astype(np.float32) for _ in range(2))
        action = rng.uniform(-1, 1, (1, ACTION)).astype(np.float32)
        model.replay_buffer.add(observation, after, action, np.zeros(1), np.zeros(1), [{}])
    return model


def sb3(critics: int) -> Update:
    """Stable-Baselines3's update: one critic and one actor update each, no LayerNorm."""
    options = {"n_critics": critics}
    model = _filled(PeerSAC("MlpPolicy", _Nothing(), device="cpu", buffer_size=ROWS, policy_kwargs=options))

    def update() -> int:
        model.train(1, batch_size=BATCH)
        return 1

    return update


def sbx(critics: int, utd_ratio: int) -> Update:
    """The update of sbx, which is Stable-Baselines3 in JAX."""
    from sbx import SAC as SbxSAC  # noqa: N811

    options = {"n_critics": critics, "layer_norm": True, "net_arch": [256, 256]}
    model = _filled(
        SbxSAC("MlpPolicy", _Nothing(), buffer_size=ROWS, policy_delay=utd_ratio, policy_kwargs=options)
    )

    def update() -> int:
        model.train(utd_ratio, BATCH)
        return utd_ratio

    return update


def timed(update: Update) -> Block:
    """Of an update in this process."""

    def block() -> tuple[int, float]:
        made, started_s = 0, time.process_time()
        while (spent_s := time.process_time() - started_s) < BLOCK_S:
            made += update()
        return made, spent_s

    for _ in range(2):  # Compilation and first calls are not counted.
        update()
    return block


def lerobot(python: str, critics: int, utd_ratio: int) -> tuple[LeRobot, Block]:
    """LeRobot's update, whose networks read 256 features that a layer makes of the state; the first is to be closed."""
    shape = {"state": STATE, "cameras": 0, "size": 0, "rows": ROWS, "batch": BATCH}
    peer = LeRobot(python, critics=critics, utd_ratio=utd_ratio, **shape)
    at_once = max(1, CRITIC_UPDATES // utd_ratio)

    def block() -> tuple[int, float]:
        return at_once * utd_ratio, peer.make(at_once, "trained")

    block()
    return peer, block


def contestants(critics: int, utd_ratio: int) -> dict[str, Block]:
    """Who takes part, ours first."""
    found = {
        "journeyman, compiled": ours(critics, utd_ratio, True),
        "journeyman, eager": ours(critics, utd_ratio, False),
    }
    if HAS_JAX:
        found["JAX by hand"] = by_hand(critics, utd_ratio)
        found["sbx"] = sbx(critics, utd_ratio)
    if utd_ratio == 1:  # It knows no other.
        found["Stable-Baselines3"] = sb3(critics)
    return {name: timed(update) for name, update in found.items()}


def measure(blocks: dict[str, Block], seconds: float) -> dict[str, float]:
    """Critic updates per CPU second, by the name of who makes them."""
    spent, made = dict.fromkeys(blocks, 0.0), dict.fromkeys(blocks, 0)
    while min(spent.values()) < seconds:
        for name, block in blocks.items():
            updates, spent_s = block()
            made[name] += updates
            spent[name] += spent_s
    return {name: made[name] / spent[name] for name in blocks}


def measure_setting(critics: int, utd_ratio: int, options: argparse.Namespace) -> dict[str, float]:
    """All contestants of one setting."""
    blocks, peer = contestants(critics, utd_ratio), None
    if options.peer_python:
        peer, blocks["LeRobot"] = lerobot(options.peer_python, critics, utd_ratio)
    rates = measure(blocks, options.seconds)
    if peer is not None:
        peer.close()
    return rates


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--seconds", type=float, default=8.0, help="CPU seconds per contestant")
    parser.add_argument("--settings", nargs="+", default=["10x20", "2x20", "2x1"], metavar="CRITICSxUTD")
    parser.add_argument("--peer-python", help="of an environment with LeRobot, such as peer/bin/python")
    options = parser.parse_args()
    # Before JAX counts them.
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    use_processor(threads=1)  # Memory is kept for everybody in this process.
    rates: dict[str, dict[str, float]] = {}
    print(f"{'critic updates per CPU second':<40} {'rate':>8}  ours is so many times as fast")
    for setting in options.settings:
        critics, utd_ratio = map(int, setting.split("x"))
        rates[setting] = measure_setting(critics, utd_ratio, options)
        best = rates[setting]["journeyman, compiled"]
        for name, rate in rates[setting].items():
            title = f"{critics} critics, UTD {utd_ratio}: {name}"
            print(f"{title:<40} {rate:8.1f}  {best / rate:.2f}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(rates, indent=1))


if __name__ == "__main__":
    main()
