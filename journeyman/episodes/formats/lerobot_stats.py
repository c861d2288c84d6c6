"""Statistics that a LeRobotDataset carries for normalisation: per episode, and of all together.

What is computed, and how that of episodes is put together (quantiles by weighted mean), is as in LeRobot's own
src/lerobot/datasets/compute_stats.py; but from every value, where that takes a sample of images.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
Stats = dict[str, NDArray[Any]]


def numeric_stats(values: NDArray[Any]) -> Stats:
    """Of numbers, shape (T, ...); every statistic has shape (D,), the count (1,)."""
    rows = np.asarray(values, np.float64).reshape(len(values), -1)
    found = {"min": rows.min(0), "max": rows.max(0), "mean": rows.mean(0), "std": rows.std(0)}
    quantiles = np.quantile(rows, list(QUANTILES.values()), axis=0)
    return {**found, "count": np.array([len(rows)]), **dict(zip(QUANTILES, quantiles, strict=True))}


def image_stats(images: NDArray[np.uint8]) -> Stats:
    """Of images, shape (T, H, W, 3), scaled to [0, 1]; every statistic has shape (3, 1, 1), the count (1,)."""
    counts = np.stack([np.bincount(images[..., channel].ravel(), minlength=256) for channel in range(3)])
    levels = np.arange(256) / 255.0
    share = counts / counts.sum(1, keepdims=True)
    mean = share @ levels
    present = [np.flatnonzero(row) for row in counts]
    found = {
        "min": levels[[row[0] for row in present]],
        "max": levels[[row[-1] for row in present]],
        "mean": mean,
        "std": np.sqrt(np.maximum(share @ levels**2 - mean**2, 0.0)),
    }
    below = share.cumsum(1)
    for name, quantile in QUANTILES.items():
        # To the last digit 1.0 may not be reached.
        found[name] = levels[[int(np.searchsorted(row, min(quantile, row[-1]))) for row in below]]
    return {**{k: v.reshape(3, 1, 1) for k, v in found.items()}, "count": np.array([len(images)])}


def together(parts: Sequence[Stats]) -> Stats:
    """Of several episodes."""
    counts = np.array([int(part["count"][0]) for part in parts], np.float64)
    weights = counts / counts.sum()

    def mean(values: Sequence[NDArray[Any]]) -> NDArray[Any]:
        return np.tensordot(weights, np.stack(values), axes=1)

    centre = mean([part["mean"] for part in parts])
    spread = mean([part["std"] ** 2 + (part["mean"] - centre) ** 2 for part in parts])
    found = {
        "min": np.min([part["min"] for part in parts], axis=0),
        "max": np.max([part["max"] for part in parts], axis=0),
        "mean": centre,
        "std": np.sqrt(spread),
        "count": np.array([int(counts.sum())]),
    }
    return {**found, **{name: mean([part[name] for part in parts]) for name in QUANTILES}}


def plain(stats: Stats) -> dict[str, Any]:
    """As JSON and parquet take them."""
    return {name: values.tolist() for name, values in stats.items()}
