"""The states that a demonstration went through, found by doing it again on the twin.

Files of episodes hold what a real robot can measure, which is not all of a twin's state: not an object that a task sees
by camera only, and not how a grasped one is tilted. But the twin is the same to the bit for the same seed and actions,
and a file holds both. So its episodes need nothing added, and what was recorded proves that the states are those.
"""

import numpy as np
from numpy.typing import NDArray

from controllers.config import InputError
from robot_env.env import RobotEnv
from robot_env.episode import Episode
from sim.scene import TwinScene

# Where the safety filter changed a command, the recorded action stands for it up to the rounding of float32, which
# comes to 1e-9 rad. These are far less than what would change what an episode can teach.
_JOINT_TOLERANCE_RAD = 1e-3
_WIDTH_TOLERANCE_M = 1e-3
_STATE_TOLERANCE = 1e-2  # Of entries that are scaled to order one.


def retrace(env: RobotEnv, episode: Episode) -> NDArray[np.float64]:
    """Do an episode again, from its seed, by its actions.

    Args:
        env: The twin as it was recorded on; it needs no cameras.
        episode: Has the task's actions and states.

    Returns:
        Snapshots of the scene before each action, without those in which the task is done already, shape (T, D).

    Raises:
        InputError: It is no success, has no seed, or the twin does not do again what was recorded; in words that
            fit behind a colon.
    """
    assert isinstance(env.scene, TwinScene)
    if not episode.success:
        raise InputError("it did not succeed")
    if episode.metadata.seed is None:
        raise InputError("it was recorded without a seed, so that nobody knows where it began")
    if not {"joint_position_rad", "gripper_width_m"} <= episode.robot.keys():
        raise InputError("it does not tell where joints and fingers were")
    states = []
    observation, _ = env.reset(seed=episode.metadata.seed)
    for step, action in enumerate(episode.actions):
        _compare(env, observation["state"], episode, step)
        if not env.scene.success():
            states.append(env.scene.snapshot())
        observation, *_ = env.step(action)
    _compare(env, observation["state"], episode, len(episode.actions))
    if not states:
        raise InputError("the task is done from its beginning")
    return np.stack(states)


def _compare(env: RobotEnv, state: NDArray[np.float32], episode: Episode, step: int) -> None:
    recorded = episode.robot
    joints_rad = np.abs(env.state.joint_position_rad - recorded["joint_position_rad"][step]).max()
    width_m = abs(env.state.gripper_width_m - recorded["gripper_width_m"][step])
    entries = np.abs(state - episode.observations["state"][step])
    # Negated, because every comparison with NaN is false.
    if not (joints_rad <= _JOINT_TOLERANCE_RAD and width_m <= _WIDTH_TOLERANCE_M):
        raise InputError(
            f"at step {step} the twin departs from it by {joints_rad:.2g} rad of a joint and {width_m:.2g} m of the "
            "fingers"
        )
    if not entries.max() <= _STATE_TOLERANCE:
        name = env.state_names[int(entries.argmax())]
        raise InputError(f"at step {step} the twin departs from it by {entries.max():.2g} in {name}")
