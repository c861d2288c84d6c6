"""Does learning disturb the robot? A real-time actor beside its learner, with every core kept busy on top.

    python bench/deadlines.py [--minutes 5] [--rate 20] [--burners N] [--ros2] [--json FILE]

The twin is paced to wall time: in the actor's process, or with --ros2 as a node of its own beside the controller node.
Burners, at ordinary priority and one per core unless told otherwise, stand for whatever else a robot's computer does.
Exit code 1 if a deadline was missed by more than one period.
"""

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from agent.journal import JournalReader, last_of_each_process


def burn() -> None:
    """Keep a core busy."""
    while True:
        sum(range(10_000))


def main() -> int:
    """Run, then read the journal."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--rate", type=float, default=20.0)
    parser.add_argument("--burners", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--ros2", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    steps = int(options.minutes * 60 * options.rate)
    burners = [multiprocessing.Process(target=burn, daemon=True) for _ in range(options.burners)]
    for burner in burners:
        burner.start()
    with tempfile.TemporaryDirectory() as folder:
        task = ["task=lift_cube", f"task.control_rate_hz={options.rate}"]
        robot = ["robot.config.realtime=true", "robot.simulated_time=false"]
        twin = None
        if options.ros2:
            robot = ["robot=ros2", "demonstrations.episodes=0"]
            twin = subprocess.Popen([sys.executable, "-m", "journeyman", "twin", "--no-cameras", *task])
        overrides = [
            *task, *robot, f"learner.max_environment_steps={steps}",
            "learner.start_steps=100", "actor.evaluate_every=0", "evaluation.episodes=1", "evaluation.video_episodes=0",
        ]  # fmt: skip
        command = [sys.executable, "-m", "journeyman", "train", *overrides]
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
        journal = Path(folder) / "runs" / "latest" / "journal.jsonl"
        entries = _watch(process, journal, steps)
        if twin is not None:
            twin.terminate()
            twin.wait()
    for burner in burners:
        burner.terminate()
    episodes = [e for e in entries if e["kind"] == "episode"]
    if not episodes:
        print("The actor finished no episode: run journeyman train by hand to see why.", file=sys.stderr)
        return 1
    ends = last_of_each_process(episodes)
    missed = sum(e["missed_deadlines"] for e in ends)
    result = {
        "rate_hz": options.rate,
        "deadlines": sum(e["ticks"] for e in ends),
        "missed_by_more_than_a_period": missed,
        "worst_lateness_ms": round(1000 * max(e["worst_lateness_s"] for e in ends), 2),
        "updates_meanwhile": max((e["updates"] for e in entries if e["kind"] == "learner"), default=0),
        "observation_age_ms": _worst_ages(ends),
        "load": f"{len(burners)} burners on {os.cpu_count()} cores, and the learner",
    }
    for name, value in result.items():
        print(f"{name:<32} {value}")
    if options.json:
        options.json.write_text(json.dumps(result, indent=1))
    return 1 if missed else 0


def _worst_ages(ends: list[dict]) -> dict[str, str]:
    """Median and 99th percentile of every source, of the actor process where they were worst."""
    found: dict[str, float] = {}
    for entry in ends:
        for name, age_s in entry.get("observation_ages", {}).items():
            found[name] = max(found.get(name, 0.0), age_s)
    sources = sorted({name.rpartition(".")[0] for name in found})
    return {s: f"{1e3 * found[f'{s}.median_s']:.1f} / {1e3 * found[f'{s}.p99_s']:.1f}" for s in sources}


def _watch(process: subprocess.Popen[bytes], journal: Path, steps: int) -> list[dict]:
    """Wait until the actor has made its steps; a starved learner would need much longer to finish its updates."""
    reader, entries = JournalReader(journal), []
    while process.poll() is None:
        entries += reader.new()
        if any(e["kind"] == "episode" and e["environment_steps"] >= steps - 100 for e in entries):
            process.terminate()
            process.wait()
            break
        try:
            process.wait(1.0)
        except subprocess.TimeoutExpired:
            continue
    return entries + reader.new()


if __name__ == "__main__":
    sys.exit(main())
