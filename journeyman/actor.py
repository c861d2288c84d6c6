"""`journeyman actor`: first hop to the motor; then `Actor.run`, `RobotEnv.step`, `Robot.send_command`."""

import argparse
from pathlib import Path

from journeyman.config import compose
from journeyman.learner import address, split_run
from journeyman.process import on_stop, prefer_control_loop
from journeyman.run_directory import RunDirectory
from journeyman.wiring import make_actor


def run(options: argparse.Namespace) -> int:
    """Drive the robot until the learner or a person says stop."""
    folder, rest = split_run(options.overrides)
    if folder is not None:
        directory, config = RunDirectory.open(folder, rest)
        spool = directory.spool(config.actor.name)
    else:
        config = compose(rest)
        spool = Path("runs") / "spool" / config.actor.name
    actor, client, env = make_actor(config, spool, address(config))
    try:
        if not options.supervised:  # A supervisor knows that the learner comes; a person may have mistyped.
            client.wait_welcome(timeout_s=60.0)
        on_stop(actor.request_stop, options.supervised)
        if not config.robot.simulated_time and not prefer_control_loop():
            print(
                "No real-time permission: the control loop runs at ordinary priority; see journeyman doctor."
            )
        actor.run()
    finally:
        env.close()
        client.close()
    return 0
