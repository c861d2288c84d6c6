"""Success as a topic: the twin's own knowledge, a classifier's node, a person's button."""

import time
from typing import Any

from controllers.config import InputError
from robot_env.contracts import Observation, Reward
from robot_env.robot import RobotUnavailableError
from robot_env.ros.ros_clock import RosClock
from robot_env.ros.runtime import Inbox
from robot_env.task import RewardConfig


class SuccessTopic:
    """Implements `robot_env.contracts.RewardModel` and `robot_env.ros.ros2_robot.NodePart`.

    Args:
        topic: std_msgs/Bool, sent regularly.
        config: Pays.
        max_age_s: An older message is not believed.

    Raises:
        InputError: A dense reward is asked for.
    """

    def __init__(self, topic: str, config: RewardConfig, max_age_s: float = 0.5) -> None:
        if config.kind != "sparse":
            raise InputError(f"reward.kind {config.kind!r} cannot be told from a topic; choose sparse.")
        self._topic = topic
        self._config = config
        self._max_age_s = max_age_s
        self._inbox: Inbox[Any] | None = None
        self._success = False
        self._heard_s = float("-inf")

    def attach(self, node: Any, clock: RosClock) -> None:
        """Subscribe."""
        from std_msgs.msg import Bool

        self._inbox = Inbox(node, Bool, self._topic)
        self._clock = clock

    def news_s(self) -> float:
        """When the newest message came, on the robot's clock: a Bool has no stamp."""
        assert self._inbox is not None  # The robot is connected before anything is read.
        for received in self._inbox.take():
            self._success = bool(received.message.data)
            self._heard_s = self._clock.now_s() - (time.time_ns() - received.received_ns) * 1e-9
        return self._heard_s

    def reward(self, observation: Observation) -> Reward:
        """Pay for what the topic says now.

        Raises:
            RobotUnavailableError: It is silent.
        """
        silence_s = self._clock.now_s() - self.news_s()
        if silence_s > self._max_age_s:
            topic = self._inbox.topic if self._inbox else self._topic
            raise RobotUnavailableError(f"No news of success on {topic}: start the node that judges it.")
        return Reward(self._config.success if self._success else self._config.step, self._success)
