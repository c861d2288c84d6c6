"""The twin's own knowledge of several goals, for practice without resets."""

from collections.abc import Sequence

from controllers.config import InputError
from robot_env.contracts import RewardModel
from robot_env.env import RobotEnv
from sim.scene import GoalReward, TwinScene


def make_rewards(env: RobotEnv, goals: Sequence[str]) -> dict[str, RewardModel]:
    """What pays each goal. Factory named by `practice=forward_backward`.

    Raises:
        InputError: The environment is not the twin, or its scene has no such goal.
    """
    scene = env.scene
    known = scene.goals if isinstance(scene, TwinScene) else ()
    unknown = [goal for goal in goals if goal not in known]
    if unknown:
        what = f"has the goals {', '.join(known)}" if known else "has no goals that the twin knows"
        raise InputError(
            f"practice.tasks names {', '.join(unknown)}, but task {env.task.name!r} {what}: choose among them, another "
            "task such as relocate, or give each task a reward of its own, by practice.tasks.NAME.reward."
        )
    assert isinstance(scene, TwinScene)
    return {goal: GoalReward(scene, env.task.reward, goal) for goal in goals}
