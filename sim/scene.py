"""What every task of the twin has in common: start states, reward, success, scripted expert."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Protocol

import mujoco
import numpy as np
from numpy.typing import NDArray

from controllers.config import Config
from controllers.ik import InverseKinematics, UnreachableError
from controllers.rotations import from_rotation_vector
from robot_env.contracts import KeepGoing, Observation, ResetResult, Reward, always
from robot_env.goal import TaskGoal
from robot_env.resets.region import Region
from robot_env.task import RewardConfig, Task
from sim.twin import MAX_GRIPPER_WIDTH_M, TOOL_CENTRE_POINT, Twin
from sim.twin_robot import TwinRobot

Array = NDArray[np.float64]

MODELS = Path(__file__).parent / "models"
# The tool centre point's z axis points at the table, the fingers move along y.
GRIPPER_DOWN = np.array([1.0, 0.0, 0.0, 0.0])
UPRIGHT = np.array([0.0, 0.0, 0.0, 1.0])
_SETTLING_S = 0.1
# What a snapshot holds: everything of a start state but velocities, which are none at rest.
_PLACES = int(
    mujoco.mjtState.mjSTATE_QPOS
    | mujoco.mjtState.mjSTATE_CTRL
    | mujoco.mjtState.mjSTATE_MOCAP_POS
    | mujoco.mjtState.mjSTATE_MOCAP_QUAT
)


class Expert(Protocol):
    """A scripted policy. It reads scene and robot directly, and remembers nothing."""

    def act(self) -> NDArray[np.float32]:
        """The action to take now, in [-1, 1]."""
        ...


class TwinScene(ABC):
    """A task's scene on the twin. Implements `robot_env.contracts.Scene` and `ResetPolicy`.

    A subclass is one file in `sim/tasks` with one YAML in `sim/conf/task`; see `sim.tasks.reach` for a short one.

    Args:
        twin: The physics, with this scene's model.
        robot: The robot on it.
        task: What the scene belongs to.
        config: An instance of the class's own `config_type`.

    Attributes:
        goal: Which of the goals is pursued now; `success` and the expert are about it.
    """

    config_type: ClassVar[type[Config]]
    model_file: ClassVar[Path]
    goals: ClassVar[tuple[str, ...]] = ()
    """What there is to do here, where that is more than one thing."""

    def __init__(self, twin: Twin, robot: TwinRobot, task: Task, config: Config) -> None:
        self.twin = twin
        self.robot = robot
        self.task = task
        self.goal = self.goals[0] if self.goals else ""
        # Always the same backend, so that episodes do not depend on which packages are installed.
        self._inverse_kinematics = InverseKinematics(twin.model, TOOL_CENTRE_POINT, backend="least_squares")
        self._noise = np.random.default_rng(0)

    @property
    @abstractmethod
    def observables(self) -> Mapping[str, int]:
        """Name and size of everything `observe` returns."""

    @abstractmethod
    def observe(self) -> Mapping[str, Array]:
        """The newest value of every observable, in SI units and the base frame."""

    @abstractmethod
    def success(self) -> bool:
        """Whether the task is done, judged from the true state."""

    def achieved(self, goal: str) -> bool:
        """Whether one of several goals is reached, judged from the true state."""
        raise NotImplementedError(
            f"{type(self).__name__} has goals {self.goals}, but does not judge {goal!r}."
        )

    @abstractmethod
    def dense_terms(self) -> dict[str, float]:
        """Shaping terms, each in [0, 1] and 1 when its part of the task is done."""

    def poses(self) -> Mapping[str, tuple[Array, Array]]:
        """Position, shape (3,), and quaternion x, y, z, w, of everything that a tracker would see, by name.

        The twin's ROS node publishes them. See `robot_env.objects` for what a task may observe of `cube`.
        """
        return {}

    @abstractmethod
    def make_expert(self) -> Expert:
        """A scripted policy for demonstrations."""

    @abstractmethod
    def _start(self, rng: np.random.Generator) -> None:
        """Put arm and objects into a random start state, by `_start_arm` first."""

    def reset(self, rng: np.random.Generator, keep_going: KeepGoing = always) -> ResetResult:
        """Bring arm and scene to a random start state, at rest. Implements `robot_env.contracts.ResetPolicy`.

        It moves nothing on the way there, so that `keep_going` is not asked.
        """
        drawn = self.draw(rng)
        if drawn.success:
            self._come_to_rest(rng)
        return drawn

    def draw(self, rng: np.random.Generator) -> ResetResult:
        """Put arm and scene where an episode may start, to look at; no episode starts by that."""
        try:
            self._start(rng)
        except UnreachableError as error:
            return ResetResult(False, str(error))
        self.twin.refresh()
        return ResetResult(True)

    def snapshot(self) -> Array:
        """Where arm, fingers and objects are and what the fingers are told to do, for `start_from`.

        How they move is not part of it. A scene that keeps anything of an episode outside of `twin.data` has to extend
        both.

        Returns:
            Shape (D,), which depends on the model.
        """
        model, data = self.twin.model, self.twin.data
        places = np.empty(mujoco.mj_stateSize(model, _PLACES))
        mujoco.mj_getState(model, data, places, _PLACES)
        return places

    def start_from(self, places: Array, rng: np.random.Generator) -> ResetResult:
        """Bring arm and scene to a state that was seen before, at rest; what a reset varies is drawn anew.

        Args:
            places: From `snapshot`, of the same model.
            rng: Source of randomness.
        """
        self.twin.reset(rng, np.array(self.twin.config.impedance.posture_rad), MAX_GRIPPER_WIDTH_M)
        mujoco.mj_setState(self.twin.model, self.twin.data, places, _PLACES)
        self._come_to_rest(rng)
        return ResetResult(True)

    def _come_to_rest(self, rng: np.random.Generator) -> None:
        """Let everything settle where it was put, and begin an episode there."""
        self.twin.refresh()
        self.twin.hold()
        self.twin.advance(round(_SETTLING_S / self.twin.tick_s))
        self.robot.restart(rng)
        if self.twin.variation.position_noise_m > 0.0:
            self._noise = np.random.default_rng(rng.integers(2**63))

    def _start_arm(
        self, rng: np.random.Generator, box: Region, gripper_width_m: float = MAX_GRIPPER_WIDTH_M
    ) -> None:
        """Reset the twin with the tool centre point somewhere in `box`, gripper pointing down."""
        posture = np.array(self.twin.config.impedance.posture_rad)
        joints = self._inverse_kinematics.solve(box.sample(rng), GRIPPER_DOWN, posture)
        self.twin.reset(rng, joints, gripper_width_m)

    def _noisy(self, position_m: Array) -> Array:
        """A position as a tracker would measure it."""
        noise_m = self.twin.variation.position_noise_m
        return position_m + self._noise.normal(0.0, noise_m, 3) if noise_m > 0.0 else position_m.copy()


class TwinReward:
    """The twin's own knowledge of success as a reward. Implements `robot_env.contracts.RewardModel`.

    Args:
        scene: Judges.
        config: Pays.
    """

    def __init__(self, scene: TwinScene, config: RewardConfig) -> None:
        self._scene = scene
        self._config = config

    def reward(self, observation: Observation) -> Reward:
        """Judge the present state of the twin, which is what `observation` was made from."""
        config = self._config
        success = self._succeeded(observation)
        value = config.success if success else config.step
        if config.kind == "sparse":
            return Reward(value, success)
        terms = self._scene.dense_terms()
        return Reward(value + sum(terms.values()) / len(terms), success, terms)

    def _succeeded(self, observation: Observation) -> bool:
        return self._scene.success()


class ObservedGoalReward(TwinReward):
    """Success as the task's goal says, by what is observed: what hindsight pays is what the robot is paid.

    Args:
        scene: Has the dense terms.
        config: Pays.
        goal: Of the task.
    """

    def __init__(self, scene: TwinScene, config: RewardConfig, goal: TaskGoal) -> None:
        super().__init__(scene, config)
        self._goal = goal

    def _succeeded(self, observation: Observation) -> bool:
        return self._goal.is_reached(observation)


class GoalReward(TwinReward):
    """The twin's own knowledge of one of its scene's goals.

    Args:
        scene: Judges; an episode that is paid by this pursues the goal.
        config: Pays.
        goal: One of the scene's.
    """

    def __init__(self, scene: TwinScene, config: RewardConfig, goal: str) -> None:
        super().__init__(scene, config)
        self._goal = goal

    def restart(self) -> None:
        """An episode of this goal begins."""
        self._scene.goal = self._goal

    def _succeeded(self, observation: Observation) -> bool:
        return self._scene.achieved(self._goal)


def yaw_quaternion(yaw_rad: float) -> Array:
    """Rotation about the vertical axis, x, y, z, w."""
    return from_rotation_vector(np.array([0.0, 0.0, yaw_rad]))


def closeness(distance_m: float, scale_m: float) -> float:
    """1 at no distance, falling to 0 far away; half its way at about `scale_m`."""
    return 1.0 - float(np.tanh(0.55 * distance_m / scale_m))
