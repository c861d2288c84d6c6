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
