"""The learner: receives experience, updates the algorithm, publishes the policy. Second hop to the gradient."""

import math
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import torch

from agent.algorithm import Algorithm, Batch, BeginsFrom, LearnsOffline, RewardLearner, TellsErrors
from agent.checkpoint import Checkpoints, load_checkpoint
from agent.config import Config, InputError
from agent.journal import Journal
from agent.prefetch import Prefetcher
from agent.sampling import SamplingConfig
from agent.tensors import above, below
from agent.transport.server import LearnerServer
from agent.weights import encode_weights

_REPORT_EVERY_S = 1.0
_MOST_PER_OWN_STEP = 2
_REWARD = "reward_learner."  # Begins the names of its tensors in a checkpoint.


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
        keep_checkpoints: How many of them stay.
        lead_steps: How far, in environment steps, an actor in simulated time may be ahead of the learning.
        device: `auto` (a GPU if there is one), `cpu`, `cuda` or `cuda:N`.
        threads: CPU threads for torch. More than one collapses when other processes are busy.
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
        self._offline_updates = algorithm.offline_updates if isinstance(algorithm, LearnsOffline) else 0
        self._stop = threading.Event()
        self._learned_offline = 0
        self._blocks = 0
        self._metrics: dict[str, float] = {}
        self._saved_at = 0
        self._published = -1
        self._reported = (time.monotonic(), 0)

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
        """Take over the newest checkpoint; return whether there is one. The replay is rebuilt from its log before."""
        path = self._checkpoints.newest()
        if path is None:
            return False
        try:
            self._take_over(*load_checkpoint(path))
        except InputError:
            raise
        except (KeyError, TypeError, ValueError, OverflowError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:500]
            raise InputError(
                f"Checkpoint {path} does not fit this run, or is damaged ({type(error).__name__}: {reason}); "
                "go on with the version and configuration that wrote it, or remove that folder for the one before."
            ) from None
        self._reported = (time.monotonic(), self._gradient_steps)
        return True

    def _take_over(self, tensors: Mapping[str, torch.Tensor], values: Mapping[str, Any]) -> None:
        learner = self._reward_learner
        if learner is not None:
            learner.load_state_dict(below(_REWARD, tensors))
        self._algorithm.load_state_dict({k: v for k, v in tensors.items() if not k.startswith(_REWARD)})
        counters = (values["blocks"], values.get("offline_updates", 0), values["environment_steps"])
        if not all(isinstance(counter, int) and counter >= 0 for counter in counters):
            raise ValueError(f"its counters {counters} are no counts")
        self._sampler.set_random_state(values["sampler_random_state"])
        self._blocks, self._learned_offline, self._saved_at = counters

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
            RuntimeError: The receive thread died, or learning diverged.
            Exception: What ended the thread that samples ahead.
        """
        with closing(self):
            self.begin()
            while not self._stop.is_set() and not self.is_complete():
                if not self.turn():
                    self.server.wait(timeout_s=0.1)
            self.end()
        return self.is_complete()

    def begin(self) -> None:
        """Publish what there is to act by."""
        if self._is_past_offline() and not self.is_complete():
            self._publish()

    def turn(self) -> bool:
        """Take in what arrived, and make at most one block of updates; return whether there was one to make.

        Raises:
            RuntimeError: See `run`.
            Exception: See `run`.
        """
        self.receive()
        owed = not self._is_past_offline() or self._blocks < self._allowed_blocks()
        if not self._is_past_offline():
            self._learn_offline()
        elif owed:
            self._update()
        if time.monotonic() - self._reported[0] >= _REPORT_EVERY_S:
            self._write_progress()
        return owed

    def end(self) -> None:
        """Save, and tell the actors if the run is complete."""
        self.receive()
        self._save()
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
        for report in self.server.poll_reports():
            self._journal.write_report({**report, **self._label})
        allowance = self._config.max_environment_steps if rests else self._allowance()
        self.server.set_progress(self.updates, allowance)

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
        self._tell_errors(batch)
        self._learned_offline += 1
        self._raise_if_diverged()
        if self._is_past_offline() or self._learned_offline % self._config.checkpoint_every == 0:
            self._save()  # Before the publication: what is acted by must not be imitated again after a crash.
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
        self._tell_errors(batch)
        self._blocks += 1
        self._raise_if_diverged()
        if self._blocks % self._config.publish_every == 0:
            self._publish()
        if self.environment_steps - self._saved_at >= self._config.checkpoint_every:
            self._save()

    def _tell_errors(self, batch: Batch) -> None:
        """Where batches are drawn by what the critics are wrong about, let the next ones be."""
        if isinstance(self._algorithm, TellsErrors) and (errors := self._algorithm.take_errors()) is not None:
            self._sampler.learn(batch, errors)

    def _raise_if_diverged(self) -> None:
        broken = [name for name, value in self._metrics.items() if not math.isfinite(value)]
        if broken:
            raise RuntimeError(
                f"Learning diverged: {', '.join(broken)} is not finite after {self._gradient_steps} updates. The "
                "checkpoints are from before; try a smaller learning rate or critic LayerNorm."
            )

    def _publish(self) -> None:
        # Not those before: after a step back to a checkpoint the actors keep what they have until it is made up for.
        if self._blocks > self._published:
            self.server.publish(self._blocks, encode_weights(self._algorithm.policy_weights()))
            self._published = self._blocks

    def _save(self) -> None:
        self.server.sync()
        values: dict[str, Any] = {
            "blocks": self._blocks,
            "offline_updates": self._learned_offline,
            "updates": self.updates,
            "sampler_random_state": self._sampler.random_state(),
            "run_steps": self.run_steps,
        }
        algorithm, state = self._algorithm, self._algorithm.state_dict()
        if self._reward_learner is not None:
            state |= above(_REWARD, self._reward_learner.state_dict())
        self._checkpoints.save(self.environment_steps, state, algorithm.policy_weights(), values)
        self._saved_at = self.environment_steps

    def _write_progress(self) -> None:
        now_s = time.monotonic()
        last_s, last_steps = self._reported
        self._reported = (now_s, self._gradient_steps)
        rate = (self._gradient_steps - last_steps) / max(1e-6, now_s - last_s)
        self._journal.write(
            "learner",
            {
                **self._label,
                "environment_steps": self.run_steps,
                "offline": [self._learned_offline, self._offline_updates],
                "updates": self.updates,
                "updates_per_s": round(rate, 1),
                "policy_version": self._blocks,
                "actors": self.server.actors(),
                **{name: round(value, 5) for name, value in self._metrics.items()},
            },
        )
