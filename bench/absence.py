"""What do actors do while the learner is away? They go on, keep what they do, and deliver all of it.

    python -m bench.absence [--minutes 10] [--before 4] [--seed 0] [--no-ros] [--plain] [--folder DIR]

The stack of `bench/faults.py`. After some minutes the learner is killed; its actors go on alone, their memory, threads
and open files are watched as in `bench/soak.py`, and the learner comes back. Told is how much was done meanwhile,
how long it took until all of it was stored, whether any of it is missing, double or out of order, and whether the
actors grew.
"""

import argparse
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import numpy as np

from agent.journal import JournalReader
from agent.record_log import RecordLog
from agent.transport.spool import Spool
from bench.fault_evidence import count, deadlines
from bench.fault_ground import is_privileged
from bench.fault_stack import Stack
from bench.faults import record_layout, recover
from bench.soak import read, record, slopes, table

_PATIENCE_S = 600.0
_LOOK_S = 5.0
_GO_ON = ("actor.park_after_s=86400",)


class Delivery(NamedTuple):
    """What became of an actor's items.

    Attributes:
        actor: Its name.
        kept: Items it made while the learner was away.
        delivered_s: From the learner's start until the last of them was stored.
    """

    actor: str
    kept: int
    delivered_s: float


def made(spool: Path, layout: np.dtype[np.void]) -> int:
    """Items that an actor has made so far; it may be making more."""
    with tempfile.TemporaryDirectory() as copy:
        shutil.copytree(spool, copy, dirs_exist_ok=True)
        of_the_copy = Spool(Path(copy), layout)
        number = of_the_copy.next_sequence
        of_the_copy.close()
    return number


def deliver(stack: Stack, layout: np.dtype[np.void], before: dict[str, int]) -> list[Delivery]:
    """Start the learner, and wait until all that was made up to now is stored.

    Raises:
        RuntimeError: It takes too long.
    """
    wanted = {actor: made(spool, layout) for actor, spool in stack.spools().items()}
    stack.start("learner")
    began_s, found = time.monotonic(), list[Delivery]()
    while len(found) < len(wanted):
        waited_s = time.monotonic() - began_s
        done = {delivery.actor for delivery in found}
        if waited_s > _PATIENCE_S:
            raise RuntimeError(f"only {sorted(done)} delivered within {_PATIENCE_S:g} s; see {stack.logs}")
        found += [
            Delivery(actor, number - before[actor], waited_s)
            for actor, number in wanted.items()
            if actor not in done and stack.stored(actor) >= number
        ]
        time.sleep(0.1)
    return found


def conclusion(stack: Stack, layout: np.dtype[np.void], deliveries: Sequence[Delivery]) -> tuple[str, bool]:
    """What came of it in a few lines, and whether it is what was promised."""
    journal = JournalReader(stack.run / "journal.jsonl").new()
    with closing(RecordLog.open(stack.run / "replay.log", layout)) as log:
        found = count(log, stack.spools().values(), journal)
    lines, missed = [f"- {found}"], 0
    for actor, kept, delivered_s in sorted(deliveries):
        ticks, missed_here, latest_s = deadlines(journal, actor)
        missed += missed_here
        lines.append(
            f"- {actor} made {kept:,} items meanwhile; stored {delivered_s:.1f} s after the learner's start. "
            f"{ticks:,} deadlines, {missed_here} missed by more than a period, the latest {latest_s:.3f} s late."
        )
    return "\n".join(lines), found.is_good and not missed


def main() -> int:
    """Take the learner away, bring it back, look what is left."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="without a learner")
    parser.add_argument("--before", type=float, default=4.0, help="minutes with one, before")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-ros", action="store_true", help="without the arm behind ROS 2")
    parser.add_argument("--plain", action="store_true", help="a relay and no disks, also as root")
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    folder = (options.folder or Path(tempfile.mkdtemp(prefix="absence-"))).absolute()
    stack = Stack(
        folder, is_privileged() and not options.plain, not options.no_ros, options.seed, acting=_GO_ON
    )
    try:
        stack.start_all()
        recover(stack)
        record(stack, folder / "before.jsonl", options.before, _LOOK_S)
        layout = record_layout(stack)
        stack.send("learner", signal.SIGKILL)
        before = {actor: stack.stored(actor) for actor in stack.actors}
        record(stack, folder / "samples.jsonl", options.minutes, _LOOK_S, away=("learner",))
        deliveries = deliver(stack, layout, before)
        recover(stack)
        stack.end()
        text, good = conclusion(stack, layout, deliveries)
    finally:
        stack.close()
    grown = list(slopes(read(folder / "samples.jsonl"), 0.0))
    print(f"{table(grown)}\n\n{text}")
    return int(not good or any(slope.grows for slope in grown))


if __name__ == "__main__":
    sys.exit(main())
