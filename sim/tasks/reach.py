"""Reach: bring the tool centre point to a goal."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from controllers.config import Config
from robot_env.resets.region import Region
from robot_env.task import Task
from sim.scene import MODELS, UPRIGHT, Expert, TwinScene, closeness
from sim.twin import Twin
from sim.twin_robot import TwinRobot

Array = NDArray[np.float64]


class ReachConfig(Config):
    """Start states and success.

    Attributes:
        start: Tool centre points to start from.
        goal: Positions of the goal.
        tolerance_m: The goal is reached within this distance.
    """

    start: Region
    goal: Region
    tolerance_m: float = 0.02


class Reach(TwinScene):
    """A goal floats in the air; the green ball is only for people to see."""

    config_type = ReachConfig
    model_file = MODELS / "reach.xml"

    def __init__(self, twin: Twin, robot: TwinRobot, task: Task, config: ReachConfig) -> None:
        super().__init__(twin, robot, task, config)
        self._config = config
        self._tool = twin.data.site("tool_centre_point").xpos
        # The model's only motion-capture body: placed, not simulated.
        self.goal_m = twin.data.mocap_pos[0]

    @property
    def observables(self) -> Mapping[str, int]:
        """The goal in the base frame, and seen from the tool centre point."""
        return {"goal_position": 3, "goal_from_ee": 3}

    def observe(self) -> Mapping[str, Array]:
        """The goal in the base frame, and seen from the tool centre point."""
        return {"goal_position": self.goal_m.copy(), "goal_from_ee": self.goal_m - self._tool}

    def poses(self) -> Mapping[str, tuple[Array, Array]]:
        """The goal; it has no orientation of its own."""
        return {"goal": (self.goal_m.copy(), UPRIGHT)}

    def success(self) -> bool:
        """Whether the tool centre point is at the goal."""
        return self._distance_m() < self._config.tolerance_m

    def dense_terms(self) -> dict[str, float]:
        """How near the tool centre point is."""
        return {"reach": closeness(self._distance_m(), 0.1)}

    def make_expert(self) -> Expert:
        """Goes straight there."""
        return ReachExpert(self)

    def _start(self, rng: np.random.Generator) -> None:
        self._start_arm(rng, self._config.start, gripper_width_m=0.0)
        self.goal_m[:] = self._config.goal.sample(rng)

    def _distance_m(self) -> float:
        return float(np.linalg.norm(self.goal_m - self._tool))


class ReachExpert:
    """Moves straight to the goal, at most one full action per axis and step.

    Args:
        scene: Where the goal is.
    """

    def __init__(self, scene: Reach) -> None:
        self._scene = scene

    def act(self) -> NDArray[np.float32]:
        """The action that leads closest to the goal."""
        action = self._scene.task.action
        away_m = self._scene.goal_m - self._scene.robot.observe().ee_position_m
        move = np.clip(away_m / action.translation_m, -1.0, 1.0)
        return np.append(move, [-1.0] * (action.size - 3)).astype(np.float32)
