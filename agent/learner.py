"""The learner: receives experience, updates the algorithm, publishes the policy. Second hop to the gradient."""

import math
import threading
import time
from contextlib import closing
from typing import Any

from agent.algorithm import Algorithm, RewardLearner, WarmStarts
from agent.checkpoint import Checkpoints, load_checkpoint
from agent.config import Config
from agent.journal import Journal
from agent.prefetch import Prefetcher
from agent.tensors import above, below
from agent.transport.server import LearnerServer
from agent.weights import encode_weights

_REPORT_EVERY_S = 1.0
_REWARD = "reward_learner."  # Begins the names of its tensors in a checkpoint.


class LearnerConfig(Config):
    """How the learner is run.

    Attributes:
        max_environment_steps: The run ends when this much experience is stored and learned from; 0 ends it with the
            warm start.
        start_steps: Online transitions to wait for before the first update.
        demonstration_ratio: Share of demonstrations in every batch (RLPD 0.5).
        replay_capacity: Online transitions kept for sampling.
        intervention_capacity: Interventions kept for sampling as demonstrations; recorded ones all stay.
        publish_every: Blocks of updates (one block belongs to one environment step) between two publications.
        checkpoint_every: Environment steps, or updates of the warm start, between two checkpoints.
        keep_checkpoints: How many of them stay.
        lead_steps: How far, in environment steps, an actor in simulated time may be ahead of the learning.
        device: `auto` (a GPU if there is one), `cpu`, `cuda` or `cuda:N`.
        threads: CPU threads for torch. More than one collapses when other processes are busy.
    """

    max_environment_steps: int = 6000
    start_steps: int = 300
    demonstration_ratio: float = 0.5
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
            "lead_steps", "threads",
        ):  # fmt: skip
            if getattr(self, name) < 1:
                raise ValueError(f"learner.{name} {getattr(self, name)} must be at least 1")
        if self.start_steps < 1:
            raise ValueError(f"learner.start_steps {self.start_steps} must be at least 1")
        if not 0 <= self.demonstration_ratio <= 1:
            raise ValueError(
                f"learner.demonstration_ratio {self.demonstration_ratio} must lie between 0 and 1"
            )


class Learner:
    """Updates never exceed `utd_ratio` critic updates per stored environment step, and wait for nobody else."""

    def __init__(
        self,
        config: LearnerConfig,
        algorithm: Algorithm,
        sampler: Prefetcher,
        server: LearnerServer,
        checkpoints: Checkpoints,
        journal: Journal,
        reward_learner: RewardLearner | None = None,
    ) -> None:
        self._config = config
        self._algorithm = algorithm
        self._sampler = sampler
        self._server = server
        self._checkpoints = checkpoints
        self._journal = journal
        self._reward_learner = reward_learner
        self._warm_start_updates = algorithm.warm_start_updates if isinstance(algorithm, WarmStarts) else 0
        self._stop = threading.Event()
        self._imitated = 0
        self._blocks = 0
        self._metrics: dict[str, float] = {}
        self._saved_at = 0
        self._reported = (time.monotonic(), 0)

    @property
    def updates(self) -> int:
        """Critic updates made since the run began."""
        return self._blocks * self._algorithm.utd_ratio

    @property
    def environment_steps(self) -> int:
        """Online transitions stored since the run began."""
        return self._sampler.environment_steps

    def request_stop(self) -> None:
        """End `run` after the current block; may be called from a signal handler."""
        self._stop.set()

    def resume(self) -> None:
        """Take over the newest checkpoint, if there is one. The replay is rebuilt from its log before this."""
        path = self._checkpoints.newest()
        if path is None:
            return
        tensors, values = load_checkpoint(path)
        learner = self._reward_learner
        if learner is not None:
            learner.load_state_dict(below(_REWARD, tensors))
        self._algorithm.load_state_dict({k: v for k, v in tensors.items() if not k.startswith(_REWARD)})
        self._blocks, self._imitated = values["blocks"], values.get("warm_start_updates", 0)
        self._sampler.set_random_state(values["sampler_random_state"])
        self._saved_at = values["environment_steps"]
        self._reported = (time.monotonic(), self._gradient_steps)

    def run(self) -> bool:
        """Learn until the run is complete or a stop is requested; then save and tell the actors.

        An error leaves the newest checkpoint as it was: what failed is not saved over what worked.

        Returns:
            Whether the run is complete.

        Raises:
            RuntimeError: The receive thread died, or learning diverged.
            Exception: What ended the thread that samples ahead.
        """
        if self._is_warm() and not self._complete():
            self._publish()
        with closing(self._sampler):
            while not self._stop.is_set() and not self._complete():
                self._server.raise_if_dead()
                self._receive()
                if not self._is_warm():
                    self._imitate()
                elif self._blocks < self._allowed_blocks():
                    self._update()
                else:
                    self._server.wait(timeout_s=0.1)
                if time.monotonic() - self._reported[0] >= _REPORT_EVERY_S:
                    self._write_progress()
        self._receive()
        self._save()
        self._write_progress()
        if self._complete():
            self._server.stop_actors("the run is complete")
        return self._complete()

    def collect(self) -> None:
        """Take in what actors handed over while the server was closing."""
        self._receive()
        self._write_progress()

    @property
    def _gradient_steps(self) -> int:
        return self._imitated + self.updates

    def _is_warm(self) -> bool:
        return self._imitated >= self._warm_start_updates

    def _complete(self) -> bool:
        config = self._config
        return (
            self._is_warm()
            and self.environment_steps >= config.max_environment_steps
            and self._blocks >= config.max_environment_steps - config.start_steps
        )

    def _allowed_blocks(self) -> int:
        steps = min(self.environment_steps, self._config.max_environment_steps)
        return max(0, steps - self._config.start_steps)

    def _receive(self) -> None:
        while (records := self._server.poll()) is not None:
            self._sampler.append(records)
        for report in self._server.poll_reports():
            self._journal.write_report(report)
        self._server.set_progress(self.updates, self._allowance())

    def _allowance(self) -> int:
        """Up to which environment step actors in simulated time may go now."""
        config = self._config
        return min(config.max_environment_steps, config.start_steps + self._blocks + config.lead_steps)

    def _imitate(self) -> None:
        """One step of the warm start. Nobody acts before its end: no weights are published."""
        assert isinstance(self._algorithm, WarmStarts)
        batch = self._sampler.sample_demonstrations(self._algorithm.batch_size)
        self._metrics = self._algorithm.imitate(batch)
        self._imitated += 1
        self._raise_if_diverged()
        if self._is_warm() or self._imitated % self._config.checkpoint_every == 0:
            self._save()  # Before the publication: what is acted by must not be imitated again after a crash.
        if self._is_warm() and not self._complete():
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
        self._raise_if_diverged()
        if self._blocks % self._config.publish_every == 0:
            self._publish()
        if self.environment_steps - self._saved_at >= self._config.checkpoint_every:
            self._save()

    def _raise_if_diverged(self) -> None:
        broken = [name for name, value in self._metrics.items() if not math.isfinite(value)]
        if broken:
            raise RuntimeError(
                f"Learning diverged: {', '.join(broken)} is not finite after {self._gradient_steps} updates. The "
                "checkpoints are from before; try a smaller learning rate or critic LayerNorm."
            )

    def _publish(self) -> None:
        self._server.publish(self._blocks, encode_weights(self._algorithm.policy_weights()))

    def _save(self) -> None:
        self._server.sync()
        values: dict[str, Any] = {
            "blocks": self._blocks,
            "warm_start_updates": self._imitated,
            "updates": self.updates,
            "sampler_random_state": self._sampler.random_state(),
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
                "environment_steps": self.environment_steps,
                "warm_start": [self._imitated, self._warm_start_updates],
                "updates": self.updates,
                "updates_per_s": round(rate, 1),
                "policy_version": self._blocks,
                "actors": self._server.actors(),
                **{name: round(value, 5) for name, value in self._metrics.items()},
            },
        )
