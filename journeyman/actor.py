"""`journeyman actor`: first hop to the motor; then `Actor.run`, `RobotEnv.step`, `Robot.send_command`."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.actor import Actor
from agent.transport.clients import ClientGroup
from agent.transport.outgrown import forget_outgrown
from agent.turns import Observer
from journeyman.acting import make_acting_env
from journeyman.actor_watch import ActorWatch, EpisodeCounter
from journeyman.config import RunConfig, compose
from journeyman.learner import address, split_run
from journeyman.process import never_fail_to_print, on_stop
from journeyman.run_directory import RunDirectory
from journeyman.run_log import run_log
from journeyman.sinks.assembly import make_sinks
from journeyman.sinks.sink import Outlets
from journeyman.wiring import at_the_pace_of_a_hand, make_actor, make_spec
from robot_env.realtime import prefer_control_loop


def run(options: argparse.Namespace) -> int:
    """Drive the robot until the learner or a person says stop."""
    never_fail_to_print()
    with open_actor(options.overrides) as (actor, client):
        if not options.supervised:  # A supervisor knows that the learner comes; a person may have mistyped.
            client.wait_welcome(timeout_s=60.0)
        on_stop(actor.request_stop, options.supervised)
        actor.run()
    return 0


@contextmanager
def open_actor(overrides: list[str], observer: Observer | None = None) -> Iterator[tuple[Actor, ClientGroup]]:
    """The actor of the run that `run=DIR` names, or of a learner elsewhere; its robot is let go of afterwards.

    On hardware the process gets real-time priority where it may.

    Raises:
        InputError: Something in the configuration is wrong.
    """
    folder, rest = split_run(overrides)
    directory: RunDirectory | None = None
    if folder is not None:
        directory, config = RunDirectory.open(folder, rest)
        home = directory
    else:
        config = compose(rest)
        home = RunDirectory(Path("runs"))
    with run_log(home.logs, f"actor.{config.actor.name}"), _actor(config, home, directory, observer) as pair:
        yield pair


@contextmanager
def _actor(
    config: RunConfig, home: RunDirectory, directory: RunDirectory | None, observer: Observer | None
) -> Iterator[tuple[Actor, ClientGroup]]:
    """See `open_actor`; `home` is where this machine keeps what is the actor's, `directory` the run if it is here."""
    spools = {name: home.agent(name).spool(config.actor.name) for name in config.practice.agents}
    config = at_the_pace_of_a_hand(config)
    sinks = make_sinks(config, home.path, "actor")
    env, robot_env = make_acting_env(config, home.episodes, directory)
    if directory is None:  # The same folder for all runs.
        dtype = make_spec(robot_env).dtype
        for spool in spools.values():
            forget_outgrown(spool, dtype)
    episodes = EpisodeCounter(observer or Observer())
    actor, client = make_actor(config, env, robot_env, spools, address(config), episodes)
    outlets = Outlets(sinks)
    watch = ActorWatch(actor, client, episodes, outlets) if outlets else None
    try:
        if not config.robot.simulated_time and not prefer_control_loop():
            print(
                "No real-time permission: the control loop runs at ordinary priority; see journeyman doctor."
            )
        yield actor, client
    finally:
        env.close()
        client.close()
        if watch is not None:
            watch.close()
        outlets.close()  # Last: a sink may keep one waiting.
