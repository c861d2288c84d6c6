"""From recorded data to the robot: what each algorithm makes of demonstrations, and what then becomes of it.

    python bench/offline_to_online.py [--tasks lift_cube] [--seeds 0 1 2] [--ways calql+wsrl iql ...] [--steps 3000]
                                      [--folder DIR] [-- key=value ...]

A way is an algorithm that pretrains and one that goes on: `calql+wsrl`; `iql` alone is `iql+iql`, and `+rlpd` begins
on the robot. Ways that begin alike share the pretrained run. Everything after `--` is passed on to every run. Runs
that --folder holds already are not made again, so more seeds and ways can be added; the table is that of `journeyman
compare`, with the dip after the switch.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

WAYS = ("calql+wsrl", "calql+rlpd", "calql", "cql", "iql", "td3_bc", "bc+rlpd", "+rlpd")
_RUN = (sys.executable, "-m", "journeyman")
_QUIET = ("evaluation.video_episodes=0", "evaluation.baseline=false", "recording.episodes=false")


def main() -> int:
    """Make the runs that are missing, then compare all."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", nargs="+", default=["lift_cube"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--ways", nargs="+", default=list(WAYS))
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--evaluate-every", type=int, default=500)
    parser.add_argument("--folder", type=Path, default=Path("runs/offline_to_online"))
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="for every run")
    options = parser.parse_args()
    ended: list[Path] = []
    for task in options.tasks:
        for seed in options.seeds:
            shared = [f"task={task}", f"seed={seed}", *_QUIET, *options.overrides]
            for way in options.ways:
                ended.append(go(way, shared, options, options.folder / task / f"seed{seed}"))
                print(_line(task, way, seed, ended[-1]), flush=True)
    return subprocess.run(
        [*_RUN, "compare", *map(str, ended), f"out={options.folder / 'compare'}"], check=False
    ).returncode


def go(way: str, shared: list[str], options: argparse.Namespace, folder: Path) -> Path:
    """One way from the data to the robot; returns the run that went on."""
    first, _, then = way.partition("+")
    then = then or first
    online = [
        f"learner.max_environment_steps={options.steps}",
        f"actor.evaluate_every={options.evaluate_every}",
        "actor.evaluate_at_start=true",
    ]
    if first:
        pretrained = run("pretrain", [f"algorithm={first}", *shared], folder / f"{first}-pretrained")
        online += [f"init={pretrained}", "actor.random_steps=0"]
    return run("train", [f"algorithm={then}", *shared, *online], folder / way)


def run(verb: str, overrides: list[str], folder: Path) -> Path:
    """The run in `folder`, made if it is not there."""
    made = folder / "runs" / "latest"
    if not (made / "report" / "summary.json").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "log").open("ab") as log:
            subprocess.run([*_RUN, verb, *overrides], cwd=folder, check=True, stdout=log, stderr=log)
    return made.resolve()


def _line(task: str, way: str, seed: int, path: Path) -> str:
    summary = json.loads((path / "report" / "summary.json").read_text())
    low, high = summary["success_low"], summary["success_high"]
    return (
        f"{task:<12} {way:<12} seed {seed}: {summary['success_rate']:.0%} ({low:.0%} to {high:.0%}) after "
        f"{summary['environment_steps']:,} steps, {summary['cpu_s'] / 60:.1f} CPU min"
    )


if __name__ == "__main__":
    sys.exit(main())
