"""Labels of frames, in `labels.jsonl` beside the episodes: append-only, and the last word on a frame counts."""

import getpass
import os
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, get_args

import msgspec

from controllers.config import Config, InputError
from robot_env.episode import Episode
from robot_env.episodes import list_episodes, read_episode

FILE_NAME = "labels.jsonl"

Verdict = Literal["success", "failure", "skip"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
TRUTH = "truth"
"""Who labels where nobody had to look."""


class Label(Config):
    """What one frame shows.

    Attributes:
        episode: Name of the episode's file, in the same folder.
        step: Number of the observation; 0 is the start.
        label: `skip` takes a frame out: nobody can tell, or it was labelled by mistake.
        who: The person, or `truth`.
        when: ISO 8601, UTC.
    """

    episode: str
    step: int
    label: Verdict
    who: str
    when: str


class LabelFile:
    """The labels of one folder of episodes.

    Args:
        folder: Where the episodes are.

    Raises:
        InputError: There is no such folder.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise InputError(f"{folder} is not a folder; give the one that has the episodes (*.mcap).")
        self.folder = folder
        self.path = folder / FILE_NAME

    def read(self) -> dict[tuple[str, int], Label]:
        """The label of every labelled frame, by episode and step.

        Raises:
            InputError: A line is not a label. One without its end, which a crash leaves, is no line.
        """
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return {}
        labels = {}
        for number, line in enumerate(content.split(b"\n")[:-1], start=1):
            try:
                label = msgspec.json.decode(line, type=Label)
            except msgspec.MsgspecError as error:
                raise InputError(
                    f"Line {number} of {self.path} is not a label ({error}); remove it."
                ) from None
            labels[label.episode, label.step] = label
        return labels

    def add(self, episode: str, steps: Iterable[int], label: Verdict, who: str) -> None:
        """Append one label for each of `steps`; on disk when this returns."""
        when = datetime.now(UTC).isoformat(timespec="seconds")
        self.append(Label(episode=episode, step=step, label=label, who=who, when=when) for step in steps)

    def append(self, labels: Iterable[Label]) -> None:
        """Append labels as they are; on disk when this returns."""
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            end = os.lseek(descriptor, 0, os.SEEK_END)
            # What a crash left of a line must not swallow the next one.
            torn = end > 0 and os.pread(descriptor, 1, end - 1) != b"\n"
            if torn:
                os.ftruncate(descriptor, os.pread(descriptor, end, 0).rfind(b"\n") + 1)
            os.write(descriptor, b"".join(msgspec.json.encode(one) + b"\n" for one in labels))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def add_truth(labels: LabelFile) -> int:
    """Label every frame but the first of every episode by the reward that was recorded with it.

    The twin's rewards, and those of `journeyman collect`, are its own knowledge of success. What a person said stays.

    Returns:
        The number of frames.

    Raises:
        InputError: There are no episodes, or a reward does not say what success is.
    """
    paths = list_episodes(labels.folder)
    if not paths:
        raise InputError(
            f"There are no episodes (*.mcap) in {labels.folder}; record some with `journeyman collect`."
        )
    said = {frame for frame, label in labels.read().items() if label.who != TRUTH}
    count = 0
    for path in paths:
        verdicts = truth_of(path, read_episode(path))
        frames = [(step, v) for step, v in enumerate(verdicts, start=1) if (path.name, step) not in said]
        for verdict in ("success", "failure"):
            labels.add(path.name, [step for step, found in frames if found == verdict], verdict, TRUTH)
        count += len(frames)
    return count


def truth_of(path: Path, episode: Episode) -> list[Verdict]:
    """What the rewards of an episode say about its frames 1 to T.

    Raises:
        InputError: They are dense, equal for success and failure, or a learned reward's.
    """
    if episode.metadata.judge != "task":
        raise InputError(
            f"The rewards of episode {path} were paid by reward={episode.metadata.judge}, which may be wrong: label it "
            "by hand."
        )
    reward = episode.metadata.task.get("reward", {})
    paid = reward.get("success"), reward.get("step")
    if reward.get("kind") != "sparse" or None in paid or paid[0] == paid[1]:
        raise InputError(
            f"Episode {path} was recorded with task.reward {reward}, from which success cannot be told; label it by "
            "hand, or record with a sparse reward."
        )
    return ["success" if value == paid[0] else "failure" for value in episode.rewards.tolist()]


def user_name() -> str:
    """Who labels, as far as the machine knows."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
