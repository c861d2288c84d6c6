"""Objects that somebody tracks and publishes: the twin, a node that finds tags, a motion capture system."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from controllers.config import InputError
from robot_env.objects import object_of, observables_of, observe_object
from robot_env.robot import RobotError, RobotUnavailableError
from robot_env.ros.description import TopicConfig
from robot_env.ros.messages import pose_of
from robot_env.ros.ros2_robot import Ros2Robot
from robot_env.ros.ros_clock import RosClock
from robot_env.ros.state_source import Source
from robot_env.task import Task

Array = NDArray[np.float64]


class TrackedObjects:
    """Implements `robot_env.contracts.Scene` and `robot_env.ros.ros2_robot.NodePart`.

    Args:
        robot: Tells where the tool centre point is.
        task: Its observation says which objects.
        topic: Where poses are, with `{name}` for the object's; geometry_msgs/PoseStamped in the base frame.
        max_age_s: An older pose is not believed.
    """

    def __init__(self, robot: Ros2Robot, task: Task, topic: str, max_age_s: float) -> None:
        if "{name}" not in topic:
            raise InputError(f"objects_topic {topic!r} must hold {{name}}, as in objects/{{name}}/pose.")
        self._robot = robot
        self._topic, self._max_age_s = topic, max_age_s
        self._names = objects_of(task)
        self._sources: dict[str, Source[Any]] = {}

    @property
    def observables(self) -> Mapping[str, int]:
        """Positions, orientations and what follows from them; see `robot_env.objects`."""
        return observables_of(self._names)

    @property
    def measured_s(self) -> float:
        """When the oldest of the newest poses was measured."""
        for source in self._sources.values():
            _refresh(source)
        return min((source.measured_s for source in self._sources.values()), default=np.inf)

    def attach(self, node: Any, clock: RosClock) -> None:
        """Subscribe."""
        from geometry_msgs.msg import PoseStamped

        frame = self._robot.description.base_frame
        for name in self._names:
            config = TopicConfig(topic=self._topic.format(name=name), max_age_s=self._max_age_s)
            hint = f"start what tracks {name!r}"
            self._sources[name] = Source(node, PoseStamped, config, lambda m: pose_of(m, frame), clock, hint)

    def observe(self) -> Mapping[str, Array]:
        """The newest value of every observable.

        Raises:
            RobotUnavailableError: An object's topic is silent, stale, or says what cannot be.
        """
        state = self._robot.last_state
        assert state is not None  # The environment observes the robot first.
        found: dict[str, Array] = {}
        for name, source in self._sources.items():
            _refresh(source)
            try:
                position_m, quaternion = source.require()
            except RobotError as error:
                raise RobotUnavailableError(str(error)) from None
            found |= observe_object(name, position_m, quaternion, state.ee_position_m)
        return found


def objects_of(task: Task) -> Sequence[str]:
    """Names of the objects that a task observes."""
    named = (object_of(part.name) for part in task.observation if not part.name.startswith("ee_"))
    return sorted({name for name in named if name is not None and name not in ("joint",)})


def _refresh(source: Source[Any]) -> None:
    try:
        source.refresh()
    except RobotError as error:
        raise RobotUnavailableError(str(error)) from None
