"""Does it learn, and how fast? Whole runs of `journeyman train` per task, variant and seed, with intervals.

    python bench/learning.py [--tasks lift_cube reach] [--seeds 0 1 2] [--json FILE] [-- key=value ...]
    python bench/learning.py --tasks lift_cube --variants 'alone:' 'helped: device=intervener' -- KEY=VALUE

Everything after `--` is passed on to every run, and what follows a variant's name to the runs of that variant. Below
the runs of each task and variant stand the final evaluations of all seeds together, and likewise those on the way.
Exit code 1 if a run ends below --require (default 0.95).
"""

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

from agent.evaluation import wilson_interval
from agent.journal import JournalReader

_HEAD = (
    f"{'task':<12} {'variant':<12} {'seed':>4} {'steps':>7} {'success':>9} {'95 % interval':>16} {'90 % at':>8} "
    f"{'steps/episode':>14} {'helped':>7} {'wall s':>7} {'CPU s':>7}"
)


def train(task: str, seed: int, overrides: list[str], folder: Path) -> dict[str, Any]:
    """One run in a folder of its own; returns its summary and evaluations."""
    command = [sys.executable, "-m", "journeyman", "train", f"task={task}", f"seed={seed}", *overrides]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    run = folder / "runs" / "latest"
    summary = json.loads((run / "report" / "summary.json").read_text())
    evaluations = [e for e in JournalReader(run / "journal.jsonl").new() if e["kind"] == "evaluation"]
    summary["curve"] = [[e["environment_steps"], e["success_rate"], e["episodes"]] for e in evaluations]
    return summary


def first_above(curve: list[list[float]], share: float) -> str:
    """Environment steps of the first evaluation at or above `share`."""
    return next((f"{int(steps):,}" for steps, success, _ in curve if success >= share), "-")


def percentage(successes: float, trials: int) -> str:
    """A share with its 95 % interval."""
    low, high = wilson_interval(round(successes), trials)
    return f"{successes / trials:.0%} ({low:.0%} to {high:.0%})"


def row(task: str, variant: str, s: dict[str, Any]) -> str:
    """A line about one run."""
    interval = f"{s['success_low']:.0%} to {s['success_high']:.0%}"
    helped = s["interventions"]["steps"] if s["interventions"] else 0
    return (
        f"{task:<12} {variant:<12} {s['seed']:>4} {s['environment_steps']:>7,} {s['success_rate']:>9.0%} "
        f"{interval:>16} {first_above(s['curve'], 0.9):>8} {s['mean_episode_steps']:>14.1f} {helped:>7,} "
        f"{s['wall_s']:>7.0f} {s['cpu_s']:>7.0f}"
    )


def together(task: str, variant: str, runs: list[dict[str, Any]]) -> str:
    """What all seeds say; evaluations on the way are put together by the hundred environment steps."""
    trials = sum(s["evaluation_episodes"] for s in runs)
    successes = sum(s["success_rate"] * s["evaluation_episodes"] for s in runs)
    lines = [f"{task:<12} {variant:<12}  all, at the end {percentage(successes, trials)}"]
    on_the_way: dict[int, list[tuple[float, int]]] = defaultdict(list)
    for s in runs:
        for steps, success, episodes in s["curve"]:
            on_the_way[round(steps, -2)].append((success * episodes, int(episodes)))
    for steps, counts in sorted(on_the_way.items()):
        share = percentage(sum(good for good, _ in counts), sum(episodes for _, episodes in counts))
        lines.append(f"{'':<25}  at {steps:>7,} {share}, {len(counts)} runs")
    return "\n".join(lines)


def read_variant(word: str) -> tuple[str, list[str]]:
    """Name and overrides of `name: key=value ...`."""
    name, _, overrides = word.partition(":")
    return name.strip(), shlex.split(overrides)


def main() -> int:
    """Run all, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", nargs="+", default=["lift_cube", "reach"])
    parser.add_argument("--variants", nargs="+", type=read_variant, default=[("-", [])], metavar="NAME: ...")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--require", type=float, default=0.95)
    parser.add_argument("--json", type=Path)
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    options = parser.parse_args()
    print(_HEAD)
    summaries = []
    for task in options.tasks:
        for variant, overrides in options.variants:
            runs = []
            for seed in options.seeds:
                with tempfile.TemporaryDirectory() as folder:
                    s = train(task, seed, [*options.overrides, *overrides], Path(folder))
                runs.append({**s, "variant": variant})
                print(row(task, variant, s), flush=True)
            print(together(task, variant, runs), flush=True)
            summaries += runs
    if options.json:
        options.json.write_text(json.dumps(summaries, indent=1))
    return 0 if all(s["success_rate"] >= options.require for s in summaries) else 1


if __name__ == "__main__":
    sys.exit(main())
