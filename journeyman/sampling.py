"""How a run's learner draws what it learns from, where that is not uniformly and as stored: see docs/sampling.md."""

from agent.algorithm_config import load_algorithm
from agent.config import InputError
from agent.hindsight import GoalPart, Goals
from agent.sampling import WAYS
from agent.transition import Records
from journeyman.config import RunConfig
from robot_env.env import RobotEnv
from robot_env.objects import object_of


def goals_in_hindsight(config: RunConfig, env: RobotEnv) -> Goals | None:
    """The goals that hindsight replaces; None for a run without hindsight.

    Raises:
        InputError: The task has none, something else than they pays, or the critics see them in another place, too.
    """
    if config.learner.hindsight == 0:
        return None
    task, goal = config.task, env.goal
    if goal is None:
        raise InputError(
            f"learner.hindsight is {config.learner.hindsight}, but task {task.name!r} has no goal: give it one by "
            "task.goal, choose a task that has, such as reach_goal, or set learner.hindsight=0."
        )
    reward = config.reward
    if task.reward.kind != "sparse" or reward.factory or reward.learner or config.practice.tasks:
        raise InputError(
            f"learner.hindsight is {config.learner.hindsight}, which pays by the goal of task {task.name!r} alone, but "
            f"here are reward={reward.name}, task.reward.kind={task.reward.kind} and practice={config.practice.name}: "
            "choose reward=task, sparse and practice=none, or set learner.hindsight=0."
        )
    about = object_of(task.goal.desired) if task.goal else None
    telling = [part.name for part in task.privileged if object_of(part.name) == about]
    if about is not None and telling:
        raise InputError(
            f"learner.hindsight is {config.learner.hindsight}, but task.privileged has {', '.join(telling)}, from "
            "which critics can tell the goal that is replaced: leave it out, or set learner.hindsight=0."
        )
    achieved, desired = GoalPart("state", goal.achieved), GoalPart("state", goal.desired)
    return Goals(achieved, desired, goal.pay)


def check_sampling(config: RunConfig) -> None:
    """See that there is what batches are to be drawn by.

    Raises:
        InputError: The algorithm tells no errors of its critics, or there are no recorded data.
    """
    kind = config.learner.sampling.kind
    way, (algorithm, _) = WAYS[kind], load_algorithm(config.algorithm)
    if way.needs_errors and not hasattr(algorithm, "take_errors"):
        raise InputError(
            f"learner.sampling.kind is {kind}, but {config.algorithm.algorithm} does not tell how its critics err: "
            "choose sac or an algorithm of its kind (rlpd, drq, cql, calql, ibrl, expo, wsrl), or uniform."
        )
    if way.needs_errors and config.algorithm.chunk > 1:
        raise InputError(
            f"learner.sampling.kind is {kind} and algorithm.chunk {config.algorithm.chunk}: a chunk that an episode "
            "cuts short is replaced by another, whose error would be taken for its own; choose uniform, or chunk=1."
        )
    if way.needs_recorded and not config.demonstrations.episodes:
        raise InputError(
            f"learner.sampling.kind is {kind}, which is about recorded data, but demonstrations.episodes is 0: give "
            "some, or choose uniform or prioritised."
        )


def check_recorded(config: RunConfig, records: Records) -> None:
    """See that recorded data say what they are to be drawn by.

    Args:
        config: Of the run.
        records: What it learns from.

    Raises:
        InputError: They do not.
    """
    sampling = config.learner.sampling
    WAYS[sampling.kind].examine(sampling, records)
