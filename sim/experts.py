"""Scripted experts of the twin's tasks behind the contract of what a person drives by."""

from collections.abc import Mapping
from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from controllers.config import Config, InputError
from controllers.state import RobotState
from robot_env.devices.driving import read_device_config
from robot_env.env import RobotEnv
from robot_env.teleoperator import Event
from sim.scene import Expert, TwinScene

Action = NDArray[np.float32]

# Chance per step that a lapse begins, one drawn for each episode: from hardly any to hardly anything else.
_LAPSE_CHANCES = (0.0, 0.05, 0.15, 0.4)
_LONGEST_LAPSE = 6
_FASTEST_LINGERING = 0.5


class ExpertConfig(Config):
    """The scripted expert of a task.

    Attributes:
        noise: Standard deviation of the noise on its actions, in action units. It spreads demonstrations around the
            expert's path, so that the critic learns what happens beside it.
        lapses: Whether it errs now and then, and lingers after success: for episodes to label, not to learn from.
    """

    noise: float = 0.2
    lapses: bool = False

    def __post_init__(self) -> None:
        """Refuse what is no deviation."""
        if not 0.0 <= self.noise < inf:
            raise ValueError(f"noise {self.noise} must not be negative, and finite")


class ScriptedTeleoperator:
    """Implements `robot_env.teleoperator.Teleoperator`: its hand is always on the device.

    What it does in an episode is decided by the seed of the environment's reset.

    Args:
        env: The twin.
        scene: Of the twin, which knows where everything is.
        config: See there.
    """

    def __init__(self, env: RobotEnv, scene: TwinScene, config: ExpertConfig) -> None:
        self._env = env
        self._scene = scene
        self._config = config

    def connect(self) -> None:
        """Nothing is to be opened."""

    def restart(self, state: RobotState) -> None:
        """Begin an episode."""
        rng = np.random.default_rng(self._env.np_random_seed)
        expert, noise = self._scene.make_expert(), self._config.noise
        if not self._config.lapses:
            self._expert: Expert = NoisyExpert(expert, noise, rng)
            return
        chance = float(rng.choice(_LAPSE_CHANCES))
        lapsing = LapsingExpert(expert, noise, chance, rng)
        self._expert = LingeringExpert(lapsing, expert, self._scene, rng.uniform(0.0, _FASTEST_LINGERING))

    def get_action(self, state: RobotState, last_action: Action) -> Action:
        """What the expert does now."""
        return self._expert.act()

    def get_events(self) -> tuple[Event, ...]:
        """It says nothing."""
        return ()

    def disconnect(self) -> None:
        """Nothing is to be closed."""


class NoisyExpert:
    """An expert whose hand trembles.

    Args:
        expert: What to do otherwise.
        noise: Standard deviation, in action units.
        rng: Source of randomness.
    """

    def __init__(self, expert: Expert, noise: float, rng: np.random.Generator) -> None:
        self._expert = expert
        self._noise = noise
        self._rng = rng

    def act(self) -> Action:
        """The action to take now, in [-1, 1]."""
        return _noisy(self._expert.act(), self._noise, self._rng)


class LapsingExpert:
    """A noisy expert that now and then repeats one random action for some steps.

    Args:
        expert: What to do otherwise.
        noise: Standard deviation, in action units.
        chance: Per step, of a lapse.
        rng: Source of randomness.
    """

    def __init__(self, expert: Expert, noise: float, chance: float, rng: np.random.Generator) -> None:
        self._expert = expert
        self._noise = noise
        self._chance = chance
        self._rng = rng
        self._left = 0
        self._lapse: NDArray[np.float64] = np.zeros(0)

    def act(self) -> Action:
        """The action to take now, in [-1, 1]."""
        action = np.asarray(self._expert.act(), np.float64)
        if self._left == 0 and self._rng.random() < self._chance:
            self._left = int(self._rng.integers(1, _LONGEST_LAPSE + 1))
            self._lapse = self._rng.uniform(-1.0, 1.0, action.shape)
        if self._left:
            self._left -= 1
            action = self._lapse
        return _noisy(action, self._noise, self._rng)


class LingeringExpert:
    """Goes on slowly once the task was done: a policy does not stop at the first instant of success either.

    Args:
        before: Acts until success.
        after: Acts from then on.
        scene: Judges.
        pace: Of the arm after success, as a part of the expert's own.
    """

    def __init__(self, before: Expert, after: Expert, scene: TwinScene, pace: float) -> None:
        self._before = before
        self._after = after
        self._scene = scene
        self._pace = pace
        self._is_done = False

    def act(self) -> Action:
        """The action to take now, in [-1, 1]."""
        self._is_done = self._is_done or self._scene.success()
        if not self._is_done:
            return self._before.act()
        action = self._after.act()
        action[: len(action) - self._scene.task.action.gripper] *= self._pace
        return action


def make_expert(env: RobotEnv, config: Mapping[str, Any]) -> ScriptedTeleoperator:
    """Factory named by `device=expert`.

    Raises:
        InputError: `config` is not an `ExpertConfig`, or the environment is not the twin.
    """
    chosen = read_device_config(ExpertConfig, config)
    if not isinstance(env.scene, TwinScene):
        raise InputError(
            "This robot has no scripted expert: only the twin knows where everything is; choose another device, give "
            "recorded episodes as demonstrations.folder, or set demonstrations.episodes=0."
        )
    return ScriptedTeleoperator(env, env.scene, chosen)


def _noisy(action: NDArray[np.floating[Any]], noise: float, rng: np.random.Generator) -> Action:
    noisy: NDArray[np.float64] = np.clip(action + rng.normal(0.0, noise, action.shape), -1.0, 1.0)
    return noisy.astype(np.float32)
