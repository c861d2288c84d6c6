"""Pictures unlike those of the fit, about which the classifier's word means little."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

_THUMBNAIL = 8
# Added to every standard deviation, and to the variance along every axis once they are one: what never varied in the
# fit, such as a wall, would otherwise make the noise of a camera look new.
_LEAST_DEVIATION = 0.05
_SHRINKAGE = 0.1


def describe(images: Tensor, features: Tensor) -> Tensor:
    """What pictures look like: the network's features and thumbnails, as one vector each, shape (N, D).

    The features alone do not do: a network that tells success from failure is free to ignore everything else, and is as
    sure of itself before a covered lens.

    Args:
        images: Normalised, shape (N, C, 3, S, S).
        features: Shape (N, F).
    """
    thumbnails = F.adaptive_avg_pool2d(images.flatten(0, 1), _THUMBNAIL)
    return torch.cat([features, thumbnails.reshape(len(images), -1)], dim=1)


class Novelty(NamedTuple):
    """Mahalanobis distance from the frames of the fit (Lee et al., arXiv:1807.03888, with one class).

    Attributes:
        mean: Shape (D,).
        deviation: Shape (D,).
        precision: Inverse covariance of what is left after both, shape (D, D).
        limit: Distance that the stated share of held-out frames stays below, shape ().
    """

    mean: Tensor
    deviation: Tensor
    precision: Tensor
    limit: Tensor

    def distance(self, described: Tensor) -> Tensor:
        """Shape (N, D) to (N,)."""
        away = (described - self.mean) / self.deviation
        return torch.einsum("nd,de,ne->n", away, self.precision, away).clamp(min=0.0).sqrt()


def fit_novelty(fitted: Tensor, held_out: Tensor, share: float) -> Novelty:
    """Fit the distance.

    Args:
        fitted: Descriptions of the frames of the fit, shape (N, D).
        held_out: Of held-out frames, shape (M, D).
        share: Of held-out frames that is called novel.
    """
    mean = fitted.mean(0)
    deviation = fitted.std(0, correction=0) + _LEAST_DEVIATION
    away = (fitted - mean) / deviation
    covariance = away.T @ away / len(fitted)
    precision = torch.linalg.inv(covariance + _SHRINKAGE * torch.eye(len(mean)))
    unlimited = Novelty(mean, deviation, precision, torch.tensor(float("inf")))
    return unlimited._replace(limit=unlimited.distance(held_out).quantile(1.0 - share))
