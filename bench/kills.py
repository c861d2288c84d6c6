"""Is anything lost when everything dies? `kill -9` of a training run at random moments, again and again.

    python bench/kills.py [--times 50] [--seed 0] [--folder DIR]

A small run on `reach`, with a scripted person who helps. Each time the actor, the learner, or all processes at once
are killed; then the run goes on. At the end every step that was stored must be there once, and every finished recording
must be readable and be exactly one episode of the replay.
"""

import argparse
import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from agent.record_log import RecordLog
from agent.transition import Records
from journeyman.config import read_config
from journeyman.wiring import make_env, make_spec
from robot_env.episodes import list_episodes, read_episode

SMALL = (
    "task=reach",
    "device=intervener",
    "device.config.patience_s=1",
    "learner.start_steps=60",
    "learner.checkpoint_every=50",
    "learner.max_environment_steps=1000000",
    "actor.random_steps=60",
    "actor.evaluate_every=0",
    "demonstrations.episodes=2",
    "evaluation.episodes=1",
    "evaluation.video_episodes=0",
    "evaluation.baseline=false",
    "algorithm.config.hidden_sizes=[32,32]",
    "algorithm.config.batch_size=32",
    "algorithm.config.utd_ratio=1",
)
_LONGEST_WAIT_S = 120.0
_SOON_S = 1.5


class Run:
    """A training run that is killed and gone on with.

    Args:
        folder: Where `runs/` is made.
        rng: Chooses victims and moments.
    """

    def __init__(self, folder: Path, rng: np.random.Generator) -> None:
        self._folder = folder
        self._rng = rng
        self._process: subprocess.Popen[bytes] | None = None
        self._started = False
        self._restarts = 0

    @property
    def path(self) -> Path:
        """The run's folder."""
        return (self._folder / "runs" / "latest").resolve()

    def start(self, *overrides: str) -> subprocess.Popen[bytes]:
        """Begin, or go on."""
        words = ["run=runs/latest", *overrides] if self._started else [*SMALL, *overrides]
        command = [sys.executable, "-m", "journeyman", "train", *words]
        with (self._folder / "train.log").open("ab") as log:
            self._process = subprocess.Popen(command, cwd=self._folder, stdout=log, stderr=log)
        self._started, self._restarts = True, 0
        return self._process

    def kill_once(self) -> str:
        """Wait until something new is recorded, and a random moment longer; then kill. Returns who was killed."""
        process = self._process or self.start()
        self._wait_for_more(process)
        time.sleep(self._rng.uniform(0.0, _SOON_S))
        # The supervisor starts a process again five times in ten minutes.
        victim = str(self._rng.choice(["actor", "learner", "all"])) if self._restarts < 4 else "all"
        children = {verb: children_of(process.pid, verb) for verb in ("actor", "learner")}
        if victim == "all":
            for pid in [process.pid, *children["actor"], *children["learner"]]:
                kill(pid)
            process.wait()
            self._process = None
        else:
            self._restarts += 1
            for pid in children[victim]:
                kill(pid)
        return victim

    def finish(self) -> int:
        """Let the run end well; returns its exit code."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait()
        steps = len(stored(self.path))
        # One episode of 4 s, 40 steps, ends by then, however soon those before it were broken off.
        return self.start(f"learner.max_environment_steps={steps + 50}").wait()

    def _wait_for_more(self, process: subprocess.Popen[bytes]) -> None:
        log = self.path / "replay.log"
        before = log.stat().st_size if log.exists() else 0
        deadline_s = time.monotonic() + _LONGEST_WAIT_S
        while not log.exists() or log.stat().st_size <= before:
            if process.poll() is not None or time.monotonic() > deadline_s:
                raise RuntimeError(f"the run does not go on; see {self._folder / 'train.log'}")
            time.sleep(0.02)


def children_of(parent: int, verb: str) -> list[int]:
    """Processes started by `parent` that run this verb."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            status, command = (
                (path / "status").read_text(),
                (path / "cmdline").read_bytes().decode().split("\0"),
            )
        except (FileNotFoundError, ProcessLookupError):
            continue
        if re.search(rf"PPid:\s+{parent}\n", status) and verb in command:
            found.append(int(path.name))
    return found


def kill(pid: int) -> None:
    """`kill -9`; it may have ended by itself."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def stored(run: Path) -> Records:
    """All transitions of a run."""
    env = make_env(read_config(run / "config.yaml"))
    log = RecordLog.open(run / "replay.log", make_spec(env).dtype)
    rows = [np.zeros(0, make_spec(env).dtype), *log.records()]
    log.close()
    env.close()
    return np.concatenate(rows)


def check(run: Path) -> tuple[int, int, int]:
    """See that nothing is lost and nothing double; returns transitions, finished recordings and unfinished ones."""
    rows = stored(run)
    numbers = np.stack([rows["episode"], rows["step"]], 1)
    assert len(np.unique(numbers, axis=0)) == len(rows), "a transition is stored twice"
    episodes = {int(number): rows[rows["episode"] == number] for number in np.unique(rows["episode"])}
    for number, of_episode in episodes.items():
        expected = np.arange(len(of_episode))
        assert np.array_equal(of_episode["step"], expected), f"steps of episode {number} are missing"
    found = set()
    for path in list_episodes(run / "episodes"):
        recorded = read_episode(path)
        same = [n for n, r in episodes.items() if np.array_equal(r["action"], recorded.actions)]
        assert len(same) == 1, f"{path} is {len(same)} episodes of the replay"
        assert same[0] not in found, f"{path} is recorded twice"
        found.add(same[0])
        assert np.array_equal(episodes[same[0]]["intervened"], recorded.intervened), f"{path} differs"
    complete = {n for n, r in episodes.items() if r["terminated"][-1] or r["truncated"][-1]}
    unfinished = len(list((run / "episodes").glob("*.partial")))
    # The recorder's thread may be a moment behind: what a crash interrupts stays as a partial recording.
    assert len(complete - found) <= unfinished, (
        "a finished episode is neither recorded nor partially recorded"
    )
    return len(rows), len(found), unfinished


def main() -> int:
    """Kill, go on, check."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--times", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="kills-"))
    run = Run(folder, np.random.default_rng(options.seed))
    victims = [run.kill_once() for _ in range(options.times)]
    code = run.finish()
    transitions, finished, unfinished = check(run.path)
    counts = ", ".join(f"{victims.count(who)} {who}" for who in ("actor", "learner", "all"))
    print(
        f"{options.times} kills ({counts}); exit code {code} at the end. {transitions:,} transitions, each once; "
        f"{finished} finished recordings, each one episode; {unfinished} that a kill interrupted."
    )
    return code


if __name__ == "__main__":
    sys.exit(main())
