"""The robot as a `gymnasium.Env`. Four hops from `main` to the motor; this is the third.

Order of one step: send the action, hold the rate, *then* observe. So the stored next observation is what the
action caused, and the next action is chosen from the freshest measurement.
"""

from collections.abc import Mapping
from math import isfinite
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from controllers.config import InputError
from controllers.rotations import conjugate, from_rotation_vector, multiply, rotate, to_rotation_vector
from robot_env.age import AgeStatistics
from robot_env.clock import Rate
from robot_env.contracts import (
    PRIVILEGED,
    Camera,
    KeepGoing,
    Observation,
    ResetAttempt,
    ResetPolicy,
    ResetResult,
    RestartedRewardModel,
    RewardModel,
    Scene,
    always,
)
from robot_env.goal import TaskGoal
from robot_env.robot import PoseCommand, Robot, RobotError, RobotState
from robot_env.task import ActionConfig, Observable, Task

# Robot observables: name -> (size for N joints, function of the state).
ROBOT_OBSERVABLES: dict[str, Any] = {
    "joint_position": (lambda n: n, lambda s: s.joint_position_rad),
    "joint_velocity": (lambda n: n, lambda s: s.joint_velocity_rad_s),
    "joint_effort": (lambda n: n, lambda s: s.joint_effort_nm),
    "ee_position": (lambda _: 3, lambda s: s.ee_position_m),
    "ee_quaternion": (lambda _: 4, lambda s: s.ee_quaternion_xyzw),
    "ee_linear_velocity": (lambda _: 3, lambda s: s.ee_linear_velocity_m_s),
    "ee_angular_velocity": (lambda _: 3, lambda s: s.ee_angular_velocity_rad_s),
    "ee_wrench": (lambda _: 6, lambda s: s.ee_wrench),
    "gripper_width": (lambda _: 1, lambda s: (s.gripper_width_m,)),
}
_MAX_RESET_ATTEMPTS = 3


class RobotEnv(gymnasium.Env[Observation, NDArray[np.float32]]):
    """A task on a robot.

    Observation: `Dict` of `state` (float32, the task's observables in order), one uint8 image per camera, and
    `privileged` (float32) for a task that has such.
    Action: `Box(-1, 1)`, see `ActionConfig`. `terminated` means success, `truncated` the time limit.

    `info` of a step: `executed_action` (what was really done, after the safety filter, in action units),
    `success`, `is_success` (the name Stable-Baselines3 looks for), `reward_terms`, `lateness_s`; where `truth` is set
    also `true_success`, whether it has seen success in this episode up to now; of an episode's last step also `rate`
    (`RateStatistics` since the environment was made), `limit_hits`, and `observation_ages` (name of a source -> median
    and 99th percentile of its age in s).

    Args:
        robot: The arm.
        task: What to do with it.
        scene: What is observed besides the arm.
        reward_model: Judges.
        reset_policy: Brings arm and scene to a start state.
        cameras: By name, at least the task's.
        render_camera: For people to watch.
        ages: More to report under `observation_ages`; `state` is measured here.

    Attributes:
        reward_model: Judges; may be replaced between episodes.
        truth: Knows success better than a learned `reward_model`, and is only compared with it: it neither pays nor
            ends an episode. None where nobody knows better.
        goal: The task's, in the observation; None for a task without one.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 10}

    def __init__(
        self,
        robot: Robot,
        task: Task,
        scene: Scene,
        reward_model: RewardModel,
        reset_policy: ResetPolicy,
        cameras: Mapping[str, Camera] | None = None,
        render_camera: Camera | None = None,
        ages: Mapping[str, AgeStatistics] | None = None,
    ) -> None:
        self.robot = robot
        self.task = task
        self.scene = scene
        self.reward_model = reward_model
        self.truth: RewardModel | None = None
        self.reset_policy = reset_policy
        self._cameras = dict(cameras or {})
        self._render_camera = render_camera
        self.render_mode = "rgb_array" if render_camera else None
        self.metadata = {**self.metadata, "render_fps": task.control_rate_hz}
        self._state_age = AgeStatistics()
        self._ages = {"state": self._state_age, **(ages or {})}
        self.state_names, self._scales = state_layout(task, len(robot.joint_names), scene.observables)
        self.goal = TaskGoal(task, task.goal, self.state_names) if task.goal else None
        self._robot_parts = _readers(task.observation)
        self._hidden_names, self._hidden_scales = _layout(
            task, task.privileged, len(robot.joint_names), scene.observables
        )
        self._hidden_parts = _readers(task.privileged)
        self._lowest, self._highest = -np.ones(task.action.size), np.ones(task.action.size)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (task.action.size,), np.float32)
        self.observation_space = gymnasium.spaces.Dict(
            {"state": _vector_space(self.state_names)}
            | {
                name: gymnasium.spaces.Box(0, 255, (c.height, c.width, 3), np.uint8)
                for name, c in task.cameras.items()
            }
            | ({PRIVILEGED: _vector_space(self._hidden_names)} if task.privileged else {})
        )
        missing = set(task.cameras) - set(self._cameras)
        if missing:
            raise InputError(
                f"Task {task.name!r} wants cameras {sorted(missing)}, but there are {sorted(self._cameras)}."
            )
        self.rate = Rate(robot.clock, task.control_rate_hz)
        self._connected = False
        self._holds_on = False
        self._state: RobotState | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode.

        Args:
            seed: Of every random choice from now on.
            options: `keep_going`, a `KeepGoing` that may raise to break the reset off.

        Returns:
            What is seen, and `info` with `reset_attempts`: a `ResetAttempt` for every way tried, the last of which
            worked.

        Raises:
            RobotError: The reset policy failed three times in a row, or a measurement is not finite.
        """
        super().reset(seed=seed)
        if not self._connected:
            # Not before: a learner asks an environment for its spaces far from the robot.
            self.robot.connect()
            self._connected = True
        result, attempts = self._bring_to_start((options or {}).get("keep_going", always))
        self._holds_on = result.stays and self._state is not None
        self._steps = 0
        self._truly_done = False
        for model in (self.reward_model, self.truth):
            if isinstance(model, RestartedRewardModel):
                model.restart()
        return self.begin(), {"reset_attempts": attempts}

    def begin(self) -> Observation:
        """Begin the episode from here, for who waits between `reset` and the first `step`: with a fresh observation.

        Raises:
            RobotError: See `reset`.
        """
        self._state = self.robot.observe()
        if not self._holds_on:
            self._held_quaternion = self._state.ee_quaternion_xyzw
        self._held_width_m = self._state.gripper_width_m
        self.rate.restart()
        return self._observation(self._state)

    def step(self, action: NDArray[np.float32]) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Do one control period. See the class for `info`.

        Raises:
            RobotError: The robot cannot be driven, or a measurement is not finite; then it was stopped.
        """
        state = self.state
        try:
            return self._step(action, state)
        except RobotError:
            self.robot.stop()  # It may be a camera that failed, of which the arm knows nothing.
            raise

    @property
    def state(self) -> RobotState:
        """The newest measurement.

        Raises:
            RobotError: There is none before the first `reset`.
        """
        if self._state is None:
            raise RobotError("There is no measurement before reset(): call reset() first.")
        return self._state

    def action_at_rest(self, state: RobotState) -> NDArray[np.float32]:
        """The action that leaves the arm and its fingers where they are, shape (A,)."""
        action = np.zeros(self.task.action.size, np.float32)
        if self.task.action.gripper:
            action[-1] = 2.0 * state.gripper_width_m / self.robot.max_gripper_width_m - 1.0
        return np.clip(action, -1.0, 1.0)

    def statistics(self) -> dict[str, Any]:
        """What `info` of an episode's last step has besides the step's own: see the class."""
        return {
            "rate": self.rate.statistics,
            "limit_hits": dict(self.robot.limit_hits),
            "observation_ages": {name: age.summary() for name, age in self._ages.items()},
        }

    def render(self) -> NDArray[np.uint8] | None:
        """A frame for people, RGB; None without a render camera."""
        return self._render_camera.read() if self._render_camera else None

    def close(self) -> None:
        """Stop the robot."""
        self.robot.close()

    def _bring_to_start(self, keep_going: KeepGoing) -> tuple[ResetResult, list[ResetAttempt]]:
        attempts: list[ResetAttempt] = []
        for _ in range(_MAX_RESET_ATTEMPTS):
            result = self.reset_policy.reset(self.np_random, keep_going)
            name = type(self.reset_policy).__name__
            attempts += result.attempts or (ResetAttempt(name, result.success, result.reason),)
            if result.success:
                return result, attempts
        raise RobotError(f"The scene could not be reset: {result.reason}. Put it into a start state by hand.")

    def _step(
        self, action: NDArray[np.float32], before: RobotState
    ) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        command = self._command(np.asarray(action, np.float64), before)
        sent = self.robot.send_command(command)
        lateness_s = self.rate.wait()
        self._state = self.robot.observe()
        observation = self._observation(self._state)
        reward = self.reward_model.reward(observation)
        self._steps += 1
        truncated = not reward.success and self._steps >= self.task.episode_steps
        info: dict[str, Any] = {
            "executed_action": self._executed_action(sent, before) if sent is not command else self._clipped,
            "success": reward.success,
            "is_success": reward.success,
            "reward_terms": dict(reward.terms),
            "lateness_s": lateness_s,
        }
        if self.truth is not None:
            # As the truth would have paid, had it been asked: by the first step that it calls a success.
            self._truly_done = self._truly_done or self.truth.reward(observation).success
            info["true_success"] = self._truly_done
        if reward.success or truncated:
            info |= self.statistics()
        return observation, reward.value, reward.success, truncated, info

    def _observation(self, state: RobotState) -> Observation:
        scene = self.scene.observe()
        parts = [read(state) if read else scene[name] for name, read in self._robot_parts]
        vector = np.concatenate(parts) / self._scales
        self._stop_unless_finite(vector, self.state_names)
        observation: Observation = {"state": vector.astype(np.float32)}
        for name in self.task.cameras:
            observation[name] = self._cameras[name].read()
        if self._hidden_parts:
            hidden = [read(state) if read else scene[name] for name, read in self._hidden_parts]
            vector = np.concatenate(hidden) / self._hidden_scales
            self._stop_unless_finite(vector, self._hidden_names)
            observation[PRIVILEGED] = vector.astype(np.float32)
        self._state_age.add(self.robot.clock.now_s() - state.stamp_s)
        return observation

    def _stop_unless_finite(self, vector: NDArray[np.float64], names: tuple[str, ...]) -> None:
        values = vector.tolist()
        if not all(map(isfinite, values)):
            self.robot.stop()
            bad = [name for name, value in zip(names, values, strict=True) if not isfinite(value)]
            raise RobotError(
                f"The robot was stopped because {', '.join(bad)} is not finite: check the sensor."
            )

    def _command(self, action: NDArray[np.float64], state: RobotState) -> PoseCommand:
        """Turn an action into a target pose relative to the measured one."""
        config = self.task.action
        # A NaN passes through; the safety filter is the place that refuses it, and says so.
        action = np.minimum(np.maximum(action, self._lowest), self._highest)
        self._clipped = action.astype(np.float32)
        translation = action[:3] * config.translation_m
        quaternion = self._held_quaternion
        if config.rotation_rad > 0:
            turn = from_rotation_vector(action[3:6] * config.rotation_rad)
            own_frame = config.frame == "end_effector"
            current = state.ee_quaternion_xyzw
            quaternion = multiply(current, turn) if own_frame else multiply(turn, current)
        if config.frame == "end_effector":
            translation = rotate(state.ee_quaternion_xyzw, translation)
        width_m = self._held_width_m
        if config.gripper:
            width_m = 0.5 * (action.item(-1) + 1.0) * self.robot.max_gripper_width_m
        return PoseCommand(self.robot.clock.now_s(), state.ee_position_m + translation, quaternion, width_m)

    def _executed_action(self, sent: Any, state: RobotState) -> NDArray[np.float32]:
        """Inverse of `_command`: the action that `sent` stands for."""
        parts = action_towards(self.task.action, sent, state, self.robot.max_gripper_width_m)
        return np.array([min(max(part, -1.0), 1.0) for part in parts], np.float32)


def action_towards(config: ActionConfig, target: Any, state: Any, max_gripper_width_m: float) -> list[float]:
    """The action, not clipped, that aims at a target.

    Args:
        config: What actions mean.
        target: A `PoseCommand`, or what has its pose and gripper width.
        state: A `RobotState`, or what has its pose: where the arm is when it acts.
        max_gripper_width_m: Distance between the fully opened fingers.
    """
    own_frame = config.frame == "end_effector"
    translation = target.ee_position_m - state.ee_position_m
    if own_frame or config.rotation_rad > 0:
        inverse = conjugate(state.ee_quaternion_xyzw)
    if own_frame:
        translation = rotate(inverse, translation)
    parts: list[float] = (translation / config.translation_m).tolist()
    if config.rotation_rad > 0:
        quaternion = target.ee_quaternion_xyzw
        turn = multiply(inverse, quaternion) if own_frame else multiply(quaternion, inverse)
        parts += (to_rotation_vector(turn) / config.rotation_rad).tolist()
    if config.gripper:
        parts.append(2.0 * target.gripper_width_m / max_gripper_width_m - 1.0)
    return parts


def state_layout(
    task: Task, joints: int, scene_observables: Mapping[str, int]
) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """Names and scales of the entries of the `state` vector.

    Args:
        task: Says what is observed.
        joints: N, of the arm.
        scene_observables: Names and sizes of what the scene adds.

    Raises:
        InputError: The task observes what does not exist.
    """
    return _layout(task, task.observation, joints, scene_observables)


def _layout(
    task: Task, parts: tuple[Observable, ...], joints: int, scene_observables: Mapping[str, int]
) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    known = {name: size(joints) for name, (size, _) in ROBOT_OBSERVABLES.items()} | dict(scene_observables)
    names: list[str] = []
    scales: list[float] = []
    for part in parts:
        if part.name not in known:
            raise InputError(
                f"Task {task.name!r} observes {part.name!r}, which does not exist; choose from "
                f"{', '.join(sorted(known))}."
            )
        size = known[part.name]
        names += [part.name] if size == 1 else [f"{part.name}.{i}" for i in range(size)]
        scales += [part.scale] * size
    return tuple(names), np.array(scales)


def _readers(parts: tuple[Observable, ...]) -> list[tuple[str, Any]]:
    """Names of the parts, and what reads them from the robot's state; None for those of the scene."""
    return [(part.name, ROBOT_OBSERVABLES.get(part.name, (None, None))[1]) for part in parts]


def _vector_space(names: tuple[str, ...]) -> gymnasium.spaces.Box:
    return gymnasium.spaces.Box(-np.inf, np.inf, (len(names),), np.float32)
