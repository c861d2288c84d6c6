"""The actor as a ROS 2 node: the same one as `journeyman actor`, which may be paused and watched by ROS tools.

    python -m journeyman.ros.actor_node --ros-args -p "overrides:=['task=reach', 'robot=ros2', 'run=runs/latest']"

Parameter `overrides`: Hydra overrides, and `run=DIR`. Services (std_srvs/Trigger): `~/pause`, `~/resume`; `~/park`
pauses too, and answers when the robot rests; `~/helped` answers an actor that asks for a hand. Topics
(diagnostic_msgs/DiagnosticStatus): `~/status` on every change and once a second, `~/episode` after each; both are also
in `/diagnostics`.
"""

import sys
from typing import Any, NoReturn

from agent.config import InputError
from journeyman.process import on_stop
from robot_env.program import run_program, when_signalled
from robot_env.ros.runtime import Runtime, share_arguments


def main(args: list[str] | None = None) -> int:
    """Act until the learner or a signal says stop; then the robot is parked and the spool flushed.

    Returns:
        As `run_program` says; 130 if interrupted before there was an actor.
    """
    return run_program("actor_node", lambda: _run(sys.argv[1:] if args is None else args))


def _run(arguments: list[str]) -> None:
    when_signalled(_interrupt)
    runtime = Runtime(_make_node, arguments)
    share_arguments(arguments)  # The robot of the actor is a node of its own, in the same namespace.
    try:
        _act(runtime, _overrides(runtime.node, arguments))
    finally:
        runtime.close()


def _act(runtime: Runtime, overrides: list[str]) -> None:
    from journeyman.actor import open_actor  # Imports torch: late, so that wrong parameters are told at once.
    from journeyman.help import make_file_operator
    from journeyman.learner import split_run
    from journeyman.ros.status import Surface

    surface = Surface(runtime)
    # As under a supervisor, no limit on the wait for the learner: launch starts both.
    with open_actor(overrides, surface) as (actor, client):
        on_stop(actor.request_stop, supervised=False)
        folder, _ = split_run(overrides)
        surface.serve(actor, client, make_file_operator(folder.resolve() if folder else None, actor.name))
        try:
            actor.run()
        except Exception as error:
            surface.on_event(f"The actor ended: {error}")
            raise
        finally:
            surface.close()


def _make_node(**keywords: Any) -> Any:
    from rclpy.exceptions import ParameterException
    from rclpy.node import Node
    from rclpy.parameter import Parameter

    node = Node("actor", **keywords)
    try:
        node.declare_parameter("overrides", Parameter.Type.STRING_ARRAY)
    except ParameterException:
        node.destroy_node()
        raise InputError(
            "The parameter overrides must be an array of strings, such as ['task=reach', 'seed=1']."
        ) from None
    return node


def _overrides(node: Any, arguments: list[str]) -> list[str]:
    from rclpy.utilities import remove_ros_args

    stray = remove_ros_args(arguments)
    if stray:
        raise InputError(f"{stray} is not understood: give overrides as -p \"overrides:=['task=reach']\".")
    return list(node.get_parameter_or("overrides").value or [])


def _interrupt() -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
