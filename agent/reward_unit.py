"""What rewards, values and the temperature are counted in, so that the size of rewards need not matter."""

import math

import torch
from torch import Tensor


class RewardUnit:
    """Rewards are divided by it before they are learned from.

    One that follows is the greatest absolute reward seen so far, as if rewards had been made to lie in [-1, 1]. Unlike
    a standard deviation it does not go on changing, and does not vanish where rewards are sparse.

    Args:
        fixed: In units of the environment's reward; None follows.

    Attributes:
        follows: Whether it does.
    """

    def __init__(self, fixed: float | None) -> None:
        self.follows = fixed is None
        self._greatest = fixed or 0.0

    @property
    def value(self) -> float:
        """The unit; 1 as long as there was no reward but 0."""
        return self._greatest or 1.0

    def follow(self, reward: Tensor) -> float:
        """Take in rewards; returns what everything that was counted in the unit so far has to be multiplied by.

        That is 1 for the very first reward, whatever its size: what a network says before it has learned has none.
        """
        greatest = float(reward.abs().max()) if self.follows else 0.0
        if not self._greatest < greatest < math.inf:
            return 1.0
        factor = self._greatest / greatest if self._greatest else 1.0
        self._greatest = greatest
        return factor

    def state(self) -> Tensor:
        """For `load`; 0 as long as there is none."""
        return torch.tensor(self._greatest, dtype=torch.float64)

    def load(self, state: Tensor) -> None:
        """Go on from `state`."""
        self._greatest = float(state)

    def take_over(self, state: Tensor) -> float:
        """Of another run; returns what its values and temperature have to be multiplied by in this one."""
        if self.follows:
            self.load(state)
            return 1.0
        return (float(state) or 1.0) / self.value
