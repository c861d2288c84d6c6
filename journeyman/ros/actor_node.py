"""The actor as a ROS 2 node: the same one as `journeyman actor`, which may be paused and watched by ROS tools.

    python -m journeyman.ros.actor_node --ros-args -p "overrides:=['task=reach', 'robot=ros2', 'run=runs/latest']"

Parameter `overrides`: Hydra overrides, and `run=DIR`. Services (std_srvs/Trigger): `~/pause`, `~/resume`; `~/park`
pauses too, and answers when the robot rests. Topics (diagnostic_msgs/DiagnosticStatus): `~/status` on every change and
once a second, `~/episode` after each; both are also in `/diagnostics`.
"""

import signal
import sys
from typing import Any, NoReturn

from agent.config import InputError
from controllers.config import InputError as RobotSideInputError
from journeyman.process import on_stop
from robot_env.robot import RobotError
from robot_env.ros.runtime import Runtime, share_arguments


def main(args: list[str] | None = None) -> int:
    """Act until the learner or a signal says stop; then the robot is parked and the spool flushed.

    Returns:
        0 done, 1 failed, 2 wrong input, 3 the robot needs a human, 130 interrupted before there was an actor.
    """
    arguments = sys.argv[1:] if args is None else args
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        runtime = Runtime(_make_node, arguments)
        share_arguments(arguments)  # The robot of the actor is a node of its own, in the same namespace.
        try:
            _act(runtime, _overrides(runtime.node, arguments))
        finally:
            runtime.close()
    except (InputError, RobotSideInputError) as error:
        return _complain(error, 2)
    except RobotError as error:
        return _complain(error, 3)
    except OSError as error:  # A full disk, a folder that may not be written.
        return _complain(error, 1)
    except KeyboardInterrupt:
        return _complain("interrupted.", 130)
    return 0


def _act(runtime: Runtime, overrides: list[str]) -> None:
    from journeyman.actor import open_actor  # Imports torch: late, so that wrong parameters are told at once.
    from journeyman.ros.status import Surface

    surface = Surface(runtime)
    # As under a supervisor, no limit on the wait for the learner: launch starts both.
    with open_actor(overrides, surface) as (actor, client):
        on_stop(actor.request_stop, supervised=False)
        surface.serve(actor, client)
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


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def _complain(error: object, code: int) -> int:
    print(f"actor_node: {error}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
