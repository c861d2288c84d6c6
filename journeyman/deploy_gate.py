"""The gate before the robot: a new policy does the task on the twin before it may act (`deploy_gate`).

The control loop hands a candidate over and goes on by the policy it has; the twin is in another process.
"""

import struct
import subprocess
import sys
import threading
from collections import deque
from typing import IO

import msgspec

from agent.evaluation import Evaluation
from journeyman.config import DeployGateConfig, RunConfig
from journeyman.process import child_environment

Candidate = tuple[int, bytes]
"""Version and weights."""
_HEAD = struct.Struct("<Q")  # Bytes that follow.


class Judged(msgspec.Struct, frozen=True):
    """What the twin's process answers.

    Attributes:
        evaluation: How the candidate did; None if it could not act.
        problem: Why not.
    """

    evaluation: Evaluation | None = None
    problem: str = ""


class TwinGate:
    """Satisfies `agent.fitness.Gate`. Of candidates that wait only the newest is tried.

    A candidate passes if its success on the twin is at least `floor`, and not below that of the policy in use by more
    than `margin`. All start from the same states and act deterministically. What cannot be tried does not pass.

    Args:
        config: Of the run.
    """

    def __init__(self, config: RunConfig) -> None:
        self._config, self._gate = config, config.deploy_gate
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
                self._changed.notify()
        return self._verdicts.popleft() if self._verdicts else None

    def close(self) -> None:
        """End the twin's process, which otherwise ends with this one."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._process is not None:
            self._process.kill()
        self._thread.join()

    def _run(self) -> None:
        while (candidate := self._next()) is not None:
            version, weights = candidate
            held = self._reason_to_hold(self._try(weights))
            if not self._closing:
                self._verdicts.append(
                    candidate if held is None else f"Policy version {version} is held: {held}."
                )
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
        self._process = process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is the actor's affair.
            env=child_environment(),
        )
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
        if rate < gate.floor:
            return f"{did}, and deploy_gate.floor is {gate.floor:.0%}"
        if self._in_use is not None and rate < self._in_use - gate.margin - 1e-9:
            return f"{did}, the one in use in {self._in_use:.0%}, and deploy_gate.margin is {gate.margin:.0%}"
        self._in_use = rate
        return None


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
