"""LeRobot in a process of its own, for benches that compare with it: its dependencies conflict with ours."""

import json
import os
import subprocess
from pathlib import Path


class LeRobot:
    """A process of another Python that makes updates when it is asked to; see bench/lerobot_worker.py.

    Args:
        python: Of an environment with LeRobot.
        shape: What is learned from, and how: the worker's `Shape`.
    """

    def __init__(self, python: str, **shape: int) -> None:
        worker = Path(__file__).with_name("lerobot_worker.py")
        self._process = subprocess.Popen(
            [python, str(worker), json.dumps(shape)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # For agent/processor.py, which needs torch alone.
            env={**os.environ, "PYTHONPATH": str(worker.parents[1])},
        )

    def make(self, updates: int, kind: str) -> float:
        """CPU seconds that so many updates took, with the encoder `trained` or `frozen`."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(f"{updates} {kind}\n")
        stdin.flush()
        if not (answer := stdout.readline()):
            raise SystemExit("LeRobot's process ended; what it wrote above says why.")
        return float(answer)

    def close(self) -> None:
        """End it."""
        self._process.communicate()
