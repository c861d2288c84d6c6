"""What is kept of a learner: when a checkpoint is written, and which one is gone on from, or back to."""

import logging
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from agent.checkpoint import Checkpoints, load_checkpoint
from agent.config import InputError
from agent.divergence import LossWatch, not_finite, raise_if_not_finite
from agent.learner_state import LearnerState, count_of
from agent.pace import Pace
from agent.storage import StorageError, StorageTrouble, reason_of
from agent.tensors import Tensors, detached

log = logging.getLogger(__name__)

_SAVE_AGAIN_AFTER_S = 30.0


class Safekeeping:
    """Writes checkpoints of what is good, and gives the newest good one back.

    Attributes:
        rollbacks: How often learning went back and has not got further since.

    Args:
        state: Of the learner.
        pace: Of the learner; counts the steps of the run.
        watch: Says whether what was learned last is in doubt; then nothing is written.
        checkpoints: Where they are.
        sync: Makes what a checkpoint counts survive a loss of power; called before one is written.
        name: Of the agent; empty where there is one.
    """

    def __init__(
        self,
        state: LearnerState,
        pace: Pace,
        watch: LossWatch,
        checkpoints: Checkpoints,
        sync: Callable[[], None],
        name: str,
    ) -> None:
        self.rollbacks = 0
        self._state = state
        self._pace = pace
        self._watch = watch
        self._checkpoints = checkpoints
        self._sync = sync
        self._beginning: tuple[Tensors, dict[str, Any]] | None = None
        self._resumed = False
        self._failed_at = -1
        self._saved: tuple[int, int] | None = None
        self._saved_at = 0
        self._save_again_s = -math.inf
        self._unsaved = StorageTrouble(
            f"A checkpoint{f' of agent {name}' if name else ''}",
            "Those before are as they were, and learning goes on; it is tried again.",
        )

    def resume(self) -> bool:
        """Take over the newest good checkpoint; return whether there is one.

        Raises:
            InputError: It does not fit, or is damaged.
        """
        newest = self._newest_good()
        if newest is None:
            return False
        path, tensors, values = newest
        try:
            self._state.resume(tensors, values)
            self._saved_at = count_of(values["environment_steps"])
        except InputError:
            raise
        except (KeyError, TypeError, ValueError, OverflowError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:500]
            raise InputError(
                f"Checkpoint {path} does not fit this run, or is damaged ({type(error).__name__}: {reason}); "
                "go on with the version and configuration that wrote it, or remove that folder for the one before."
            ) from None
        self._resumed = True
        return True

    def begin(self) -> None:
        """Before there is a checkpoint, this is where learning goes back to."""
        if not self._resumed:
            self._beginning = detached(self._state.tensors()), self._state.counters()

    def go_back(self, most: int) -> str | None:
        """Restore the newest good checkpoint, or where there is none what `begin` kept; but for the sampling.

        Args:
            most: How often, without getting further.

        Returns:
            What it is, in words; None if there is nothing to go back to, or it was done as often as it may be.
        """
        self._failed_at = max(self._failed_at, self._state.gradient_steps)
        found = self._newest_good()
        kept = self._beginning if found is None else found[1:]
        if self.rollbacks >= most or kept is None:
            return None
        self.rollbacks += 1
        self._state.restore(*kept)
        self._saved_at = self._state.environment_steps  # The next is not due before it has something new.
        return f"its newest checkpoint, of {self._state.updates:,} updates" if found else "where it began"

    def is_due(self, every: int) -> bool:
        """Whether so many environment steps were stored since the last checkpoint."""
        return self._state.environment_steps - self._saved_at >= every

    def save(self) -> None:
        """Write a checkpoint if anything is new, unless what would be in it is in doubt.

        Raises:
            DivergedError: It is not finite.
            StorageError: The disk does not take it.
        """
        try:
            self._write()
        except OSError as error:
            raise StorageError(
                f"What was learned after {self._state.gradient_steps} updates cannot be saved ({reason_of(error)}): "
                "make room on the disk, and go on with the run; it resumes from its newest checkpoint, and nothing "
                "that the robot did is lost."
            ) from error

    def save_if_possible(self) -> None:
        """As `save`, but a disk that takes no checkpoint now may take the next one.

        Raises:
            DivergedError: It is not finite.
            OSError: It cannot be written, and no disk is to blame.
        """
        if time.monotonic() < self._save_again_s:
            return
        try:
            self._write()
        except OSError as error:
            self._unsaved.note(error)
            self._save_again_s = time.monotonic() + _SAVE_AGAIN_AFTER_S
        else:
            self._unsaved.over()

    def note_evaluation(self, report: Mapping[str, Any]) -> None:
        """If that is what an actor reports, see whether it tells of the best policy so far."""
        try:
            self._checkpoints.note_evaluation(report)
        except OSError as error:
            self._unsaved.note(error)

    def _write(self) -> None:
        at = self._state.gradient_steps, self._state.environment_steps
        if self._watch.in_doubt or self._saved == at:
            return
        tensors, policy = self._state.tensors(), self._state.algorithm.policy_weights()
        with self._state.saying_when():
            raise_if_not_finite(tensors | policy, "what was learned")
        self._sync()
        values = {**self._state.counters(), "run_steps": self._pace.run_steps}
        self._checkpoints.save(self._state.environment_steps, tensors, policy, values)
        self._saved, self._saved_at, self._beginning = at, self._state.environment_steps, None
        if self._state.gradient_steps > self._failed_at:
            self.rollbacks = 0

    def _newest_good(self) -> tuple[Path, Tensors, dict[str, Any]] | None:
        """The newest checkpoint in which everything is finite; older versions may have left others."""
        for path in reversed(self._checkpoints.all()):
            tensors, values = load_checkpoint(path)
            broken = not_finite(tensors)
            if not broken:
                return path, tensors, values
            log.warning("%s is passed over: %s in it is not finite.", path, broken[0])
        return None
