"""Do our algorithms learn what others made? Environments of others, by suite, task, algorithm and seed.

    python -m bench.external --suite metaworld [--tasks button-press-v3 ...] [--algorithms rlpd iql ...] [--seeds 0 1 2]
                             [--steps 40000] [--folder DIR] [--json FILE] [-- key=value ...]

A suite is an entry of bench/external.yaml, an algorithm a file of journeyman/conf/algorithm, and what follows `--`
goes into every run, such as algorithm.config.compile=true. Runs are made one after the other, the first seed of all
first. Each leaves a file in --folder when it has ended; one whose file is there is not made again (docs/external.md).
"""

import argparse
import itertools
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from agent.config import InputError
from agent.evaluation import wilson_interval
from bench.external_plans import make_plan, run_name
from bench.external_runs import Run, run_in
from bench.external_suites import SUITES, load_suite

_HEAD = (
    f"{'task':<28} {'algorithm':<10} {'seeds':>5} {'steps to 90 %':>26} {'final success, 95 % interval':>29} "
    f"{'dip':>15} {'steps made':>30} {'CPU minutes':>16}"
)


def main() -> int:
    """Make the runs that are missing; print the table of all."""
    options = parse()
    suite = load_suite(options.suite, options.suites)
    if options.demonstrations is not None:
        suite = msgspec.structs.replace(suite, demonstrations=options.demonstrations)
    tasks = options.tasks or suite.tasks
    # All plans before the first run: what is refused should not be found out after hours.
    plans = [
        make_plan(suite, task, name, seed, options)
        for seed, task, name in itertools.product(options.seeds, tasks, options.algorithms)
    ]
    runs = []
    for plan in plans:
        runs.append(run_in(options.folder, options.suite, plan))
        print(f"{run_name(options.suite, plan)}: {describe(runs[-1])}", flush=True)
    print(table(runs))
    if options.json:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(runs), indent=1))
    return 0


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--suite", required=True)
    parser.add_argument("--suites", type=Path, default=SUITES, help="file of suites")
    parser.add_argument("--tasks", nargs="+", help="those of the suite by default")
    parser.add_argument("--algorithms", nargs="+", default=["rlpd"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=40_000, help="of the environment, at most")
    parser.add_argument("--evaluate-every", type=int, default=2_000)
    parser.add_argument("--episodes", type=int, default=20, help="of each evaluation on the way")
    parser.add_argument("--final-episodes", type=int, default=50)
    parser.add_argument(
        "--stop-at", type=float, default=0.95, help="end after two evaluations like this; 2: never"
    )
    parser.add_argument(
        "--demonstrations", type=int, help="of the suite's expert, instead of the suite's number"
    )
    parser.add_argument("--data", help="a recorded data set instead of them (docs/offline.md)")
    parser.add_argument("--folder", type=Path, default=Path("runs/external"))
    parser.add_argument("--json", type=Path)
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="for every run")
    return parser.parse_args()


def describe(run: Run) -> str:
    """One line about one run."""
    plan = run.plan
    good = "of unknown success" if run.shown_successes is None else f"{run.shown_successes} successes"
    return (
        f"{run.final_successes} of {plan.final_episodes} after {run.steps:,} steps"
        f"{', ended early' if run.stopped_early else ''}; shown: {run.shown_steps:,} steps, {good} in "
        f"{run.shown_episodes} episodes; {run.cpu_s / 60:.1f} CPU minutes"
    )


def table(runs: Sequence[Run]) -> str:
    """A line for each task and algorithm."""
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.plan.task, run.plan.algorithm.name), []).append(run)
    lines = [_HEAD, *(row(group) for group in groups.values())]
    if any(run.stopped_early for run in runs):
        lines.append(
            f"*: ended early, after two evaluations in a row with {runs[0].plan.stop_at:.0%} success"
        )
    return "\n".join(lines)


def row(runs: Sequence[Run]) -> str:
    """Of one task and algorithm over the seeds; the final episodes of all seeds together."""
    plan = runs[0].plan
    successes, trials = sum(run.final_successes for run in runs), sum(run.plan.final_episodes for run in runs)
    low, high = wilson_interval(successes, trials)
    reached = " ".join("never" if math.isinf(run.reached) else f"{run.reached:,.0f}" for run in runs)
    made = " ".join(f"{run.steps:,}{'*' if run.stopped_early else ''}" for run in runs)
    dips = [run.dip for run in runs if run.dip is not None]
    dip = f"{np.median(dips):.0%} (max {max(dips):.0%})" if dips else "-"
    minutes = [run.cpu_s / 60 for run in runs]
    return (
        f"{plan.task:<28} {plan.algorithm.name:<10} {len(runs):>5} {reached:>26} "
        f"{f'{successes / trials:.0%} ({low:.0%} to {high:.0%})':>29} {dip:>15} {made:>30} "
        f"{f'{np.median(minutes):.0f} (max {max(minutes):.0f})':>16}"
    )


if __name__ == "__main__":
    try:
        sys.exit(main())
    except InputError as error:
        print(error, file=sys.stderr)
        sys.exit(InputError.exit_code)
