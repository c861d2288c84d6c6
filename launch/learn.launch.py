"""Learner and actor on a robot whose controller runs already; `real_robot` and `train` include this file.

A crashed learner or actor (exit code 1 or a signal) is started again and goes on from what is on disk. Every other exit
code is somebody's decision and ends the launch: 0 done, 2 wrong input, 3 the robot needs a human, 130 interrupted.
"""

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from launch import LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    ExecuteProcess,
    GroupAction,
    IncludeLaunchDescription,
    LogInfo,
    OpaqueFunction,
    RegisterEventHandler,
    Shutdown,
    TimerAction,
)
from launch.event_handlers import OnProcessIO
from launch.events import matches_action
from launch.events.process import ShutdownProcess
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.substitutions import ExecutableInPackage

_ENDS = {0: "its work is done", 2: "wrong input", 3: "the robot needs a human", 130: "it was interrupted"}
_MAX_RESTARTS = 5
_RESTART_DELAY_S = 2.0
# Both save and flush when they are told to end; launch would kill them after ten seconds.
_PATIENCE: dict[str, Any] = {"sigterm_timeout": "30", "sigkill_timeout": "30", "output": "screen"}


def generate_launch_description() -> LaunchDescription:
    """Arguments, then the processes."""
    argument = DeclareLaunchArgument
    common = PythonLaunchDescriptionSource(str(Path(__file__).with_name("common.launch.py")))
    return LaunchDescription(
        [
            argument(
                "robot", description="Name of a robot (a YAML in robot_env/ros/robots), or a path of one."
            ),
            argument(
                "run",
                default_value="",
                description="Directory of a run to go on with; empty begins a new one.",
            ),
            argument(
                "learner_address",
                default_value="",
                description="Where a learner listens, as tcp://HOST:PORT; empty starts one here. Other machines need "
                "transport.keys=FOLDER in `overrides`.",
            ),
            argument(
                "overrides",
                default_value="",
                description="More Hydra overrides, separated by spaces: 'seed=1 learner.device=cpu'.",
            ),
            argument(
                "provenance",
                default_value="twin",
                choices=["twin", "robot"],
                description="What this robot's transitions are marked with.",
            ),
            IncludeLaunchDescription(common),
            OpaqueFunction(function=_start),
        ]
    )


def _start(context: Any) -> list[Any]:
    """The actor alone where the learner is elsewhere; else a learner, and the actor once that one listens."""
    names = ("robot", "task", "run", "learner_address", "overrides", "provenance", "use_sim_time")
    given = {name: LaunchConfiguration(name).perform(context) for name in names}
    try:
        more = shlex.split(given["overrides"])
    except ValueError as error:
        return _end(f"overrides:={given['overrides']} cannot be split at spaces: {error}.")
    use_sim_time = given["use_sim_time"].lower() == "true"
    robot = ["robot=ros2", f"robot.config.arm={given['robot']}", f"robot.provenance={given['provenance']}"]
    robot += ["robot.config.simulated_time=true"] if use_sim_time else []
    new_run = [f"task={given['task']}", *robot, *more]
    if given["learner_address"]:
        if given["run"]:
            return _end(
                f"run:={given['run']} and learner_address:={given['learner_address']} exclude each other: a run is its "
                "learner's, so give run= where that one is started."
            )
        address = f"transport.address={given['learner_address']}"
        return [_actor([*new_run, address], use_sim_time, learner_is_here=False)]
    overrides = [f"run={given['run']}", *more] if given["run"] else new_run
    # The actor comes when a group that this file is included in may have ended: it still belongs to its namespace.
    here = dict(context.launch_configurations)
    scope = OpaqueFunction(function=lambda later: later.launch_configurations.update(here))

    def actor_of(run: str) -> GroupAction:
        return GroupAction([scope, _actor([f"run={run}"], use_sim_time, learner_is_here=True)])

    return _learner(overrides, actor_of)


def _learner(overrides: list[str], actor_of: Callable[[str], Any] | None, restarts: int = 0) -> list[Any]:
    """The learner. `actor_of(run)` is started as soon as it says which run it serves; a restart has its actor."""
    served: list[str] = []

    def heard(event: Any) -> list[Any] | None:
        line = re.search(r"Learner of (.+) listens on ", event.text.decode(errors="replace"))
        if line is None or served:
            return None
        served.append(line.group(1))
        return None if actor_of is None else [actor_of(served[0])]

    def ended(event: Any, context: Any) -> list[Any] | None:
        if context.is_shutdown:
            return None
        if event.returncode in _ENDS or restarts == _MAX_RESTARTS:
            return _end(_why("learner", event.returncode))
        # The same command again would begin another run.
        again = (
            _learner([f"run={served[0]}"], None, restarts + 1)
            if served
            else _learner(overrides, actor_of, restarts + 1)
        )
        message = f"The learner ended with {event.returncode}; restart {restarts + 1} of {_MAX_RESTARTS}."
        return [LogInfo(msg=message), TimerAction(period=_RESTART_DELAY_S, actions=again)]

    learner = ExecuteProcess(
        cmd=[ExecutableInPackage(package="journeyman", executable="journeyman"), "learner", *overrides],
        name="learner",
        prefix="nice -n 19",  # The control loop goes first.
        additional_env={"PYTHONUNBUFFERED": "1"},
        on_exit=ended,
        **_PATIENCE,
    )
    return [RegisterEventHandler(OnProcessIO(target_action=learner, on_stdout=heard)), learner]


def _actor(overrides: list[str], use_sim_time: bool, learner_is_here: bool) -> Any:
    """The actor, respawned by launch itself, which keeps its namespace and remappings."""
    crashes: list[int] = []

    def ended(event: Any, context: Any) -> list[Any] | None:
        if context.is_shutdown:
            return None
        if event.returncode == 0 and learner_is_here:
            # The learner told it to, and is about to end itself: no restart, and nothing to stop.
            return [EmitEvent(event=ShutdownProcess(process_matcher=matches_action(event.action)))]
        crashes.append(event.returncode)
        if event.returncode in _ENDS or len(crashes) > _MAX_RESTARTS:
            return _end(_why("actor", event.returncode))
        message = f"The actor ended with {event.returncode}; restart {len(crashes)} of {_MAX_RESTARTS}."
        return [LogInfo(msg=message)]

    return Node(
        package="journeyman",
        executable="actor_node",
        namespace=LaunchConfiguration("namespace"),
        parameters=[{"overrides": overrides, "use_sim_time": use_sim_time}],
        additional_env={"FASTDDS_BUILTIN_TRANSPORTS": LaunchConfiguration("transports")},
        respawn=True,
        respawn_delay=_RESTART_DELAY_S,
        on_exit=ended,
        **_PATIENCE,
    )


def _why(name: str, code: int) -> str:
    reason = _ENDS.get(code, f"it keeps failing, last with {code}")
    return f"The {name} ended: {reason}." + (
        " Go on later with run:=DIRECTORY." if code not in (0, 2) else ""
    )


def _end(message: str) -> list[Any]:
    """Say why, then end the launch. An exception would leave running what this launch has started already."""
    return [LogInfo(msg=message), Shutdown(reason=message)]
