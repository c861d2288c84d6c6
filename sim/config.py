"""Configuration of the twin: how it is simulated, controlled and varied."""

from controllers.config import Config
from controllers.impedance import ImpedanceConfig, JointImpedanceConfig
from controllers.limits import SafetyLimits

Range = tuple[float, float]


class RandomisationConfig(Config):
    """What is drawn anew at each reset, uniformly from a range; None leaves the nominal value.

    Attributes:
        object_mass_kg: Mass of every free object.
        object_friction: Sliding friction coefficient of every free object, which decides all its contacts.
        joint_damping_scale: Factor on the viscous friction of the arm's joints.
        gripper_force_n: Greatest force of a finger.
        camera_offset_m: Displacement of every camera along each of its parent's axes.
        light_scale: Factor on the brightness of every light.
        action_delay_s: Time from a command to its effect, rounded to control ticks.
        position_noise_m: Standard deviation of the noise on measured end-effector and object positions.
    """

    object_mass_kg: Range | None = None
    object_friction: Range | None = None
    joint_damping_scale: Range | None = None
    gripper_force_n: Range | None = None
    camera_offset_m: Range | None = None
    light_scale: Range | None = None
    action_delay_s: Range | None = None
    position_noise_m: Range | None = None

    def __post_init__(self) -> None:
        """Refuse ranges that cannot be drawn from or make no physical sense."""
        for name in self.__struct_fields__:
            bounds = getattr(self, name)
            if bounds is None:
                continue
            low, high = bounds
            if not low <= high:
                raise ValueError(f"randomisation {name} [{low}, {high}] must be [low, high]")
            if low < 0.0 and name != "camera_offset_m":
                raise ValueError(f"randomisation {name} [{low}, {high}] must not be negative")
        if self.object_mass_kg is not None and self.object_mass_kg[0] <= 0.0:
            raise ValueError(f"randomisation object_mass_kg {list(self.object_mass_kg)} must be positive")

    @property
    def is_off(self) -> bool:
        """Whether nothing is drawn."""
        return all(getattr(self, name) is None for name in self.__struct_fields__)


class TwinConfig(Config):
    """The twin as a robot.

    Attributes:
        realtime: Whether time passes as on the wall. Otherwise physics runs as fast as it can, and time passes
            only while someone sleeps on the twin's clock.
        substeps_per_tick: Physics steps of 2 ms between two ticks of the impedance controller.
        impedance: Follows pose commands; its posture is also where resets start from.
        joint_impedance: Follows joint commands and holds the arm.
        safety: Limits of the safety filter; the workspace is the task's.
        randomisation: What each reset varies.
    """

    realtime: bool = False
    substeps_per_tick: int = 5
    impedance: ImpedanceConfig = ImpedanceConfig(posture_rad=(0.0, 0.15, 0.0, -2.35, 0.0, 2.5, 0.785398))
    joint_impedance: JointImpedanceConfig = JointImpedanceConfig()
    safety: SafetyLimits = SafetyLimits()
    randomisation: RandomisationConfig = RandomisationConfig()

    def __post_init__(self) -> None:
        """Refuse a controller that never ticks."""
        if self.substeps_per_tick < 1:
            raise ValueError(f"substeps_per_tick {self.substeps_per_tick} must be at least 1")
