"""`journeyman sweep`: one `journeyman train` for every choice of several, on Ray; see docs/scaling.md.

The choices are in Hydra's own grammar: seed=0,1,2, seed=range(5), algorithm=rlpd,sac.
"""

import argparse
import itertools

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from agent.config import InputError
from journeyman.config import compose
from journeyman.on_ray import Command, RayConfig, exit_code_of, run_all, split_options


class SweepConfig(RayConfig):
    """Where runs are made, and what each takes: learner and actor are two processes.

    Attributes:
        cpus: Cores that Ray sets aside for each.
        restarts: A run that died is begun anew, so none is by default.
    """

    cpus: float = 2.0
    restarts: int = 0


def run(options: argparse.Namespace) -> int:
    """Train with all combinations, as many at a time as there is room for.

    Raises:
        InputError: A combination cannot be run, or there is no Ray. Nothing has begun then.
    """
    config, rest = split_options(SweepConfig, options.overrides, "sweep")
    choices = combinations(rest)
    for words in choices:
        compose(words)
    commands = [
        Command(f"sweep-{number}", ("-m", "journeyman", "train", "--supervised", *words))
        for number, words in enumerate(choices)
    ]
    for command, words in zip(commands, choices, strict=True):
        print(f"{command.name}: {' '.join(words)}", flush=True)
    code = exit_code_of(run_all(commands, config))
    print(f"Compare them with: journeyman compare {config.folder}/runs")
    return code


def combinations(words: list[str]) -> list[list[str]]:
    """All of several choices, the last one changing fastest; one where there is none to make.

    Raises:
        InputError: A word cannot be read, or would go on with a run.
    """
    if any(word.startswith("run=") for word in words):
        raise InputError(
            "A sweep begins runs: leave out run=, and go on with one by journeyman train run=DIR."
        )
    try:
        overrides = OverridesParser.create().parse_overrides(words)
        return [list(one) for one in itertools.product(*map(_choices, overrides))]
    except HydraException as error:
        raise InputError(
            f"{' '.join(str(error).split())}; write choices as key=a,b or key=range(3)."
        ) from None


def _choices(override: Override) -> list[str]:
    if not override.is_sweep_override():
        assert override.input_line is not None
        return [override.input_line]
    return [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]
