"""Ends an episode that has gone wrong, before time is wasted or something breaks."""

from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from robot_env.contracts import Observation
from robot_env.env import RobotEnv
from robot_env.robot import RobotError
from robot_env.trouble.watch import TroubleConfig, Watch

Action = NDArray[np.float32]


class WatchedEnv(gymnasium.Wrapper[Observation, Action, Observation, Action]):
    """Stops the robot and ends the episode at the first step that shows trouble.

    It ends as by the time limit: `truncated`, because the state is not worth less for being where a detector gave up;
    unless the step succeeded, which stays `terminated`. `info` of every step has `trouble`: what is wrong in
    words that fit behind a colon, empty while all is well.

    Args:
        env: A `RobotEnv`, or one in other wrappers.
        config: What trouble is.
    """

    def __init__(self, env: gymnasium.Env[Observation, Action], config: TroubleConfig) -> None:
        super().__init__(env)
        assert isinstance(env.unwrapped, RobotEnv)
        self.robot_env = env.unwrapped
        self._watch = Watch(self.robot_env, config)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode; see `RobotEnv`."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._watch.restart()
        return observation, info

    def step(self, action: Action) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Do one control period; see the class and `RobotEnv`.

        Raises:
            RobotError: See `RobotEnv`; trouble raises nothing.
        """
        robot_env, before = self.robot_env, self.robot_env.state
        observation, reward, terminated, truncated, info = self.env.step(action)
        frames = {name: observation[name] for name in robot_env.task.cameras}
        try:
            trouble = self._watch.look(before, action, frames, info["reward_terms"])
        except RobotError:
            robot_env.robot.stop()  # It may be what tracks an object that failed, of which the arm knows nothing.
            raise
        info["trouble"] = trouble
        if trouble:
            robot_env.robot.stop()
            if not (terminated or truncated):
                info |= robot_env.statistics()
            truncated = not terminated
        return observation, float(reward), terminated, truncated, info
