"""Records an episode into an MCAP file of ROS 2 messages, so that a crash loses at most the step in progress."""

import importlib.metadata
import platform
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from controllers.config import InputError
from controllers.state import RobotState
from robot_env.contracts import PRIVILEGED, Observation
from robot_env.episode import PROVENANCES, SCHEMA_VERSION, EpisodeMetadata
from robot_env.episode_checks import StepCheck, check_finite
from robot_env.episode_file import EpisodeFile

_PACKAGES = ("journeyman", "gymnasium", "mcap", "mcap-ros2-support", "mujoco", "numpy")


class EpisodeWriter:
    """Writes one episode: `start`, one `step` per action, then `finish` or `discard`.

    Until `finish` the data lie in a `*.partial` file beside `path`, each step handed to the operating system as
    one checksummed chunk: after a crash of the process all whole steps can still be read. `finish` syncs and
    renames, so that `path` exists if and only if it holds a whole episode.

    A refused value ends the recording and removes it: an episode with a hole would teach what never happened.
    """

    def __init__(
        self,
        path: Path,
        *,
        task: Mapping[str, Any],
        robot: str,
        state_names: Sequence[str],
        action_size: int,
        joint_names: Sequence[str] | None = None,
        operator: str = "",
        seed: int | None = None,
        provenance: str = "demonstration",
        judge: str = "task",
    ) -> None:
        """Prepare; nothing is written before `start`.

        Args:
            path: The episode's file, `*.mcap`; its folder must exist.
            task: The task's description, plain data.
            robot: Name of the robot.
            state_names: Names of the entries of `observation["state"]`.
            action_size: Number of entries of an action.
            joint_names: Names of the arm joints; `joint_1` and so on if not given.
            operator: Who acts.
            seed: Seed of the reset.
            provenance: One of `PROVENANCES`, for every step without intervention; one with it is `human`.
            judge: Name of the reward model that pays and says success.

        Raises:
            InputError: `path` is no free name of an MCAP file, or `provenance` is unknown.
        """
        if provenance not in PROVENANCES:
            raise InputError(
                f"provenance {provenance!r} does not exist; choose from {', '.join(PROVENANCES)}."
            )
        self._path = path
        self._file = EpisodeFile(path)
        self._provenance = provenance
        self._joint_names = tuple(joint_names or ())
        self._given: dict[str, Any] = {
            "task": dict(task),
            "robot": robot,
            "state_names": tuple(state_names),
            "action_size": action_size,
            "operator": operator,
            "seed": seed,
            "judge": judge,
        }
        self._steps = 0
        self._ended = False

    def start(self, observation: Observation, robot_state: RobotState) -> None:
        """Record what is seen after the reset.

        Raises:
            InputError: A value is not finite, a shape is not the announced one, or the folder cannot be written.
        """
        if not self._file.is_fresh:
            raise RuntimeError("start() may be called once: make a new EpisodeWriter per episode.")
        self._joint_names = self._joint_names or tuple(
            f"joint_{i + 1}" for i in range(robot_state.joint_position_rad.size)
        )
        observation = _recorded(observation)
        self._check = StepCheck(
            source=str(self._path),
            state_size=len(self._given["state_names"]),
            action_size=self._given["action_size"],
            image_shapes={key: np.shape(value) for key, value in observation.items() if key != "state"},
            joints=len(self._joint_names),
            start_s=robot_state.stamp_s,
        )
        observation = self._check.observation(observation, 0)
        self._check.robot_state(robot_state, robot_state.stamp_s, 0)
        self._start_ns = time.time_ns()
        self._file.begin(self._metadata())
        self._add_seen(observation, robot_state)
        self._file.end_instant()

    def step(
        self,
        action: NDArray[Any],
        reward: float,
        next_observation: Observation,
        terminated: bool,
        truncated: bool,
        robot_state: RobotState,
        *,
        intervened: bool = False,
    ) -> None:
        """Record one step.

        Args:
            action: The *executed* action, in [-1, 1], shape (A,).
            reward: What it earned.
            next_observation: What it led to.
            terminated: Whether the task ended.
            truncated: Whether the time limit ended the episode.
            robot_state: Measured with `next_observation`; its stamp dates the step.
            intervened: Whether a human acted.

        Raises:
            InputError: See `start`; the recording is discarded.
        """
        self._refuse_unless_recording()
        if self._ended:
            raise RuntimeError("step() after the episode has ended: call finish() or discard().")
        try:
            action = self._check.action(action, self._steps)
            check_finite(str(self._path), "reward", np.array([reward], np.float64), self._steps)
            next_observation = self._check.observation(_recorded(next_observation), self._steps + 1)
            self._check.robot_state(robot_state, self._stamp_s, self._steps + 1)
        except InputError:
            self.discard()
            raise
        self._steps += 1
        self._add_seen(next_observation, robot_state)
        self._file.acted(
            self._stamp_ns,
            self._steps,
            action=action,
            reward=reward,
            terminated=terminated,
            truncated=truncated,
            intervened=intervened,
            provenance="human" if intervened else self._provenance,
        )
        self._file.end_instant()
        self._ended = bool(terminated or truncated)

    def finish(self, success: bool, path: Path | None = None) -> None:
        """Make the episode whole: afterwards `path` is on disk, whatever happens.

        Args:
            success: Whether the task was done.
            path: Another name than the announced one, in a folder that exists on the same disk.

        Raises:
            InputError: A file of that name has appeared meanwhile; the recording stays in the partial file.
        """
        self._refuse_unless_recording()
        if self._steps == 0:
            raise RuntimeError("finish() before the first step: call discard().")
        self._file.finish(self._stamp_ns, success, self._steps, path)

    def discard(self) -> None:
        """Remove the recording. Idempotent; does nothing after `finish`."""
        self._file.discard()

    def _refuse_unless_recording(self) -> None:
        if not self._file.is_open:
            raise RuntimeError(
                "Nothing is being recorded: make an EpisodeWriter per episode and call start()."
            )

    def _metadata(self) -> EpisodeMetadata:
        return EpisodeMetadata(
            schema_version=SCHEMA_VERSION,
            joint_names=self._joint_names,
            recorded_at=datetime.fromtimestamp(self._start_ns * 1e-9, UTC).isoformat(timespec="milliseconds"),
            software=software_versions(),
            **self._given,
        )

    def _add_seen(self, observation: Observation, state: RobotState) -> None:
        self._stamp_s = state.stamp_s
        # The robot's clock is monotonic or simulated; in messages it runs on from the start's wall time.
        self._stamp_ns = self._start_ns + round((state.stamp_s - self._check.start_s) * 1e9)
        self._file.seen(self._stamp_ns, self._steps, msgspec.structs.asdict(state), observation)


def software_versions() -> dict[str, str]:
    """Versions of what records, by name."""
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue  # Run from a checkout, or on a robot without a simulator.
    return versions


def _recorded(observation: Observation) -> Observation:
    """What a policy sees."""
    return {key: value for key, value in observation.items() if key != PRIVILEGED}
