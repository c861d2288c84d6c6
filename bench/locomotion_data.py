"""Locomotion data of known quality, made after D4RL's recipe (Fu et al., arXiv:2004.07219), for bench/locomotion.py.

SAC learns HalfCheetah-v5. Its policies, and everything it did on the way, become data sets in HDF5 files: `random`;
`medium`, a policy with about a third of the expert's return; `medium-replay`, all that was done until it was reached;
`expert`, the best policy; `medium-expert`, half and half.
"""

import io
import json
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import torch
from numpy.typing import NDArray

from agent.config import Config
from agent.replay import MixedSampler, ReplayBuffer
from agent.sac import SAC, SACConfig
from agent.storage import write_atomically
from agent.trajectories import episode_ends
from agent.transition import Provenance, Records, TransitionSpec
from bench.in_process import evaluate, make_env, rollouts

SIZES = (128, 128)  # Of all networks.
_CPU = torch.device("cpu")

TEACHER = SACConfig(
    batch_size=256, utd_ratio=1, discount=0.99, layer_norm=False, hidden_sizes=SIZES, actor_objective="min",
    actor_learning_rate=1e-3, critic_learning_rate=1e-3, temperature_learning_rate=1e-3, initial_temperature=1.0,
    target_entropy_scale=1.0, entropy_backup=True,
)  # fmt: skip


class Recipe(Config):
    """How data are made.

    Attributes:
        env_id: A task of gymnasium, with one vector observed.
        steps: Of the teacher.
        random_steps: Its first, which are uniformly random.
        steps_per_update: A step costs a tenth of an update, and more varied data help the teacher, too.
        snapshot_every: Steps.
        gathered: Transitions of a policy in a data set.
        medium_share: Level of the medium policy between random actions and the expert.
        episodes: Of an evaluation.
    """

    env_id: str = "HalfCheetah-v5"
    steps: int = 60_000
    random_steps: int = 5_000
    steps_per_update: int = 2
    snapshot_every: int = 5_000
    gathered: int = 25_000
    medium_share: float = 1 / 3
    episodes: int = 10


class Reference(NamedTuple):
    """Mean returns between which scores are counted."""

    random: float
    expert: float

    def scores(self, returns: Sequence[float] | NDArray[Any]) -> NDArray[np.float64]:
        """Normalised: 0 is random, 100 the expert (D4RL, section 5)."""
        return 100.0 * (np.asarray(returns, float) - self.random) / (self.expert - self.random)


def choose(returns: Mapping[int, float], random: float, share: float) -> tuple[int, int]:
    """The teacher's steps at medium and at expert level.

    Args:
        returns: Mean return of the snapshot at each step.
        random: That of random actions.
        share: Of the way from there to the best, at which the medium level is.

    Returns:
        Of the snapshots up to the best one that whose return is nearest to the medium level, and the best one.

    Raises:
        ValueError: It learned nothing, or was best at once.
    """
    expert = max(returns, key=lambda step: returns[step])
    earlier = [step for step in sorted(returns) if step < expert]
    if returns[expert] <= random or not earlier:
        raise ValueError(
            f"The teacher's best return {returns[expert]:.0f} must be above random's {random:.0f}, and not its first: "
            "give it more steps."
        )
    medium = random + share * (returns[expert] - random)
    return min(earlier, key=lambda step: abs(returns[step] - medium)), expert


def episode_returns(records: Records) -> NDArray[np.float64]:
    """Undiscounted, of each episode, in their order."""
    ends = episode_ends(records)
    episode = np.cumsum(ends) - ends
    return np.bincount(episode, records["reward"].astype(float))


def write_d4rl(path: Path, records: Records) -> None:
    """An HDF5 file in D4RL's layout."""
    fields = {
        "observations": records["observation.state"],
        "next_observations": records["next_observation.state"],
        "actions": records["action"],
        "rewards": records["reward"],
        "terminals": records["terminated"],
        "timeouts": records["truncated"],
    }
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        for name, values in fields.items():
            file.create_dataset(name, data=values, compression="gzip", compression_opts=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content.getvalue())


def spec_of(recipe: Recipe) -> TransitionSpec:
    """Layout of the task's transitions."""
    env = make_env(recipe.env_id)
    return TransitionSpec.of(env.observation_space, env.action_space)


def teach(folder: Path, recipe: Recipe, seed: int = 0) -> None:
    """Train SAC, from the newest snapshot on."""
    begun = max(snapshots(folder), default=0)
    if begun >= recipe.steps:
        return
    env, evaluation, spec = make_env(recipe.env_id), make_env(recipe.env_id), spec_of(recipe)
    algorithm, policy = SAC(TEACHER, spec, _CPU, seed), SAC.make_policy(TEACHER, spec, seed)
    # What a snapshot does not hold, the state of environment, noise and draws, begins anew where it goes on.
    replay = ReplayBuffer(spec, recipe.steps, seed + begun)
    if begun:
        replay.append(taught(folder, begun))
        algorithm.load_state_dict(load_state(folder, begun))
        policy.load_weights(algorithm.policy_weights())
    sampler = MixedSampler(spec, replay, ReplayBuffer(spec, 1, 0), 0.0, _CPU)
    rng = np.random.default_rng(seed + begun)

    def act(raw: Any) -> Any:
        if sampler.environment_steps < recipe.random_steps:
            return rng.uniform(-1, 1, spec.action_space.shape)
        return policy.act(spec.observation(raw), False)

    experience, fresh = rollouts(env, spec, act, seed + begun, Provenance.TWIN), []
    for step in range(begun + 1, recipe.steps + 1):
        fresh.append(next(experience))
        sampler.append(fresh[-1])
        if step > recipe.random_steps and step % recipe.steps_per_update == 0:
            algorithm.update(sampler.sample(1, TEACHER.batch_size))
            policy.load_weights(algorithm.policy_weights())
        if step % recipe.snapshot_every == 0:
            returns = evaluate(evaluation, spec, policy, recipe.episodes).returns
            write_snapshot(folder, step, np.concatenate(fresh), returns, algorithm.state_dict())
            print(f"teacher {step:>8} steps: return {np.mean(returns):7.0f}", flush=True)
            fresh = []


def write_snapshot(
    folder: Path, step: int, records: Records, returns: Sequence[float], state: Mapping[str, torch.Tensor]
) -> None:
    """The teacher after a step: transitions since the snapshot before, returns now, and its state."""
    content = io.BytesIO()
    np.savez(content, records=records, returns=returns, **{k: value.numpy() for k, value in state.items()})
    _snapshot(folder, step).parent.mkdir(parents=True, exist_ok=True)
    write_atomically(_snapshot(folder, step), content.getvalue())


def _snapshot(folder: Path, step: int) -> Path:
    return folder / "teacher" / f"{step:07d}.npz"


def snapshots(folder: Path) -> dict[int, float]:
    """Mean return of the teacher by step, in order."""
    found = {}
    for path in sorted((folder / "teacher").glob("[0-9]*.npz")):
        with np.load(path) as content:
            found[int(path.stem)] = float(content["returns"].mean())
    return found


def taught(folder: Path, steps: int) -> Records:
    """Everything that the teacher did up to a snapshot."""
    parts = []
    for step in snapshots(folder):
        if step <= steps:
            with np.load(_snapshot(folder, step)) as content:
                parts.append(content["records"])
    return np.concatenate(parts)


def load_state(folder: Path, step: int) -> dict[str, torch.Tensor]:
    """Of the teacher."""
    with np.load(_snapshot(folder, step)) as content:
        names = set(content.files) - {"records", "returns"}
        return {name: torch.from_numpy(content[name]) for name in names}


class RandomPolicy:
    """Uniformly random actions of a number of entries; acts as an `agent.algorithm.Policy` does."""

    def __init__(self, actions: int) -> None:
        self._rng, self._actions = np.random.default_rng(0), actions

    def act(self, observation: Any, deterministic: bool) -> NDArray[np.float32]:
        """Whatever is observed, shape (A,)."""
        return self._rng.uniform(-1, 1, self._actions).astype(np.float32)


def make_data(folder: Path, recipe: Recipe) -> None:
    """The data sets, and last of all `data/reference.json`."""
    if (folder / "data" / "reference.json").is_file():
        return
    env, spec = make_env(recipe.env_id), spec_of(recipe)
    policies: dict[str, Any] = {"random": RandomPolicy(spec.action_space.shape[0])}
    random = float(np.mean(evaluate(env, spec, policies["random"], recipe.episodes).returns))
    medium, expert = choose(snapshots(folder), random, recipe.medium_share)
    for name, step in (("medium", medium), ("expert", expert)):
        policies[name] = SAC.make_policy(TEACHER, spec, seed=step)
        policies[name].load_weights(load_state(folder, step))
    sets = {name: gather(recipe, policy, seed) for seed, (name, policy) in enumerate(policies.items())}
    sets["medium-expert"] = np.concatenate([sets["medium"], sets["expert"]])
    sets["medium-replay"] = cut(taught(folder, medium))
    for name, records in sets.items():
        write_d4rl(folder / "data" / f"{name}.hdf5", records)
    best = float(np.mean(evaluate(env, spec, policies["expert"], recipe.episodes).returns))
    reference = {"random": random, "expert": best, "medium_step": medium, "expert_step": expert}
    write_atomically(folder / "data" / "reference.json", json.dumps(reference).encode())


def gather(recipe: Recipe, policy: Any, seed: int) -> Records:
    """What a policy does with its noise; the last episode is cut."""
    spec = spec_of(recipe)

    def act(raw: Any) -> Any:
        return policy.act(spec.observation(raw), False)

    experience = rollouts(make_env(recipe.env_id), spec, act, 1_000 + seed, Provenance.TWIN)
    return cut(np.concatenate(list(islice(experience, recipe.gathered))))


def cut(records: Records) -> Records:
    """The same, and the last one ends its episode, as nothing follows."""
    records["truncated"][-1] |= not records["terminated"][-1]
    return records


def read_reference(folder: Path) -> Reference:
    """Of the data sets of a folder."""
    content = json.loads((folder / "data" / "reference.json").read_text())
    return Reference(content["random"], content["expert"])
