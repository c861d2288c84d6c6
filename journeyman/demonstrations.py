"""A run's demonstrations: where they are, and as transitions that a learner takes."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np

from agent.algorithm_config import ends_recorded_anew, needs_rewards
from agent.config import InputError
from agent.trajectories import count_breaks
from agent.transition import Provenance, Records, TransitionSpec
from journeyman.config import RunConfig
from journeyman.offline.reading import is_data_set, read_offline
from journeyman.offline.report import warnings_of
from journeyman.run_directory import RunDirectory
from robot_env.contracts import DemonstratedRewardModel
from robot_env.env import RobotEnv
from robot_env.episodes import Episode, load_demonstrations
from robot_env.task import Task

# Parts of a task that decide what the numbers of a transition mean.
_MEANING = ("action", "observation", "reward", "control_rate_hz")


def demonstration_folder(config: RunConfig, run: RunDirectory | None, agent: str = "") -> Path | None:
    """Where an agent's demonstrations are; None where it learns without, or there is no run yet to have them.

    Raises:
        InputError: One data set is named for the agents of several tasks.
    """
    if config.demonstrations.episodes == 0:
        return None
    if config.demonstrations.folder:
        whole = Path(config.demonstrations.folder)
        if agent and is_data_set(whole):
            raise InputError(
                f"demonstrations.folder {whole} is one data set, but each of {', '.join(config.practice.agents)} needs "
                "its own: give a folder with a folder of that name for each, or choose practice=none."
            )
        return whole / agent
    return run.demonstrations / agent if run else None


def read_demonstrations(
    folder: Path | None, config: RunConfig, env: RobotEnv, spec: TransitionSpec
) -> Records:
    """All transitions of the demonstrations that the run uses, in order, with the rewards that the run pays.

    Of episodes it is known what their numbers mean, and they must mean what the task's do. Of a data set of others
    (see `read_offline`) only sizes and ranges are compared, and its rewards are as they stand.

    Raises:
        InputError: A file is damaged or belongs to another observation or action space, or there are too few episodes.
    """
    if folder is None:
        return np.zeros(0, spec.dtype)
    if spec.is_privileged:
        raise InputError(
            "task.privileged is not in demonstrations, of which the critics learn, too: set demonstrations.episodes=0, "
            "or task.privileged=[]."
        )
    if is_data_set(folder):
        records = read_offline(folder, spec, needs_rewards(config.algorithm), _ends_stand(config))
        return _first_episodes(folder, config, records)
    records = episode_records(load_episodes(folder, config, env), spec)
    model = env.reward_model
    if isinstance(model, DemonstratedRewardModel):
        # Copied out of the records, whose fields lie as torch does not take them.
        following = {key: np.array(records[f"next_observation.{key}"]) for key in spec.observation_keys}
        records["reward"] = model.pay(following, records["terminated"])
    return records


def remarks(folder: Path, config: RunConfig, records: Records, spec: TransitionSpec) -> Iterator[str]:
    """What a person should know of demonstrations before a run learns from them, one sentence each.

    Args:
        folder: Where they are.
        config: Of the run.
        records: What `read_demonstrations` made of them.
        spec: Their layout.
    """
    if is_data_set(folder):
        yield (
            f"Of {folder} only sizes and ranges were checked: whether its observations, actions and rewards mean what "
            f"those of task {config.task.name!r} mean is not known."
        )
    if breaks := count_breaks(records, spec):
        yield (
            f"In {folder} {breaks} of {len(records)} steps lead elsewhere than where the next step of their episode "
            "begins: returns, goals in hindsight and targets of several steps do not reach past them."
        )
    for warning in warnings_of(records):
        yield f"Warning: demonstrations in {folder}: {warning}"


def _ends_stand(config: RunConfig) -> bool:
    """Whether what ended a recorded episode ends it for the learner, too.

    Not with goals in hindsight, which end steps anew, nor with what learns to end them or lets nothing end: a reward
    that learns and has a judge of its own for the robot (`vice`), while one that has none keeps the task's ends.
    """
    nothing_ends = config.reward.learner is not None and config.reward.factory is not None
    return not (config.learner.hindsight or nothing_ends or ends_recorded_anew(config.algorithm))


def _first_episodes(source: Path, config: RunConfig, records: Records) -> Records:
    """As many episodes as the run uses, of transitions whose episodes are numbered from 0."""
    held, wanted = int(records["episode"][-1]) + 1, config.demonstrations.episodes
    if held < wanted:
        raise InputError(
            f"{source} holds {held} episodes, but demonstrations.episodes is {wanted}: set "
            f"demonstrations.episodes={held}, or give more data."
        )
    return records[records["episode"] < wanted]


def load_episodes(folder: Path, config: RunConfig, env: RobotEnv) -> list[Episode]:
    """The demonstrations that the run uses, in order, as they were recorded.

    Raises:
        InputError: See `read_demonstrations`; also if they are a data set of others, which holds transitions only.
    """
    refuse_without_episodes(folder, config)
    images = {name: (camera.height, camera.width, 3) for name, camera in env.task.cameras.items()}
    episodes = load_demonstrations(folder, env.state_names, env.task.action.size, images)
    wanted = config.demonstrations.episodes
    if len(episodes) < wanted:
        raise InputError(
            f"{folder} holds {len(episodes)} demonstrations, but demonstrations.episodes is {wanted}: record more with "
            f"journeyman collect, or set demonstrations.episodes={len(episodes)}."
        )
    for episode in episodes[:wanted]:
        _refuse_other_meaning(folder, episode, config.task)
    return episodes[:wanted]


def refuse_without_episodes(folder: Path, config: RunConfig) -> None:
    """Rewards and curricula that are made from demonstrations need more of them than transitions.

    Raises:
        InputError: They are a data set of others.
    """
    if is_data_set(folder):
        raise InputError(
            f"Rewards and curricula that are made from demonstrations (here reward={config.reward.name}, "
            f"curriculum={config.curriculum.name}) need recorded episodes, but {folder} holds transitions: make "
            "episodes of it with journeyman episodes convert, or choose others."
        )


def _refuse_other_meaning(folder: Path, episode: Episode, task: Task) -> None:
    """Same sizes are not enough: actions, states and rewards of a demonstration must mean what the task's do."""
    ours, theirs = (json.loads(msgspec.json.encode(t)) for t in (task, episode.metadata.task))
    for key in _MEANING:
        if theirs.get(key) != ours[key]:
            raise InputError(
                f"Demonstrations in {folder} were recorded with task.{key} = {theirs.get(key)}, this run has "
                f"{ours[key]}: record them again, or use the same task."
            )


def episode_records(episodes: Sequence[Episode], spec: TransitionSpec) -> Records:
    """Episodes as transitions marked as demonstrations."""
    parts = [np.zeros(0, spec.dtype)]
    for number, episode in enumerate(episodes):
        rows = np.zeros(len(episode.actions), spec.dtype)
        for key in spec.observation_keys:
            rows[f"observation.{key}"] = episode.observations[key][:-1]
            rows[f"next_observation.{key}"] = episode.observations[key][1:]
        rows["action"], rows["reward"] = episode.actions, episode.rewards
        rows["terminated"], rows["truncated"] = episode.terminated, episode.truncated
        rows["provenance"], rows["episode"] = Provenance.DEMONSTRATION, number
        rows["step"] = np.arange(len(rows))
        parts.append(rows)
    return np.concatenate(parts)
