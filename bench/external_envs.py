"""How environments of others are made, for bench/external.yaml. No bench itself; imports what is asked for."""

import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Any

import gymnasium
import numpy as np

from agent.config import InputError

HINT = "make an environment for the benchmarks with `make external` (docs/external.md) and use its Python."


def registered(
    task: str,
    packages: tuple[str, ...] = (),
    keywords: dict[str, Any] | None = None,
    global_seed: bool = False,
) -> gymnasium.Env:
    """An environment that gymnasium knows once `packages` are imported.

    Args:
        task: Its id.
        packages: Register it.
        keywords: Of `gymnasium.make`.
        global_seed: Whether it draws its starts from NumPy's global generator, whatever seed a reset is given.
    """
    for package in packages:
        package_of(package)
    try:
        env = gymnasium.make(task, disable_env_checker=True, **(keywords or {}))
    except gymnasium.error.UnregisteredEnv as error:
        raise InputError(f"There is no environment {task!r}: {error}") from None
    return SeedsGlobally(env) if global_seed else env


def meta_world(task: str) -> gymnasium.Env:
    """A task of Meta-World with the goal among the observations and another start in every episode."""
    return VariesStarts(_meta_world_class(task)())


def meta_world_expert(task: str) -> Callable[[Any], Any]:
    """The scripted policy of a task, from an observation to an action."""
    _meta_world_class(task)
    policy = package_of("metaworld.policies").ENV_POLICY_MAP[task]()

    def act(observation: Any) -> Any:
        with warnings.catch_warnings():  # It says of most actions that they will be clipped.
            warnings.simplefilter("ignore", UserWarning)
            return np.clip(policy.get_action(observation), -1, 1)

    return act


class SeedsGlobally(gymnasium.Wrapper):
    """A reset with a seed seeds NumPy's global generator, too."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """Start an episode."""
        if seed is not None:
            np.random.seed(seed)  # noqa: NPY002 - that is the one it draws from
        return self.env.reset(seed=seed, options=options)


class VariesStarts(gymnasium.Wrapper):
    """Meta-World's environments keep one start for life and ignore the seed of a reset: not here."""

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        env._freeze_rand_vec = False
        env.seeded_rand_vec = True

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """Start an episode."""
        if seed is not None:
            self.unwrapped.seed(seed)
        return self.env.reset(seed=seed, options=options)


def package_of(name: str) -> Any:
    """An optional package.

    Raises:
        InputError: It is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise InputError(f"{name} cannot be imported ({error}): {HINT}") from None


def _meta_world_class(task: str) -> Any:
    known = package_of("metaworld.env_dict").ALL_V3_ENVIRONMENTS_GOAL_OBSERVABLE
    name = f"{task}-goal-observable"
    if name not in known:
        choices = ", ".join(sorted(key.removesuffix("-goal-observable") for key in known))
        raise InputError(f"There is no task {task!r} in Meta-World; choose from {choices}.")
    return known[name]
