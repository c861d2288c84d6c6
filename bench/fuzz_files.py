"""Damaged files of every kind that is read here, given to their readers. No bench itself; see bench/fuzz.py."""

import random
import resource
import shutil
import signal
import struct
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch

from agent.algorithm_config import AlgorithmConfig, make_algorithm
from agent.checkpoint import Checkpoints, load_policy
from agent.config import InputError
from agent.demonstrations import Demonstrations
from agent.journal import Journal
from agent.learner import Learner, begin_from
from agent.learner_config import LearnerConfig
from agent.prefetch import Prefetcher
from agent.record_log import FrameKind, RecordLog
from agent.replay import MixedSampler, ReplayBuffer
from agent.transition import TransitionSpec
from agent.transport.curve import create_keys, load_public, load_secret
from agent.transport.messages import encode_report
from agent.transport.server import LearnerServer
from agent.transport.spool import Spool
from bench.fuzz_mutations import BINARY, TEXT, Mutation, mutated
from controllers.state import RobotState
from journeyman.config import compose, read_config, write_config
from journeyman.wiring import stored_reports
from robot_env.episodes import EpisodeWriter, read_episode
from robot_env.task import load_task

SPEC = TransitionSpec.of(gymnasium.spaces.Box(-1, 1, (3,)), gymnasium.spaces.Box(-1, 1, (2,)))
LONGEST_S = 5.0
"""Of processor time: a busy computer is no defect."""
LONGEST_WAIT_S = 60.0
MOST_BYTES = 1 << 30

Reader = Callable[[Path], object]


@dataclass(frozen=True)
class Kind:
    """One kind of file.

    Attributes:
        name: For people.
        share: Of all files, in parts.
        folder: Where a valid one is, with all that it needs beside it.
        victims: Those in the folder that are damaged, one at a time.
        read: Reads what is in such a folder.
        mutations: What happens to them.
    """

    name: str
    share: int
    folder: Path
    victims: tuple[str, ...]
    read: Reader
    mutations: tuple[Mutation, ...] = BINARY


@dataclass
class Findings:
    """How readers ended.

    Attributes:
        outcomes: Number of files by kind and outcome: refused or read.
        defects: What was neither, with the file that did it.
        slowest_s: Most processor time that a file took.
        peak_bytes: By how much the process grew at most.
    """

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    defects: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    peak_bytes: int = 0


class HangError(Exception):
    """A reader did not end."""


def fuzz_files(kinds: list[Kind], count: int, seed: int, keep: Path) -> Findings:
    """Damage `count` files and read them.

    Args:
        kinds: What to read.
        count: Of files.
        seed: Of the damage.
        keep: Files that made a reader fail are left here.
    """
    found, parts = Findings(), [kind for kind in kinds for _ in range(kind.share)]
    before = _peak_bytes()
    with _limits():
        for number in range(count):
            kind = parts[number % len(parts)]
            _try_one(kind, random.Random(seed * 1_000_003 + number), keep / f"{number}", found)
    found.peak_bytes = _peak_bytes() - before
    return found


def _try_one(kind: Kind, rng: random.Random, place: Path, found: Findings) -> None:
    shutil.copytree(kind.folder, place)
    victim = place / rng.choice(kind.victims)
    victim.write_bytes(mutated(victim.read_bytes(), rng, kind.mutations))
    begin_s = time.process_time()
    try:
        with _no_longer_than(LONGEST_WAIT_S):
            kind.read(place)
        outcome = "read"
    except InputError as error:
        outcome = "refused"
        if len(str(error)) > 5000 or "\n" in str(error):
            found.defects.append(f"{victim}: no sentence: {error}")
    except Exception as error:
        if getattr(error, "exit_code", None) == 2:  # The robot's side has an InputError of its own.
            outcome = "refused"
        else:
            outcome = "defect"
            found.defects.append(f"{victim}: {type(error).__name__}: {str(error)[:300]}")
    took_s = time.process_time() - begin_s
    found.slowest_s = max(found.slowest_s, took_s)
    if took_s > LONGEST_S:
        outcome = "defect"
        found.defects.append(f"{victim}: took {took_s:.1f} s")
    found.outcomes[kind.name, outcome] += 1
    if outcome != "defect":
        shutil.rmtree(place)


@contextmanager
def _limits() -> Iterator[None]:
    """An allocation of absurd size is an error, not a computer that stands still."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + MOST_BYTES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@contextmanager
def _no_longer_than(seconds: float) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise HangError

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _peak_bytes() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


# The kinds of files, each with a valid one -------------------------------------------------------------------


def make_kinds(folder: Path) -> list[Kind]:
    """Every kind, with valid files below `folder`."""
    makers = (_episode, _config, _task, _log, _spool, _keys, _checkpoint, _policy)
    return [make(_made(folder / make.__name__.strip("_"))) for make in makers]


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def _episode(folder: Path) -> Kind:
    task = {"name": "poke", "control_rate_hz": 10.0, "action": {}, "observation": [], "reward": {}}
    writer = EpisodeWriter(
        folder / "0.mcap", task=task, robot="fake", state_names=("a", "b"), action_size=2, seed=0
    )

    def instant(step: int) -> tuple[dict[str, Any], RobotState]:
        robot = RobotState(
            0.1 * step, *np.zeros((3, 2)), np.ones(3), np.eye(4)[3], *np.zeros((2, 3)), np.zeros(6), 0.04
        )
        return {"state": np.full(2, 0.1 * step), "front": np.full((6, 8, 3), 10 * step, np.uint8)}, robot

    writer.start(*instant(0))
    for step in range(1, 4):
        writer.step(np.zeros(2), -1.0, instant(step)[0], step == 3, False, instant(step)[1])
    writer.finish(True)

    def read(place: Path) -> None:
        for unfinished in (False, True):
            read_episode(place / "0.mcap", allow_unfinished=unfinished)

    return Kind("episode", 6, folder, ("0.mcap",), read)


def _config(folder: Path) -> Kind:
    write_config(compose(["task=lift_cube"]), folder / "config.yaml")
    return Kind("config", 3, folder, ("config.yaml",), lambda place: read_config(place / "config.yaml"), TEXT)


def _task(folder: Path) -> Kind:
    shutil.copy(Path(__file__).parents[1] / "sim" / "conf" / "task" / "lift_cube.yaml", folder / "task.yaml")
    return Kind("task", 2, folder, ("task.yaml",), lambda place: load_task(place / "task.yaml"), TEXT)


def some_records(count: int) -> np.ndarray:
    """Transitions that count up."""
    records = np.zeros(count, SPEC.dtype)
    records["step"] = np.arange(count)
    return records


def _read_log(place: Path) -> None:
    log = RecordLog.open(place / "replay.log", SPEC.dtype)
    try:
        for records in log.records():
            records["reward"].sum()
        stored_reports(log)
    finally:
        log.close()


def _log(folder: Path) -> Kind:
    log = RecordLog.open(folder / "replay.log", SPEC.dtype)
    for number in range(3):
        log.append(some_records(4))
        log.append_raw(FrameKind.REPORT, encode_report({"kind": "episode", "number": number}), 1)
    log.close()
    return Kind(
        "replay log", 5, folder, ("replay.log",), _read_log, (*BINARY, _resealed, _resealed, _resealed)
    )


def _resealed(data: bytes, rng: random.Random) -> bytes:
    """A frame of a log is changed, and its checksum made to fit: no accident, but somebody's intention."""
    starts = [at for at in range(len(data)) if data.startswith(b"JMfr", at)]
    if not starts:
        return data
    at = rng.choice(starts)
    head_bytes = struct.calcsize("<4sBxxxIIQ16s")
    payload_bytes = int.from_bytes(data[at + 12 : at + 16], "little")
    begin, end = at + head_bytes + 4, at + head_bytes + 4 + payload_bytes
    if end > len(data):
        return data
    head, payload = bytearray(data[at : at + head_bytes]), data[begin:end]
    if rng.random() < 0.5:
        offset, size = rng.choice(((4, 1), (8, 4), (16, 8), (24, 16)))
        head[offset : offset + size] = rng.choice(
            (bytes(size), b"\xff" * size, rng.randbytes(size), b"\1" + bytes(size - 1))
        )
    elif payload:
        changed = mutated(payload, rng)
        payload = changed
        head[12:16] = struct.pack("<I", len(payload))
    crc = struct.pack("<I", zlib.crc32(payload, zlib.crc32(head)))
    return data[:at] + bytes(head) + crc + payload + data[end:]


def _read_spool(place: Path) -> None:
    spool = Spool(place / "spool", SPEC.dtype)
    try:
        sequence = spool.oldest_sequence
        while (batch := spool.next_batch(sequence)) is not None:
            sequence += batch.items
        spool.records_from(spool.acknowledged)
        spool.append(some_records(1))
        spool.acknowledge(spool.next_sequence)
        spool.tidy()
    finally:
        spool.close()


def _spool(folder: Path) -> Kind:
    spool = Spool(folder / "spool", SPEC.dtype, segment_bytes=400)
    spool.enter_run(b"r" * 16)
    for number in range(6):
        spool.append(some_records(2))
        spool.append_report({"number": number})
        spool.tidy()
    spool.acknowledge(4)
    spool.close()
    names = tuple(f"spool/{path.name}" for path in sorted((folder / "spool").iterdir()))
    return Kind("spool", 5, folder, (*names, "spool/stream"), _read_spool, (*BINARY, _resealed, _resealed))


def _keys(folder: Path) -> Kind:
    create_keys(folder, "arm")

    def read(place: Path) -> None:
        load_public(place / "arm.key")
        load_secret(place / "arm.key_secret")

    return Kind("keys", 2, folder, ("arm.key", "arm.key_secret"), read, TEXT)


class _Resumer:
    """A small learner that goes on from a checkpoint."""

    def __init__(self, folder: Path) -> None:
        config = AlgorithmConfig(
            name="sac",
            algorithm="agent.sac.SAC",
            config={"hidden_sizes": [8], "batch_size": 4, "compile": False},
        )
        self.algorithm = make_algorithm(config, SPEC, torch.device("cpu"), 0)
        shown = Demonstrations(SPEC, some_records(8), 8, 0)
        sampler = MixedSampler(SPEC, ReplayBuffer(SPEC, 8, 0), shown, 0.5, torch.device("cpu"))
        self._sampler = sampler
        self.server = server = LearnerServer("tcp://127.0.0.1:*", SPEC, {})
        self._parts: tuple[Any, ...] = (
            LearnerConfig(),
            self.algorithm,
            Prefetcher(sampler, ahead=False),
            server,
        )
        self._journal = Journal(folder / "journal.jsonl")

    def learn(self) -> None:
        """One update, after which optimisers remember something."""
        self.algorithm.update(self._sampler.sample(self.algorithm.utd_ratio, 4))

    def learner(self, folder: Path) -> Learner:
        return Learner(*self._parts, Checkpoints(folder), self._journal)


def _checkpoint(folder: Path) -> Kind:
    resumer = _Resumer(folder)
    resumer.learn()
    resumer.learner(folder / "checkpoints").end()
    resumer.server.close()  # To resume needs none.

    def read(place: Path) -> None:
        resumer.learner(place / "checkpoints").resume()
        begin_from(resumer.algorithm, next((place / "checkpoints").iterdir()))

    name = next((folder / "checkpoints").iterdir()).name
    victims = tuple(f"checkpoints/{name}/{file}" for file in ("state.safetensors", "state.json"))
    return Kind("checkpoint", 5, folder, victims, read, TEXT)


def _policy(folder: Path) -> Kind:
    tensors = {"actor.weight": torch.zeros(3, 2), "actor.bias": torch.zeros(3)}
    Checkpoints(folder / "checkpoints").save(7, tensors, tensors, {})
    place = "checkpoints/000000007"
    victims = (f"{place}/policy.safetensors", f"{place}/state.json")
    return Kind("policy", 3, folder, victims, lambda copy: load_policy(copy / place), TEXT)
