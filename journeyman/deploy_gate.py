"""The gate before the robot: a new policy does the task on the twin before it may act (`deploy_gate`).

The control loop hands a candidate over and goes on by the policy it has; the twin is in another process.
"""

import struct
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import IO

import msgspec

from agent.config import InputError
from agent.evaluation import Evaluation
from agent.storage import write_atomically
from journeyman.config import DeployGateConfig, RunConfig
from journeyman.process import child_environment
from journeyman.run_directory import RunDirectory

Candidate = tuple[int, bytes]
"""Version and weights."""
_HEAD = struct.Struct("<Q")  # Bytes that follow.
_FILE_NAME = "deploy_gate.json"  # In the spool of the actor.


class Judged(msgspec.Struct, frozen=True):
    """What the twin's process answers.

    Attributes:
        evaluation: How the candidate did; None if it could not act.
        problem: Why not.
    """

    evaluation: Evaluation | None = None
    problem: str = ""


class _Passed(msgspec.Struct, frozen=True):
    """The last policy that passed.

    Attributes:
        stream: Identity of the actor's stream: of its run.
        success_rate: On the twin.
    """

    stream: str
    success_rate: float


class Memory:
    """How good the policy in use is on the twin, also for the next process: who begins again knows what it must match.

    Args:
        spool: Folder of the actor's spool, in which it is kept.
        stream: Says the identity of the stream that is sent now; None where the folder is of one run, and only read.
    """

    def __init__(self, spool: Path, stream: Callable[[], bytes] | None = None) -> None:
        self._path = spool / _FILE_NAME
        self._stream = stream

    def recall(self) -> float | None:
        """Success of the last policy that passed in this run; None if none has, or nobody knows."""
        try:
            passed = msgspec.json.decode(self._path.read_bytes(), type=_Passed)
        except (OSError, msgspec.MsgspecError):
            return None
        is_of_this_run = self._stream is None or passed.stream == self._stream().hex()
        return passed.success_rate if is_of_this_run else None

    def keep(self, success_rate: float) -> None:
        """A policy passed. Where the disk does not take it, this process knows all the same."""
        if self._stream is not None:
            with suppress(OSError):
                content = msgspec.json.encode(_Passed(self._stream().hex(), success_rate))
                write_atomically(self._path, content)


class TwinGate:
    """Satisfies `agent.fitness.Gate`. Of candidates that wait only the newest is tried.

    A candidate passes if its success on the twin is at least `floor`, and not below that of the policy in use by more
    than `margin`. All start from the same states and act deterministically. What cannot be tried does not pass.

    Args:
        config: Of the run.
        memory: Outlives the process; None begins anew with each.
    """

    def __init__(self, config: RunConfig, memory: Memory | None = None) -> None:
        self._config, self._gate, self._memory = config, config.deploy_gate, memory
        self._in_use: float | None = None
        self._waiting: Candidate | None = None
        self._verdicts: deque[Candidate | str] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._run, name="deploy-gate", daemon=True)
        self._thread.start()

    def judge(self, newest: Candidate | None) -> Candidate | str | None:
        """Hand a candidate over, if there is one, and take the oldest verdict, if there is one; returns at once."""
        if newest is not None:
            with self._changed:
                self._waiting = newest
                self._changed.notify_all()
        return self._verdicts.popleft() if self._verdicts else None

    def decide(self, candidate: Candidate) -> str | None:
        """As `judge`, for who has time: wait for the verdict, and return why the candidate is held, if it is."""
        verdict = self.judge(candidate)
        with self._changed:
            self._changed.wait_for(lambda: self._verdicts or verdict is not None)
        verdict = verdict or self._verdicts.popleft()
        return verdict if isinstance(verdict, str) else None

    def close(self) -> None:
        """End the twin's process, which otherwise ends with this one."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            if self._process is not None:
                self._process.kill()
        self._thread.join()

    def _run(self) -> None:
        while (candidate := self._next()) is not None:
            version, weights = candidate
            held = self._reason_to_hold(self._try(weights))
            with self._changed:
                self._verdicts.append(
                    candidate if held is None else f"Policy version {version} is held: {held}."
                )
                self._changed.notify_all()
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _next(self) -> Candidate | None:
        with self._changed:
            self._changed.wait_for(lambda: self._closing or self._waiting is not None)
            candidate, self._waiting = self._waiting, None
            return None if self._closing else candidate

    def _try(self, weights: bytes) -> Judged:
        """Let the twin's process evaluate; one that has died is started again for the next candidate."""
        try:
            process = self._process or self._start()
            assert process.stdin is not None
            assert process.stdout is not None
            send(process.stdin, weights)
            answer = receive(process.stdout)
            if answer is None:
                raise EOFError
            return msgspec.json.decode(answer, type=Judged)
        except (OSError, EOFError, msgspec.MsgspecError):
            code = None
            if self._process is not None:
                self._process.kill()
                code, self._process = self._process.wait(), None
            return Judged(problem=f"the twin's process ended (exit code {code}), see the actor's log")

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "journeyman.deploy_gate_twin"]
        with self._changed:  # Or who closes at this moment would wait for a trial that they cannot end.
            self._process = process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,  # Ctrl-C is the actor's affair.
                env=child_environment(),
            )
            if self._closing:
                process.kill()
        assert process.stdin is not None
        send(process.stdin, msgspec.json.encode(self._config))
        return process

    def _reason_to_hold(self, judged: Judged) -> str | None:
        """None lets it pass: from then on it is the one in use."""
        found = judged.evaluation
        if found is None:
            return judged.problem
        did = f"it succeeds in {found.successes} of {found.episodes} episodes on the twin"
        return self._compare(self._gate, found.success_rate, did)

    def _compare(self, gate: DeployGateConfig, rate: float, did: str) -> str | None:
        if self._in_use is None and self._memory is not None:
            self._in_use = self._memory.recall()
        if rate < gate.floor:
            return f"{did}, and deploy_gate.floor is {gate.floor:.0%}"
        if self._in_use is not None and rate < self._in_use - gate.margin - 1e-9:
            return f"{did}, the one in use in {self._in_use:.0%}, and deploy_gate.margin is {gate.margin:.0%}"
        self._in_use = rate
        if self._memory is not None:
            self._memory.keep(rate)
        return None


def raise_if_held(config: RunConfig, directory: RunDirectory, version: int, weights: bytes) -> None:
    """See that a policy may drive a robot for somebody else than the actor, such as an evaluation.

    It has to pass the gate as for the actor, and is compared with the policy that this run's actor had in use. Nothing
    happens without a gate, or where there is no robot but a twin.

    Raises:
        InputError: It may not.
    """
    if config.deploy_gate.factory is None or config.robot.simulated_time:
        return
    print(f"Policy version {version} does the task on the twin before the robot moves ...", flush=True)
    with closing(TwinGate(config, Memory(directory.spool(config.actor.name)))) as gate:
        if (held := gate.decide((version, weights))) is not None:
            raise InputError(
                f"{held} The robot was not moved; choose evaluation.checkpoint=best, or say deploy_gate.factory=null "
                "to let it act all the same."
            )


def send(stream: IO[bytes], payload: bytes) -> None:
    """Write one message."""
    stream.write(_HEAD.pack(len(payload)))
    stream.write(payload)
    stream.flush()


def receive(stream: IO[bytes]) -> bytes | None:
    """Read one message; None at the end.

    Raises:
        EOFError: The end comes in the middle of one.
    """
    head = stream.read(_HEAD.size)
    if not head:
        return None
    if len(head) < _HEAD.size:
        raise EOFError
    (size,) = _HEAD.unpack(head)
    payload = stream.read(size)
    if len(payload) < size:
        raise EOFError
    return payload
