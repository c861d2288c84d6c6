"""Environments of others as tasks to learn, and where their demonstrations come from. No bench itself.

A suite is data (bench/external.yaml): how environments are made, what success is, what is paid, who demonstrates.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import gymnasium
import msgspec
import numpy as np
import yaml

from agent.config import Config, InputError
from agent.transition import Provenance, Records, TransitionSpec
from bench.in_process import rollouts
from controllers.loading import load_attribute
from journeyman.offline.reading import read_offline

SUITES = Path(__file__).with_name("external.yaml")
_TRIES = 3
_DEMONSTRATION_SEEDS = 1_000_000  # Other starts than those of training and of evaluation.


class Suite(Config):
    """Tasks that are made and judged alike.

    Attributes:
        factory: Dotted path of a function `(task, **config) -> gymnasium.Env` with a bounded Box of actions.
        tasks: Those that are run if none are named.
        success: Key of `info` that says whether a step succeeded.
        config: Keywords of the factory.
        reward: `success` pays -1 for every step until success, which pays 0 and ends the episode; `own` is the
            environment's.
        flatten: Whether observations by name, goals among them, become one vector; else they must be a flat Dict.
        time_limit: Steps of an episode; null keeps the environment's own.
        discount: Gamma of the algorithms, and of what ending without success costs.
        expert: Dotted path of a function `(task) -> act`, and `act` one from an observation to an action in [-1, 1];
            null where nobody demonstrates.
        demonstrations: Successful episodes of the expert.
        noise: Standard deviation of the noise on the expert's actions, in action units.
        algorithm: Parameters of the algorithms, as far as they know them.
    """

    factory: str
    tasks: tuple[str, ...]
    success: str
    config: dict[str, Any] = {}
    reward: Literal["success", "own"] = "success"
    flatten: bool = True
    time_limit: int | None = None
    discount: float = 0.99
    expert: str | None = None
    demonstrations: int = 20
    noise: float = 0.2
    algorithm: dict[str, Any] = {}

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if not self.tasks or self.demonstrations < 0 or self.noise < 0:
            raise ValueError(
                f"tasks {self.tasks} must not be empty, demonstrations {self.demonstrations} and noise {self.noise} "
                "must not be negative"
            )
        if not 0 < self.discount < 1 or (self.time_limit is not None and self.time_limit < 1):
            raise ValueError(
                f"discount {self.discount} must lie between 0 and 1, and time_limit {self.time_limit} be null or at "
                "least 1"
            )


class Shown(NamedTuple):
    """Demonstrations, and how good who gave them is.

    Attributes:
        records: Shape (N,).
        episodes: That were tried, or that a data set has.
        successes: How many of them succeeded; None where what is paid does not tell.
    """

    records: Records
    episodes: int
    successes: int | None


class PaysSuccess(gymnasium.Wrapper):
    """Judges by one key of `info`, as `Suite.reward` says; `info["success"]` is the verdict.

    An episode that ends without success, because an object is lost for instance, costs as much as going on for ever
    without it, -1 / (1 - gamma). As -1 it would be the best that a policy that cannot succeed yet could do.

    Attributes:
        succeeded: Whether a step of this episode did.
    """

    def __init__(self, env: gymnasium.Env, suite: Suite) -> None:
        super().__init__(env)
        self.suite = suite
        self.succeeded = False

    def reset(self, **options: Any) -> Any:
        """Start an episode."""
        self.succeeded = False
        return self.env.reset(**options)

    def step(self, action: Any) -> Any:
        """One step; success ends the episode if it is what is paid for."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        if self.suite.success not in info:
            raise InputError(
                f"info has no {self.suite.success!r}; name the key of success, such as {', '.join(map(str, info))}."
            )
        success = bool(info[self.suite.success])
        self.succeeded |= success
        if self.suite.reward == "success":
            reward = 0.0 if success else -1.0 / (1.0 - self.suite.discount) if terminated else -1.0
            terminated = bool(terminated) or success
        return observation, float(reward), terminated, truncated, {**info, "success": success}


def load_suite(name: str, path: Path = SUITES) -> Suite:
    """A suite by its name.

    Raises:
        InputError: There is none, or it is not one.
    """
    try:
        known = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise InputError(f"{path} cannot be read: {error}.") from None
    if not isinstance(known, dict) or name not in known:
        raise InputError(f"There is no suite {name!r} in {path}; choose from {', '.join(known or ())}.")
    try:
        return msgspec.convert(known[name], Suite)
    except msgspec.ValidationError as error:
        raise InputError(f"{path}, suite {name}: {error}.") from None


def make_env(suite: Suite, task: str) -> gymnasium.Env:
    """One environment: actions in [-1, 1], judged, limited in time, observations as float32.

    Raises:
        InputError: The factory does not exist or refuses the task, or a package is missing.
    """
    env: gymnasium.Env = load_attribute(suite.factory, f"factory {suite.factory!r}")(task, **suite.config)
    env = gymnasium.wrappers.RescaleAction(env, np.float32(-1), np.float32(1))
    env = PaysSuccess(env, suite)
    if suite.time_limit is not None:
        env = gymnasium.wrappers.TimeLimit(env, suite.time_limit)
    if suite.flatten:
        env = gymnasium.wrappers.FlattenObservation(env)
    return env


def make_spec(env: gymnasium.Env) -> TransitionSpec:
    """Layout of its transitions."""
    return TransitionSpec.of(env.observation_space, env.action_space)


def demonstrate(suite: Suite, task: str, seed: int) -> Shown | None:
    """Successful episodes of the suite's expert under noise; None where there is no expert or none are wanted.

    Raises:
        InputError: It fails too often.
    """
    if suite.expert is None or suite.demonstrations == 0:
        return None
    env = make_env(suite, task)
    expert = load_attribute(suite.expert, f"expert {suite.expert!r}")(task)
    rng = np.random.default_rng(seed)
    act: Callable[[Any], Any] = lambda raw: (  # noqa: E731
        expert(raw) + rng.normal(0.0, suite.noise, env.action_space.shape)
    )
    steps = rollouts(env, make_spec(env), act, _DEMONSTRATION_SEEDS + seed, Provenance.DEMONSTRATION)
    kept: list[Records] = []
    tried = successes = 0
    while successes < suite.demonstrations:
        if tried == _TRIES * suite.demonstrations:
            raise InputError(
                f"The expert of {task} succeeds in {successes} of {tried} episodes with noise {suite.noise}; give less "
                "noise or more time."
            )
        episode = [next(steps)]
        while not (episode[-1]["terminated"][0] or episode[-1]["truncated"][0]):
            episode.append(next(steps))
        tried += 1
        if env.get_wrapper_attr("succeeded"):
            kept += episode
            successes += 1
    env.close()
    return Shown(np.concatenate(kept), tried, successes)


def read_data(suite: Suite, task: str, path: Path) -> Shown:
    """A recorded data set (docs/offline.md) as it is: who recorded it must have paid as the suite does.

    Raises:
        InputError: It cannot be read, does not fit the task, or was paid otherwise.
    """
    env = make_env(suite, task)
    records = read_offline(path, make_spec(env))
    env.close()
    episodes = len(np.unique(records["episode"]))
    if suite.reward == "own":
        return Shown(records, episodes, None)
    failed = np.float32(-1.0 / (1.0 - suite.discount))
    odd = ~np.isin(records["reward"], np.array([-1.0, 0.0, failed], np.float32))
    if odd.any():
        raise InputError(
            f"{path} pays {records['reward'][odd][0]:g} for a step, but the suite -1 until success and 0 for it: pay "
            "the data so, or take a suite with `reward: own`."
        )
    return Shown(records, episodes, int((records["terminated"] & (records["reward"] == 0)).sum()))
