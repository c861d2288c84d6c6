"""What an arm may do: limits of the joints, and of everything the safety filter watches.

The defaults are those of a Franka Emika Panda. Another arm gives its own in its robot's YAML.
"""

from math import inf

from controllers.config import Config


class JointLimits(Config):
    """Limits of the N joints of an arm, each a tuple of N numbers.

    Defaults: the public interface specification of the Franka Emika Panda
    (frankaemika.github.io/docs/control_parameters.html).

    Attributes:
        min_rad: Lower ends of the joints.
        max_rad: Upper ends of the joints.
        velocity_rad_s: Highest speeds.
        acceleration_rad_s2: Highest accelerations.
        effort_nm: Highest torques.
    """

    min_rad: tuple[float, ...] = (-2.8973, -1.7628, -2.8973, -3.0718, -2.8973, -0.0175, -2.8973)
    max_rad: tuple[float, ...] = (2.8973, 1.7628, 2.8973, -0.0698, 2.8973, 3.7525, 2.8973)
    velocity_rad_s: tuple[float, ...] = (2.175, 2.175, 2.175, 2.175, 2.61, 2.61, 2.61)
    acceleration_rad_s2: tuple[float, ...] = (15.0, 7.5, 10.0, 12.5, 15.0, 20.0, 20.0)
    effort_nm: tuple[float, ...] = (87.0, 87.0, 87.0, 87.0, 12.0, 12.0, 12.0)

    def __post_init__(self) -> None:
        """Refuse limits that no arm can have."""
        sizes = {name: len(getattr(self, name)) for name in self.__struct_fields__}
        if len(set(sizes.values())) != 1:
            raise ValueError(f"joint limits must all have one entry per joint, but their lengths are {sizes}")
        if not all(low < high for low, high in zip(self.min_rad, self.max_rad, strict=True)):
            raise ValueError(f"joint min_rad {self.min_rad} must lie below max_rad {self.max_rad}")
        for name in ("velocity_rad_s", "acceleration_rad_s2", "effort_nm"):
            if not all(0.0 < limit < inf for limit in getattr(self, name)):
                raise ValueError(f"joint {name} {getattr(self, name)} must be positive and finite")

    @property
    def joints(self) -> int:
        """N, the number of joints."""
        return len(self.min_rad)


class SafetyLimits(Config):
    """Everything `controllers.safety_filter` watches. See docs/safety.md for how each is applied.

    Attributes:
        joints: Limits of the joints.
        workspace_min_m: Lower corner of the box, in the base frame, that the tool centre point never leaves.
        workspace_max_m: Upper corner of that box.
        linear_speed_m_s: Speed of the target. The default passes 3 cm per axis at 10 Hz, diagonals included.
        linear_acceleration_m_s2: How fast the target may gain speed; it may always brake.
        angular_speed_rad_s: Turning speed of the target.
        angular_acceleration_rad_s2: How fast the target may gain turning speed.
        translation_error_m: Longest distance between target and measured position.
        rotation_error_rad: Largest angle between target and measured orientation.
        joint_error_rad: Largest angle between a joint's target and where it is measured: a blocked arm must not be
            wound up, to leap once it is free.
        joint_margin_rad: Joint targets keep this far from the ends of the joints.
        joint_speed_fraction: Part of the joints' velocity limits that joint targets may use.
        contact_force_n: Above this external force the target may not push further.
        contact_torque_nm: Above this external torque the target may not turn further against it.
        gripper_max_m: Distance of the fully opened fingers.
        max_command_age_s: Older commands are refused. After a longer pause a target may catch up no more
            than after this one.
        max_state_age_s: Nothing is believed about the arm from an older measurement.
    """

    joints: JointLimits = JointLimits()
    workspace_min_m: tuple[float, float, float] = (0.25, -0.4, 0.0)
    workspace_max_m: tuple[float, float, float] = (0.75, 0.4, 0.7)
    linear_speed_m_s: float = 0.6
    linear_acceleration_m_s2: float = 13.0
    angular_speed_rad_s: float = 2.0
    angular_acceleration_rad_s2: float = 25.0
    translation_error_m: float = 0.1
    rotation_error_rad: float = 0.5
    joint_error_rad: float = 0.4
    joint_margin_rad: float = 0.05
    joint_speed_fraction: float = 0.8
    contact_force_n: float = 30.0
    contact_torque_nm: float = 10.0
    gripper_max_m: float = 0.08
    max_command_age_s: float = 0.1
    max_state_age_s: float = 0.1

    def __post_init__(self) -> None:
        """Refuse limits that protect nothing or leave no room to move."""
        box = zip(self.workspace_min_m, self.workspace_max_m, strict=True)
        if not all(-inf < low < high < inf for low, high in box):
            raise ValueError(
                f"workspace_min_m {self.workspace_min_m} must lie below workspace_max_m "
                f"{self.workspace_max_m}"
            )
        for name in self.__struct_fields__[3:]:
            if not 0.0 < getattr(self, name) < inf:
                raise ValueError(f"safety limit {name} {getattr(self, name)} must be positive and finite")
        if self.joint_speed_fraction > 1.0:
            raise ValueError(f"joint_speed_fraction {self.joint_speed_fraction} must be at most 1")
        narrowest = min(
            high - low for low, high in zip(self.joints.min_rad, self.joints.max_rad, strict=True)
        )
        if 2.0 * self.joint_margin_rad >= narrowest:
            raise ValueError(f"joint_margin_rad {self.joint_margin_rad} leaves no room in {narrowest} rad")
