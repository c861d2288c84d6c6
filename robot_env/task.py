"""What a task is, as data: one frozen object read from one YAML file."""

from math import inf
from pathlib import Path
from typing import Any, Literal

from controllers.config import Config, read_file

# Turning by this about all three axes at once stays below half a revolution. From there on the same target
# could be meant by another action, and the executed one could no longer be told.
_MAX_ROTATION_RAD = 1.8


class ActionConfig(Config):
    """How an action in [-1, 1] becomes motion. Order: translation x y z, rotation x y z, gripper.

    Attributes:
        translation_m: Translation of the target per control step at full action.
        rotation_rad: Rotation (rotation vector) of the target per step at full action; 0 holds the orientation
            of the episode's start and leaves the three rotation entries out.
        gripper: Whether the last entry sets the finger distance: -1 closed, +1 fully open.
        frame: Axes in which translation and rotation are expressed.
    """

    translation_m: float
    rotation_rad: float = 0.0
    gripper: bool = True
    frame: Literal["base", "end_effector"] = "base"

    def __post_init__(self) -> None:
        """Refuse actions that move nothing or anything."""
        if not 0.0 < self.translation_m < inf or not 0.0 <= self.rotation_rad <= _MAX_ROTATION_RAD:
            raise ValueError(
                f"action.translation_m {self.translation_m} must be positive and finite, and action.rotation_rad "
                f"{self.rotation_rad} must lie in [0, {_MAX_ROTATION_RAD}]"
            )

    @property
    def size(self) -> int:
        """Number of entries of an action."""
        return 3 + 3 * (self.rotation_rad > 0) + self.gripper


class Observable(Config):
    """One named part of the `state` vector.

    Attributes:
        name: A robot or scene observable.
        scale: The raw value is divided by this (same unit), so that learners see numbers near one.
    """

    name: str
    scale: float = 1.0

    def __post_init__(self) -> None:
        """Refuse scales that cannot be divided by."""
        if not 0.0 < self.scale < inf:
            raise ValueError(f"scale {self.scale} of {self.name!r} must be positive and finite")


class CameraConfig(Config):
    """One camera image of the observation.

    Attributes:
        width: Pixels.
        height: Pixels.
    """

    width: int = 128
    height: int = 128

    def __post_init__(self) -> None:
        """Refuse images without pixels."""
        if self.width < 1 or self.height < 1:
            raise ValueError(
                f"a camera of {self.width} x {self.height} pixels must have at least one each way"
            )


class WorkspaceConfig(Config):
    """The box, in the base frame, that the tool centre point never leaves.

    Attributes:
        min_m: Its lowest corner: x, y, z.
        max_m: Its highest corner.
    """

    min_m: tuple[float, float, float]
    max_m: tuple[float, float, float]


class RewardConfig(Config):
    """What the learner is paid.

    Attributes:
        kind: `sparse` pays `success` or `step`; `dense` adds the scene's shaping terms, each in [0, 1], averaged.
        success: Paid at the step that succeeds, which ends the episode.
        step: Paid at every other step. -1 with success 0 makes the return the negative number of steps, which
            critics learn faster from than 0 / +1.
    """

    kind: Literal["sparse", "dense"] = "sparse"
    success: float = 0.0
    step: float = -1.0


class GoalConfig(Config):
    """What a task is about, where that is one observable coming to another: see `robot_env.goal`.

    Attributes:
        achieved: Observable that says what is achieved.
        desired: Observable that says what is to be achieved.
        tolerance: They agree within this distance, in their unit.
    """

    achieved: str
    desired: str
    tolerance: float

    def __post_init__(self) -> None:
        """Refuse goals that are always or never reached."""
        if self.achieved == self.desired or not 0.0 < self.tolerance < inf:
            raise ValueError(
                f"goal.achieved {self.achieved!r} and goal.desired {self.desired!r} must differ, and goal.tolerance "
                f"{self.tolerance} must be positive and finite"
            )


class Task(Config):
    """Everything about a task that is not code.

    Attributes:
        name: The name to choose it by.
        scene: Dotted path of the class that knows the scene on the twin.
        scene_config: Parameters of that class; refused if it does not know them.
        control_rate_hz: Actions per second.
        episode_length_s: Time limit; reaching it truncates the episode.
        action: Meaning of an action.
        workspace: Where the tool centre point may be.
        observation: Parts of the `state` vector in order.
        cameras: Images of the observation by camera name; none are rendered if empty.
        reward: Payment.
        goal: Which of the observables is the goal; then success is judged by them. None where the scene judges.
        privileged: What critics see besides, and no policy: known to the twin, such as the place of an object that the
            robot only has images of. Another robot observes nothing of it.
    """

    name: str
    scene: str
    control_rate_hz: float
    episode_length_s: float
    action: ActionConfig
    workspace: WorkspaceConfig
    observation: tuple[Observable, ...]
    scene_config: dict[str, Any] = {}
    cameras: dict[str, CameraConfig] = {}
    reward: RewardConfig = RewardConfig()
    goal: GoalConfig | None = None
    privileged: tuple[Observable, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what cannot be run."""
        steps = self.episode_length_s * self.control_rate_hz
        if not 0.0 < self.control_rate_hz < inf or not 1.0 <= steps < inf:
            raise ValueError(
                f"control_rate_hz {self.control_rate_hz} and episode_length_s {self.episode_length_s} must be "
                "positive, finite and leave room for at least one step"
            )
        if not all(low < high for low, high in zip(self.workspace.min_m, self.workspace.max_m, strict=True)):
            raise ValueError(
                f"workspace.min_m {self.workspace.min_m} must lie below max_m {self.workspace.max_m}"
            )
        names = [part.name for part in self.observation]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"observation {names} must have at least one part, and none twice")
        hidden = [part.name for part in self.privileged]
        if len({*names, *hidden}) < len(names) + len(hidden):
            raise ValueError(f"privileged {hidden} must have no part twice, and none of observation {names}")

    @property
    def episode_steps(self) -> int:
        """The time limit in control steps."""
        return round(self.episode_length_s * self.control_rate_hz)


def load_task(path: Path) -> Task:
    """Read a task from YAML.

    Raises:
        InputError: The file is missing, or not a task; the message names the key.
    """
    return read_file(Task, path, "task")
