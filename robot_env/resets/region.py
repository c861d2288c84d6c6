"""Where something is to be."""

from math import inf

import numpy as np
from numpy.typing import ArrayLike, NDArray

from controllers.config import Config


class Region(Config):
    """A box in the base frame: of two dimensions (x and y) on the table, of three in the air.

    Attributes:
        min_m: Lower corner.
        max_m: Upper corner.
    """

    min_m: tuple[float, ...]
    max_m: tuple[float, ...]

    def __post_init__(self) -> None:
        """Refuse a box without a point in it."""
        corners = list(zip(self.min_m, self.max_m, strict=False))
        if not (len(self.min_m) == len(self.max_m) > 0) or not all(-inf < a <= b < inf for a, b in corners):
            raise ValueError(
                f"the region's min_m {self.min_m} must be finite, as long as max_m {self.max_m}, and not above it"
            )

    @property
    def dimensions(self) -> int:
        """2 on the table, 3 in the air."""
        return len(self.min_m)

    def sample(self, rng: np.random.Generator) -> NDArray[np.float64]:
        """A point of it, uniformly; shape (dimensions,)."""
        return rng.uniform(self.min_m, self.max_m)

    def nearest(self, point_m: ArrayLike) -> NDArray[np.float64]:
        """The point of it that is nearest to another, shape (dimensions,)."""
        return np.clip(np.asarray(point_m, np.float64), self.min_m, self.max_m)

    def distance_m(self, point_m: ArrayLike) -> float:
        """How far outside a point is; zero inside, NaN if the point is none."""
        return float(np.linalg.norm(np.asarray(point_m, np.float64) - self.nearest(point_m)))
