"""One episode's file while it is written: beside its name until it is whole, then under it."""

import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from controllers.config import Config, InputError
from robot_env import mcap_messages
from robot_env.contracts import Observation
from robot_env.episode import END_RECORD, START_RECORD, EpisodeEnd, EpisodeMetadata
from robot_env.episode_topics import ACTION, IMAGE_TYPE, STATE, SUCCESS, TYPES, image_topic, robot_messages
from robot_env.mcap_file import MessageWriter


class EpisodeFile:
    """Turns the instants of an episode into messages; knows nothing of where they come from.

    Call order: `begin`, `seen`, `end_instant`, then per step `seen`, `acted`, `end_instant`; at last `finish` or
    `discard`.
    """

    def __init__(self, path: Path) -> None:
        """Prepare; nothing is written before `begin`.

        Args:
            path: The episode's file, `*.mcap`; its folder must exist.

        Raises:
            InputError: `path` is no free name of an MCAP file.
        """
        if path.suffix != ".mcap":
            raise InputError(f"Episode file {path} must be named *.mcap; choose such a name.")
        self._path = path
        self._refuse_overwriting()
        # A name of its own: what a crashed recording of the same episode left stays there to be looked at.
        self._partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}.partial")
        self._messages: MessageWriter | None = None
        self._closed = False

    @property
    def is_open(self) -> bool:
        """Whether it was begun and neither finished nor discarded."""
        return self._messages is not None and not self._closed

    @property
    def is_fresh(self) -> bool:
        """Whether it was not begun yet."""
        return self._messages is None and not self._closed

    def begin(self, metadata: EpisodeMetadata) -> None:
        """Make the partial file.

        Raises:
            InputError: The folder cannot be written.
        """
        try:
            self._messages = MessageWriter(self._partial)
        except OSError as error:
            raise InputError(
                f"Episode {self._path} cannot be written: {error.strerror}; choose a folder that exists and may be "
                "written."
            ) from None
        self._joint_names = metadata.joint_names
        self._messages.add_metadata(START_RECORD, _as_strings(metadata))

    def seen(self, stamp_ns: int, sequence: int, robot: Mapping[str, Any], observation: Observation) -> None:
        """Add one instant: the robot as its ROS 2 topics show it, and what the learner is given."""
        for topic, message in robot_messages(stamp_ns, self._joint_names, robot).items():
            self._open.add(topic, TYPES[topic], message, stamp_ns, sequence)
        seen = mcap_messages.float32_array("state", observation["state"])
        self._open.add(STATE, TYPES[STATE], seen, stamp_ns, sequence)
        for camera, pixels in observation.items():
            if camera != "state":
                image = mcap_messages.compressed_image(stamp_ns, f"{camera}_optical", pixels)
                self._open.add(image_topic(camera), IMAGE_TYPE, image, stamp_ns, sequence)

    def acted(
        self,
        stamp_ns: int,
        sequence: int,
        *,
        action: NDArray[np.float32],
        reward: float,
        terminated: bool,
        truncated: bool,
        intervened: bool,
        provenance: str,
    ) -> None:
        """Add what led to the instant of the same number."""
        for topic, message in {
            ACTION: mcap_messages.float32_array("action", action),
            "/reward": {"data": float(reward)},
            "/terminated": {"data": bool(terminated)},
            "/truncated": {"data": bool(truncated)},
            "/intervened": {"data": bool(intervened)},
            "/provenance": {"data": provenance},
        }.items():
            self._open.add(topic, TYPES[topic], message, stamp_ns, sequence)

    def end_instant(self) -> None:
        """What was added so far survives a crash of this process."""
        self._open.end_chunk()

    def finish(self, stamp_ns: int, success: bool, steps: int, path: Path | None = None) -> None:
        """Make the episode whole: afterwards `path` is on disk, whatever happens.

        Args:
            stamp_ns: Of the last instant.
            success: Whether the task was done.
            steps: How many there are.
            path: Another name than the announced one, in a folder that exists on the same disk.

        Raises:
            InputError: A file of that name has appeared meanwhile; the recording stays in the partial file.
        """
        messages = self._open
        messages.add(SUCCESS, TYPES[SUCCESS], {"data": bool(success)}, stamp_ns, steps)
        messages.end_chunk()
        messages.add_metadata(END_RECORD, _as_strings(EpisodeEnd(success=bool(success), steps=steps)))
        messages.finish()
        self._closed = True
        self._path = path or self._path
        self._refuse_overwriting()
        os.replace(self._partial, self._path)
        sync_folder(self._path.parent)

    def discard(self) -> None:
        """Remove the recording. Idempotent; does nothing after `finish`."""
        if self._closed:
            return
        self._closed = True
        if self._messages is not None:
            with suppress(
                OSError
            ):  # A full disk refuses what is still to be written; it is closed all the same.
                self._messages.close()
            self._partial.unlink(missing_ok=True)

    @property
    def _open(self) -> MessageWriter:
        assert self._messages is not None
        return self._messages

    def _refuse_overwriting(self) -> None:
        if self._path.exists():
            raise InputError(f"Episode {self._path} exists; choose a new name or remove the file.")


def _as_strings(record: Config) -> dict[str, str]:
    """Every field as JSON: MCAP's metadata map strings to strings."""
    return {key: msgspec.json.encode(value).decode() for key, value in msgspec.to_builtins(record).items()}


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
