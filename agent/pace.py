"""How much may be learned from what is stored, and how far actors may go ahead of what is learned."""

from collections.abc import Sequence
from typing import Protocol

from agent.learner_config import LearnerConfig

_MOST_PER_OWN_STEP = 2


class Stores(Protocol):
    """Has taken in experience."""

    @property
    def environment_steps(self) -> int:
        """Online transitions stored since the run began."""
        ...


class Pace:
    """One block of updates for every environment step.

    Args:
        config: Of the learner.
        store: What it has taken in.
    """

    def __init__(self, config: LearnerConfig, store: Stores) -> None:
        self._config = config
        self._store = store
        self._sharing: Sequence[Stores] = (store,)

    def share_with(self, stores: Sequence[Stores]) -> None:
        """Be one of several, this one among them, that share the environment steps of a run."""
        self._sharing = stores

    @property
    def run_steps(self) -> int:
        """Online transitions stored by all learners of the run."""
        return sum(store.environment_steps for store in self._sharing)

    @property
    def has_all(self) -> bool:
        """Whether all experience that the run is to have is there."""
        return self.run_steps >= self._config.max_environment_steps

    def allowed_blocks(self) -> int:
        """One block of updates for every environment step that is its own, once there are enough.

        Of several agents each has an equal share of the run's steps, whoever made them, but for one that hardly acts:
        it would learn its few steps by heart.
        """
        steps = min(self.run_steps, self._config.max_environment_steps) // len(self._sharing)
        if len(self._sharing) > 1:
            steps = min(steps, _MOST_PER_OWN_STEP * self._store.environment_steps)
        return max(0, steps - self._config.start_steps)

    def allowance(self, blocks: int) -> int:
        """Up to which environment step of the run actors in simulated time may go, after so many blocks."""
        config, agents = self._config, len(self._sharing)
        lead = config.lead_steps - (self.allowed_blocks() - blocks)
        begun = max(self.run_steps, agents * config.start_steps)
        return min(config.max_environment_steps, begun + agents * lead)
