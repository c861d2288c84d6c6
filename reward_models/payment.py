"""What progress is worth."""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from controllers.config import InputError
from robot_env.task import RewardConfig

_Progress = TypeVar("_Progress", float, NDArray[np.float64])


class ProgressPayment:
    """From the task's `reward.step`, where nothing is done, to its `reward.success`, where all is.

    Every step before the end costs something, so no policy gains by staying short of it.

    Args:
        reward: Of the task.

    Attributes:
        success: Paid at the end.

    Raises:
        InputError: The task pays otherwise than sparsely, or as much for going on as for being done.
    """

    def __init__(self, reward: RewardConfig) -> None:
        if reward.kind != "sparse" or not reward.step < reward.success <= 0.0:
            raise InputError(
                f"task.reward has kind {reward.kind!r}, step {reward.step} and success {reward.success}, but a reward "
                "for progress needs 'sparse' and step < success <= 0, or to go on would be worth more than to be done."
            )
        self.success = reward.success
        self._step = reward.step

    def __call__(self, progress: _Progress) -> _Progress:
        """What a step is paid that leads to so much progress, from 0 to 1."""
        return self._step + (self.success - self._step) * progress
