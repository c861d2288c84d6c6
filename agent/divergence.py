"""Learning that diverges: how it is noticed, and how often it may go back before it is given up."""

import math
from collections.abc import Mapping

from agent.config import Config
from agent.tensors import Tensors

_LOSS = "critic_loss"
_KNOWN_AFTER = 500  # Losses that make the level.
_NEW_SCALE = 2.0  # Rewards that are so many times larger than any before are of another scale.


class DivergenceConfig(Config):
    """When learning counts as diverged, and what is done then.

    Attributes:
        rollbacks: How often a learner goes back to its newest good checkpoint without getting further than it had been;
            then it ends. 0 ends it at once.
        factor: A critic loss of so many times its level explodes: see `LossWatch`.
        patience: For so many updates of the learner in a row.
    """

    rollbacks: int = 3
    factor: float = 1e6
    patience: int = 50

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if self.rollbacks < 0 or self.patience < 1:
            raise ValueError(
                f"learner.divergence.rollbacks {self.rollbacks} must not be negative, and patience {self.patience} "
                "must be at least 1"
            )
        if not 100 <= self.factor < math.inf:
            raise ValueError(
                f"learner.divergence.factor {self.factor} must be a number of at least 100: a healthy loss rises, too"
            )


class DivergedError(RuntimeError):
    """Learning went wrong, and what came of it must not be acted by or saved."""

    exit_code = 1


class LossWatch:
    """Notices a critic loss that explodes long before it is infinite.

    Its level is the largest of the first five hundred losses at one scale of rewards. From then on a loss above
    `factor` times the level is in doubt, and `patience` of these in a row are an explosion. The level is learned anew
    with a reward more than twice as large as all before it, the first one that is not 0 included, since losses follow
    the square of the rewards. So the start of learning, where losses are large and fall, is left alone, and so is a
    loss that fell by a lot and rises to where it was. The level does not follow: a slow explosion is one, too.

    Args:
        config: Factor and patience.
    """

    def __init__(self, config: DivergenceConfig) -> None:
        self._config = config
        self._greatest_reward = 0.0
        self._level = 0.0
        self._seen = 0
        self._doubts = 0

    @property
    def in_doubt(self) -> bool:
        """Whether the newest loss was far too high."""
        return self._doubts > 0

    def see(self, metrics: Mapping[str, float], greatest_reward: float) -> None:
        """Take in the metrics of one update of the learner; nothing happens if they have no critic loss.

        Args:
            metrics: As `Algorithm.update` gives them.
            greatest_reward: The largest magnitude of a reward in the batch.

        Raises:
            DivergedError: A metric is not finite, or the critic loss has exploded.
        """
        broken = [name for name, value in metrics.items() if not math.isfinite(value)]
        if broken:
            raise DivergedError(f"{', '.join(broken)} is not finite")
        if _LOSS not in metrics:
            return
        if greatest_reward > _NEW_SCALE * self._greatest_reward:
            self._begin_anew(greatest_reward)
        loss = abs(metrics[_LOSS])
        if self._seen < _KNOWN_AFTER:
            self._seen += 1
            self._level = max(self._level, loss)
        elif loss > self._config.factor * self._level:
            self._doubts += 1
            self._raise_if_exploded(loss)
        else:
            self._doubts = 0

    def settle(self) -> None:
        """No more updates can remove a doubt.

        Raises:
            DivergedError: There is one.
        """
        if self.in_doubt:
            raise DivergedError(f"{_LOSS} is far above its level")

    def calm(self) -> None:
        """What was in doubt is undone; the level stands."""
        self._doubts = 0

    def _begin_anew(self, greatest_reward: float) -> None:
        self._greatest_reward, self._level, self._seen, self._doubts = greatest_reward, 0.0, 0, 0

    def _raise_if_exploded(self, loss: float) -> None:
        if self._doubts >= self._config.patience:
            raise DivergedError(
                f"{_LOSS} is {loss:.3g}, and was more than {self._config.factor:g} times {self._level:.3g}, the most "
                f"that it was at first, for {self._doubts} updates in a row"
            )


def not_finite(state: Tensors) -> list[str]:
    """Names of the tensors in which something is NaN or infinite."""
    return [name for name, value in state.items() if value.is_floating_point() and not value.isfinite().all()]


def raise_if_not_finite(state: Tensors, what: str) -> None:
    """See that `what` can be saved or acted by.

    Raises:
        DivergedError: It cannot.
    """
    if broken := not_finite(state):
        more = f" and {len(broken) - 1} more" if len(broken) > 1 else ""
        raise DivergedError(f"{broken[0]}{more} of {what} is not finite")
