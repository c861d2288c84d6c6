"""How often does a success classifier call a failure a success? On the twin, from few labelled frames.

    python bench/success_classifier.py [--task lift_cube] [--seeds 0 1 2] [--folder DIR] [--json FILE] [-- key=value]

For each seed it records episodes, labels them from the truth, fits with at most 200 frames of success and 600 of
failure (those held out for the threshold included), and measures on other episodes, which no seed has seen. Everything
after `--` is passed on to `journeyman reward fit`. With --folder, what was recorded there is used again.
"""

import argparse
import contextlib
import io
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from journeyman.cli import main as journeyman

CAMERAS = "task.cameras={front: {width: 64, height: 64}, wrist: {width: 64, height: 64}}"
LIMITS = ["max_success=200", "max_failure=600"]
OTHER_SEED = 99


def run(*arguments: str) -> None:
    """A verb, without its output."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as complaints:
        code = journeyman(arguments)
    if code:
        sys.exit(complaints.getvalue())


def record(folder: Path, task: str, episodes: int, seed: int) -> Path:
    """A folder of episodes labelled from the truth."""
    where = [f"demonstrations.folder={folder}", f"demonstrations.episodes={episodes}", f"seed={seed}"]
    if not (folder / "labels.jsonl").exists():
        run("collect", "--mixed", f"task={task}", CAMERAS, *where)
        run("label", str(folder), "--from-truth")
    return folder


def fit_and_check(folder: Path, data: Path, other: Path, seed: int, overrides: list[str]) -> dict[str, Any]:
    """One classifier, and what it says about other episodes."""
    model = folder / f"classifier_{seed}.safetensors"
    begun_s = time.process_time()
    run("reward", "fit", f"data={data}", f"out={model}", f"seed={seed}", *LIMITS, *overrides)
    cpu_s = time.process_time() - begun_s
    run("reward", "check", f"model={model}", f"data={other}")
    content = json.loads((folder / f"classifier_{seed}_check" / "measurement.json").read_text())
    return {"seed": seed, "cpu_s": cpu_s, **content}


def main() -> int:
    """Fit all, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--task", default="lift_cube")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--episodes", type=int, default=60, help="recorded for each fit, and for the check")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    options = parser.parse_args()
    results = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = (options.folder or Path(scratch)) / options.task
        other = record(folder / "other", options.task, options.episodes, OTHER_SEED)
        print(
            f"{'seed':>4} {'fit frames':>11} {'threshold':>9} {'false positives':>27} {'recall':>7} {'ROC area':>9} "
            f"{'ended early':>12} {'recognised':>11} {'CPU s':>6}"
        )
        for seed in options.seeds:
            data = record(folder / f"fit_{seed}", options.task, options.episodes, seed)
            results.append(fit_and_check(folder, data, other, seed, options.overrides))
            print(row(results[-1]), flush=True)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))
    return 0


def row(result: dict[str, Any]) -> str:
    """One line of the table."""
    m, sides = result["measurement"], [result["card"]["fit"][side] for side in ("fitted", "held_out")]
    frames = "+".join(str(sum(side[kind] for side in sides)) for kind in ("successes", "failures"))
    rate = m["false_positive_rate"]
    false = f"{rate['count']} of {rate['of']} ({rate['share']:.2%} <= {rate['high']:.2%})"
    early, found = (
        f"{m[name]['count']} of {m[name]['of']}" for name in ("episodes_ended_early", "episodes_recognised")
    )
    return (
        f"{result['seed']:>4} {frames:>11} {m['threshold']:>9.3f} {false:>27} {m['recall']['share']:>7.1%} "
        f"{m['roc_area']:>9.4f} {early:>12} {found:>11} "
        f"{result['cpu_s']:>6.0f}"
    )


if __name__ == "__main__":
    sys.exit(main())
