"""All detectors together, and what of them can be asked after a reset."""

from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import NDArray

from controllers.config import Config
from controllers.rotations import rotate
from robot_env.contracts import ResetResult, Scene
from robot_env.env import RobotEnv
from robot_env.robot import RobotState
from robot_env.task import Task
from robot_env.trouble.arm import ContactConfig, GripperJammedConfig, StuckConfig
from robot_env.trouble.detector import Array, DetectorConfig, Frames, Moment
from robot_env.trouble.scene import CameraFrozenConfig, NoProgressConfig, ObjectOutConfig

_POSITION = "_position"


class TroubleConfig(Config):
    """What ends an episode because something has gone wrong; null looks for nothing of the kind.

    Attributes:
        stuck: The arm does not follow.
        contact: It presses or bumps.
        object_out: An observed object is out of reach.
        gripper_jammed: The fingers do not go where they are told.
        camera_frozen: A camera gives the same frame again and again.
        no_progress: The terms of the reward do not rise.
    """

    stuck: StuckConfig | None = StuckConfig()
    contact: ContactConfig | None = ContactConfig()
    object_out: ObjectOutConfig | None = ObjectOutConfig()
    gripper_jammed: GripperJammedConfig | None = GripperJammedConfig()
    camera_frozen: CameraFrozenConfig | None = CameraFrozenConfig()
    no_progress: NoProgressConfig | None = None


class Watch:
    """Looks for all kinds of trouble after every step.

    Args:
        env: Is watched.
        config: What for.
    """

    def __init__(self, env: RobotEnv, config: TroubleConfig) -> None:
        self._env = env
        parts: list[DetectorConfig | None] = [getattr(config, name) for name in config.__struct_fields__]
        self._detectors = [part.detector(env.task) for part in parts if part is not None]

    def restart(self) -> None:
        """An episode begins."""
        for detector in self._detectors:
            detector.restart()

    def look(
        self, before: RobotState, action: NDArray[np.float32], frames: Frames, terms: Mapping[str, float]
    ) -> str:
        """What is wrong after a step, in words that fit behind a colon; empty while all is well.

        Args:
            before: Where the arm was when it acted.
            action: What was wanted, shape (A,).
            frames: The images of the observation that this led to.
            terms: Named parts of the reward.

        Raises:
            RobotError: The objects cannot be observed.
        """
        env = self._env
        wanted = np.clip(action.astype(np.float64), -1.0, 1.0)
        width_m = 0.5 * (wanted.item(-1) + 1.0) * env.robot.max_gripper_width_m
        moment = Moment(
            env.state,
            _asked(env, before, wanted),
            width_m if env.task.action.gripper else None,
            observed_objects(env.scene),
            frames,
            terms,
        )
        return "; ".join(filter(None, [detector.look(moment) for detector in self._detectors]))


class ObjectsInReach:
    """Sees after a reset that no observed object is out of reach.

    Implements `robot_env.contracts.Verifier`. What else may last is asked in `robot_env.resets.verify`.

    Args:
        scene: Observes them.
        task: Has the workspace.
        config: What out of reach is.
        apart_from: Names of objects of which somebody else sees more.
    """

    def __init__(
        self, scene: Scene, task: Task, config: ObjectOutConfig, apart_from: Collection[str] = ()
    ) -> None:
        self._scene = scene
        self._apart_from = frozenset(apart_from)
        self._out = config.detector(task)

    def verify(self) -> ResetResult:
        """Whether none is.

        Raises:
            RobotError: They cannot be observed.
        """
        seen = observed_objects(self._scene)
        reason = self._out.complain({name: seen[name] for name in seen.keys() - self._apart_from})
        return ResetResult(not reason, reason)


def observed_objects(scene: Scene) -> dict[str, Array]:
    """Position in the base frame of every object that the scene observes, by name.

    Raises:
        RobotError: They cannot be observed.
    """
    return {
        name.removesuffix(_POSITION): np.asarray(value)
        for name, value in scene.observe().items()
        if name.endswith(_POSITION)
    }


def _asked(env: RobotEnv, before: RobotState, action: Array) -> Array:
    """See `Moment.asked`."""
    config, workspace = env.task.action, env.task.workspace
    translation_m = action[:3] * config.translation_m
    if config.frame == "end_effector":
        translation_m = rotate(before.ee_quaternion_xyzw, translation_m)
    target_m = np.clip(before.ee_position_m + translation_m, workspace.min_m, workspace.max_m)
    asked: Array = (target_m - before.ee_position_m) / config.translation_m
    return asked
