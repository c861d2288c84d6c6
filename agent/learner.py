"""The learner: receives experience, updates the algorithm, publishes the policy. Second hop to the gradient."""

import logging
import math
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from agent.algorithm import Algorithm, Batch, BeginsFrom, LearnsOffline, RewardLearner, TellsErrors
from agent.checkpoint import Checkpoints, load_checkpoint
from agent.config import Config, InputError
from agent.divergence import DivergedError, DivergenceConfig, LossWatch, not_finite, raise_if_not_finite
from agent.journal import Journal
from agent.prefetch import Prefetcher
from agent.reports import admitted
from agent.sampling import SamplingConfig
from agent.storage import StorageError, StorageTrouble, reason_of
from agent.tensors import Tensors, above, below, detached
from agent.transport.quarantine import Quarantine
from agent.transport.server import LearnerServer
from agent.weights import encode_weights

log = logging.getLogger(__name__)

_REPORT_EVERY_S = 1.0
_SAVE_AGAIN_AFTER_S = 30.0
_MOST_PER_OWN_STEP = 2
_REWARD, _SAMPLER = "reward_learner.", "sampler."  # Begin the names of their tensors in a checkpoint.


class LearnerConfig(Config):
    """How the learner is run.

    Attributes:
        max_environment_steps: The run ends when this much experience is stored and learned from; 0 ends it with the
            offline phase.
        start_steps: Online transitions to wait for before the first update.
        demonstration_ratio: Share of demonstrations in every batch (RLPD 0.5).
        sampling: Which transitions are drawn.
        hindsight: So many transitions of a batch get another goal for each that keeps its own (`agent.hindsight`, 4 in
            the paper); 0 for none.
        n_steps: Rewards that a target sums up before it asks the critics, see `agent.sequences`.
        replay_capacity: Online transitions kept for sampling.
        intervention_capacity: Interventions kept for sampling as demonstrations; recorded ones all stay.
        publish_every: Blocks of updates (one block belongs to one environment step) between two publications.
        checkpoint_every: Environment steps, or updates of the offline phase, between two checkpoints.
        keep_checkpoints: How many of them stay; the best one does besides.
        lead_steps: How far, in environment steps, an actor in simulated time may be ahead of the learning.
        device: `auto` (a GPU if there is one), `cpu`, `cuda` or `cuda:N`.
        threads: CPU threads for torch. More than one collapses when other processes are busy.
        divergence: When learning counts as diverged, and how often it may go back.
    """

    max_environment_steps: int = 6000
    start_steps: int = 300
    demonstration_ratio: float = 0.5
    sampling: SamplingConfig = SamplingConfig()
    hindsight: int = 0
    n_steps: int = 1
    replay_capacity: int = 200_000
    intervention_capacity: int = 20_000
    publish_every: int = 10
    checkpoint_every: int = 1000
    keep_checkpoints: int = 3
    lead_steps: int = 20
    device: str = "auto"
    threads: int = 1
    divergence: DivergenceConfig = DivergenceConfig()

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if self.max_environment_steps < 0:
            raise ValueError(
                f"learner.max_environment_steps {self.max_environment_steps} must not be negative"
            )
        for name in (
            "replay_capacity", "intervention_capacity", "publish_every", "checkpoint_every", "keep_checkpoints",
            "lead_steps", "threads", "n_steps",
        ):  # fmt: skip
            if getattr(self, name) < 1:
                raise ValueError(f"learner.{name} {getattr(self, name)} must be at least 1")
        if self.hindsight < 0:
            raise ValueError(f"learner.hindsight {self.hindsight} must not be negative")
        if self.start_steps < 1:
            raise ValueError(f"learner.start_steps {self.start_steps} must be at least 1")
        if not 0 <= self.demonstration_ratio <= 1:
            raise ValueError(
                f"learner.demonstration_ratio {self.demonstration_ratio} must lie between 0 and 1"
            )


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
        self._sharing: Sequence[Learner] = (self,)
        self._config = config
        self._algorithm = algorithm
        self._sampler = sampler
        self._checkpoints = checkpoints
        self._journal = journal
        self._reward_learner = reward_learner
        self._quarantine = quarantine
        self._offline_updates = algorithm.offline_updates if isinstance(algorithm, LearnsOffline) else 0
        self._stop = threading.Event()
        self._learned_offline = 0
        self._blocks = 0
        self._metrics: dict[str, float] = {}
        self._watch = LossWatch(config.divergence)
        self._beginning: tuple[Tensors, dict[str, Any]] | None = None
        self._resumed = False
        self._rollbacks = 0
        self._failed_at = -1
        self._saved: tuple[int, int] | None = None
        self._saved_at = 0
        self._save_again_s = -math.inf
        self._unsaved = StorageTrouble(
            f"A checkpoint{f' of agent {name}' if name else ''}",
            "Those before are as they were, and learning goes on; it is tried again.",
        )
        self._published = -1
        self._newer_wanted = False
        self._reported = (time.monotonic(), 0, 0)

    @property
    def updates(self) -> int:
        """Critic updates made since the run began."""
        return self._blocks * self._algorithm.utd_ratio

    @property
    def environment_steps(self) -> int:
        """Online transitions stored since the run began."""
        return self._sampler.environment_steps

    @property
    def run_steps(self) -> int:
        """Online transitions stored by all learners of the run."""
        return sum(learner.environment_steps for learner in self._sharing)

    def share_with(self, learners: "Sequence[Learner]") -> None:
        """Be one of several, this one among them, that share the environment steps of a run."""
        self._sharing = learners

    def request_stop(self) -> None:
        """End `run` after the current block; may be called from a signal handler."""
        self._stop.set()

    def resume(self) -> bool:
        """Take over the newest good checkpoint; return whether there is one.

        The replay is rebuilt from its log before.
        """
        newest = self._newest_good()
        if newest is None:
            return False
        path, tensors, values = newest
        try:
            self._take_over(tensors, values)
        except InputError:
            raise
        except (KeyError, TypeError, ValueError, OverflowError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:500]
            raise InputError(
                f"Checkpoint {path} does not fit this run, or is damaged ({type(error).__name__}: {reason}); "
                "go on with the version and configuration that wrote it, or remove that folder for the one before."
            ) from None
        self._resumed = True
        self._reported = (time.monotonic(), self._gradient_steps, self.run_steps)
        return True

    def _take_over(self, tensors: Tensors, values: dict[str, Any]) -> None:
        self._restore(tensors, values)
        self._sampler.load_state_dict(below(_SAMPLER, tensors))
        self._sampler.set_random_state(values["sampler_random_state"])
        self._saved_at = _count_of(values["environment_steps"])

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
        self._failed_at = max(self._failed_at, self._gradient_steps)
        found = self._newest_good()
        kept = self._beginning if found is None else found[1:]
        if self._rollbacks >= self._config.divergence.rollbacks or kept is None:
            return None
        self._rollbacks += 1
        failed_at = self.updates
        self._restore(*kept)
        self._forget_since()
        where = f"its newest checkpoint, of {self.updates:,} updates" if found else "where it began"
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
        self._learned_offline = self._offline_updates

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
        if not self._resumed:
            self._beginning = detached(self._state()), self._counters()
        if self._is_past_offline() and not self.is_complete():
            self._publish()

    def turn(self) -> bool:
        """Take in what arrived, and make at most one block of updates; return whether there was one to make.

        Raises:
            DivergedError: Learning diverged just now: `roll_back`, or give up.
            RuntimeError: See `run`.
            Exception: See `run`.
        """
        self.receive()
        if self._newer_wanted and self._is_past_offline():
            self._newer_wanted = False
            self._publish()
        owed = not self._is_past_offline() or self._blocks < self._allowed_blocks()
        if not self._is_past_offline():
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
            self._save()
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
                times = self._rollbacks
                after = f", also after going back {times} times" if times else ""
                raise DivergedError(
                    f"{error}{after}; the checkpoints are from before: try a smaller learning rate or critic LayerNorm."
                ) from None
            log.warning("%s. The learner goes on from %s, with other batches.", error, where)
            return True

    @property
    def _gradient_steps(self) -> int:
        return self._learned_offline + self.updates

    def _is_past_offline(self) -> bool:
        return self._learned_offline >= self._offline_updates

    def is_complete(self) -> bool:
        """Whether all experience that the run is to have is there, and learned from."""
        enough = self.run_steps >= self._config.max_environment_steps
        return self._is_past_offline() and enough and self._blocks >= self._allowed_blocks()

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
        allowance = self._config.max_environment_steps if rests else self._allowance()
        self.server.set_progress(self.updates, allowance)

    def note_evaluation(self, report: Mapping[str, Any]) -> None:
        """If that is what an actor reports, see whether it tells of the best policy so far."""
        try:
            self._checkpoints.note_evaluation(report)
        except OSError as error:
            self._unsaved.note(error)

    @property
    def _label(self) -> dict[str, str]:
        """Tells the entries of several agents apart."""
        return {"agent": self.name} if self.name else {}

    def _allowed_blocks(self) -> int:
        """One block of updates for every environment step that is its own, once there are enough.

        Of several agents each has an equal share of the run's steps, whoever made them, but for one that hardly acts:
        it would learn its few steps by heart.
        """
        steps = min(self.run_steps, self._config.max_environment_steps) // len(self._sharing)
        if len(self._sharing) > 1:
            steps = min(steps, _MOST_PER_OWN_STEP * self.environment_steps)
        return max(0, steps - self._config.start_steps)

    def _allowance(self) -> int:
        """Up to which environment step of the run actors in simulated time may go now."""
        config, agents = self._config, len(self._sharing)
        lead = config.lead_steps - (self._allowed_blocks() - self._blocks)
        begun = max(self.run_steps, agents * config.start_steps)
        return min(config.max_environment_steps, begun + agents * lead)

    def _learn_offline(self) -> None:
        """One step of the offline phase. Nobody acts before its end: no weights are published."""
        assert isinstance(self._algorithm, LearnsOffline)
        batch = self._sampler.sample_demonstrations(self._algorithm.batch_size)
        self._metrics = self._algorithm.learn_offline(batch)
        self._learned_offline += 1
        self._raise_if_diverged(batch)
        self._tell_errors(batch)
        if self._is_past_offline():
            with self._saying_when():
                self._watch.settle()
            self._save()  # Before the publication: what is acted by must not be imitated again after a crash.
        elif self._learned_offline % self._config.checkpoint_every == 0:
            self._save_if_possible()
        if self._is_past_offline() and not self.is_complete():
            self._publish()

    def _update(self) -> None:
        # Ahead only for a block that is owed: a learner that keeps up with the robot learns from its newest step.
        another = self._blocks + 1 < self._allowed_blocks()
        batch = self._sampler.sample(self._algorithm.utd_ratio, self._algorithm.batch_size, another)
        about_reward: dict[str, float] = {}
        if self._reward_learner is not None:
            about_reward = self._reward_learner.update(batch)
            batch = self._reward_learner.relabel(batch)
        self._metrics = self._algorithm.update(batch) | about_reward
        self._blocks += 1
        self._raise_if_diverged(batch)
        self._tell_errors(batch)
        if self._blocks % self._config.publish_every == 0:
            self._publish()
        if self.environment_steps - self._saved_at >= self._config.checkpoint_every or self.is_complete():
            self._save_if_possible()

    def _tell_errors(self, batch: Batch) -> None:
        """Where batches are drawn by what the critics are wrong about, let the next ones be."""
        if isinstance(self._algorithm, TellsErrors) and (errors := self._algorithm.take_errors()) is not None:
            self._sampler.learn(batch, errors)

    @contextmanager
    def _saying_when(self) -> Iterator[None]:
        """Let what is wrong be said in a whole clause."""
        try:
            yield
        except DivergedError as error:
            raise DivergedError(f"Learning diverged: {error} after {self._gradient_steps} updates") from None

    def _raise_if_diverged(self, batch: Batch) -> None:
        greatest = float(batch["reward"].abs().nan_to_num(0.0, 0.0, 0.0).max())
        with self._saying_when():
            self._watch.see(self._metrics, greatest)

    def _publish(self) -> None:
        # Not those before: after a step back to a checkpoint the actors keep what they have until it is made up for.
        if self._blocks <= self._published or self._watch.in_doubt:
            return
        weights = self._algorithm.policy_weights()
        with self._saying_when():
            raise_if_not_finite(weights, "the policy")
        self.server.publish(self._blocks, encode_weights(weights))
        self._published = self._blocks

    def _save(self) -> None:
        try:
            self._write_checkpoint()
        except OSError as error:
            raise StorageError(
                f"What was learned after {self._gradient_steps} updates cannot be saved ({reason_of(error)}): make "
                "room on the disk, and go on with the run; it resumes from its newest checkpoint, and nothing that the "
                "robot did is lost."
            ) from error

    def _save_if_possible(self) -> None:
        """A disk that takes no checkpoint now may take the next one."""
        if time.monotonic() < self._save_again_s:
            return
        try:
            self._write_checkpoint()
        except OSError as error:
            self._unsaved.note(error)
            self._save_again_s = time.monotonic() + _SAVE_AGAIN_AFTER_S
        else:
            self._unsaved.over()

    def _write_checkpoint(self) -> None:
        """Write a checkpoint if anything is new, unless what would be in it is in doubt.

        Raises:
            DivergedError: It is not finite.
            OSError: The disk does not take it.
        """
        at = self._gradient_steps, self.environment_steps
        if self._watch.in_doubt or self._saved == at:
            return
        state, policy = self._state(), self._algorithm.policy_weights()
        with self._saying_when():
            raise_if_not_finite(state | policy, "what was learned")
        self.server.sync()
        self._checkpoints.save(self.environment_steps, state, policy, self._counters())
        self._saved, self._saved_at, self._beginning = at, self.environment_steps, None
        if self._gradient_steps > self._failed_at:
            self._rollbacks = 0

    def _state(self) -> Tensors:
        """Everything that learning depends on, but for what `_counters` has."""
        state = self._algorithm.state_dict()
        if self._reward_learner is not None:
            state |= above(_REWARD, self._reward_learner.state_dict())
        return state | above(_SAMPLER, self._sampler.state_dict())

    def _counters(self) -> dict[str, Any]:
        return {
            "blocks": self._blocks,
            "offline_updates": self._learned_offline,
            "updates": self.updates,
            "sampler_random_state": self._sampler.random_state(),
            "run_steps": self.run_steps,
        }

    def _restore(self, tensors: Tensors, values: dict[str, Any]) -> None:
        """The inverse of `_state` and `_counters`, but for the sampling: whoever goes back draws other batches."""
        if self._reward_learner is not None:
            self._reward_learner.load_state_dict(below(_REWARD, tensors))
        others = (_REWARD, _SAMPLER)
        self._algorithm.load_state_dict({k: v for k, v in tensors.items() if not k.startswith(others)})
        self._blocks, self._learned_offline = map(
            _count_of, (values["blocks"], values.get("offline_updates", 0))
        )

    def _forget_since(self) -> None:
        """Leave nothing behind of what was undone."""
        self._sampler.discard()
        if isinstance(self._algorithm, TellsErrors):
            self._algorithm.take_errors()
        self._watch.calm()
        self._metrics = {}
        self._saved_at = self.environment_steps  # The next checkpoint is not due before it has something new.
        self._reported = (time.monotonic(), self._gradient_steps, self.run_steps)

    def _newest_good(self) -> tuple[Path, Tensors, dict[str, Any]] | None:
        """The newest checkpoint in which everything is finite; older versions may have left others."""
        for path in reversed(self._checkpoints.all()):
            tensors, values = load_checkpoint(path)
            broken = not_finite(tensors)
            if not broken:
                return path, tensors, values
            log.warning("%s is passed over: %s in it is not finite.", path, broken[0])
        return None

    def _write_progress(self) -> None:
        now_s = time.monotonic()
        last_s, last_updates, last_steps = self._reported
        self._reported = (now_s, self._gradient_steps, self.run_steps)
        elapsed_s = max(1e-6, now_s - last_s)
        self._journal.write(
            "learner",
            {
                **self._label,
                "environment_steps": self.run_steps,
                "offline": [self._learned_offline, self._offline_updates],
                "updates": self.updates,
                "updates_per_s": round((self._gradient_steps - last_updates) / elapsed_s, 1),
                "environment_steps_per_s": round((self.run_steps - last_steps) / elapsed_s, 2),
                "policy_version": self._blocks,
                "replay": self._sampler.stored,
                "actors": self.server.actors(),
                "malformed_messages": self.server.malformed_messages,
                **{name: round(value, 5) for name, value in self._metrics.items()},
            },
        )


def _count_of(value: Any) -> int:
    if not isinstance(value, int) or value < 0:
        raise ValueError(f"its counter {value!r} is no count")
    return value
