"""Where the episodes of a run start, if not where the task draws it."""

import sys
from typing import Any

import gymnasium
import msgspec
import numpy as np
from numpy.typing import NDArray

from agent.config import InputError
from controllers.config import InputError as RobotInputError
from journeyman.config import RunConfig
from journeyman.demonstrations import demonstration_folder, load_episodes, refuse_without_episodes
from journeyman.recording import demonstrator
from journeyman.run_directory import RunDirectory
from journeyman.wiring import load_factory, make_env
from robot_env.env import RobotEnv
from sim.curriculum import Curriculum, DemonstratedCurriculum
from sim.curriculum_env import CurriculumEnv
from sim.curriculum_states import retrace
from sim.scene import TwinScene


def follow_curriculum(
    env: gymnasium.Env[Any, Any], config: RunConfig, run: RunDirectory | None
) -> gymnasium.Env[Any, Any]:
    """The environment in which the run's curriculum chooses the starts; the same one if the run has none.

    Args:
        env: A `RobotEnv`, or one in wrappers: their say on an episode's outcome is what the curriculum hears.
        config: Of the run.
        run: Where it is; None if it is on another machine, whose demonstrations are not known here.

    Raises:
        InputError: The curriculum cannot be used, or not with this robot or these demonstrations.
    """
    if config.curriculum.factory is None:
        return env
    robot_env = env.unwrapped
    assert isinstance(robot_env, RobotEnv)
    curriculum = make_curriculum(config, config.curriculum.factory, robot_env)
    if isinstance(curriculum, DemonstratedCurriculum):
        curriculum.learn(_demonstrated_states(config, robot_env, run))
    return CurriculumEnv(env, curriculum)


def check_curriculum(env: RobotEnv, config: RunConfig) -> None:
    """Find out what is wrong with a run's curriculum before it begins; demonstrations may not be recorded yet.

    Raises:
        InputError: See `make_curriculum`; or it needs demonstrations, and the run has none or only transitions.
    """
    if config.curriculum.factory is None:
        return
    curriculum = make_curriculum(config, config.curriculum.factory, env)
    if isinstance(curriculum, DemonstratedCurriculum):
        if not config.demonstrations.episodes:
            raise _no_demonstrations(config)
        if (folder := demonstration_folder(config, None)) is not None:
            refuse_without_episodes(folder, config)


def make_curriculum(config: RunConfig, path: str, env: RobotEnv) -> Curriculum:
    """The curriculum of a run, which knows no demonstrations yet.

    Raises:
        InputError: Its factory does not exist or refuses its configuration, or the scene cannot be put into any state.
    """
    scene, chosen = env.scene, config.curriculum
    if not isinstance(scene, TwinScene) or env.reset_policy is not scene or config.practice.tasks:
        raise InputError(
            f"curriculum={chosen.name} starts episodes in states that only a reset of the twin in the actor's own "
            "process makes: choose robot=twin, reset=robot and practice=none, or curriculum=none."
        )
    curriculum = load_factory(path, "curriculum.factory", scene, chosen.config)(scene, chosen.config)
    if not callable(getattr(curriculum, "start", None)):
        raise InputError(f"curriculum.factory {path!r} makes no curriculum; name one that does.")
    made: Curriculum = curriculum
    return made


def _demonstrated_states(
    config: RunConfig, env: RobotEnv, run: RunDirectory | None
) -> list[NDArray[np.float64]]:
    """Where the run's demonstrations went. Those that the twin does not do again are left out, and that is said."""
    folder = demonstration_folder(config, run)
    if folder is None:
        raise _no_demonstrations(config)
    episodes = load_episodes(folder, config, env)
    twin = make_env(demonstrator(_blind_and_unpaced(config)))
    states, refused = [], []
    for number, episode in enumerate(episodes):
        try:
            states.append(retrace(twin, episode))
        except RobotInputError as error:
            refused.append((number, error))
    twin.close()
    if not states:
        raise InputError(
            f"curriculum={config.curriculum.name} needs demonstrations that this twin can do again, but in {folder} is "
            f"none, of the first because {refused[0][1]}: record some with journeyman collect, or choose "
            "curriculum=none."
        )
    for number, reason in refused:
        print(f"No episode starts in demonstration {number}: {reason}.", file=sys.stderr, flush=True)
    return states


def _blind_and_unpaced(config: RunConfig) -> RunConfig:
    """The same twin without cameras, as fast as it can."""
    robot = {key: value for key, value in config.robot.config.items() if key != "realtime"}
    return msgspec.structs.replace(
        config,
        task=msgspec.structs.replace(config.task, cameras={}),
        robot=msgspec.structs.replace(config.robot, config=robot),
    )


def _no_demonstrations(config: RunConfig) -> InputError:
    return InputError(
        f"curriculum={config.curriculum.name} starts episodes in states of demonstrations, but here are none: set "
        "demonstrations.episodes, and on an actor far from the run demonstrations.folder; or choose curriculum=none."
    )
