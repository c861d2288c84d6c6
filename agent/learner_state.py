"""What learning depends on, and how far it has come: what a checkpoint holds, and what a learner goes back to."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from agent.algorithm import Algorithm, LearnsOffline, RewardLearner
from agent.divergence import DivergedError
from agent.prefetch import Prefetcher
from agent.tensors import Tensors, above, below

_REWARD, _SAMPLER = "reward_learner.", "sampler."  # Begin the names of their tensors in a checkpoint.


class LearnerState:
    """The parts of a learner that learn, and its counters.

    Attributes:
        algorithm: What is trained.
        offline_updates: So many updates its offline phase takes; 0 without one.
        learned_offline: Of these, how many are made.
        blocks: Blocks of updates made since the run began, each for one environment step: the version of the policy.

    Args:
        algorithm: What is trained.
        sampler: What it is trained on.
        reward_learner: Trained beside it, where there is one.
    """

    def __init__(
        self, algorithm: Algorithm, sampler: Prefetcher, reward_learner: RewardLearner | None
    ) -> None:
        self.algorithm = algorithm
        self.offline_updates = algorithm.offline_updates if isinstance(algorithm, LearnsOffline) else 0
        self.learned_offline = 0
        self.blocks = 0
        self._sampler = sampler
        self._reward_learner = reward_learner

    @property
    def updates(self) -> int:
        """Critic updates made since the run began."""
        return self.blocks * self.algorithm.utd_ratio

    @property
    def gradient_steps(self) -> int:
        """These, and the updates of the offline phase."""
        return self.learned_offline + self.updates

    @property
    def is_past_offline(self) -> bool:
        """Whether the offline phase is over."""
        return self.learned_offline >= self.offline_updates

    @property
    def environment_steps(self) -> int:
        """Online transitions stored since the run began."""
        return self._sampler.environment_steps

    def tensors(self) -> Tensors:
        """Everything that learning depends on, but for what `counters` has."""
        tensors = self.algorithm.state_dict()
        if self._reward_learner is not None:
            tensors |= above(_REWARD, self._reward_learner.state_dict())
        return tensors | above(_SAMPLER, self._sampler.state_dict())

    def counters(self) -> dict[str, Any]:
        """Counters and random state, as JSON can hold them."""
        return {
            "blocks": self.blocks,
            "offline_updates": self.learned_offline,
            "updates": self.updates,
            "sampler_random_state": self._sampler.random_state(),
        }

    def restore(self, tensors: Tensors, values: dict[str, Any]) -> None:
        """The inverse of both, but for the sampling: whoever goes back draws other batches.

        Raises:
            Exception: They do not fit, or are damaged.
        """
        if self._reward_learner is not None:
            self._reward_learner.load_state_dict(below(_REWARD, tensors))
        others = (_REWARD, _SAMPLER)
        self.algorithm.load_state_dict({k: v for k, v in tensors.items() if not k.startswith(others)})
        self.blocks, self.learned_offline = map(
            count_of, (values["blocks"], values.get("offline_updates", 0))
        )

    def resume(self, tensors: Tensors, values: dict[str, Any]) -> None:
        """The inverse of both: whoever goes on draws the batches that would have come.

        Raises:
            Exception: They do not fit, or are damaged.
        """
        self.restore(tensors, values)
        self._sampler.load_state_dict(below(_SAMPLER, tensors))
        self._sampler.set_random_state(values["sampler_random_state"])

    @contextmanager
    def saying_when(self) -> Iterator[None]:
        """Let what is wrong be said in a whole clause.

        Raises:
            DivergedError: Of the block, with the number of updates after which it came.
        """
        try:
            yield
        except DivergedError as error:
            raise DivergedError(f"Learning diverged: {error} after {self.gradient_steps} updates") from None


def count_of(value: Any) -> int:
    """A counter of a checkpoint.

    Raises:
        ValueError: It is none.
    """
    if not isinstance(value, int) or value < 0:
        raise ValueError(f"its counter {value!r} is no count")
    return value
