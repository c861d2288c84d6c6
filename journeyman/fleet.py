"""`journeyman fleet`: many actors of one learner, placed and watched by Ray; see docs/scaling.md."""

import argparse
from pathlib import Path

from agent.config import InputError
from journeyman.config import compose
from journeyman.learner import split_run
from journeyman.on_ray import Command, RayConfig, exit_code_of, run_all, split_options
from journeyman.run_directory import RunDirectory


class FleetConfig(RayConfig):
    """How many actors, and where.

    Attributes:
        actors: How many.
        name: What their names begin with; a number follows.
    """

    actors: int = 2
    name: str = "fleet"

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        super().__post_init__()
        if self.actors < 1:
            raise ValueError(f"actors {self.actors} must be at least 1")


def run(options: argparse.Namespace) -> int:
    """Drive that many robots until the learner or a person says stop.

    Raises:
        InputError: Something in the configuration is wrong, or there is no Ray.
    """
    config, rest = split_options(FleetConfig, options.overrides, "fleet")
    commands = actor_commands(config, rest)
    print(
        f"{config.actors} actors on ray={config.ray}; their logs are in {config.folder}/runs/logs.",
        flush=True,
    )
    return exit_code_of(run_all(commands, config))


def actor_commands(config: FleetConfig, words: list[str]) -> list[Command]:
    """Every actor's: the same but for its name, and that only the first evaluates the policy.

    Raises:
        InputError: An actor would refuse the words.
    """
    if any(word.partition("=")[0].lstrip("+") == "actor.name" for word in words):
        raise InputError(
            "Actors of a fleet have names of their own: leave out actor.name, and give name=PREFIX."
        )
    folder, rest = split_run(words)
    own = [[f"actor.name={config.name}-{number}"] for number in range(config.actors)]
    for one in own[1:]:
        one.append("actor.evaluate_every=0")
    if folder is None:
        compose([*rest, *own[-1]])
    else:
        RunDirectory.open(Path(config.folder) / folder, [*rest, *own[-1]])
    return [
        Command(one[0].partition("=")[2], ("-m", "journeyman", "actor", "--supervised", *words, *one))
        for one in own
    ]
