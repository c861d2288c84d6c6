"""A reset that a real arm can do: it puts down what it holds, puts the objects back, and goes to a start pose."""

import numpy as np

from controllers.rotations import error
from robot_env.contracts import KeepGoing, ResetResult, Scene, always
from robot_env.resets.motion import MotionError, ToolMotion
from robot_env.resets.picking import Picker
from robot_env.resets.region import Region
from robot_env.resets.scripted_config import ScriptedResetConfig, refuse_unreachable, refuse_unseen
from robot_env.robot import Robot, RobotError, RobotUnavailableError
from robot_env.task import Task


class ScriptedReset:
    """Implements `robot_env.contracts.ResetPolicy` by watched motions. See docs/resets.md.

    On any doubt the robot is stopped. After a motion that failed, but not after a bad measurement, it then goes
    straight up, away from whatever was in the way.

    Args:
        robot: Connected before the first reset.
        scene: Observes the objects, each by `<name>_position` and `<name>_yaw`.
        task: Its workspace is never left, and its action says whether there is a gripper to use.
        config: What to do.
        retreat_first: Whether to begin by going straight up, slowly, from wherever it stands: after one that failed.

    Raises:
        InputError: A region leaves the workspace, or an object cannot be observed.
    """

    def __init__(
        self,
        robot: Robot,
        scene: Scene,
        task: Task,
        config: ScriptedResetConfig,
        retreat_first: bool = False,
    ) -> None:
        self._robot, self._scene, self._config = robot, scene, config
        self._workspace = Region(min_m=task.workspace.min_m, max_m=task.workspace.max_m)
        self._uses_gripper = task.action.gripper
        self._retreat_first = retreat_first
        self._down = np.array(config.gripper_down_xyzw)
        refuse_unreachable(config, self._workspace)
        refuse_unseen(config, scene.observables)

    def reset(self, rng: np.random.Generator, keep_going: KeepGoing = always) -> ResetResult:
        """Bring objects and arm to a start state drawn from `rng`, and let the arm rest there.

        Raises:
            RobotUnavailableError: The robot, or what tells where the objects are, went away meanwhile.
            Exception: What `keep_going` raised; the robot was stopped.
        """
        try:
            motion = ToolMotion(self._robot, self._config.motion, keep_going)
            picker = Picker(self._robot, self._scene, self._workspace, self._config, motion)
            try:
                self._run(motion, picker, rng)
            except MotionError as failure:
                return self._give_up(picker, str(failure))
            self._robot.stop()
            return ResetResult(True)
        except RobotUnavailableError:
            self._robot.stop()
            raise
        except RobotError as failure:
            self._robot.stop()
            return ResetResult(False, str(failure))
        except BaseException:  # Ctrl-C as well.
            self._robot.stop()
            raise

    def _run(self, motion: ToolMotion, picker: Picker, rng: np.random.Generator) -> None:
        self._refuse_tilt(motion)
        if self._uses_gripper:
            picker.hold_on()
        if self._retreat_first:
            picker.retreat()
        if self._uses_gripper:
            self._put_all_back(picker, rng)
        motion.move(self._config.start.sample(rng), self._down)
        motion.rest()

    def _put_all_back(self, picker: Picker, rng: np.random.Generator) -> None:
        held = picker.held()
        if held is None:
            picker.let_go()
            picker.rise()
        # What is in the hand first: it would have to be put down for another.
        for name, thing in sorted(self._config.objects.items(), key=lambda item: item[0] != held):
            picker.put_back(rng, name, thing, in_hand=name == held)

    def _refuse_tilt(self, motion: ToolMotion) -> None:
        """An arm in quite another posture would turn through what nobody knows."""
        tilt_rad = float(np.linalg.norm(error(self._down, motion.state.ee_quaternion_xyzw)))
        if tilt_rad > self._config.max_tilt_rad:
            raise RobotError(
                f"the gripper is turned by {tilt_rad:.2f} rad from how it starts: turn it back by hand"
            )

    def _give_up(self, picker: Picker, reason: str) -> ResetResult:
        """Stop, and get away from what was in the way, as far as that goes."""
        self._robot.stop()
        try:
            picker.retreat()
        except RobotUnavailableError:
            raise
        except RobotError as failure:
            reason = f"{reason}; and {failure}"
        self._robot.stop()
        return ResetResult(False, reason)
