"""The learner: receives experience, updates the algorithm, publishes the policy. Second hop to the gradient."""

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from agent.algorithm import Algorithm, Batch, BeginsFrom, LearnsOffline, RewardLearner, TellsErrors
from agent.checkpoint import Checkpoints, load_checkpoint
from agent.config import InputError
from agent.divergence import DivergedError, LossWatch, raise_if_not_finite
from agent.journal import Journal
from agent.learner_config import LearnerConfig
from agent.learner_state import LearnerState
from agent.pace import Pace
from agent.prefetch import Prefetcher
from agent.reports import admitted
from agent.safekeeping import Safekeeping
from agent.transport.quarantine import Quarantine
from agent.transport.server import LearnerServer
from agent.weights import encode_weights

log = logging.getLogger(__name__)

_REPORT_EVERY_S = 1.0


def begin_from(algorithm: Algorithm, path: Path) -> None:
    """Give an algorithm the networks of another run's checkpoint.

    Raises:
        InputError: See `Learner.begin_from`.
    """
    if not isinstance(algorithm, BeginsFrom):
        raise InputError(
            f"{type(algorithm).__name__} cannot begin with the policy of another run: leave out init, or choose an "
            "algorithm with begin_from, such as wsrl."
        )
    tensors, _ = load_checkpoint(path)
    try:
        algorithm.begin_from(tensors)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


class Learner:
    """Updates never exceed `utd_ratio` critic updates per stored environment step, and wait for nobody else.

    Several learners of one process share the environment steps of a run equally, see `agent.team.LearnerTeam`.

    Attributes:
        name: Of its agent, where there are several; empty otherwise.
        server: Its way to the actors.
    """

    def __init__(
        self,
        config: LearnerConfig,
        algorithm: Algorithm,
        sampler: Prefetcher,
        server: LearnerServer,
        checkpoints: Checkpoints,
        journal: Journal,
        reward_learner: RewardLearner | None = None,
        name: str = "",
        quarantine: Quarantine | None = None,
    ) -> None:
        self.name = name
        self.server = server
        self._config = config
        self._algorithm = algorithm
        self._sampler = sampler
        self._journal = journal
        self._reward_learner = reward_learner
        self._quarantine = quarantine
        self._state = LearnerState(algorithm, sampler, reward_learner)
        self._pace = Pace(config, sampler)
        self._watch = LossWatch(config.divergence)
        self._safe = Safekeeping(self._state, self._pace, self._watch, checkpoints, server.sync, name)
        self._stop = threading.Event()
        self._metrics: dict[str, float] = {}
        self._published = -1
        self._newer_wanted = False
        self._reported = (time.monotonic(), 0, 0)

    @property
    def updates(self) -> int:
        """Critic updates made since the run began."""
        return self._state.updates

    @property
    def environment_steps(self) -> int:
        """Online transitions stored since the run began."""
        return self._sampler.environment_steps

    @property
    def run_steps(self) -> int:
        """Online transitions stored by all learners of the run."""
        return self._pace.run_steps

    def share_with(self, learners: "Sequence[Learner]") -> None:
        """Be one of several, this one among them, that share the environment steps of a run."""
        self._pace.share_with(learners)

    def request_stop(self) -> None:
        """End `run` after the current block; may be called from a signal handler."""
        self._stop.set()

    def resume(self) -> bool:
        """Take over the newest good checkpoint; return whether there is one.

        The replay is rebuilt from its log before.
        """
        if not self._safe.resume():
            return False
        self._reported = (time.monotonic(), self._state.gradient_steps, self.run_steps)
        return True

    def roll_back(self, reason: str) -> str | None:
        """Go back to the newest good checkpoint, or where there is none to where this process began.

        The replay and the random state of its sampling stay as they are: from here on other batches are drawn. What is
        undone here is made up for, as after a restart.

        Args:
            reason: In a sentence, for people.

        Returns:
            What it goes on from; None if it did not go back, because it has done so as often as it may
            (`divergence.rollbacks`) without getting further.
        """
        failed_at = self.updates
        where = self._safe.go_back(self._config.divergence.rollbacks)
        if where is None:
            return None
        self._forget_since()
        self._journal.write(
            "rollback",
            {
                **self._label,
                "environment_steps": self.run_steps,
                "updates": failed_at,
                "to_updates": self.updates,
                "message": f"{reason} The learner goes on from {where}, with other batches.",
            },
        )
        return where

    def begin_from(self, path: Path) -> None:
        """Begin with the networks of another run's checkpoint. What that run learned offline need not be learned again.

        Raises:
            InputError: The checkpoint cannot be read or is of another architecture, or the algorithm takes over none.
        """
        begin_from(self._algorithm, path)
        self._state.learned_offline = self._state.offline_updates

    def run(self) -> bool:
        """Learn until the run is complete or a stop is requested; then save and tell the actors.

        An error leaves the newest checkpoint as it was: what failed is not saved over what worked.

        Returns:
            Whether the run is complete.

        Raises:
            DivergedError: Learning diverges again and again.
            RuntimeError: The receive thread died.
            StorageError: What was learned at the end cannot be saved.
            Exception: What ended the thread that samples ahead.
        """
        with closing(self):
            self.begin()
            while not self._stop.is_set() and not self.is_complete():
                if not self._turn_or_roll_back():
                    self.server.wait(timeout_s=0.1)
            self.end()
        return self.is_complete()

    def begin(self) -> None:
        """Publish what there is to act by. Before there is a checkpoint, this is where learning goes back to."""
        self._safe.begin()
        if self._state.is_past_offline and not self.is_complete():
            self._publish()

    def turn(self) -> bool:
        """Take in what arrived, and make at most one block of updates; return whether there was one to make.

        Raises:
            DivergedError: Learning diverged just now: `roll_back`, or give up.
            RuntimeError: See `run`.
            Exception: See `run`.
        """
        self.receive()
        if self._newer_wanted and self._state.is_past_offline:
            self._newer_wanted = False
            self._publish()
        owed = not self._state.is_past_offline or self._state.blocks < self._pace.allowed_blocks()
        if not self._state.is_past_offline:
            self._learn_offline()
        elif owed:
            self._update()
        if time.monotonic() - self._reported[0] >= _REPORT_EVERY_S:
            self._write_progress()
        return owed

    def end(self) -> None:
        """Save what is good, and tell the actors if the run is complete.

        Raises:
            StorageError: The disk does not take it.
        """
        self.receive()
        try:
            self._safe.save()
            self._watch.settle()
        except DivergedError as error:
            log.warning("What was learned last is not saved: %s.", error)
        self._write_progress()
        if self.is_complete():
            self.server.stop_actors("the run is complete")

    def close(self) -> None:
        """End the thread that samples ahead."""
        self._sampler.close()

    def collect(self) -> None:
        """Take in what actors handed over while the server was closing."""
        self.receive()
        self._write_progress()

    def _turn_or_roll_back(self) -> bool:
        """As `turn`; goes back if learning diverged.

        Raises:
            DivergedError: It does so again and again.
        """
        try:
            return self.turn()
        except DivergedError as error:
            where = self.roll_back(f"{error}.")
            if where is None:
                times = self._safe.rollbacks
                after = f", also after going back {times} times" if times else ""
                raise DivergedError(
                    f"{error}{after}; the checkpoints are from before: try a smaller learning rate or critic LayerNorm."
                ) from None
            log.warning("%s. The learner goes on from %s, with other batches.", error, where)
            return True

    def is_complete(self) -> bool:
        """Whether all experience that the run is to have is there, and learned from."""
        state, pace = self._state, self._pace
        return state.is_past_offline and pace.has_all and state.blocks >= pace.allowed_blocks()

    def receive(self, rests: bool = False) -> None:
        """Take in what arrived, and tell the actors how far learning is.

        Args:
            rests: Whether nothing is learned any more, so that nobody need wait for it.

        Raises:
            RuntimeError: The receive thread is dead.
        """
        self.server.raise_if_dead()
        while (records := self.server.poll()) is not None:
            self._sampler.append(records)
        for report in map(admitted, self.server.poll_reports()):
            self._journal.write_report({**report, **self._label})
            self.note_evaluation(report)
            self._newer_wanted |= report.get("kind") == "policy_refused"
        for news in self._quarantine.take_news() if self._quarantine else ():
            self._journal.write("quarantine", {**news, **self._label})
        allowance = self._config.max_environment_steps if rests else self._pace.allowance(self._state.blocks)
        self.server.set_progress(self.updates, allowance)

    def note_evaluation(self, report: Mapping[str, Any]) -> None:
        """If that is what an actor reports, see whether it tells of the best policy so far."""
        self._safe.note_evaluation(report)

    @property
    def _label(self) -> dict[str, str]:
        """Tells the entries of several agents apart."""
        return {"agent": self.name} if self.name else {}

    def _learn_offline(self) -> None:
        """One step of the offline phase. Nobody acts before its end: no weights are published."""
        assert isinstance(self._algorithm, LearnsOffline)
        batch = self._sampler.sample_demonstrations(self._algorithm.batch_size)
        self._metrics = self._algorithm.learn_offline(batch)
        self._state.learned_offline += 1
        self._raise_if_diverged(batch)
        self._tell_errors(batch)
        if self._state.is_past_offline:
            with self._state.saying_when():
                self._watch.settle()
            self._safe.save()  # Before the publication: what is acted by must not be imitated again after a crash.
        elif self._state.learned_offline % self._config.checkpoint_every == 0:
            self._safe.save_if_possible()
        if self._state.is_past_offline and not self.is_complete():
            self._publish()

    def _update(self) -> None:
        # Ahead only for a block that is owed: a learner that keeps up with the robot learns from its newest step.
        another = self._state.blocks + 1 < self._pace.allowed_blocks()
        batch = self._sampler.sample(self._algorithm.utd_ratio, self._algorithm.batch_size, another)
        about_reward: dict[str, float] = {}
        if self._reward_learner is not None:
            about_reward = self._reward_learner.update(batch)
            batch = self._reward_learner.relabel(batch)
        self._metrics = self._algorithm.update(batch) | about_reward
        self._state.blocks += 1
        self._raise_if_diverged(batch)
        self._tell_errors(batch)
        if self._state.blocks % self._config.publish_every == 0:
            self._publish()
        if self._safe.is_due(self._config.checkpoint_every) or self.is_complete():
            self._safe.save_if_possible()

    def _tell_errors(self, batch: Batch) -> None:
        """Where batches are drawn by what the critics are wrong about, let the next ones be."""
        if isinstance(self._algorithm, TellsErrors) and (errors := self._algorithm.take_errors()) is not None:
            self._sampler.learn(batch, errors)

    def _raise_if_diverged(self, batch: Batch) -> None:
        greatest = float(batch["reward"].abs().nan_to_num(0.0, 0.0, 0.0).max())
        with self._state.saying_when():
            self._watch.see(self._metrics, greatest)

    def _publish(self) -> None:
        # Not those before: after a step back to a checkpoint the actors keep what they have until it is made up for.
        if self._state.blocks <= self._published or self._watch.in_doubt:
            return
        weights = self._algorithm.policy_weights()
        with self._state.saying_when():
            raise_if_not_finite(weights, "the policy")
        self.server.publish(self._state.blocks, encode_weights(weights))
        self._published = self._state.blocks

    def _forget_since(self) -> None:
        """Leave nothing behind of what was undone."""
        self._sampler.discard()
        if isinstance(self._algorithm, TellsErrors):
            self._algorithm.take_errors()
        self._watch.calm()
        self._metrics = {}
        self._reported = (time.monotonic(), self._state.gradient_steps, self.run_steps)

    def _write_progress(self) -> None:
        now_s = time.monotonic()
        last_s, last_updates, last_steps = self._reported
        self._reported = (now_s, self._state.gradient_steps, self.run_steps)
        elapsed_s = max(1e-6, now_s - last_s)
        self._journal.write(
            "learner",
            {
                **self._label,
                "environment_steps": self.run_steps,
                "offline": [self._state.learned_offline, self._state.offline_updates],
                "updates": self.updates,
                "updates_per_s": round((self._state.gradient_steps - last_updates) / elapsed_s, 1),
                "environment_steps_per_s": round((self.run_steps - last_steps) / elapsed_s, 2),
                "policy_version": self._state.blocks,
                "replay": self._sampler.stored,
                "actors": self.server.actors(),
                "malformed_messages": self.server.malformed_messages,
                **{name: round(value, 5) for name, value in self._metrics.items()},
            },
        )
