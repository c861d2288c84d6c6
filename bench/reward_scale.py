"""Does the scale of rewards change how fast something is learned? Critic heads and reward units.

    python bench/reward_scale.py        # 5 learners x 3 scales x 3 seeds: a few minutes on one core
    python bench/reward_scale.py --env Pendulum-v1 --steps 4000 --start-steps 200 --evaluate-every 400

The task is a point that is driven to a goal on a plane, small enough for that; `--env` takes any id of gymnasium's.

Every learner sees the reward times 0.1, 1 and 10; returns are those of the task itself. A learner that does not mind
draws the same curve three times. `--out` gets `reward_scale.json`, after every run, and `reward_scale.png`.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import gymnasium
import msgspec
import numpy as np
import torch
from in_process import Point, evaluate, make_env, train

from agent.sac import SAC, SACConfig
from agent.transition import TransitionSpec
from journeyman.statistics import Estimate, interquartile_mean_of, interquartile_means

LEARNERS: dict[str, dict[str, Any]] = {
    "mse": {},
    "gaussian": {"critic_head": "gaussian"},
    "gaussian, unit follows": {"critic_head": "gaussian", "reward_unit": None},
    "hl_gauss, unit follows": {"critic_head": "hl_gauss", "reward_unit": None},
    "mse, unit follows": {"reward_unit": None},
}
SCALES = (0.1, 1.0, 10.0)
COLOURS = ("tab:blue", "black", "tab:orange")


class Reach(gymnasium.Env):
    """A point on a plane, moved by up to 0.2 in each direction per step; the reward is minus its distance from a goal.

    Observed are point and goal, both in [-1, 1]. Episodes have 20 steps.
    """

    observation_space = gymnasium.spaces.Box(-1.0, 1.0, (4,), np.float32)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        """Point and goal anywhere."""
        super().reset(seed=seed)
        self._places = self.np_random.uniform(-1.0, 1.0, 4).astype(np.float32)
        return self._places.copy(), {}

    def step(self, action: Any) -> Any:
        """Move."""
        self._places[:2] = np.clip(self._places[:2] + 0.2 * action, -1.0, 1.0)
        distance = float(np.linalg.norm(self._places[:2] - self._places[2:]))
        return self._places.copy(), -distance, False, False, {}


gymnasium.register("bench/Reach-v0", Reach, max_episode_steps=20)


class Options(msgspec.Struct, frozen=True):
    """What all runs have in common."""

    env: str
    steps: int
    start_steps: int
    evaluate_every: int
    episodes: int
    discount: float


def learn(options: Options, learner: str, scale: float, seed: int) -> list[Point]:
    """One run; its points are in units of the task's own reward."""
    env = gymnasium.wrappers.TransformReward(make_env(options.env), lambda reward: scale * float(reward))
    spec = TransitionSpec.of(env.observation_space, env.action_space)
    config = SACConfig(
        batch_size=64, utd_ratio=1, discount=options.discount, hidden_sizes=(64, 64), actor_learning_rate=1e-3,
        critic_learning_rate=1e-3, **LEARNERS[learner],
    )  # fmt: skip
    algorithm = SAC(config, spec, torch.device("cpu"), seed)
    policy, judge = (SAC.make_policy(config, spec, seed) for _ in range(2))
    test_env = make_env(options.env)

    def look(step: int) -> Point:
        judge.load_weights(algorithm.policy_weights())
        return evaluate(test_env, spec, judge, options.episodes, step)

    return train(
        algorithm, policy, env, spec, seed=seed, steps=options.steps, start_steps=options.start_steps,
        random_steps=options.start_steps,
        evaluate_every=options.evaluate_every, evaluate_with=look,
    )  # fmt: skip


def curves(runs: list[dict[str, Any]], learner: str, scale: float) -> np.ndarray:
    """Mean return of the evaluations, shape (T, seeds)."""
    chosen = [run["returns"] for run in runs if (run["learner"], run["scale"]) == (learner, scale)]
    return np.array(chosen, float).T


def share_inside(changed: list[Estimate], reference: list[Estimate]) -> float:
    """Of the evaluations: where the interquartile mean lies in the interval of the unscaled runs."""
    pairs = zip(changed, reference, strict=True)
    return float(np.mean([r.low is not None and r.low <= c.value <= (r.high or r.low) for c, r in pairs]))


def table(runs: list[dict[str, Any]]) -> str:
    """For each learner and scale the mean of the curve over time, and how much of the curve is where the others are."""
    lines = [
        "| learner | reward x | mean of the curve, IQM [95 %] | at the end | points inside the interval of x 1 |",
        "|---|---|---|---|---|",
    ]
    for learner in LEARNERS:
        reference = interquartile_means(curves(runs, learner, 1.0))
        for scale in SCALES:
            points = curves(runs, learner, scale)
            whole, end = (interquartile_mean_of([part.mean(0)]) for part in (points, points[-2:]))
            inside = share_inside(interquartile_means(points), reference)
            lines.append(f"| {learner} | {scale:g} | {written(whole)} | {written(end)} | {inside:.0%} |")
    return "\n".join(lines)


def written(estimate: Estimate) -> str:
    """A figure with its interval."""
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.1f}"
    return f"{estimate.value:.1f} [{estimate.low:.1f}, {estimate.high:.1f}]"


def draw(runs: list[dict[str, Any]], steps: list[int], path: Path) -> None:
    """One panel for each learner, one curve with its interval for each scale."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, len(LEARNERS), figsize=(4 * len(LEARNERS), 3.5), sharey=True)
    for panel, learner in zip(panels, LEARNERS, strict=True):
        for scale, colour in zip(SCALES, COLOURS, strict=True):
            estimates = interquartile_means(curves(runs, learner, scale))
            panel.plot(steps, [e.value for e in estimates], color=colour, label=f"reward x {scale:g}")
            if estimates[0].low is not None:
                low, high = [e.low for e in estimates], [e.high for e in estimates]
                panel.fill_between(steps, low, high, color=colour, alpha=0.15, linewidth=0)
        panel.set(title=learner, xlabel="environment steps")
    panels[0].set_ylabel("return of the unscaled task")
    panels[0].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=100)


def main() -> None:
    """Run, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--env", default="bench/Reach-v0")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--start-steps", type=int, default=100)
    parser.add_argument("--evaluate-every", type=int, default=75)
    parser.add_argument("--episodes", type=int, default=10)
    parser.add_argument("--discount", type=float, default=0.9)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/reward_scale"))
    arguments = vars(parser.parse_args())
    out, seeds = arguments.pop("out"), arguments.pop("seeds")
    out.mkdir(parents=True, exist_ok=True)
    options, runs = Options(**arguments), []
    for seed in range(seeds):
        for learner in LEARNERS:
            for scale in SCALES:
                began_s = time.process_time()
                points = learn(options, learner, scale, seed)
                returns = [float(np.mean(point.returns)) for point in points]
                cpu_s = round(time.process_time() - began_s, 1)
                runs.append(
                    {"learner": learner, "scale": scale, "seed": seed, "returns": returns, "cpu_s": cpu_s}
                )
                print(f"{learner}, reward x {scale:g}, seed {seed}: {returns[-1]:.1f}, {cpu_s} s", flush=True)
                result = {"options": msgspec.to_builtins(options), "runs": runs}
                (out / "reward_scale.json").write_bytes(msgspec.json.format(msgspec.json.encode(result)))
    draw(runs, [point.step for point in points], out / "reward_scale.png")
    print(table(runs))


if __name__ == "__main__":
    main()
