"""What a scripted reset is told, and what of that cannot be."""

from collections.abc import Mapping
from math import inf, pi

import numpy as np

from controllers.config import Config, InputError
from robot_env.resets.motion import MotionConfig
from robot_env.resets.region import Region


class ObjectConfig(Config):
    """An object that lies on the table and may be grasped from above.

    Attributes:
        region: Where it is put down, x and y.
        max_yaw_rad: The gripper, and the object in it, is turned by up to this about the vertical.
        grasp_offset_m: Height of the tool centre point above the object's position when it is grasped.
    """

    region: Region
    max_yaw_rad: float = 0.0
    grasp_offset_m: float = 0.0

    def __post_init__(self) -> None:
        """Refuse a place that is not on a table."""
        if self.region.dimensions != 2:
            raise ValueError(f"the region of an object {self.region.min_m} must have two dimensions, x and y")
        if not 0.0 <= self.max_yaw_rad <= pi / 4:
            raise ValueError(f"max_yaw_rad {self.max_yaw_rad} must lie in [0, pi/4]")


class ScriptedResetConfig(Config):
    """What to do.

    Attributes:
        start: Where the tool centre point starts an episode.
        objects: What is put back, by the name under which the scene observes it.
        motion: How fast, and when to give up.
        gripper_down_xyzw: Orientation in which the gripper points at the table, and in which episodes start.
        max_tilt_rad: An arm that is turned away from it by more than this is left alone. A grasp turns it by pi/4.
        travel_height_m: Lowest height of the tool centre point for a way across the table.
        retreat_m: After a failure the arm goes up by at least this, if there is room.
        reach_m: An object this far outside the workspace can still be grasped.
        held_m: An object this near to the tool centre point may be held.
        approach_m: The last part of a way down to a known height, which is gone slowly.
        grasps: How often to try to grasp an object.
        open_fraction: Fingers are open from this part of their greatest distance on.
        closed_m: At less than this between the fingers nothing is held.
    """

    start: Region
    objects: dict[str, ObjectConfig] = {}
    motion: MotionConfig = MotionConfig()
    gripper_down_xyzw: tuple[float, float, float, float] = (1.0, 0.0, 0.0, 0.0)
    max_tilt_rad: float = 1.2
    travel_height_m: float = 0.12
    retreat_m: float = 0.05
    reach_m: float = 0.012
    held_m: float = 0.05
    approach_m: float = 0.03
    grasps: int = 3
    open_fraction: float = 0.9
    closed_m: float = 0.004

    def __post_init__(self) -> None:
        """Refuse what cannot be done."""
        if self.start.dimensions != 3:
            raise ValueError(f"the start region {self.start.min_m} must have three dimensions")
        if abs(np.linalg.norm(self.gripper_down_xyzw) - 1.0) > 1e-3:
            raise ValueError(f"gripper_down_xyzw {self.gripper_down_xyzw} must be of length one")
        if self.grasps < 1 or not 0.0 < self.open_fraction < 1.0:
            raise ValueError(
                f"grasps {self.grasps} must be at least 1, and open_fraction {self.open_fraction} lie between 0 and 1"
            )
        for name in (
            "max_tilt_rad",
            "travel_height_m",
            "retreat_m",
            "reach_m",
            "held_m",
            "approach_m",
            "closed_m",
        ):
            if not 0.0 < getattr(self, name) < inf:
                raise ValueError(f"{name} {getattr(self, name)} must be positive and finite")


def refuse_unreachable(config: ScriptedResetConfig, workspace: Region) -> None:
    """The workspace of the task holds all that the arm is to reach.

    Raises:
        InputError: It does not.
    """
    flat = Region(min_m=workspace.min_m[:2], max_m=workspace.max_m[:2])
    regions = [("start", config.start, workspace)]
    regions += [(f"objects.{name}.region", thing.region, flat) for name, thing in config.objects.items()]
    for name, region, room in regions:
        if room.distance_m(region.min_m) > 0.0 or room.distance_m(region.max_m) > 0.0:
            raise InputError(
                f"The reset's {name} from {region.min_m} to {region.max_m} leaves the task's workspace from "
                f"{room.min_m} to {room.max_m}: make it smaller."
            )


def refuse_unseen(config: ScriptedResetConfig, observables: Mapping[str, int]) -> None:
    """Everything that is to be put back is observed.

    Raises:
        InputError: It is not.
    """
    for name in config.objects:
        missing = [part for part in (f"{name}_position", f"{name}_yaw") if part not in observables]
        if missing:
            raise InputError(
                f"The reset is to put back {name!r}, but the scene observes no {' and no '.join(missing)}; it observes "
                f"{', '.join(sorted(observables)) or 'nothing'}."
            )
