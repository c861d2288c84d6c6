"""A person beside the policy: whoever has a hand on the device acts, and may judge (HIL-SERL, arXiv:2410.21845)."""

from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from robot_env.contracts import Observation
from robot_env.env import RobotEnv
from robot_env.robot import RobotError
from robot_env.teleoperator import VERDICTS, Event, Teleoperator

Action = NDArray[np.float32]


class AssistedEnv(gymnasium.Wrapper[Observation, Action, Observation, Action]):
    """Does what the person wants instead of the policy while a hand is on the device; the person's verdict stands.

    `info` of a step besides what `RobotEnv` says: `intervened`, whether the person acted; `events`, what the person
    said; `verdict`, if that was success or failure. Success ends the episode as the task's success does; failure ends
    it as the time limit does, and is paid as a step without success. `info` of a reset: `events` and `verdict` said
    since the last step, which are about the episode that is over.

    Args:
        env: The robot, or wrappers around it.
        teleoperator: Is connected at the first reset, and disconnected with the environment.
    """

    def __init__(self, env: gymnasium.Env[Observation, Action], teleoperator: Teleoperator) -> None:
        super().__init__(env)
        assert isinstance(env.unwrapped, RobotEnv)
        self.robot_env = env.unwrapped
        self.teleoperator = teleoperator
        self._connected = False
        self._unaided = False
        self._last_action: Action = np.zeros(self.robot_env.task.action.size, np.float32)
        self._first_action: Action | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode.

        Args:
            seed: See `RobotEnv`.
            options: See `RobotEnv`; with `unaided` true nobody may act or judge until the next reset, as in an
                evaluation of the policy.

        Raises:
            InputError: The device cannot be used.
        """
        if not self._connected:
            self.teleoperator.connect()
            self._connected = True
        observation, info = self.env.reset(seed=seed, options=options)
        self._unaided = bool((options or {}).get("unaided", False))
        state = self.robot_env.state
        self._last_action = self.robot_env.action_at_rest(state)
        info |= self._said()
        self.teleoperator.restart(state)
        self._first_action = None
        return observation, info

    def wait_for_hand(self) -> tuple[Observation, bool, tuple[Event, ...]]:
        """Look once, between `reset` and the first `step`, whether the person begins; what is wanted is done by `step`.

        Returns:
            What is seen now, from which the episode begins if it does; whether a hand is on the device; and what was
            said, which is about nothing that is going on.

        Raises:
            RobotError: See `RobotEnv`; also if the device is gone.
        """
        observation = self.robot_env.begin()
        self._first_action = self._human_action()
        return observation, self._first_action is not None, self.teleoperator.get_events()

    def step(self, action: Action) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Do one control period; see the class.

        Raises:
            RobotError: See `RobotEnv`; also if the device is gone. Then the robot was stopped.
        """
        human = None if self._unaided else self._wanted()
        observation, reward, terminated, truncated, info = self.env.step(action if human is None else human)
        self._last_action = info["executed_action"]
        info["intervened"] = human is not None
        said = self._said()
        if self._unaided:
            return observation, float(reward), terminated, truncated, info
        info |= said
        verdict = said.get("verdict")
        if verdict is None:
            return observation, float(reward), terminated, truncated, info
        success = verdict is Event.SUCCESS
        if not (terminated or truncated):
            info |= self.robot_env.statistics()
        reward = float(reward) + self._correction(bool(info["success"]), success)
        info["success"] = info["is_success"] = success
        return observation, reward, success, not success, info

    def close(self) -> None:
        """Stop the robot and let go of the device."""
        try:
            self.env.close()
        finally:
            self.teleoperator.disconnect()

    def _wanted(self) -> Action | None:
        first, self._first_action = self._first_action, None
        return self._human_action() if first is None else first

    def _human_action(self) -> Action | None:
        try:
            return self.teleoperator.get_action(self.robot_env.state, self._last_action)
        except RobotError:
            self.robot_env.robot.stop()
            raise

    def _said(self) -> dict[str, Any]:
        events = self.teleoperator.get_events()
        verdicts = [event for event in events if event in VERDICTS]
        # The last word counts: who mistypes corrects it.
        return {"events": events} | ({"verdict": verdicts[-1]} if verdicts else {})

    def _correction(self, paid_success: bool, success: bool) -> float:
        """What the verdict adds to the reward."""
        config = self.robot_env.task.reward
        return (config.success - config.step) * (success - paid_success)
