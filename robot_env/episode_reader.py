"""Reads episodes back, and refuses what no learner may see."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import msgspec
import numpy as np
from numpy.typing import NDArray

from controllers.config import InputError
from robot_env.episode import (
    END_RECORD,
    PROVENANCES,
    SCHEMA_VERSION,
    START_RECORD,
    Episode,
    EpisodeMetadata,
)
from robot_env.episode_checks import check_actions, check_finite, refuse
from robot_env.episode_topics import ACTION, IMAGE_TYPE, ROBOT_FIELDS, STATE, TYPES, camera_of, image_topic
from robot_env.mcap_file import LoggedMessage, MessageLog, read_log
from robot_env.mcap_messages import rgb_of, stamp_ns_of


def read_episode(path: Path, *, allow_unfinished: bool = False) -> Episode:
    """One episode.

    Args:
        path: An `*.mcap` file, or the `*.partial` file that a crash left.
        allow_unfinished: Take a truncated or damaged file up to its last whole step; its `success` is None.

    Raises:
        InputError: The file is missing, not an episode, of another version, not whole, or holds values that are
            not finite, of the wrong shape, or actions outside [-1, 1].
    """
    source = str(path)
    try:
        log = read_log(path)
    except OSError as error:
        raise InputError(f"Episode {source} cannot be read: {error.strerror}; check the path.") from None
    metadata = _metadata(source, log)
    ended = END_RECORD in log.metadata and not log.damage
    if not ended and not allow_unfinished:
        raise InputError(
            f"Episode {source} is truncated or damaged ({log.damage or 'its end is missing'}); only whole episodes "
            "may be used, so remove the file or record it again."
        )
    steps = len(log.messages.get(ACTION, ()))
    if steps < 1:
        raise InputError(f"Episode {source} holds no whole step; remove the file or record it again.")
    success = msgspec.json.decode(log.metadata[END_RECORD]["success"]) if ended else None
    episode = _episode(_Topics(source, log.messages), metadata, steps, success)
    _check(source, episode)
    return episode


def _metadata(source: str, log: MessageLog) -> EpisodeMetadata:
    """The start record; its version is looked at before anything else in it."""
    if START_RECORD not in log.metadata:
        raise InputError(
            f"{source} is not an episode ({log.damage or f'no metadata record {START_RECORD!r}'}); give a file that "
            "`journeyman collect` recorded."
        )
    try:
        entries = {key: msgspec.json.decode(value) for key, value in log.metadata[START_RECORD].items()}
        version = entries.get("schema_version")
        if version != SCHEMA_VERSION:
            raise InputError(
                f"Episode {source} has schema version {version}, but this program reads version {SCHEMA_VERSION}; "
                "use the program that recorded it or record it again."
            )
        return msgspec.convert(entries, EpisodeMetadata)
    except msgspec.MsgspecError as error:
        raise InputError(f"Episode {source} has unreadable metadata ({error}); record it again.") from None


class _Topics:
    """The messages of an episode by topic, stacked into arrays."""

    def __init__(self, source: str, messages: Mapping[str, list[LoggedMessage]]) -> None:
        self._source = source
        self._messages = messages

    @property
    def cameras(self) -> list[str]:
        """Keys of the observed images."""
        return [camera for camera in map(camera_of, self._messages) if camera]

    def stack(
        self, topic: str, steps: range, read: Callable[[Any], Any], dtype: Any, type_name: str | None = None
    ) -> NDArray[Any]:
        """What `read` makes of the one message of each of `steps`, stacked."""
        type_name = type_name or TYPES[topic]
        messages = self._messages.get(topic, [])
        if [(m.type_name, m.sequence) for m in messages] != [(type_name, step) for step in steps]:
            self._refuse(
                f"topic {topic} lacks one {type_name} for each of the steps {steps[0]} to {steps[-1]}"
            )
        try:
            rows = [np.asarray(read(message.content), dtype) for message in messages]
        except (ValueError, IndexError) as error:
            self._refuse(f"a message of topic {topic} cannot be read ({error})")
        for step, row in zip(steps, rows, strict=True):
            if row.shape != rows[0].shape:
                refuse(
                    self._source,
                    topic,
                    step,
                    f"of shape {list(row.shape)}",
                    f"of shape {list(rows[0].shape)}",
                )
        return np.stack(rows)

    def _refuse(self, what: str) -> NoReturn:
        raise InputError(f"Episode {self._source} is damaged: {what}; record it again.")


def _episode(topics: _Topics, metadata: EpisodeMetadata, steps: int, success: bool | None) -> Episode:
    seen, acted = range(steps + 1), range(1, steps + 1)

    def per_step(topic: str, dtype: Any) -> NDArray[Any]:
        return topics.stack(topic, acted, lambda m: m.data, dtype)

    observations = {"state": topics.stack(STATE, seen, lambda m: m.data, np.float32)}
    for camera in topics.cameras:
        observations[camera] = topics.stack(image_topic(camera), seen, rgb_of, np.uint8, IMAGE_TYPE)
    robot = {
        name: topics.stack(topic, seen, read, np.float64) for name, (topic, read) in ROBOT_FIELDS.items()
    }
    stamps_ns = topics.stack("/joint_states", seen, lambda m: stamp_ns_of(m.header), np.int64)
    return Episode(
        metadata=metadata,
        observations=observations,
        actions=per_step(ACTION, np.float32),
        rewards=per_step("/reward", np.float64),
        terminated=per_step("/terminated", np.bool_),
        truncated=per_step("/truncated", np.bool_),
        intervened=per_step("/intervened", np.bool_),
        provenance=per_step("/provenance", np.str_),
        robot=robot,
        elapsed_s=(stamps_ns - stamps_ns[0]) * 1e-9,
        success=success,
    )


def _check(source: str, episode: Episode) -> None:
    """Refuse values that no learner may see."""
    metadata = episode.metadata
    _check_width(source, "observation.state", episode.observations["state"], len(metadata.state_names))
    _check_width(source, "joint_position_rad", episode.robot["joint_position_rad"], len(metadata.joint_names))
    check_finite(source, "observation.state", episode.observations["state"])
    for name, values in episode.robot.items():
        check_finite(source, name, values)
    check_actions(source, episode.actions, metadata.action_size)
    check_finite(source, "reward", episode.rewards)
    for step, who in enumerate(episode.provenance):
        if who not in PROVENANCES:
            refuse(source, "provenance", step, repr(str(who)), f"one of {', '.join(PROVENANCES)}")
    early = np.flatnonzero((episode.terminated | episode.truncated)[:-1])
    if early.size:
        refuse(source, "terminated or truncated", int(early[0]), "true", "false before the last step")


def _check_width(source: str, field: str, values: NDArray[Any], width: int) -> None:
    if values.shape[1:] != (width,):
        refuse(source, field, 0, f"of shape {list(values.shape[1:])}", f"of shape [{width}], one per name")
