"""Learner, three actors, twin and controller as processes, each of which can be killed, for bench/faults.py."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from agent.config import InputError
from agent.transport.curve import create_keys
from agent.transport.ledger import look_into
from bench.fault_ground import LEARNER, ROBOTS, Disk, Network

ROS_ACTOR, TWIN_ACTOR, WITNESS = "actor-0", "actor-1", "actor-2"
"""Drives the twin through ROS 2; drives one in its own process; likewise, and no fault is its own."""
_ROS = (ROS_ACTOR, "twin", "controller", "human")
_LEARNING = (
    "task=reach", "demonstrations.episodes=10", "learner.device=cpu", "learner.start_steps=300",
    "learner.checkpoint_every=500", "learner.max_environment_steps=1000000", "algorithm.config.compile=false",
    "algorithm.config.hidden_sizes=[128,128]", "algorithm.config.batch_size=128", "algorithm.config.utd_ratio=1",
)  # fmt: skip
_ACTING = (
    "actor.random_steps=300",
    "actor.evaluate_every=0",
    "actor.park_after_s=600",
    "recording.episodes=false",
)
_TWIN = ("robot=twin", "robot.config.realtime=true", "robot.simulated_time=false")
_END_S = 60.0


class Stack:
    """Starts them, restarts them, and tells how far they are.

    Args:
        folder: Of logs, keys and disks.
        privileged: Whether network and disks are real ones, see `bench.fault_ground`.
        ros: Whether there are a ROS 2 actor, a twin and a controller.
        seed: Of the run.
        overrides: Further words for the learner.
        acting: Further words for the actors.
    """

    def __init__(
        self,
        folder: Path,
        privileged: bool,
        ros: bool,
        seed: int,
        overrides: Sequence[str] = (),
        acting: Sequence[str] = (),
    ) -> None:
        self.logs = folder / "logs"
        self.logs.mkdir(parents=True)
        self.disks: dict[str, Disk] = {}
        self.network = Network(self.logs / "relay.log", privileged)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._folders = {WITNESS: folder / "witness"}
        self._folders[WITNESS].mkdir()
        try:
            for side in (LEARNER, ROBOTS):
                self.disks[side] = Disk(folder / side, privileged)
        except BaseException:
            self.close()
            raise
        common = [f"seed={seed}", *(self._keys(folder / "keys") if self.network.needs_keys else [])]
        learner = [*_LEARNING, *overrides, *common, f"transport.address={self.network.learner_address}"]
        actor = [*_LEARNING, *_ACTING, *acting, *common, f"transport.address={self.network.actor_address}"]
        self.commands = {
            "learner": ["journeyman", "learner", *learner],
            "twin": ["journeyman", "twin", "--no-controller", "--no-cameras", "task=reach"],
            "controller": ["journeyman", "controller", "task=reach"],
            "human": ["bench.fault_human"],
            ROS_ACTOR: ["journeyman", "actor", *actor, "robot=ros2", f"actor.name={ROS_ACTOR}"],
            TWIN_ACTOR: ["journeyman", "actor", *actor, *_TWIN, f"actor.name={TWIN_ACTOR}"],
            WITNESS: ["journeyman", "actor", *actor, *_TWIN, f"actor.name={WITNESS}"],
        }
        if not ros:
            for name in _ROS:
                del self.commands[name]

    @property
    def run(self) -> Path:
        """The run's folder."""
        return self.disks[LEARNER].folder / "runs" / "latest"

    @property
    def actors(self) -> list[str]:
        """Names of the actors."""
        return [name for name in self.commands if name.startswith("actor-")]

    def start_all(self) -> None:
        """Start every process."""
        for name in self.commands:
            self.start(name)

    def start(self, name: str) -> None:
        """Start, or start again."""
        if name == "learner" and self.run.exists():  # It goes on with its run.
            self.commands[name] = [
                "journeyman", "learner", "run=runs/latest", f"transport.address={self.network.learner_address}",
            ]  # fmt: skip
        side = LEARNER if name == "learner" else ROBOTS
        command = [sys.executable, "-m", *self.commands[name]]
        if name == "learner":
            command = ["nice", "-n", "5", *command]  # As on a robot's computer, where it has no say.
        with (self.logs / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                self.network.within(side, command),
                cwd=self._folders.get(name, self.disks[side].folder),
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
            )

    def ended(self) -> Iterator[tuple[str, int]]:
        """Those that have ended, with their exit codes."""
        for name, process in self._processes.items():
            if (code := process.poll()) is not None:
                yield name, code

    def pids(self) -> dict[str, int]:
        """Processes that run."""
        return {name: process.pid for name, process in self._processes.items() if process.poll() is None}

    def send(self, name: str, number: int) -> None:
        """Send a signal."""
        self._processes[name].send_signal(number)
        if number == signal.SIGKILL:
            self._processes[name].wait()

    def stored(self, actor: str) -> int:
        """Items of an actor that it knows to be stored."""
        try:
            return look_into(self.spools()[actor] / "stream")[1]
        except (FileNotFoundError, InputError):  # It has only just begun.
            return 0

    def updates(self) -> int:
        """Updates of the learner, as its journal tells."""
        try:
            lines = (self.run / "journal.jsonl").read_bytes()[-8192:].splitlines()
        except FileNotFoundError:
            return 0
        for line in reversed(lines):
            if b'"kind": "learner"' in line and line.endswith(b"}") and line.startswith(b"{"):
                return int(json.loads(line)["updates"])
        return 0

    def spools(self) -> dict[str, Path]:
        """Where actors keep what is not yet stored."""
        return {
            actor: self._folders.get(actor, self.disks[ROBOTS].folder) / "runs" / "spool" / actor
            for actor in self.actors
        }

    def end(self) -> dict[str, int]:
        """Ask all to end, actors first, and wait; returns exit codes."""
        codes = {}
        for name in (*self.actors, "learner", "human", "controller", "twin"):
            if (process := self._processes.get(name)) is not None and process.poll() is None:
                process.terminate()
                codes[name] = process.wait(_END_S)
        return codes

    def close(self) -> None:
        """Kill what is left, and take network and disks away. Idempotent."""
        for process in self._processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
        for disk in self.disks.values():
            disk.stand_still(False)
        for process in self._processes.values():
            process.wait()
        self.network.close()
        for disk in self.disks.values():
            disk.close()

    def _keys(self, folder: Path) -> list[str]:
        create_keys(folder, "learner")
        (folder / "actors").mkdir()
        for actor in (ROS_ACTOR, TWIN_ACTOR, WITNESS):
            public, _ = create_keys(folder, actor)
            (folder / "actors" / public.name).write_bytes(public.read_bytes())
        return [f"transport.keys={folder.absolute()}"]
