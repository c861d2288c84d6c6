"""Records an episode into an MCAP file of ROS 2 messages, so that a crash loses at most the step in progress."""

import importlib.metadata
import os
import platform
import secrets
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from controllers.config import Config, InputError
from controllers.state import RobotState
from robot_env import mcap_messages
from robot_env.contracts import Observation
from robot_env.episode import (
    END_RECORD,
    PROVENANCES,
    SCHEMA_VERSION,
    START_RECORD,
    EpisodeEnd,
    EpisodeMetadata,
)
from robot_env.episode_checks import StepCheck, check_finite
from robot_env.episode_topics import ACTION, IMAGE_TYPE, STATE, SUCCESS, TYPES, image_topic, robot_messages
from robot_env.mcap_file import MessageWriter

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
        if path.suffix != ".mcap":
            raise InputError(f"Episode file {path} must be named *.mcap; choose such a name.")
        if provenance not in PROVENANCES:
            raise InputError(
                f"provenance {provenance!r} does not exist; choose from {', '.join(PROVENANCES)}."
            )
        self._path = path
        self._refuse_overwriting()
        # A name of its own: what a crashed recording of the same episode left stays there to be looked at.
        self._partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}.partial")
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
        self._messages: MessageWriter | None = None
        self._steps = 0
        self._ended = False
        self._closed = False

    def start(self, observation: Observation, robot_state: RobotState) -> None:
        """Record what is seen after the reset.

        Raises:
            InputError: A value is not finite, a shape is not the announced one, or the folder cannot be written.
        """
        if self._messages is not None or self._closed:
            raise RuntimeError("start() may be called once: make a new EpisodeWriter per episode.")
        self._joint_names = self._joint_names or tuple(
            f"joint_{i + 1}" for i in range(robot_state.joint_position_rad.size)
        )
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
        try:
            self._messages = MessageWriter(self._partial)
        except OSError as error:
            raise InputError(
                f"Episode {self._path} cannot be written: {error.strerror}; choose a folder that exists and may be "
                "written."
            ) from None
        self._messages.add_metadata(START_RECORD, _as_strings(self._metadata()))
        self._add_seen(self._messages, observation, robot_state)
        self._messages.end_chunk()

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
        messages = self._recording()
        if self._ended:
            raise RuntimeError("step() after the episode has ended: call finish() or discard().")
        try:
            action = self._check.action(action, self._steps)
            check_finite(str(self._path), "reward", np.array([reward], np.float64), self._steps)
            next_observation = self._check.observation(next_observation, self._steps + 1)
            self._check.robot_state(robot_state, self._stamp_s, self._steps + 1)
        except InputError:
            self.discard()
            raise
        self._steps += 1
        self._add_seen(messages, next_observation, robot_state)
        for topic, message in {
            ACTION: mcap_messages.float32_array("action", action),
            "/reward": {"data": float(reward)},
            "/terminated": {"data": bool(terminated)},
            "/truncated": {"data": bool(truncated)},
            "/intervened": {"data": bool(intervened)},
            "/provenance": {"data": "human" if intervened else self._provenance},
        }.items():
            messages.add(topic, TYPES[topic], message, self._stamp_ns, self._steps)
        messages.end_chunk()
        self._ended = bool(terminated or truncated)

    def finish(self, success: bool, path: Path | None = None) -> None:
        """Make the episode whole: afterwards `path` is on disk, whatever happens.

        Args:
            success: Whether the task was done.
            path: Another name than the announced one, in a folder that exists on the same disk.

        Raises:
            InputError: A file of that name has appeared meanwhile; the recording stays in the partial file.
        """
        messages = self._recording()
        if self._steps == 0:
            raise RuntimeError("finish() before the first step: call discard().")
        messages.add(SUCCESS, TYPES[SUCCESS], {"data": bool(success)}, self._stamp_ns, self._steps)
        messages.end_chunk()
        messages.add_metadata(END_RECORD, _as_strings(EpisodeEnd(success=bool(success), steps=self._steps)))
        messages.finish()
        self._closed = True
        self._path = path or self._path
        self._refuse_overwriting()
        os.replace(self._partial, self._path)
        _sync_folder(self._path.parent)

    def discard(self) -> None:
        """Remove the recording. Idempotent; does nothing after `finish`."""
        if self._closed:
            return
        self._closed = True
        if self._messages is not None:
            self._messages.close()
            self._partial.unlink(missing_ok=True)

    def _recording(self) -> MessageWriter:
        if self._messages is None or self._closed:
            raise RuntimeError(
                "Nothing is being recorded: make an EpisodeWriter per episode and call start()."
            )
        return self._messages

    def _refuse_overwriting(self) -> None:
        if self._path.exists():
            raise InputError(f"Episode {self._path} exists; choose a new name or remove the file.")

    def _metadata(self) -> EpisodeMetadata:
        return EpisodeMetadata(
            schema_version=SCHEMA_VERSION,
            joint_names=self._joint_names,
            recorded_at=datetime.fromtimestamp(self._start_ns * 1e-9, UTC).isoformat(timespec="milliseconds"),
            software=_software(),
            **self._given,
        )

    def _add_seen(self, messages: MessageWriter, observation: Observation, state: RobotState) -> None:
        """Add one instant: the robot as its ROS 2 topics show it, and what the learner is given."""
        self._stamp_s = state.stamp_s
        # The robot's clock is monotonic or simulated; in messages it runs on from the start's wall time.
        self._stamp_ns = self._start_ns + round((state.stamp_s - self._check.start_s) * 1e9)
        for topic, message in robot_messages(self._stamp_ns, self._joint_names, state).items():
            messages.add(topic, TYPES[topic], message, self._stamp_ns, self._steps)
        seen = mcap_messages.float32_array("state", observation["state"])
        messages.add(STATE, TYPES[STATE], seen, self._stamp_ns, self._steps)
        for camera in self._check.image_shapes:
            image = mcap_messages.compressed_image(self._stamp_ns, f"{camera}_optical", observation[camera])
            messages.add(image_topic(camera), IMAGE_TYPE, image, self._stamp_ns, self._steps)


def _software() -> dict[str, str]:
    """Versions by name."""
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue  # Run from a checkout, or on a robot without a simulator.
    return versions


def _as_strings(record: Config) -> dict[str, str]:
    """Every field as JSON: MCAP's metadata map strings to strings."""
    return {key: msgspec.json.encode(value).decode() for key, value in msgspec.to_builtins(record).items()}


def _sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
