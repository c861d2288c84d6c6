"""Does it learn? Whole runs of `journeyman train` per task and seed, with intervals.

    python bench/learning.py [--tasks lift_cube reach] [--seeds 0 1 2] [--json FILE] [-- key=value ...]

Everything after `--` is passed on to every run. Exit code 1 if a run ends below --require (default 0.95).
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from agent.evaluation import wilson_interval
from agent.journal import JournalReader


def train(task: str, seed: int, overrides: list[str], folder: Path) -> dict[str, Any]:
    """One run in a folder of its own; returns its summary and evaluations."""
    command = [sys.executable, "-m", "journeyman", "train", f"task={task}", f"seed={seed}", *overrides]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    run = folder / "runs" / "latest"
    summary = json.loads((run / "report" / "summary.json").read_text())
    evaluations = [e for e in JournalReader(run / "journal.jsonl").new() if e["kind"] == "evaluation"]
    summary["curve"] = [[e["environment_steps"], e["success_rate"]] for e in evaluations]
    return summary


def first_above(curve: list[list[float]], share: float) -> str:
    """Environment steps of the first evaluation at or above `share`."""
    return next((f"{int(steps):,}" for steps, success in curve if success >= share), "-")


def main() -> int:
    """Run all, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", nargs="+", default=["lift_cube", "reach"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--require", type=float, default=0.95)
    parser.add_argument("--json", type=Path)
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    options = parser.parse_args()
    print(
        f"{'task':<12} {'seed':>4} {'steps':>7} {'success':>9} {'95 % interval':>16} {'90 % at':>8} "
        f"{'steps/episode':>14} {'wall s':>7} {'CPU s':>7}"
    )
    summaries = []
    for task in options.tasks:
        of_task = []
        for seed in options.seeds:
            with tempfile.TemporaryDirectory() as folder:
                s = train(task, seed, options.overrides, Path(folder))
            of_task.append(s)
            interval = f"{s['success_low']:.0%} to {s['success_high']:.0%}"
            print(
                f"{task:<12} {seed:>4} {s['environment_steps']:>7,} {s['success_rate']:>9.0%} {interval:>16} "
                f"{first_above(s['curve'], 0.9):>8} {s['mean_episode_steps']:>14.1f} "
                f"{s['wall_s']:>7.0f} {s['cpu_s']:>7.0f}",
                flush=True,
            )
        trials = sum(s["evaluation_episodes"] for s in of_task)
        successes = round(sum(s["success_rate"] * s["evaluation_episodes"] for s in of_task))
        low, high = wilson_interval(successes, trials)
        print(f"{task:<12}  all {'':>7} {successes / trials:>9.0%} {f'{low:.0%} to {high:.0%}':>16}")
        summaries += of_task
    if options.json:
        options.json.write_text(json.dumps(summaries, indent=1))
    return 0 if all(s["success_rate"] >= options.require for s in summaries) else 1


if __name__ == "__main__":
    sys.exit(main())
