"""How good a classifier is on labelled frames that it was not fitted to."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.evaluation import wilson_interval
from controllers.config import Config
from reward_models.success_classifier.calibration import balanced_weights, negative_log_likelihood
from reward_models.success_classifier.frames import Frames
from reward_models.votes import Votes

Array = NDArray[np.float64]

_BINS = 10


class Share(Config):
    """A share of frames or episodes with its 95 % Wilson interval.

    Attributes:
        count: How many.
        of: Of how many.
        share: The quotient; None of nothing.
        low: Lower end of the interval.
        high: Upper end.
    """

    count: int
    of: int
    share: float | None
    low: float
    high: float

    @classmethod
    def make(cls, count: int, of: int) -> "Share":
        """From counts."""
        low, high = wilson_interval(count, of)
        return cls(count=count, of=of, share=count / of if of else None, low=low, high=high)

    def __str__(self) -> str:
        if self.share is None:
            return "nothing to measure"
        return (
            f"{self.share:.1%}  ({self.count} of {self.of}; 95 % interval {self.low:.1%} to {self.high:.1%})"
        )


class Measurement(Config):
    """Numbers of one classifier on one set of frames.

    Attributes:
        threshold: A frame with a higher probability counts as a success.
        false_positive_rate: Failures called a success.
        recall: Successes called a success.
        precision: Successes among what is called a success; depends on how many of each were labelled.
        roc_area: Area under the ROC curve.
        loss: Negative log-likelihood, classes balanced, nats.
        novel: Frames unlike those of the fit.
        episodes_ended_early: Episodes that K-of-N votes would have ended before the first labelled success, of all.
        episodes_recognised: Episodes that they would have ended after it, of those with a success.
        reliability: Per bin of probability: mean probability, share of successes (classes balanced), number of frames.
    """

    threshold: float
    false_positive_rate: Share
    recall: Share
    precision: Share
    roc_area: float
    loss: float
    novel: Share
    episodes_ended_early: Share
    episodes_recognised: Share
    reliability: tuple[tuple[float, float, int], ...]


def measure(
    frames: Frames,
    probability: Array,
    novelty: Array,
    threshold: float,
    needed: int,
    window: int,
) -> Measurement:
    """Compare verdicts with labels.

    Args:
        frames: With labels.
        probability: What the classifier says, shape (N,).
        novelty: Distance from the frames of the fit in multiples of the limit, shape (N,).
        threshold: Where success begins.
        needed: K of the votes.
        window: N of the votes.
    """
    success, called = frames.success, probability > threshold
    successes, failures = frames.counts()
    clipped = np.clip(probability, 1e-12, 1.0 - 1e-12)
    early, recognised = _episodes(frames, called, needed, window)
    episodes, with_success = len(set(frames.episode.tolist())), len(set(frames.episode[success].tolist()))
    return Measurement(
        threshold=threshold,
        false_positive_rate=Share.make(int((called & ~success).sum()), failures),
        recall=Share.make(int((called & success).sum()), successes),
        precision=Share.make(int((called & success).sum()), int(called.sum())),
        roc_area=roc_area(probability, success),
        loss=negative_log_likelihood(np.log(clipped) - np.log1p(-clipped), success),
        novel=Share.make(int((novelty > 1.0).sum()), len(frames)),
        episodes_ended_early=Share.make(early, episodes),
        episodes_recognised=Share.make(recognised, with_success),
        reliability=_reliability(probability, success),
    )


def roc(probability: Array, success: NDArray[np.bool_]) -> tuple[Array, Array]:
    """False-positive and true-positive rate over all thresholds, from (0, 0) to (1, 1)."""
    order = np.argsort(-probability, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(probability[order])), len(order) - 1)
    true = np.cumsum(success[order])[ends] / max(1, int(success.sum()))
    false = np.cumsum(~success[order])[ends] / max(1, int((~success).sum()))
    return np.append(0.0, false), np.append(0.0, true)


def roc_area(probability: Array, success: NDArray[np.bool_]) -> float:
    """Chance that a success has a higher probability than a failure; ties count half."""
    false, true = roc(probability, success)
    return float(np.sum(np.diff(false) * 0.5 * (true[1:] + true[:-1])))


def worst_errors(frames: Frames, probability: Array, threshold: float, count: int) -> NDArray[np.int64]:
    """Indices of the frames that are furthest on the wrong side of the threshold, worst first."""
    wrong = (probability > threshold) != frames.success
    distance = np.where(wrong, np.abs(probability - frames.success), -1.0)
    worst = np.argsort(-distance, kind="stable")[:count]
    return worst[distance[worst] >= 0.0]


def _episodes(frames: Frames, called: NDArray[Any], needed: int, window: int) -> tuple[int, int]:
    """Episodes whose votes succeed before any success is labelled, and those where they do so afterwards."""
    early = recognised = 0
    for number in set(frames.episode.tolist()):
        votes, seen = Votes(needed, window), False
        rows = np.flatnonzero(frames.episode == number)
        for row in rows[np.argsort(frames.step[rows])]:
            seen = seen or bool(frames.success[row])
            if votes.add(bool(called[row])):
                early, recognised = early + (not seen), recognised + seen
                break
    return early, recognised


def _reliability(probability: Array, success: NDArray[np.bool_]) -> tuple[tuple[float, float, int], ...]:
    weights = balanced_weights(success)
    bins = np.minimum((probability * _BINS).astype(int), _BINS - 1)
    rows = []
    for number in np.unique(bins):
        chosen = bins == number
        weight = weights[chosen] / weights[chosen].sum()
        mean, share = float(weight @ probability[chosen]), float(weight @ success[chosen])
        rows.append((mean, share, int(chosen.sum())))
    return tuple(rows)
