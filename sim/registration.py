"""Makes environments of the twin: by task, by name, by gymnasium id, or as the factory of `robot=twin`."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv

from controllers.config import InputError, did_you_mean, read
from robot_env.contracts import Camera
from robot_env.env import RobotEnv
from robot_env.task import Task, load_task
from sim.config import TwinConfig

_TASKS = Path(__file__).parent / "conf" / "task"


def task_names() -> list[str]:
    """Names of all tasks that come with the twin."""
    return sorted(path.stem for path in _TASKS.glob("*.yaml"))


def load(name: str) -> Task:
    """The task of that name.

    Raises:
        InputError: There is none.
    """
    names = task_names()
    if name not in names:
        raise InputError(
            f"There is no task {name!r}; choose from {', '.join(names)}.{did_you_mean(name, names)}"
        )
    return load_task(_TASKS / f"{name}.yaml")


def make_env(
    task: Task | str,
    config: TwinConfig | None = None,
    render: bool = False,
    cameras: Mapping[str, Camera] | None = None,
) -> RobotEnv:
    """The twin doing a task.

    Args:
        task: A task, or the name of one that comes with the twin.
        config: The twin's configuration.
        render: Whether `render()` gives frames of the video camera. Costs nothing until it is called.
        cameras: Replaces the twin's own cameras.

    Raises:
        InputError: There is no such task, or task and twin do not fit.
    """
    from sim.assembly import assemble  # Imports MuJoCo, which registering ids must not.

    return assemble(load(task) if isinstance(task, str) else task, config or TwinConfig(), render, cameras)


def make_vec_env(
    task: Task | str,
    twins: int,
    config: TwinConfig | None = None,
    *,
    processes: bool = True,
    autoreset_mode: AutoresetMode = AutoresetMode.NEXT_STEP,
) -> VectorEnv[Any, Any, Any]:
    """Several twins doing a task at a time, as gymnasium's vector environment. Close it after use.

    `reset(seed=s)` starts twin `i` as `reset(seed=s + i)` starts one that is alone, and what follows is the same, too.

    Args:
        task: A task, or the name of one that comes with the twin.
        twins: How many; more than there are cores make nothing faster.
        config: The twins' configuration.
        processes: Whether each twin has a process of its own; else all of them run in this one, one after the other.
        autoreset_mode: When gymnasium begins the next episode of a twin.

    Raises:
        InputError: There is no such task, task and twin do not fit, or `twins` is not positive.
    """
    if twins < 1:
        raise InputError(f"{twins} twins are none to step; ask for 1 or more.")
    task = load(task) if isinstance(task, str) else task
    make_one = partial(make_env, task, config)
    if not processes:
        return SyncVectorEnv([make_one] * twins, autoreset_mode=autoreset_mode)
    # Processes that are forked would have the locks, but not the threads, of whoever learns here.
    return AsyncVectorEnv([make_one] * twins, context="spawn", autoreset_mode=autoreset_mode)


def make_twin(task: Task, config: Mapping[str, Any], render: bool = False) -> RobotEnv:
    """Factory named by `sim/conf/robot/twin.yaml`.

    Raises:
        InputError: `config` is not a `TwinConfig`.
    """
    twin_config = read(TwinConfig, config, "robot.config does not fit the twin")
    return make_env(task, twin_config, render)


def make_by_id(task: str, render_mode: str | None = None, config: TwinConfig | None = None) -> RobotEnv:
    """Entry point of the gymnasium ids. A `render_mode` of `rgb_array` gives frames of the video camera."""
    return make_env(task, config, render=render_mode == "rgb_array")


def gymnasium_id(name: str) -> str:
    """The id of a task: `lift_cube` is `journeyman/LiftCube-v0`."""
    return f"journeyman/{''.join(part.capitalize() for part in name.split('_'))}-v0"


def register() -> None:
    """Make every task known to gymnasium."""
    for name in task_names():
        if gymnasium_id(name) not in gymnasium.registry:
            # The environment truncates by itself.
            gymnasium.register(gymnasium_id(name), "sim.registration:make_by_id", kwargs={"task": name})
