"""Is anything lost, doubled or late when everything goes wrong? A learner, three actors, and random faults.

    python -m bench.faults [--faults 200] [--seed 0] [--kinds kill freeze ...] [--no-ros] [--folder DIR] [--write FILE]

`reach` is learned from three arms at once: one behind ROS 2 (twin, controller node), two twins in their actors'
processes, all in real time. After each fault every actor's transitions must be stored again and the learner must
learn. At the end the log is read: nothing may be missing, double or out of order; the third actor, to whom nothing
happened itself, must have kept every deadline; the policy is evaluated. As root, network and disks are real ones
(`bench/fault_ground.py`); otherwise there are a relay and no faults of disks. --write keeps the table.
"""

import argparse
import collections
import json
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from agent.journal import JournalReader
from agent.record_log import RecordLog
from bench.fault_evidence import count, deadlines
from bench.fault_ground import is_privileged
from bench.fault_kinds import KINDS
from bench.fault_stack import WITNESS, Stack
from journeyman.config import read_config
from journeyman.wiring import make_env, make_spec

_PATIENCE_S = 180.0
_BEGIN_STEPS = 300
_LOOK_S = 0.1


class Happened(NamedTuple):
    """One fault.

    Attributes:
        kind: Its name in `KINDS`.
        victim: Whom it happened to.
        lasted_s: Until it was undone.
        recovered_s: From then on, until every actor's items were stored and the learner learned again.
        ended: Processes that ended because of it, but for the one that was killed, with their exit codes.
    """

    kind: str
    victim: str
    lasted_s: float
    recovered_s: float
    ended: list[str]


def recover(stack: Stack, killed: str = "") -> tuple[float, list[str]]:
    """Start again what has ended, as a supervisor does, until all is as it should be.

    Returns:
        How long that took, and what ended by itself.

    Raises:
        RuntimeError: It does not get there.
    """
    began_s, ended = time.monotonic(), []
    before: dict[str, int] = {}
    while True:
        for name, code in list(stack.ended()):
            if name != killed or code != -signal.SIGKILL:
                ended.append(f"{name} ({code})")
            stack.start(name)
        now = {actor: stack.stored(actor) for actor in stack.actors} | {"learner": stack.updates()}
        before = before or now
        if all(now[name] > before[name] for name in now):
            return time.monotonic() - began_s, ended
        if time.monotonic() - began_s > _PATIENCE_S:
            behind = [name for name in now if now[name] <= before[name]]
            raise RuntimeError(
                f"{', '.join(behind)} did not go on within {_PATIENCE_S:g} s; see {stack.logs}"
            )
        time.sleep(_LOOK_S)


def let_happen(stack: Stack, rng: np.random.Generator, kinds: Sequence[str]) -> Happened:
    """One random fault, and what becomes of it."""
    kind = str(rng.choice(kinds))
    victims = [v for v in KINDS[kind].victims if v in stack.commands or v in stack.disks or v == "network"]
    victim = str(rng.choice(victims))
    began_s = time.monotonic()
    KINDS[kind].happen(stack, victim, rng)
    lasted_s = time.monotonic() - began_s
    recovered_s, ended = recover(stack, victim if kind == "kill" else "")
    time.sleep(rng.uniform(0.0, 0.5))
    return Happened(kind, victim, lasted_s, recovered_s, ended)


def record_layout(stack: Stack) -> Any:
    """Layout of the run's transitions."""
    env = make_env(read_config(stack.run / "config.yaml"))
    layout = make_spec(env).dtype
    env.close()
    return layout


def evaluate(stack: Stack) -> dict[str, Any]:
    """The final policy's report."""
    words = ("report", "run=runs/latest", "evaluation.video_episodes=0", "evaluation.baseline=false")
    with (stack.logs / "report.log").open("ab") as log:
        subprocess.run(
            [sys.executable, "-m", "journeyman", *words],
            cwd=stack.run.parents[1], check=True, stdout=log, stderr=log,
        )  # fmt: skip
    return dict(json.loads((stack.run / "report" / "summary.json").read_text()))


def table(happened: Sequence[Happened]) -> str:
    """Rows of a table in Markdown."""
    by = collections.defaultdict(list)
    for fault in happened:
        by[fault.kind, fault.victim].append(fault)
    lines = [
        "| fault | whom | times | back after, median (longest) | ended by itself |",
        "|---|---|---|---|---|",
    ]
    for name, kind in KINDS.items():
        for victim in kind.victims:
            if not (faults := by.get((name, victim))):
                continue
            back = [fault.recovered_s for fault in faults]
            ended = collections.Counter(process for fault in faults for process in fault.ended)
            by_itself = ", ".join(f"{process} x{n}" for process, n in sorted(ended.items())) or "-"
            lines.append(
                f"| {name}: {kind.meaning} | {victim} | {len(faults)} | {statistics.median(back):.1f} s "
                f"({max(back):.1f} s) | {by_itself} |"
            )
    return "\n".join(lines)


def conclusion(stack: Stack, happened: Sequence[Happened], codes: dict[str, int]) -> tuple[str, bool]:
    """What came of it in a few lines, and whether it is what was promised."""
    journal = JournalReader(stack.run / "journal.jsonl").new()
    log = RecordLog.open(stack.run / "replay.log", record_layout(stack))
    found = count(log, stack.spools().values(), journal)
    log.close()
    ticks, missed, latest_s = deadlines(journal, WITNESS)
    summary = evaluate(stack)
    lines = [
        f"- {len(happened)} faults. {found}",
        f"- {WITNESS}, to whom nothing happened itself: {ticks:,} deadlines, {missed} missed by more than a period, "
        f"the latest {1000 * latest_s:.0f} ms late (a period is 100 ms).",
        f"- The policy reaches in {summary['success_rate']:.0%} of {summary['evaluation_episodes']} episodes "
        f"({summary['success_low']:.0%} to {summary['success_high']:.0%}) after {summary['updates']:,} updates.",
        f"- Exit codes at the end: {', '.join(f'{name} {code}' for name, code in codes.items())}.",
    ]
    return "\n".join(lines), found.is_good and not missed


def main() -> int:
    """Let everything go wrong, then look what is left."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--no-ros", action="store_true", help="without the arm behind ROS 2")
    parser.add_argument("--plain", action="store_true", help="a relay and no disks, also as root")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--write", type=Path, help="a Markdown file for table and conclusion")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="faults-"))
    privileged, rng = is_privileged() and not options.plain, np.random.default_rng(options.seed)
    kinds = [name for name in options.kinds if privileged or not KINDS[name].needs_disks]
    print(f"In {folder}; network and disks are {'real' if privileged else 'a relay, and none'}.", flush=True)
    stack = Stack(folder.absolute(), privileged, not options.no_ros, options.seed)
    happened: list[Happened] = []
    try:
        stack.start_all()
        recover(stack)
        while sum(map(stack.stored, stack.actors)) < _BEGIN_STEPS:
            time.sleep(_LOOK_S)
        for number in range(options.faults):
            happened.append(let_happen(stack, rng, kinds))
            print(f"{number + 1:>4} {json.dumps(happened[-1]._asdict())}", flush=True)
        codes = stack.end()
        text, good = conclusion(stack, happened, codes)
    finally:
        stack.close()
    print(f"{table(happened)}\n\n{text}")
    if options.write:
        options.write.write_text(f"{_HEAD}\n{table(happened)}\n\n{text}\n")
    return 0 if good else 1


_HEAD = """# What was done to it

Made by `python -m bench.faults`, which says how; a row for each kind of fault and each victim. "Back" is when every
actor's transitions are stored again and the learner learns, from the moment on at which the fault is over.
"""

if __name__ == "__main__":
    sys.exit(main())
