"""`journeyman pretrain`: the offline phase alone, on recorded data; `journeyman train init=RUN` goes on with it."""

import argparse

from agent.algorithm_config import load_algorithm
from agent.config import InputError
from journeyman import train
from journeyman.config import compose
from journeyman.learner import split_run

_DEFAULT = "algorithm=calql"


def run(options: argparse.Namespace) -> int:
    """Learn from recorded data, then evaluate and report; the robot takes no step to learn."""
    folder, rest = split_run(options.overrides)
    if folder is None:
        if not any(override.startswith("algorithm=") for override in rest):
            rest = [_DEFAULT, *rest]
        algorithm = compose(rest).algorithm
        _, parameters = load_algorithm(algorithm)
        if not getattr(parameters, "offline_updates", 0):
            raise InputError(
                f"algorithm={algorithm.name} has no offline phase: choose calql, cql, iql, td3_bc or bc, or set "
                "algorithm.config.offline_updates."
            )
        options.overrides = [*rest, "learner.max_environment_steps=0"]
    code = train.run(options)
    if code == 0:
        print("It goes on with: journeyman train init=RUN, and an algorithm (docs/offline_algorithms.md)")
    return code
