"""Lets a curriculum choose where episodes of training start."""

from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from robot_env.contracts import KeepGoing, Observation, ResetResult, always
from robot_env.env import RobotEnv
from sim.curriculum import TASK, Curriculum

Action = NDArray[np.float32]


class CurriculumEnv(gymnasium.Wrapper[Observation, Action, Observation, Action]):
    """Resets by the curriculum, but for evaluations (`unaided`), which start as if there were none.

    `info` of a reset and of an episode's last step: `start`, the kind of the start, `task` where the task drew it.

    Args:
        env: A `RobotEnv`, or one in wrappers that may end an episode or let a person act: the curriculum is told the
            outcome that they say.
        curriculum: Chooses.

    Attributes:
        environment_steps: Steps of training, since this was made or counted on from what a reset was told.
    """

    def __init__(self, env: gymnasium.Env[Observation, Action], curriculum: Curriculum) -> None:
        super().__init__(env)
        assert isinstance(env.unwrapped, RobotEnv)
        self._robot_env = env.unwrapped
        self._usual = self._robot_env.reset_policy
        self._curriculum = curriculum
        self.environment_steps = 0
        self._start = TASK
        self._training = self._helped = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode.

        Args:
            seed: See `RobotEnv`.
            options: See `RobotEnv`; with `unaided` true the task draws the start. `environment_steps`, of the run,
                replaces the own count, which knows nothing of what was before a restart.
        """
        given = options or {}
        self.environment_steps = int(given.get("environment_steps", self.environment_steps))
        self._training, self._helped = not given.get("unaided", False), False
        chosen = CurriculumReset(self._curriculum, self.environment_steps)
        self._robot_env.reset_policy = chosen if self._training else self._usual
        try:
            observation, info = self.env.reset(seed=seed, options=options)
        finally:
            self._robot_env.reset_policy = self._usual
        self._start = info["start"] = chosen.kind
        return observation, info

    def step(self, action: Action) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Do one control period; see `RobotEnv`."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self.environment_steps += self._training
        self._helped = self._helped or bool(info.get("intervened", False))
        if terminated or truncated:
            info["start"] = self._start
            if self._training and not self._helped:
                self._curriculum.ended(bool(info.get("true_success", info["success"])))
        return observation, float(reward), terminated, truncated, info


class CurriculumReset:
    """A reset for one episode. Implements `robot_env.contracts.ResetPolicy`."""

    def __init__(self, curriculum: Curriculum, environment_steps: int) -> None:
        self._curriculum = curriculum
        self._environment_steps = environment_steps
        self.kind = TASK

    def reset(self, rng: np.random.Generator, keep_going: KeepGoing = always) -> ResetResult:
        """Nothing moves on the way there, so that `keep_going` is not asked."""
        self.kind, result = self._curriculum.start(self._environment_steps, rng)
        return result
