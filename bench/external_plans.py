"""What decides one run of bench/external.py. No bench itself."""

import argparse
import json

import msgspec

from agent.algorithm_config import AlgorithmConfig, load_algorithm
from agent.config import Config, InputError
from bench.external_suites import Suite
from journeyman.config import compose


class Plan(Config):
    """What decides a run. A file of another plan is not taken for it.

    Attributes:
        suite: With this task alone.
        task: One of its.
        algorithm: Class and parameters.
        seed: Of everything.
        steps: Of the environment, at most; 0 for the offline phase alone.
        start_steps: Before the first update.
        random_steps: First steps that are uniformly random.
        data_ratio: Share of demonstrations in each batch.
        data: Path of a data set instead of the suite's demonstrations.
        evaluate_every: Environment steps between two evaluations.
        episodes: Of each evaluation.
        final_episodes: Of the last one, from other starts.
        stop_at: Two evaluations in a row with this success end the run; above 1 nothing does.
    """

    suite: Suite
    task: str
    algorithm: AlgorithmConfig
    seed: int
    steps: int
    start_steps: int
    random_steps: int
    data_ratio: float
    data: str | None
    evaluate_every: int
    episodes: int
    final_episodes: int
    stop_at: float

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if self.steps < 0 or min(self.evaluate_every, self.episodes, self.final_episodes) < 1:
            raise ValueError(
                f"steps {self.steps} must not be negative, evaluate_every {self.evaluate_every}, episodes "
                f"{self.episodes} and final_episodes {self.final_episodes} must be at least 1"
            )


def make_plan(suite: Suite, task: str, name: str, seed: int, options: argparse.Namespace) -> Plan:
    """What one run is: the algorithm's file, then what the suite gives, then what was said.

    Raises:
        InputError: There is no such algorithm, it cannot begin here, or does not know a parameter.
    """
    config = compose([f"algorithm={name}"])
    if config.algorithm.needs_init:
        raise InputError(
            f"algorithm={name} goes on from a run of another algorithm; choose one that begins by itself."
        )
    algorithm, _ = load_algorithm(config.algorithm)
    given = {"discount": suite.discount, **suite.algorithm}
    known = {key: value for key, value in given.items() if key in algorithm.Config.__struct_fields__}
    config = compose(
        [
            f"algorithm={name}",
            *(f"algorithm.config.{key}={json.dumps(value)}" for key, value in known.items()),
            *options.overrides,
        ]
    )
    load_algorithm(config.algorithm)
    try:
        return Plan(
            suite=msgspec.structs.replace(suite, tasks=(task,)),
            task=task,
            algorithm=config.algorithm,
            seed=seed,
            steps=0 if getattr(algorithm, "demonstrations_only", False) else options.steps,
            start_steps=config.learner.start_steps,
            random_steps=config.actor.random_steps,
            data_ratio=config.learner.demonstration_ratio,
            data=None if options.data is None else str(options.data),
            evaluate_every=options.evaluate_every,
            episodes=options.episodes,
            final_episodes=options.final_episodes,
            stop_at=options.stop_at,
        )
    except ValueError as error:
        raise InputError(f"{error}.") from None


def run_name(suite: str, plan: Plan) -> str:
    """Of its file and in its lines."""
    return f"{suite}-{plan.task.replace('/', '_')}-{plan.algorithm.name}-seed{plan.seed}"
