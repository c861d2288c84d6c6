"""From logits to probabilities that can be believed, and from those to a threshold."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from agent.evaluation import wilson_interval

Array = NDArray[np.float64]

_COLDEST, _HOTTEST = 0.05, 20.0
_GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0
_Z = 1.96
# What is more likely a failure is never called a success, however well the classes are apart.
_LOWEST = 0.5
_MARGIN = 1e-3


def sigmoid(logits: Array) -> Array:
    """Probability of each logit; never overflows."""
    return 0.5 * (1.0 + np.tanh(0.5 * logits))


def balanced_weights(success: NDArray[np.bool_]) -> Array:
    """Weights that sum to one and give successes and failures the same say, shape (N,)."""
    count = int(success.sum())
    if count in (0, len(success)):
        return np.full(len(success), 1.0 / len(success))
    return np.where(success, 0.5 / count, 0.5 / (len(success) - count))


def negative_log_likelihood(logits: Array, success: NDArray[np.bool_]) -> float:
    """Mean over the frames, both classes having the same say; nats."""
    signed = np.where(success, logits, -logits)
    return float(np.sum(balanced_weights(success) * np.logaddexp(0.0, -signed)))


def fit_temperature(logits: Array, success: NDArray[np.bool_]) -> float:
    """The divisor of the logits with the least negative log-likelihood (Guo et al., arXiv:1706.04599).

    That likelihood is convex in the temperature's inverse, so a golden-section search finds it.
    """

    def loss(inverse: float) -> float:
        return negative_log_likelihood(logits * inverse, success)

    low, high = 1.0 / _HOTTEST, 1.0 / _COLDEST
    for _ in range(60):
        left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        if loss(left) < loss(right):
            high = right
        else:
            low = left
    best = 0.5 * (low + high)
    return 1.0 / best if loss(best) <= loss(1.0) else 1.0


class Threshold(NamedTuple):
    """Where success begins, and how well that is known.

    Attributes:
        probability: A frame with more than this is a success.
        failures: Held-out failures that it was chosen on.
        false_positives: How many of them it calls a success.
        rate_high: Upper end of the 95 % Wilson interval of the false-positive rate.
        needed: Failures without any false positive that it takes to show the wanted rate.
    """

    probability: float
    failures: int
    false_positives: int
    rate_high: float
    needed: int

    def describe(self, wanted: float) -> str:
        """One sentence that claims no more than was measured."""
        seen = f"{self.false_positives} of {self.failures} held-out failures pass"
        if self.rate_high <= wanted:
            return (
                f"{seen}: the false-positive rate is at most {self.rate_high:.1%} (95 % interval), as wanted."
            )
        return (
            f"{seen}: that shows a false-positive rate of at most {self.rate_high:.1%} (95 % interval), not the wanted "
            f"{wanted:.1%}, for which it takes {self.needed} held-out failures without a false positive."
        )


def seldom_exceeded(values: Array, rate: float) -> float:
    """The lowest of n values that another one exceeds with a probability of at most `rate`.

    Split conformal prediction (Vovk et al., 2005): the k-th highest is exceeded by another one with a probability of at
    most k / (n + 1), if values are exchangeable; those of one episode are not quite.
    """
    rank = math.floor(rate * (len(values) + 1))
    # With too few values for the rate, the highest is the best that can be done.
    return float(np.sort(values)[::-1][max(rank, 1) - 1])


def choose_threshold(failures: Array, false_positive_rate: float) -> Threshold:
    """The lowest threshold from one half on by which a new failure is expected to pass no more often than wanted.

    Args:
        failures: Probabilities of success of held-out failures, shape (n,); none are allowed.
        false_positive_rate: What is wanted, in (0, 1).
    """
    highest = seldom_exceeded(failures, false_positive_rate) if len(failures) else 0.0
    # A little above it: judged in another batch the same frame comes out otherwise in the last digits.
    probability = max(_LOWEST, highest + _MARGIN * (1.0 - highest))
    passed = int(np.sum(failures > probability))
    _, high = wilson_interval(passed, len(failures))
    return Threshold(probability, len(failures), passed, high, failures_needed(false_positive_rate))


def failures_needed(false_positive_rate: float) -> int:
    """Failures without a false positive whose Wilson interval ends at the rate: z^2 / (n + z^2) = rate."""
    return math.ceil(_Z * _Z * (1.0 - false_positive_rate) / false_positive_rate)
