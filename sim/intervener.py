"""A scripted person: watches the policy on the twin, and takes over where an episode is about to fail."""

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
from sim.experts import NoisyExpert
from sim.scene import Expert, TwinScene


class IntervenerConfig(Config):
    """When it takes over, and for how long.

    Attributes:
        patience_s: An episode without success after so long is failing.
        chance: That a failing episode is corrected, at the start of the run.
        half_life_steps: The chance halves with every so many control steps: people help less as the policy learns.
        hold_s: Hands back after so long; it may take over again `patience_s` later. Infinite holds on until the end.
        noise: Standard deviation of the noise on its actions, in action units.
        seed: Of its choices.
    """

    patience_s: float = 2.0
    chance: float = 1.0
    half_life_steps: float = 1000.0
    hold_s: float = inf
    noise: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if not (self.patience_s >= 0.0 and self.half_life_steps > 0.0 and self.hold_s > 0.0):
            raise ValueError(
                f"patience_s {self.patience_s} must not be negative, and half_life_steps {self.half_life_steps} and "
                f"hold_s {self.hold_s} must be positive"
            )
        if not (0.0 <= self.chance <= 1.0 and 0.0 <= self.noise <= 1.0 and self.seed >= 0):
            raise ValueError(
                f"chance {self.chance} and noise {self.noise} must lie in [0, 1], and seed {self.seed} must not be "
                "negative"
            )


class ScriptedIntervener:
    """The task's expert as a `Teleoperator` whose hand is on the device only now and then.

    Args:
        expert: What it does then.
        control_rate_hz: Steps per second.
        config: See there.
    """

    def __init__(self, expert: Expert, control_rate_hz: float, config: IntervenerConfig) -> None:
        self._config = config
        self._patience = config.patience_s * control_rate_hz
        self._hold = config.hold_s * control_rate_hz
        self._rng = np.random.default_rng(config.seed)
        self._expert = NoisyExpert(expert, config.noise, self._rng)
        self._steps = 0  # Of the run.
        self._waited = self._held = 0.0  # Steps since it was last in command, and in command.
        self._willing = False

    def connect(self) -> None:
        """Nothing is to be opened."""

    def restart(self, state: RobotState) -> None:
        """Decide whether this episode would be corrected."""
        chance = self._config.chance * 0.5 ** (self._steps / self._config.half_life_steps)
        self._willing = bool(self._rng.random() < chance)
        self._waited = self._held = 0.0

    def get_action(self, state: RobotState, last_action: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """What the expert would do, while it is in command."""
        self._steps += 1
        if not self._willing or self._waited < self._patience:
            self._waited += 1
            return None
        self._held += 1
        if self._held >= self._hold:
            self._waited = self._held = 0.0
        return self._expert.act()

    def get_events(self) -> tuple[Event, ...]:
        """It leaves judging to the twin."""
        return ()

    def disconnect(self) -> None:
        """Nothing is open."""


def make_intervener(env: RobotEnv, config: Mapping[str, Any]) -> ScriptedIntervener:
    """Factory named by `device=intervener`.

    Raises:
        InputError: `config` is not an `IntervenerConfig`, or the robot is not the twin.
    """
    chosen = read_device_config(IntervenerConfig, config)
    if not isinstance(env.scene, TwinScene):
        raise InputError("device=intervener knows where everything is on the twin only: choose robot=twin.")
    return ScriptedIntervener(env.scene.make_expert(), env.task.control_rate_hz, chosen)
