"""Reads episodes back, and refuses what no learner may see."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from controllers.config import InputError
from robot_env.episode import (
    END_RECORD,
    SCHEMA_VERSION,
    START_RECORD,
    Episode,
    EpisodeEnd,
    EpisodeMetadata,
)
from robot_env.episode_checks import check_episode, refuse
from robot_env.episode_topics import ACTION, IMAGE_TYPE, ROBOT_FIELDS, STATE, TYPES, camera_of, image_topic
from robot_env.mcap_file import LoggedMessage, MessageLog, read_log
from robot_env.mcap_messages import rgb_of, stamp_ns_of

_JOINTS = "/joint_states"
_Record = TypeVar("_Record", EpisodeMetadata, EpisodeEnd)


def read_episode(path: Path, *, allow_unfinished: bool = False) -> Episode:
    """One episode.

    Args:
        path: An `*.mcap` file, or the `*.partial` file that a crash left.
        allow_unfinished: Take a truncated or damaged file up to its last whole step; its `success` is None.

    Raises:
        InputError: The file is missing, not an episode, of another version, not whole, or holds values that are
            not finite, of the wrong shape, or actions outside [-1, 1], or times that run backwards.
    """
    return decode_episode(str(path), read_episode_log(path), allow_unfinished=allow_unfinished)


def read_episode_log(path: Path) -> MessageLog:
    """The messages of an episode's file, for `decode_episode`.

    Raises:
        InputError: The file cannot be opened.
    """
    try:
        return read_log(path)
    except OSError as error:
        raise InputError(f"Episode {path} cannot be read: {error.strerror}; check the path.") from None


def decode_episode(
    source: str, log: MessageLog, *, allow_unfinished: bool = False, images: bool = True
) -> Episode:
    """The episode that a log holds. See `read_episode`.

    Args:
        source: The file, for messages.
        log: Of that file.
        allow_unfinished: Take it up to its last whole step; its `success` is None.
        images: Decode them too, which takes most of the time; without, observations are `state` alone.

    Raises:
        InputError: See `read_episode`.
    """
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
    success = None
    if ended:
        end = _decoded(source, log.metadata[END_RECORD], EpisodeEnd)
        if end.steps != steps:
            raise InputError(f"Episode {source} holds {steps} of its {end.steps} steps; record it again.")
        success = end.success
    episode = _episode(_Topics(source, log), metadata, steps, success, images)
    check_episode(source, episode)
    return episode


def _metadata(source: str, log: MessageLog) -> EpisodeMetadata:
    """The start record; its version is looked at before anything else in it."""
    if START_RECORD not in log.metadata:
        raise InputError(
            f"{source} is not an episode, or damaged at its very beginning "
            f"({log.damage or f'no metadata record {START_RECORD!r}'}); give a file that `journeyman collect` recorded."
        )
    entries = log.metadata[START_RECORD]
    version = entries.get("schema_version", "absent")
    if version != str(SCHEMA_VERSION):
        raise InputError(
            f"Episode {source} has schema version {version}, but this program reads version {SCHEMA_VERSION}; use the "
            "program that recorded it or record it again."
        )
    return _decoded(source, entries, EpisodeMetadata)


def _decoded(source: str, entries: Mapping[str, str], kind: type[_Record]) -> _Record:
    """A metadata record, whose entries are JSON, as an object."""
    try:
        return msgspec.convert({key: msgspec.json.decode(value) for key, value in entries.items()}, kind)
    except msgspec.MsgspecError as error:
        raise InputError(f"Episode {source} has unreadable metadata ({error}); record it again.") from None


class _Topics:
    """The messages of an episode by topic, stacked into arrays."""

    def __init__(self, source: str, log: MessageLog) -> None:
        self._source = source
        self._messages = log.messages
        # A topic that is announced and absent must be missed, or an episode would lose a camera unnoticed.
        self._topics = dict.fromkeys((*log.messages, *log.counts))

    @property
    def cameras(self) -> list[str]:
        """Keys of the observed images."""
        return [camera for camera in map(camera_of, self._topics) if camera]

    def one_each(self, topic: str, sequence: range, type_name: str) -> list[LoggedMessage]:
        """The messages of a topic, which must be one for each number in `sequence`, in order."""
        messages = self._messages.get(topic, [])
        if [(m.type_name, m.sequence) for m in messages] != [(type_name, number) for number in sequence]:
            numbers = f"from {sequence[0]} to {sequence[-1]}"
            self._refuse(f"topic {topic} lacks one {type_name} for each sequence number {numbers}")
        return messages

    def stack(
        self,
        topic: str,
        sequence: range,
        read: Callable[[Any], Any],
        dtype: Any,
        type_name: str | None = None,
    ) -> NDArray[Any]:
        """What `read` makes of the one message of each number in `sequence`, stacked."""
        messages = self.one_each(topic, sequence, type_name or TYPES[topic])
        try:
            rows = [np.asarray(read(message.content), dtype) for message in messages]
        except (ValueError, IndexError) as error:
            self._refuse(f"a message of topic {topic} cannot be read ({error})")
        shape = rows[0].shape
        for step, row in enumerate(rows):
            if row.shape != shape:
                refuse(self._source, topic, step, f"of shape {list(row.shape)}", f"of shape {list(shape)}")
        return np.stack(rows)

    def stamps_ns(self, sequence: range) -> NDArray[np.int64]:
        """When the observations were made: as the joints' headers say or, where nobody measured joints, when logged."""
        if _JOINTS in self._messages:
            return self.stack(_JOINTS, sequence, lambda m: stamp_ns_of(m.header), np.int64)
        return np.array([message.stamp_ns for message in self._messages[STATE]], np.int64)

    def _refuse(self, what: str) -> NoReturn:
        raise InputError(f"Episode {self._source} is damaged: {what}; record it again.")


def _episode(
    topics: _Topics, metadata: EpisodeMetadata, steps: int, success: bool | None, images: bool
) -> Episode:
    seen, acted = range(steps + 1), range(1, steps + 1)

    def per_step(topic: str, dtype: Any) -> NDArray[Any]:
        return topics.stack(topic, acted, lambda m: m.data, dtype)

    observations = {"state": topics.stack(STATE, seen, lambda m: m.data, np.float32)}
    for camera in topics.cameras:
        topic = image_topic(camera)
        topics.one_each(topic, seen, IMAGE_TYPE)
        if images:
            observations[camera] = topics.stack(topic, seen, rgb_of, np.uint8, IMAGE_TYPE)
    robot = {
        name: topics.stack(topic, seen, read, np.float64)
        for name, (topic, read) in ROBOT_FIELDS.items()
        if name in metadata.measured
    }
    stamps_ns = topics.stamps_ns(seen)
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
