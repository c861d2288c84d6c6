"""Which topic of a recorded session holds what: one YAML file, `mapping=FILE`."""

from math import inf
from pathlib import Path
from typing import Literal

from controllers.config import Config, InputError, read_file


class BagAction(Config):
    """What moved the arm.

    Attributes:
        kind: `target_pose` (PoseStamped: where to go) or `twist` (Twist or TwistStamped: how fast, m/s and rad/s, in
            the base frame).
        topic: Where it is.
        gripper: Topic of the commanded width: JointState (first position), Float64 or Float32, in m. Where nobody
            recorded it, that of the measured width may stand in.
        max_gripper_width_m: Distance between the fully opened fingers, +1 in our actions.
    """

    kind: Literal["target_pose", "twist"]
    topic: str
    gripper: str = ""
    max_gripper_width_m: float = 0.08

    def __post_init__(self) -> None:
        """Refuse what cannot be divided by."""
        if not 0.0 < self.max_gripper_width_m < inf:
            raise ValueError(f"max_gripper_width_m {self.max_gripper_width_m} must be positive")


class BagMapping(Config):
    """Which topic of a recorded session holds what.

    Attributes:
        action: What moved the arm.
        pose: PoseStamped of the tool centre point in the base frame.
        joint_states: JointState.
        joint_names: Of the arm, in its order; those of the first message if empty.
        twist: TwistStamped of the tool centre point.
        wrench: WrenchStamped on it.
        gripper: Measured width: JointState (first position), Float64 or Float32, in m.
        cameras: Camera of the task -> topic of Image or CompressedImage.
        objects: Tracked object -> topic of its PoseStamped in the base frame.
        episodes: Topic of Bool that is true during an episode; the whole recording is one if empty.
        success: Topic of Bool; what it said last during an episode counts.
        intervened: Topic of Bool that is true while a human acts.
        base_frame: Frame that poses must be in; any single one if empty.
        stamps: By which clock: that of the messages' headers, where they have one, or that of the recorder.
        max_gap_s: Where a topic is silent for longer, the recording is cut.
        min_steps: Shorter pieces are dropped.
    """

    action: BagAction
    pose: str
    joint_states: str = ""
    joint_names: tuple[str, ...] = ()
    twist: str = ""
    wrench: str = ""
    gripper: str = ""
    cameras: dict[str, str] = {}
    objects: dict[str, str] = {}
    episodes: str = ""
    success: str = ""
    intervened: str = ""
    base_frame: str = ""
    stamps: Literal["header", "recorder"] = "header"
    max_gap_s: float = 0.25
    min_steps: int = 5

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if not 0.0 < self.max_gap_s < inf or self.min_steps < 1:
            raise ValueError(
                f"max_gap_s {self.max_gap_s} must be positive and min_steps {self.min_steps} at least 1"
            )


def load_mapping(path: str) -> BagMapping:
    """Read the file.

    Raises:
        InputError: It is not given, missing, or no mapping; the message names the key.
    """
    if not path:
        raise InputError(
            "A recorded session needs mapping=FILE, which says which topic holds what; see docs/episodes.md."
        )
    return read_file(BagMapping, Path(path), "mapping")
