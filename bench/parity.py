"""Is our SAC right? Learning curves beside Stable-Baselines3's, same steps, same evaluation, several seeds each.

    python bench/parity.py [--json FILE] [--plot FILE] [--seeds 3] [--task pendulum|hopper|all]

SAC is plain here (2 critics, 1 update per step, no LayerNorm, no demonstrations), set as Stable-Baselines3 sets it.
A point is "within" if our mean lies in the range of Stable-Baselines3's seeds, widened by the standard error of our
mean. Few seeds span a narrow range, in which a right implementation also misses a point now and then: exit code 1 if
more than a fifth of the points lie outside.
"""

import argparse
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from stable_baselines3 import SAC as PeerSAC  # noqa: N811
from stable_baselines3.common.callbacks import BaseCallback

from agent.processor import use_processor
from agent.replay import MixedSampler, ReplayBuffer
from agent.sac import SAC, SACConfig
from agent.transition import TransitionSpec


@dataclass(frozen=True)
class Setting:
    """One task and how long it is trained."""

    env_id: str
    steps: int
    evaluate_every: int
    episodes: int
    start_steps: int = 100


SETTINGS = {
    "pendulum": Setting("Pendulum-v1", 5000, 500, 10),
    "hopper": Setting("Hopper-v5", 15_000, 1500, 5, start_steps=1000),
}


def make_env(setting: Setting) -> gymnasium.Env:
    """The task with actions in [-1, 1]."""
    return gymnasium.wrappers.RescaleAction(gymnasium.make(setting.env_id), np.float32(-1), np.float32(1))


def mean_return(setting: Setting, act: Any) -> float:
    """Mean return of deterministic episodes from fixed starts."""
    env = make_env(setting)
    total = 0.0
    for episode in range(setting.episodes):
        observation, done = env.reset(seed=10_000 + episode)[0], False
        while not done:
            observation, reward, terminated, truncated, _ = env.step(act(observation))
            total += float(reward)
            done = terminated or truncated
    return total / setting.episodes


def train_ours(setting: Setting, seed: int) -> list[float]:
    """Our SAC in the plainest loop: one step, one update."""
    env = make_env(setting)
    spec = TransitionSpec.of(env.observation_space, env.action_space)
    config = SACConfig(
        utd_ratio=1, discount=0.99, layer_norm=False, actor_objective="min", initial_temperature=1.0,
        target_entropy_scale=1.0, entropy_backup=True, compile=False,
    )  # fmt: skip
    algorithm = SAC(config, spec, torch.device("cpu"), seed)
    policy = SAC.make_policy(config, spec, seed)
    replay = ReplayBuffer(spec, setting.steps, seed)
    sampler = MixedSampler(spec, replay, ReplayBuffer(spec, 1, 0), 0.0, torch.device("cpu"))
    rng = np.random.default_rng(seed)
    curve = []
    observation = spec.observation(env.reset(seed=seed)[0])
    for step in range(setting.steps):
        policy.load_weights(algorithm.policy_weights())
        random = step < setting.start_steps
        action = rng.uniform(-1, 1, spec.action_space.shape) if random else policy.act(observation, False)
        action = action.astype(np.float32)
        raw, reward, terminated, truncated, _ = env.step(action)
        next_observation = spec.observation(raw)
        replay.append(
            spec.record(
                observation=observation, action=action, reward=float(reward), next_observation=next_observation,
                terminated=terminated, truncated=truncated,
            )
        )  # fmt: skip
        observation = spec.observation(env.reset()[0]) if terminated or truncated else next_observation
        if step >= setting.start_steps:
            algorithm.update(sampler.sample(1, config.batch_size))
        if (step + 1) % setting.evaluate_every == 0:
            policy.load_weights(algorithm.policy_weights())
            curve.append(mean_return(setting, lambda o: policy.act(spec.observation(o), deterministic=True)))
    return curve


class _Evaluate(BaseCallback):
    """Evaluates the peer at the same points."""

    def __init__(self, setting: Setting) -> None:
        super().__init__()
        self.setting = setting
        self.curve: list[float] = []

    def _on_step(self) -> bool:
        if self.num_timesteps % self.setting.evaluate_every == 0:
            act = lambda o: self.model.predict(o, deterministic=True)[0]  # noqa: E731
            self.curve.append(mean_return(self.setting, act))
        return True


def train_peer(setting: Setting, seed: int) -> list[float]:
    """Stable-Baselines3's SAC with its defaults."""
    model = PeerSAC(
        "MlpPolicy", make_env(setting), seed=seed, learning_starts=setting.start_steps, device="cpu"
    )
    callback = _Evaluate(setting)
    model.learn(setting.steps, callback=callback)
    return callback.curve


def compare(ours: np.ndarray, peer: np.ndarray) -> np.ndarray:
    """Per evaluation point: does our mean lie in the peer's range of seeds, widened by our standard error?

    Args:
        ours: Returns, shape (seeds, points).
        peer: Returns, shape (seeds, points).
    """
    margin = ours.std(0, ddof=1) / np.sqrt(len(ours)) if len(ours) > 1 else 0.0
    return (ours.mean(0) >= peer.min(0) - margin) & (ours.mean(0) <= peer.max(0) + margin)


def main() -> int:
    """Train all, print the table, draw the curves."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path, default=Path("parity.png"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--task", choices=[*SETTINGS, "all"], default="all")
    options = parser.parse_args()
    use_processor(threads=1)
    chosen = list(SETTINGS) if options.task == "all" else [options.task]
    figure, axes = plt.subplots(1, len(chosen), figsize=(6 * len(chosen), 4), squeeze=False)
    results: dict[str, Any] = {}
    all_within = True
    for name, axis in zip(chosen, axes[0], strict=True):
        setting = SETTINGS[name]
        curves: dict[str, list[list[float]]] = {"journeyman": [], "stable-baselines3": []}
        cpu_s = dict.fromkeys(curves, 0.0)
        for seed in range(options.seeds):
            for label, train in (("journeyman", train_ours), ("stable-baselines3", train_peer)):
                started = time.process_time()
                curves[label].append(train(setting, seed))
                cpu_s[label] += time.process_time() - started
                print(
                    f"{name} seed {seed} {label}:",
                    *(f"{value:.0f}" for value in curves[label][-1]),
                    flush=True,
                )
        ours, peer = (np.array(curves[label]) for label in curves)
        within = compare(ours, peer)
        all_within &= bool(within.mean() >= 0.8)
        points = setting.evaluate_every * np.arange(1, ours.shape[1] + 1)
        print(
            f"\n{setting.env_id}: {'steps':>8} {'ours mean [min, max]':>32} {'SB3 mean [min, max]':>32}  within"
        )
        for i, step in enumerate(points):
            cells = [
                f"{c[:, i].mean():8.0f} [{c[:, i].min():8.0f}, {c[:, i].max():8.0f}]" for c in (ours, peer)
            ]
            print(f"{'':>{len(setting.env_id)}}  {step:>8} {cells[0]:>32} {cells[1]:>32}  {bool(within[i])}")
        print(
            f"CPU seconds: ours {cpu_s['journeyman']:.0f}, SB3 {cpu_s['stable-baselines3']:.0f}\n", flush=True
        )
        for label, values in (("journeyman", ours), ("stable-baselines3", peer)):
            line = axis.plot(points, values.mean(0), label=label)[0]
            axis.fill_between(
                points, values.min(0), values.max(0), color=line.get_color(), alpha=0.2, linewidth=0
            )
        axis.set(
            title=f"{setting.env_id}, {options.seeds} seeds", xlabel="environment steps", ylabel="return"
        )
        axis.legend(frameon=False)
        results[name] = {"curves": curves, "cpu_s": cpu_s, "within": within.tolist()}
    figure.tight_layout()
    figure.savefig(options.plot, dpi=120)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))
    return 0 if all_within else 1


if __name__ == "__main__":
    sys.exit(main())
