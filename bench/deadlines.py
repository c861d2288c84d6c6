"""Does learning disturb the robot? A real-time actor beside its learner, with every core kept busy on top.

    python bench/deadlines.py [--minutes 5] [--rate 20] [--burners N] [--ros2] [--controller-rate 100] [--json FILE]

The twin is paced to wall time: in the actor's process, or with --ros2 as a node of its own beside the controller node,
whose loop of --controller-rate is looked at, too, by what it says on /diagnostics. Burners, at ordinary priority and
one per core unless told otherwise, stand for whatever else a robot's computer does.
Meanwhile a bare loop of the same rate, which does nothing but wait, tells what the machine itself misses: the host of
a virtual one takes the processor away at times, of which Linux tells how much in all (`stolen`, if the host tells
Linux). Exit code 1 if a deadline of either was missed by more than one period.
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

from agent.journal import JournalReader, last_of_each_process
from robot_env.clock import Rate, WallClock
from robot_env.realtime import prefer_control_loop


def burn() -> None:
    """Keep a core busy."""
    while True:
        sum(range(10_000))


def wait_only(rate_hz: float, ending: Event, said: Connection) -> None:
    """A loop at a rate that does nothing until told to end, then says what a controller says on /diagnostics."""
    prefer_control_loop(beside_the_arm=True)
    rate = Rate(WallClock(), rate_hz)
    while not ending.is_set():
        rate.wait()
    statistics = rate.statistics
    values = {f"lateness.{name}": value for name, value in statistics.lateness.summary().items()}
    values |= {"ticks": statistics.ticks, "missed": statistics.missed}
    said.send({**values, "worst_lateness_s": statistics.worst_lateness_s})


@contextlib.contextmanager
def a_bare_loop(rate_hz: float) -> Iterator[Callable[[], dict[str, float]]]:
    """Beside what is measured; a function that ends it, and tells how it went."""
    context = multiprocessing.get_context("spawn")
    ending, (hears, says) = context.Event(), context.Pipe(duplex=False)
    process = context.Process(target=wait_only, args=(rate_hz, ending, says), daemon=True)
    process.start()

    def end() -> dict[str, float]:
        ending.set()
        return hears.recv()

    try:
        yield end
    finally:
        process.terminate()


def processor_time() -> tuple[int, int]:
    """What a host took from this machine so far, and all time of its processors, in ticks (proc(5), /proc/stat)."""
    ticks = [int(value) for value in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return ticks[7], sum(ticks)


class Diagnostics:
    """Remembers what a node says of itself on /diagnostics. Imports ROS.

    Args:
        name: Of the node.

    Attributes:
        values: What it said last, by key.
    """

    def __init__(self, name: str) -> None:
        from diagnostic_msgs.msg import DiagnosticArray
        from rclpy.node import Node

        from robot_env.ros.runtime import Runtime

        self.values: dict[str, str] = {}
        self._name = name
        self._runtime = Runtime(lambda **keywords: Node("bench_deadlines", **keywords))
        self._runtime.node.create_subscription(DiagnosticArray, "/diagnostics", self._take, 10)

    def _take(self, array: Any) -> None:
        for status in array.status:
            if status.name == self._name:
                self.values = {value.key: value.value for value in status.values}

    def close(self) -> None:
        """Listen no more."""
        self._runtime.close()


@contextlib.contextmanager
def a_twin(options: argparse.Namespace, task: list[str]) -> Iterator[Diagnostics | None]:
    """A twin and its controller as nodes, and what that controller says; None where the actor has its own twin."""
    if not options.ros2:
        yield None
        return
    rate = f"robot.config.controller_rate_hz={options.controller_rate}"
    twin = subprocess.Popen([sys.executable, "-m", "journeyman", "twin", "--no-cameras", *task, rate])
    said = Diagnostics("controller")
    try:
        yield said
    finally:
        said.close()
        twin.terminate()
        twin.wait()


def main() -> int:
    """Run, then read the journal."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--rate", type=float, default=20.0)
    parser.add_argument("--burners", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--ros2", action="store_true")
    parser.add_argument("--controller-rate", type=float, default=100.0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    steps = int(options.minutes * 60 * options.rate)
    burners = [multiprocessing.Process(target=burn, daemon=True) for _ in range(options.burners)]
    for burner in burners:
        burner.start()
    with tempfile.TemporaryDirectory() as folder:
        task = ["task=lift_cube", f"task.control_rate_hz={options.rate}"]
        robot = ["robot.config.realtime=true", "robot.simulated_time=false"]
        if options.ros2:
            robot = ["robot=ros2", "demonstrations.episodes=0"]
        overrides = [
            *task, *robot, f"learner.max_environment_steps={steps}",
            "learner.start_steps=100", "actor.evaluate_every=0", "evaluation.episodes=1", "evaluation.video_episodes=0",
        ]  # fmt: skip
        command = [sys.executable, "-m", "journeyman", "train", *overrides]
        journal = Path(folder) / "runs" / "latest" / "journal.jsonl"
        fastest_hz = options.controller_rate if options.ros2 else options.rate
        stolen_before, all_before = processor_time()
        with a_twin(options, task) as controller, a_bare_loop(fastest_hz) as end_bare_loop:
            process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
            entries = _watch(process, journal, steps)
            loop = controller.values if controller else {}
            bare = end_bare_loop()
        stolen, everything = processor_time()
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
        "lateness_ms": _median_and_p99(e["lateness"] for e in ends),
        "inference_ms": _median_and_p99(e["inference"] for e in episodes),
        "updates_meanwhile": max((e["updates"] for e in entries if e["kind"] == "learner"), default=0),
        "observation_age_ms": _worst_ages(ends),
        "controller": _of_loop(loop),
        "bare_loop": _of_loop(bare),
        "stolen": f"{(stolen - stolen_before) / (everything - all_before):.2%} of processor time",
        "load": f"{len(burners)} burners on {os.cpu_count()} cores, and the learner",
    }
    for name, value in result.items():
        print(f"{name:<32} {value}")
    if options.json:
        options.json.write_text(json.dumps(result, indent=1))
    return 1 if missed or int(loop.get("missed", 0)) else 0


def _median_and_p99(figures: Iterable[dict[str, float]]) -> str:
    """Of the process or episode where they were worst."""
    known = [figure for figure in figures if figure]
    return " / ".join(f"{1e3 * max(f[name] for f in known):.2f}" for name in ("median_s", "p99_s") if known)


def _of_loop(values: Mapping[str, Any]) -> str:
    """A controller's loop in words."""
    if not values:
        return "none of its own"
    times = [
        f"{name} {1e3 * float(values[key]):.2f} ms"
        for name, key in (
            ("median", "lateness.median_s"),
            ("p99", "lateness.p99_s"),
            ("worst", "worst_lateness_s"),
        )
    ]
    return f"{values['ticks']} ticks, {values['missed']} missed by more than a period; late by {', '.join(times)}"


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
    reader, entries, is_ending = JournalReader(journal), [], False
    while process.poll() is None:
        entries += reader.new()
        if any(e["kind"] == "session" for e in entries):
            process.terminate()  # No evaluation, which waits for a person where the robot is in trouble by now.
        elif not is_ending and any(
            e["kind"] == "episode" and e["environment_steps"] >= steps - 100 for e in entries
        ):
            process.terminate()
            is_ending = True
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(1.0)
    return entries + reader.new()


if __name__ == "__main__":
    sys.exit(main())
