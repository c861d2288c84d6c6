"""Do offline algorithms do here what was published of them? On locomotion data whose quality is known.

    python -m bench.locomotion [--folder runs/locomotion] [--steps 60000] [--updates 3000] [--seeds 0 1 2]
                               [--data medium ...] [--methods bc ...] [--table]

SAC learns HalfCheetah-v5 for --steps, and bench/locomotion_data.py makes data sets of it below --folder/data, which
`journeyman data check` reads. Each method then learns from three of them, and is evaluated in 10 deterministic
episodes. A score is 0 for random actions and 100 for the expert.

Whatever --folder holds already is not made again, so a run that was stopped goes on, and more seeds can be added.
--table prints what there is. Beside the scores stand the published ones and, of everything that was published to be
better than cloning, whether it is here, with the probability that a seed of the one beats a seed of the other.
"""

import argparse
import itertools
import json
import time
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from agent.bc import BC, BCConfig
from agent.cql import CQL, CQLConfig
from agent.iql import IQL, IQLConfig
from agent.processor import use_processor
from agent.storage import write_atomically
from agent.td3_bc import TD3BC, TD3BCConfig
from agent.transition import Records
from bench.in_process import evaluate, make_env, train
from bench.locomotion_data import (
    SIZES,
    Recipe,
    Reference,
    episode_returns,
    make_data,
    read_reference,
    spec_of,
    teach,
)
from journeyman.offline.reading import read_offline
from journeyman.statistics import FEWEST_SEEDS, Estimate, interquartile_mean_of, probability_of_improvement

_CPU = torch.device("cpu")
_BASE = "bc"  # What the others were published to be better than.


class Method(NamedTuple):
    """An algorithm with its published settings, except for what fewer updates of smaller networks ask for.

    Attributes:
        algorithm: The class.
        config: But for `offline_updates`.
        standardised: Whether rewards are scaled so that the best and the worst episode are 1,000 apart (IQL, appendix).
    """

    algorithm: Any
    config: Any
    standardised: bool = False


# The papers make a million updates. Of thousands each has to go further: rates are 1e-3 instead of 3e-4, and targets
# follow at 0.02 instead of 0.005, or values of a hundred steps' horizon would still be at their beginning.
_FAST: dict[str, Any] = {"actor_learning_rate": 1e-3, "critic_learning_rate": 1e-3, "target_rate": 0.02}
_SHARED: dict[str, Any] = {"layer_norm": False, "hidden_sizes": SIZES}
METHODS = {
    "bc": Method(BC, BCConfig(batch_size=256, learning_rate=1e-3, **_SHARED)),
    "td3_bc": Method(
        TD3BC, TD3BCConfig(batch_size=256, discount=0.99, alpha=2.5, normalise_over=50, **_SHARED, **_FAST)
    ),
    "iql": Method(
        IQL,
        IQLConfig(batch_size=256, discount=0.99, expectile=0.7, temperature=3.0, **_SHARED, **_FAST),
        standardised=True,
    ),
    "cql": Method(
        CQL,
        CQLConfig(
            # The paper tunes the weight by a Lagrangian; with 5, as without, 9,000 updates do no better than cloning.
            batch_size=128, discount=0.99, conservative_weight=20.0, sampled_actions=2, actor_objective="min",
            initial_temperature=1.0, target_entropy_scale=1.0, temperature_learning_rate=1e-3, **_SHARED, **_FAST,
        ),
    ),
}  # fmt: skip

# Of halfcheetah-*-v2, mean over seeds: IQL's paper (arXiv:2110.06169, table 1), which has the others' figures, too.
PUBLISHED = {
    "medium": {"bc": 42.6, "td3_bc": 48.3, "iql": 47.4, "cql": 44.0},
    "medium-replay": {"bc": 36.6, "td3_bc": 44.6, "iql": 44.2, "cql": 45.5},
    "medium-expert": {"bc": 55.2, "td3_bc": 90.7, "iql": 86.7, "cql": 91.6},
}


def standardised(records: Records) -> Records:
    """With rewards such that 1,000 lie between the returns of the best and the worst episode."""
    scaled, apart = records.copy(), float(np.ptp(episode_returns(records)))
    if apart > 0.0:
        scaled["reward"] *= 1000.0 / apart
    return scaled


def learn(folder: Path, recipe: Recipe, data: str, name: str, seed: int, updates: int) -> dict[str, Any]:
    """Returns of what a method makes of a data set; made if they are not there."""
    path = folder / "results" / data / f"{name}-{updates}-seed{seed}.json"
    if path.is_file():
        return dict(json.loads(path.read_text()))
    method, env, spec, began = METHODS[name], make_env(recipe.env_id), spec_of(recipe), time.process_time()
    records = read_offline(folder / "data" / f"{data}.hdf5", spec)
    config = msgspec.structs.replace(method.config, offline_updates=updates)
    algorithm = method.algorithm(config, spec, _CPU, seed)
    policy = method.algorithm.make_policy(config, spec, seed)
    (point,) = train(
        algorithm, policy, env, spec, seed=seed, steps=0, start_steps=0, evaluate_every=1,
        evaluate_with=lambda step: evaluate(env, spec, policy, recipe.episodes, step),
        data=standardised(records) if method.standardised else records,
    )  # fmt: skip
    result = {"returns": point.returns, "cpu_s": time.process_time() - began}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(result).encode())
    return result


def verdict(better: Estimate, seeds: int) -> str:
    """What the probability that one is better than the other says.

    Args:
        better: With its interval; one without because all seeds agree is judged by its value.
        seeds: Of the one with fewer; too few say nothing.
    """
    if seeds < FEWEST_SEEDS:
        return "open"
    low = better.value if better.low is None else better.low
    high = better.value if better.high is None else better.high
    return "holds" if low > 0.5 else "opposite" if high < 0.5 else "open"


def describe_data(folder: Path, recipe: Recipe) -> str:
    """A table of what the data sets hold."""
    reference, spec = read_reference(folder), spec_of(recipe)
    lines = [
        f"mean return of {recipe.episodes} episodes: random {reference.random:.0f}, expert {reference.expert:.0f}",
        f"{'data':<14} {'transitions':>11} {'episodes':>8} {'mean score':>10} {'lowest':>7} {'highest':>7}",
    ]
    for path in sorted((folder / "data").glob("*.hdf5")):
        records = read_offline(path, spec)
        scores = reference.scores(episode_returns(records))
        lines.append(
            f"{path.stem:<14} {len(records):>11} {len(scores):>8} {scores.mean():>10.1f} {scores.min():>7.1f} "
            f"{scores.max():>7.1f}"
        )
    return "\n".join(lines)


def read_scores(
    folder: Path, reference: Reference, data: str, updates: int
) -> dict[str, NDArray[np.float64]]:
    """By method that has any, the mean score of each seed."""
    scores = {}
    for name in METHODS:
        paths = sorted((folder / "results" / data).glob(f"{name}-{updates}-seed*.json"))
        if paths:
            returns = [json.loads(path.read_text())["returns"] for path in paths]
            scores[name] = reference.scores(returns).mean(axis=-1)
    return scores


def describe_results(folder: Path, updates: int) -> str:
    """A table of those results that there are, beside the published ones."""
    reference, lines = read_reference(folder), [f"normalised scores after {updates} updates"]
    lines.append(f"{'data':<14} {'method':<7} {'IQM, 95 % interval':<24} {'published':>9}  better than bc")
    for data, published in PUBLISHED.items():
        scores = read_scores(folder, reference, data, updates)
        for name, values in scores.items():
            line = f"{data:<14} {name:<7} {_text(interquartile_mean_of([values]), 1):<24} {published[name]:>9.1f}"
            if name != _BASE and _BASE in scores:
                better = probability_of_improvement([values], [scores[_BASE]])
                seeds = min(len(values), len(scores[_BASE]))
                line += f"  {verdict(better, seeds)}: {_text(better, 2)}"
            lines.append(line)
    return "\n".join(lines)


def _text(estimate: Estimate, digits: int) -> str:
    if estimate.low is None:
        return f"{estimate.value:.{digits}f} ({estimate.why_no_interval})"
    return f"{estimate.value:.{digits}f} [{estimate.low:.{digits}f}, {estimate.high:.{digits}f}]"


def main() -> None:
    """Make what is missing, then print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=Path("runs/locomotion"))
    parser.add_argument("--steps", type=int, default=Recipe().steps, help="of the teacher")
    parser.add_argument("--updates", type=int, default=3_000)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--data", nargs="+", choices=PUBLISHED, default=list(PUBLISHED))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--table", action="store_true", help="of what there is; makes nothing")
    options = parser.parse_args()
    recipe = Recipe(steps=options.steps)
    if not options.table:
        use_processor(threads=1)
        teach(options.folder, recipe)
        make_data(options.folder, recipe)
        for seed, data, name in itertools.product(options.seeds, options.data, options.methods):
            result = learn(options.folder, recipe, data, name, seed, options.updates)
            score = read_reference(options.folder).scores(result["returns"]).mean()
            print(f"{data:<14} {name:<7} seed {seed}: {score:6.1f}, {result['cpu_s']:.0f} CPU s", flush=True)
    print(describe_data(options.folder, recipe))
    print(describe_results(options.folder, options.updates))


if __name__ == "__main__":
    main()
