"""What tells by ROS messages where a hand is: a tracked pose, or a leader arm."""

from typing import Any

import numpy as np

from controllers.config import Config
from controllers.kinematics import Kinematics, KinematicsConfig
from robot_env.devices.bindings import Bindings
from robot_env.devices.following import FollowConfig, HandPose
from robot_env.devices.reading import GripperRequest
from robot_env.ros.messages import MessageError, joints_of, pose_of
from robot_env.ros.ros_clock import RosClock
from robot_env.ros.teleop_devices import Feed, Presses, check_age


class RosPoseConfig(FollowConfig):
    """A tracked hand.

    Attributes:
        topic: Of geometry_msgs/PoseStamped.
        frame_id: Frame that the poses are in; empty takes any.
        joy_topic: Of sensor_msgs/Joy with the buttons in the other, or the same, hand.
        buttons: Number of a button -> what it means, see `Bindings`; `deadman` is the clutch.
    """

    topic: str = "hand_pose"
    frame_id: str = ""
    joy_topic: str = "joy"
    buttons: dict[int, str] = {}


class LeaderGripper(Config):
    """The joint of a leader's grip.

    Attributes:
        joint: Its name.
        closed_rad: Where the gripper is to be closed; metres, if it slides.
        open_rad: Where it is to be fully open.
    """

    joint: str
    closed_rad: float
    open_rad: float

    def __post_init__(self) -> None:
        """Refuse a joint without a way."""
        if not np.isfinite((self.closed_rad, self.open_rad)).all() or self.closed_rad == self.open_rad:
            raise ValueError(
                f"gripper.closed_rad {self.closed_rad} and open_rad {self.open_rad} must be finite and differ"
            )


class LeaderConfig(FollowConfig):
    """A leader arm that is moved by hand.

    Attributes:
        topic: Of sensor_msgs/JointState.
        joint_names: Of its arm, from the base on.
        kinematics: Of the leader: `model` and `site`, or `dh`; its base stands for that of the robot.
        gripper: Its grip; null if it has none.
        joy_topic: Of sensor_msgs/Joy with buttons.
        buttons: Number of a button -> what it means, see `Bindings`; `deadman` is the clutch.
    """

    topic: str = "leader/joint_states"
    joint_names: tuple[str, ...] = ()
    kinematics: KinematicsConfig = KinematicsConfig()
    gripper: LeaderGripper | None = None
    joy_topic: str = "joy"
    buttons: dict[int, str] = {}


class RosPose:
    """Where a tracker says that the hand is.

    Args:
        node: Subscribes.
        clock: Judges how old a message is.
        config: See there.
        buttons: The configured ones.
    """

    hint = "start what tracks it"

    def __init__(self, node: Any, clock: RosClock, config: RosPoseConfig, buttons: Bindings[int]) -> None:
        from geometry_msgs.msg import PoseStamped

        self._clock = clock
        self._frame_id = config.frame_id
        self._poses = Feed(node, PoseStamped, config.topic, 1)
        self._buttons = _Buttons(node, config.joy_topic, buttons)
        self._newest: Any = None
        self.problem = ""
        self.pressed: list[int] = []

    def read(self) -> HandPose | None:
        """Where it is now; None if tracker or clutch is silent, or says what cannot be."""
        request, deadman, self.pressed = self._buttons.take()
        for message in self._poses.take():
            self._newest = message
        if self._poses.is_silent or self._buttons.is_silent:
            return None
        try:
            position_m, quaternion = pose_of(self._newest, self._frame_id)
            check_age(self._newest.header, self._clock)
        except MessageError as error:
            self.problem = f"{self._poses.topic} {error}."
            return None
        self.problem = ""
        return HandPose(position_m, quaternion, request, deadman)


class LeaderArm:
    """Where the joints of a leader arm say that the hand is.

    Args:
        node: Subscribes.
        clock: Judges how old a message is.
        config: See there.
        buttons: The configured ones.
        kinematics: From joints to the hand.
    """

    hint = "start its driver"

    def __init__(
        self,
        node: Any,
        clock: RosClock,
        config: LeaderConfig,
        buttons: Bindings[int],
        kinematics: Kinematics,
    ) -> None:
        from sensor_msgs.msg import JointState

        self._clock = clock
        self._names = config.joint_names
        self._gripper = config.gripper
        self._kinematics = kinematics
        # Drivers publish arm and grip in one message, or in two on the same topic.
        self._states = Feed(node, JointState, config.topic, 10)
        self._buttons = _Buttons(node, config.joy_topic, buttons)
        self._hand: HandPose | None = None
        self._grip: float | None = None
        self._header: Any = None
        self.problem = ""
        self.pressed: list[int] = []

    def read(self) -> HandPose | None:
        """Where it is now; None if its driver or the clutch is silent, or says what cannot be."""
        request, deadman, self.pressed = self._buttons.take()
        try:
            for message in self._states.take():
                self._take(message)
            if self._states.is_silent or self._buttons.is_silent or self._hand is None:
                return None
            check_age(self._header, self._clock)
        except MessageError as error:
            self.problem = f"{self._states.topic} {error}."
            return None
        self.problem = ""
        gripper: GripperRequest | float | None = request if self._grip is None else self._grip
        return self._hand._replace(gripper=gripper, deadman=deadman)

    def _take(self, message: Any) -> None:
        arm = joints_of(message, self._names)
        if arm is not None:
            self._hand = HandPose(*self._kinematics.pose(arm.position_rad))
            self._header = message.header
        gripper = self._gripper
        grip = joints_of(message, (gripper.joint,)) if gripper is not None else None
        if gripper is not None and grip is not None:
            part = (grip.position_rad[0] - gripper.closed_rad) / (gripper.open_rad - gripper.closed_rad)
            # A grip that is squeezed goes a little beyond its ends; a NaN passes through to be refused.
            self._grip = float(np.clip(2.0 * part - 1.0, -1.0, 1.0))


class _Buttons:
    """Buttons beside a pose, if any are configured."""

    def __init__(self, node: Any, topic: str, bindings: Bindings[int]) -> None:
        from sensor_msgs.msg import Joy

        self._bindings = bindings
        self._feed = Feed(node, Joy, topic, 50) if bindings.help else None
        self._presses = Presses()
        self._down: list[int] = []

    def take(self) -> tuple[GripperRequest | None, bool | None, list[int]]:
        """What is asked of the gripper, whether the clutch is held, and which buttons went down."""
        if self._feed is None:
            return None, None, []
        pressed: list[int] = []
        for message in self._feed.take():
            pressed += self._presses.take(message.buttons)
            self._down = [number for number, is_down in enumerate(message.buttons) if is_down]
        clutch = self._bindings.deadman
        deadman = bool(clutch & set(self._down)) if clutch else None
        return self._bindings.request(pressed), deadman, pressed

    @property
    def is_silent(self) -> bool:
        """Whether the clutch cannot be believed."""
        return self._feed is not None and bool(self._bindings.deadman) and self._feed.is_silent
