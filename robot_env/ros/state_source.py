"""Assembles a robot's state from the messages of several topics, each with its own age."""

import time
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import numpy as np
from geometry_msgs.msg import PoseStamped, TwistStamped, WrenchStamped
from numpy.typing import NDArray
from sensor_msgs.msg import JointState

from controllers.kinematics import Kinematics
from controllers.rotations import rotate
from controllers.state import RobotState
from robot_env.robot import RobotError
from robot_env.ros.description import RobotDescription, TopicConfig
from robot_env.ros.messages import MessageError, joints_of, pose_of, stamp_ns_of, twist_of, wrench_of
from robot_env.ros.ros_clock import FUTURE_S, RosClock
from robot_env.ros.runtime import Inbox

Array = NDArray[np.float64]
Value = TypeVar("Value")

# Joint states of an arm and of its gripper may share a topic: enough that one does not push out the other.
_DEPTH = 10
_LOOK_S = 0.002


class StaleError(RobotError):
    """The newest message is too old."""


class Source(Generic[Value]):
    """The newest useful message of one topic.

    Args:
        node: Subscribes.
        message_type: Of the topic.
        config: Its name and the greatest age.
        convert: Turns a message into what is wanted of it; None for a JointState of other joints. May raise
            MessageError.
        clock: Tells ages.
        hint: What a person should do if nothing comes.

    Attributes:
        value: What the newest useful message said; None before the first.
        stamp_ns: Its stamp.
        measured_s: When that was, on the clock.
    """

    def __init__(
        self,
        node: Any,
        message_type: type[Any],
        config: TopicConfig,
        convert: Callable[[Any], Value | None],
        clock: RosClock,
        hint: str,
    ) -> None:
        self._inbox: Inbox[Any] = Inbox(node, message_type, config.topic, _DEPTH)
        self._type_name = message_type.__name__
        self._max_age_s = config.max_age_s
        self._convert = convert
        self._clock = clock
        self._hint = hint
        self._stamps_ns: deque[int] = deque(maxlen=5)
        self._complaint = self._others = ""
        self.value: Value | None = None
        self.stamp_ns = 0
        self.measured_s = -np.inf

    @property
    def topic(self) -> str:
        """Its full name."""
        return self._inbox.topic

    def refresh(self) -> None:
        """Take in what has arrived.

        Raises:
            RobotError: The newest message does not say what it should.
        """
        taken = self._inbox.take()
        self._stamps_ns.extend(stamp_ns_of(received.message.header) for received in taken)
        for received in reversed(taken):
            if self._look_at(received.message):
                break
        # Until a better one comes: the value from before the bad message may no longer hold.
        if self._complaint:
            raise RobotError(f"{self.topic} {self._complaint}: check the robot's YAML and its driver.")

    def _look_at(self, message: Any) -> bool:
        """Take the value from a message; whether it says something."""
        try:
            value = self._convert(message)
            stamp_ns = stamp_ns_of(message.header)
            if value is not None:
                _check(value, stamp_ns)
        except MessageError as error:
            self._complaint = str(error)
            return True
        if value is None:
            self._others = f"speaks only of {list(message.name)}"
            return False
        self.value, self.stamp_ns, self._complaint = value, stamp_ns, ""
        self.measured_s = self._clock.local_s(stamp_ns)
        return True

    def age_s(self) -> float:
        """Time since it was measured."""
        return self._clock.now_s() - self.measured_s

    def require(self) -> Value:
        """The value, if it can be believed.

        Raises:
            RobotError: There is none yet, or it is too old, or from the future.
        """
        if self.value is None:
            publishers = self._inbox.publishers()
            found = self._others or (
                f"has publishers ({publishers}), but none that sends this"
                if publishers
                else "has no publisher"
            )
            raise RobotError(
                f"No {self._type_name} has come on {self.topic}, which {found}: {self._hint}, or correct the robot's "
                "YAML."
            )
        age_s = self.age_s()
        if age_s > self._max_age_s:
            raise StaleError(
                f"{self.topic} is stale: its newest message is {age_s:.3f} s old{self._usual()}, but at most "
                f"{self._max_age_s:g} s is allowed; {self._hint}, or see what holds it up."
            )
        if age_s < -FUTURE_S:
            raise RobotError(
                f"{self.topic} is stamped {-age_s:.3f} s in the future: synchronise the machines' clocks (chrony)."
            )
        return self.value

    def _usual(self) -> str:
        """How often messages used to come, if that is too seldom."""
        if len(self._stamps_ns) < 2:
            return ""
        # Not the mean: between two batches that a slow reader takes, messages are left out.
        interval_s = 1e-9 * float(np.median(np.diff(self._stamps_ns)))
        if interval_s <= self._max_age_s:
            return ""
        return f" (one came every {interval_s:.3f} s, at {1.0 / interval_s:.3g} Hz)"


def _check(value: Any, stamp_ns: int) -> None:
    """Refuse a message without a stamp, or with numbers, in arrays, that are none."""
    if stamp_ns == 0:
        raise MessageError("has no stamp")
    if not all(np.isfinite(part).all() for part in value if isinstance(part, np.ndarray)):
        raise MessageError("has numbers that are not finite")


class StateSource:
    """The state of a robot, read from its topics whenever it is wanted.

    Args:
        node: Subscribes.
        description: The robot.
        clock: Stamps states.

    Attributes:
        sources: By the part of the state that they give: `joint_states`, and `pose`, `twist`, `wrench`, `gripper`
            where the robot has them.
    """

    def __init__(self, node: Any, description: RobotDescription, clock: RosClock) -> None:
        self._description = description
        self._clock = clock
        self._names = description.joint_names
        self._zeros = np.zeros(len(self._names))
        self._previous: tuple[int, Array] | None = None
        self._last_velocity = self._zeros
        frame, hint, state = description.base_frame, description.start_hint, description.state
        self._kinematics: Kinematics | None = None
        if state.pose is None or state.twist is None:
            assert description.kinematics is not None  # RobotDescription sees to it.
            self._kinematics = Kinematics(description.kinematics, description.joint_names)

        def source(kind: type[Any], config: TopicConfig, convert: Callable[[Any], Any]) -> Source[Any]:
            return Source(node, kind, config, convert, clock, hint)

        self.sources: dict[str, Source[Any]] = {
            "joint_states": source(JointState, state.joint_states, lambda m: joints_of(m, self._names))
        }
        if state.pose is not None:
            self.sources["pose"] = source(PoseStamped, state.pose, lambda m: pose_of(m, frame))
        if state.twist is not None:
            self.sources["twist"] = source(TwistStamped, state.twist, lambda m: twist_of(m, frame))
        if state.wrench is not None:
            self.sources["wrench"] = source(WrenchStamped, state.wrench, wrench_of)
        gripper = description.gripper
        if gripper is not None:
            config = TopicConfig(topic=gripper.state_topic, max_age_s=gripper.max_age_s)
            self.sources["gripper"] = source(JointState, config, lambda m: joints_of(m, gripper.joint_names))

    def read(self) -> RobotState:
        """The newest state, stamped with when its joint positions were measured.

        Raises:
            RobotError: A topic is silent, stale, or says something that cannot be; the message names it.
        """
        self._raise_if_clock_failed()
        try:
            found = self._newest()
        except RobotError:
            # What is too old or from the future may be so because the clock has jumped just now.
            self._raise_if_clock_failed()
            raise
        joints = found["joint_states"]
        stamp_ns = self.sources["joint_states"].stamp_ns
        velocity = self._velocity(stamp_ns, joints.position_rad, joints.velocity_rad_s)
        position_m, quaternion = found["pose"] if "pose" in found else self._forward(joints.position_rad)
        if "twist" in found:
            linear, angular = found["twist"]
        else:
            assert self._kinematics is not None  # RobotDescription sees to it.
            twist = self._kinematics.jacobian(joints.position_rad) @ velocity
            linear, angular = twist[:3], twist[3:]
        return RobotState(
            self.sources["joint_states"].measured_s,
            joints.position_rad,
            velocity,
            self._zeros if joints.effort_nm is None else joints.effort_nm,
            position_m,
            quaternion,
            linear,
            angular,
            self._wrench(found.get("wrench"), quaternion),
            self._width_m(found.get("gripper")),
        )

    def _raise_if_clock_failed(self) -> None:
        fault = self._clock.fault()
        if fault:
            raise RobotError(f"{fault[0].upper()}{fault[1:]}.")

    def _newest(self) -> dict[str, Any]:
        """What each source says.

        Raises:
            RobotError: See `read`.
        """
        give_up_s = time.monotonic() + self._clock.patience_s
        while True:
            for source in self.sources.values():
                source.refresh()
            try:
                return {name: source.require() for name, source in self.sources.items()}
            except StaleError:
                if time.monotonic() >= give_up_s:
                    raise
                time.sleep(_LOOK_S)

    def ages_s(self) -> dict[str, float]:
        """Age of the newest message of every topic, by part of the state."""
        return {name: source.age_s() for name, source in self.sources.items()}

    def _forward(self, position_rad: Array) -> tuple[Array, Array]:
        assert self._kinematics is not None  # RobotDescription sees to it.
        return self._kinematics.pose(position_rad)

    def _velocity(self, stamp_ns: int, position_rad: Array, velocity_rad_s: Array | None) -> Array:
        """As measured, or where a driver leaves it out, the difference to the message before."""
        if velocity_rad_s is not None:
            return velocity_rad_s
        before = self._previous
        # By the stamps themselves: on the clock of this process they would jitter.
        passed_s = 0.0 if before is None else (stamp_ns - before[0]) * 1e-9
        if before is None or not 0.0 <= passed_s < 1.0:
            self._previous, self._last_velocity = (stamp_ns, position_rad), self._zeros
        elif passed_s > 0.0:
            self._previous = (stamp_ns, position_rad)
            self._last_velocity = (position_rad - before[1]) / passed_s
        return self._last_velocity

    def _wrench(self, found: tuple[Array, Array, str] | None, quaternion: Array) -> Array:
        """Force and torque in the base frame, shape (6,)."""
        if found is None:
            return np.zeros(6)
        force, torque, frame = found
        if frame == self._description.base_frame or not self._description.base_frame:
            return np.concatenate((force, torque))
        if frame == self._description.ee_frame:
            return np.concatenate((rotate(quaternion, force), rotate(quaternion, torque)))
        raise RobotError(
            f"{self.sources['wrench'].topic} is in frame {frame!r}, but only the base frame "
            f"{self._description.base_frame!r} and the end effector's {self._description.ee_frame!r} are known."
        )

    def _width_m(self, joints: Any) -> float:
        gripper = self._description.gripper
        if gripper is None:
            return 0.0
        return gripper.offset_m + gripper.scale * float(joints.position_rad.sum())


def source_names(description: RobotDescription) -> list[str]:
    """Parts of the state that have a topic of their own: the keys of `StateSource.sources`."""
    state = description.state
    optional = {
        "pose": state.pose,
        "twist": state.twist,
        "wrench": state.wrench,
        "gripper": description.gripper,
    }
    return ["joint_states", *(name for name, config in optional.items() if config is not None)]
