"""Several learners in one process, each of an agent with its own data, checkpoints and way to the actors."""

import sys
import threading
from collections.abc import Sequence
from contextlib import ExitStack, closing

from agent.journal import Journal
from agent.learner import Learner
from agent.storage import StorageError


class LearnerTeam:
    """Gives each of its learners the next block of updates in turn: none can starve another.

    A learner that fails (its learning diverged, its batches cannot be drawn) goes back to its newest good checkpoint,
    see `Learner.roll_back`. One that fails again and again rests: its agent acts by the last weights that worked, what
    arrives for it is stored, and the others go on.

    Args:
        learners: Each with a name of its own; at least one.
        changed: Is notified of what arrives by any of their servers.
        journal: Of the run; failures are written down.
    """

    def __init__(self, learners: Sequence[Learner], changed: threading.Condition, journal: Journal) -> None:
        self._learners = tuple(learners)
        self._changed = changed
        self._journal = journal
        self._stop = threading.Event()
        self.resting: dict[str, str] = {}
        """Agents that do not learn any more, and why."""
        for learner in self._learners:
            learner.share_with(self._learners)

    @property
    def updates(self) -> int:
        """Critic updates of all since the run began."""
        return sum(learner.updates for learner in self._learners)

    @property
    def run_steps(self) -> int:
        """Online transitions stored since the run began."""
        return self._learners[0].run_steps

    def request_stop(self) -> None:
        """End `run` after the current block; may be called from a signal handler."""
        self._stop.set()

    def run(self) -> bool:
        """Learn until the run is complete or a stop is requested; then save and tell the actors.

        Returns:
            Whether the run is complete. Those that rest are not waited for.

        Raises:
            RuntimeError: A receive thread died, which only a new process can mend.
            StorageError: What was learned at the end, or in an offline phase, cannot be saved.
        """
        with ExitStack() as stack:
            for learner in self._learners:
                stack.enter_context(closing(learner))
                learner.begin()
            while not self._stop.is_set() and not self._is_complete():
                worked = [self._turn(learner) for learner in self._learners]
                if True not in worked:
                    self._wait()
            self._end()
        return self._is_complete()

    def _end(self) -> None:
        """End each, also where the disk takes nothing of another."""
        unsaved: StorageError | None = None
        for learner in self._learners:
            try:
                if learner.name not in self.resting:
                    learner.end()
                elif self._is_complete():  # The others tell their actors at their end.
                    learner.server.stop_actors("the run is complete")
            except StorageError as error:
                unsaved = error
        if unsaved is not None:
            raise unsaved

    def collect(self) -> None:
        """Take in what actors handed over while the servers were closing."""
        for learner in self._learners:
            learner.collect()

    def _is_complete(self) -> bool:
        return all(learner.is_complete() or learner.name in self.resting for learner in self._learners)

    def _turn(self, learner: Learner) -> bool:
        if learner.name in self.resting:
            learner.receive(rests=True)
            return False
        try:
            return learner.turn()
        except StorageError:
            raise  # Of the disk, not of the agent.
        except Exception as error:
            learner.server.raise_if_dead()
            self._step_back(learner, str(error))
            return True

    def _step_back(self, learner: Learner, reason: str) -> None:
        name = learner.name
        outcome = f"Agent {name} failed: {reason}."
        where = learner.roll_back(outcome)
        if where is not None:
            outcome += f" It goes on from {where}."
        else:
            self.resting[name] = reason
            outcome += " It rests, and acts by the last weights that worked; the others go on."
        print(outcome, file=sys.stderr, flush=True)
        self._journal.write("agent_failed", {"agent": name, "message": outcome})

    def _wait(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: any(s.server.has_news for s in self._learners), 0.1)
