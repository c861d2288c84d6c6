"""Does anything grow while nothing goes wrong? Learner, three actors, twin and controller, for hours.

    python -m bench.soak [--minutes 120] [--warm-up 10] [--every 10] [--seed 0] [--no-ros] [--folder DIR] [--table]

The stack of `bench/faults.py` without faults. Every few seconds memory, threads and open files of each process are
read from /proc into DIR/samples.jsonl. After a warm-up, in which libraries, caches and the replay fill, the slope of
each must be zero within its interval, or too small to matter: less than 1 MiB an hour, or one thread or file in ten
hours. --table judges the samples of an earlier run.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.stats import theilslopes

from bench.fault_ground import is_privileged
from bench.fault_stack import Stack
from bench.faults import recover

_SMALL = {"memory_mib": 1.0, "threads": 0.1, "files": 0.1}
"""Slopes an hour that do not matter."""


class Sample(NamedTuple):
    """One process at one moment.

    Attributes:
        hours: Since the warm-up began.
        name: Of the process.
        memory_mib: Resident, without pages of files.
        threads: How many.
        files: Open descriptors.
    """

    hours: float
    name: str
    memory_mib: float
    threads: int
    files: int


class Slope(NamedTuple):
    """How a quantity of a process changed.

    Attributes:
        name: Of the process.
        quantity: A field of `Sample`.
        first: Median of the first tenth of the samples.
        last: Median of the last tenth.
        per_hour: Theil's slope, the median of all pairs'.
        low: Of its 95 % interval.
        high: Likewise.
        grows: Whether it certainly grows, and enough to matter.
    """

    name: str
    quantity: str
    first: float
    last: float
    per_hour: float
    low: float
    high: float
    grows: bool


def look(name: str, pid: int, hours: float) -> Sample:
    """A process now, from /proc.

    Raises:
        FileNotFoundError: There is none.
    """
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    status = dict(line.split(":", 1) for line in lines if ":" in line)
    kib = sum(int(status[key].split()[0]) for key in ("RssAnon", "RssShmem"))
    return Sample(hours, name, kib / 1024, int(status["Threads"]), len(os.listdir(f"/proc/{pid}/fd")))


def slopes(samples: Sequence[Sample], warm_up_h: float) -> Iterator[Slope]:
    """How each quantity of each process changed after the warm-up."""
    by_name = defaultdict(list)
    for sample in samples:
        if sample.hours >= warm_up_h:
            by_name[sample.name].append(sample)
    for name, of_process in by_name.items():
        hours = np.array([sample.hours for sample in of_process])
        tenth = max(1, len(hours) // 10)
        for quantity, small in _SMALL.items():
            values = np.array([getattr(sample, quantity) for sample in of_process], float)
            if len(values) < 10:
                raise ValueError(
                    f"{name} has {len(values)} samples after the warm-up, at least 10 are needed"
                )
            per_hour, _, low, high = theilslopes(values, hours)
            first, last = np.median(values[:tenth]), np.median(values[-tenth:])
            yield Slope(name, quantity, first, last, per_hour, low, high, bool(low > 0 and per_hour > small))


def table(found: Sequence[Slope]) -> str:
    """In Markdown."""
    lines = [
        "| process | what | at first | at last | an hour (95 % interval) | grows |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {slope.name} | {slope.quantity} | {slope.first:.1f} | {slope.last:.1f} | {slope.per_hour:+.2f} "
        f"({slope.low:+.2f} to {slope.high:+.2f}) | {'YES' if slope.grows else 'no'} |"
        for slope in found
    ]
    return "\n".join(lines)


def record(stack: Stack, path: Path, minutes: float, every_s: float, away: Collection[str] = ()) -> None:
    """Sample until it is over.

    Args:
        stack: Whose processes.
        path: Where to.
        minutes: How long.
        every_s: Between two samples.
        away: Processes that are known to have ended.

    Raises:
        RuntimeError: Another one ended.
    """
    began_s = time.monotonic()
    with path.open("a") as file:
        while (now_s := time.monotonic() - began_s) < 60 * minutes:
            if ended := [end for end in stack.ended() if end[0] not in away]:
                raise RuntimeError(f"ended by itself: {ended}; see {stack.logs}")
            for name, pid in stack.pids().items():
                file.write(json.dumps(look(name, pid, now_s / 3600)) + "\n")
            file.flush()
            time.sleep(every_s)


def read(path: Path) -> list[Sample]:
    """What `record` wrote."""
    return [Sample(*json.loads(line)) for line in path.read_text().splitlines()]


def main() -> int:
    """Run, sample, judge."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=120.0, help="the warm-up included")
    parser.add_argument("--warm-up", type=float, default=10.0, help="minutes")
    parser.add_argument("--every", type=float, default=10.0, help="seconds between two samples")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-ros", action="store_true", help="without the arm behind ROS 2")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--table", action="store_true", help="of what --folder holds")
    options = parser.parse_args()
    folder = (options.folder or Path(tempfile.mkdtemp(prefix="soak-"))).absolute()
    samples = folder / "samples.jsonl"
    if not options.table:
        # A small replay: one that still fills would be taken for a leak.
        words = ["learner.replay_capacity=5000"]
        stack = Stack(folder, is_privileged(), not options.no_ros, options.seed, words)
        try:
            stack.start_all()
            recover(stack)
            record(stack, samples, options.minutes, options.every)
            stack.end()
        finally:
            stack.close()
    found = list(slopes(read(samples), options.warm_up / 60))
    print(table(found))
    return int(any(slope.grows for slope in found))


if __name__ == "__main__":
    sys.exit(main())
