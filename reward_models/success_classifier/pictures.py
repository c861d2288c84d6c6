"""What people look at: curves of a measurement, and sheets of frames."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from reward_models.success_classifier.frames import Frames
from reward_models.success_classifier.measurement import Measurement, roc

_TILE_HEIGHT, _CAPTION_HEIGHT, _GAP = 128, 18, 4
_COLOURS = {"success": (30, 140, 60), "failure": (190, 50, 40), "skip": (110, 110, 110)}
_NEUTRAL = (60, 60, 60)


def plot(
    frames: Frames, probability: NDArray[np.float64], measured: Measurement, title: str, path: Path
) -> None:
    """Precision and recall over the threshold, ROC, reliability, and both classes' probabilities, as one PNG."""
    figure = Figure(figsize=(9, 7.5), dpi=120)
    (over, curve), (trust, spread) = figure.subplots(2, 2)
    success = frames.success
    _plot_precision_recall(over, probability, success, measured.threshold)
    false, true = roc(probability, success)
    curve.plot(100 * false, 100 * true)
    rate, recall = measured.false_positive_rate.share, measured.recall.share
    if rate is not None and recall is not None:
        curve.plot(100 * rate, 100 * recall, "o", label="at the threshold")
        curve.legend(loc="lower right", frameon=False)
    curve.set(xlabel="false positives [% of failures]", ylabel="recall [%]", xlim=(-0.5, 20), ylim=(-2, 102))
    curve.set_title(f"ROC, area {measured.roc_area:.4f}; note the range", loc="left", fontsize=9)
    trust.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    trust.plot(*zip(*((mean, share) for mean, share, _ in measured.reliability), strict=True), "o-")
    trust.set(xlabel="probability", ylabel="share of successes", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    trust.set_title("Reliability, classes balanced", loc="left", fontsize=9)
    edges = np.linspace(0.0, 1.0, 41).tolist()
    for verdict, colour in ((True, "tab:green"), (False, "tab:red")):
        name = "success" if verdict else "failure"
        spread.hist(probability[success == verdict], edges, color=colour, alpha=0.6, label=name, log=True)
    spread.axvline(measured.threshold, color="0.3", linestyle="--", linewidth=1)
    spread.set(xlabel="probability", ylabel="frames")
    spread.legend(frameon=False)
    for axes in (over, curve, trust, spread):
        axes.grid(alpha=0.25)
    figure.suptitle(title, fontsize=10, x=0.02, ha="left")
    figure.tight_layout()
    figure.savefig(path)


def _plot_precision_recall(
    axes: Any, probability: NDArray[np.float64], success: NDArray[np.bool_], threshold: float
) -> None:
    thresholds = np.linspace(0.0, 1.0, 201)[:-1]
    called = probability[None] > thresholds[:, None]
    hits = (called & success).sum(1)
    with np.errstate(invalid="ignore"):
        axes.plot(thresholds, 100 * hits / called.sum(1), label="precision")
        axes.plot(thresholds, 100 * hits / success.sum(), label="recall")
    axes.axvline(threshold, color="0.3", linestyle="--", linewidth=1, label="threshold")
    axes.set(xlabel="threshold", ylabel="[%]", ylim=(-2, 102))
    axes.legend(loc="lower left", frameon=False)


def error_sheet(
    frames: Frames, probability: NDArray[np.float64], worst: NDArray[np.int64], path: Path
) -> None:
    """The frames of the indices `worst` as the classifier sees them, with label, probability and where they are."""
    tiles, captions, verdicts = [], [], []
    for index in worst.tolist():
        tiles.append(np.concatenate(list(frames.inputs.images[index].transpose(0, 2, 3, 1)), axis=1))
        label = "success" if frames.success[index] else "failure"
        name = Path(frames.names[frames.episode[index]]).stem
        captions.append(f"{name}:{frames.step[index]} is {label}, p {probability[index]:.2f}")
        verdicts.append(label)
    write_sheet(path, tiles, captions, verdicts)


def write_sheet(
    path: Path, tiles: Sequence[NDArray[np.uint8]], captions: Sequence[str], verdicts: Sequence[str]
) -> None:
    """Frames in rows, each below its caption on the colour of its verdict, as a PNG.

    Args:
        path: Of the PNG.
        tiles: RGB, each of shape (H, W, 3).
        captions: One per tile.
        verdicts: `success`, `failure` or `skip`, one per tile; anything else is grey.
    """
    cells = [_cell(*each) for each in zip(tiles, captions, verdicts, strict=True)]
    if not cells:
        cells = [_cell(np.full((32, 96, 3), 255, np.uint8), "nothing to show", "")]
    columns = max(1, min(8, 1600 // (cells[0].shape[1] + _GAP)))
    height, width = (max(cell.shape[axis] for cell in cells) for axis in (0, 1))
    sheet = np.full((-(-len(cells) // columns) * (height + _GAP), columns * (width + _GAP), 3), 255, np.uint8)
    for number, cell in enumerate(cells):
        top, left = (number // columns) * (height + _GAP), (number % columns) * (width + _GAP)
        sheet[top : top + cell.shape[0], left : left + cell.shape[1]] = cell
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(sheet))


def png(rgb: NDArray[np.uint8]) -> bytes:
    """An RGB picture of shape (H, W, 3) as PNG."""
    _, encoded = cv2.imencode(".png", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    return bytes(encoded.tobytes())


def side_by_side(frames: Sequence[NDArray[np.uint8]], height: int = _TILE_HEIGHT) -> NDArray[np.uint8]:
    """Frames of several cameras, RGB, in one row of that height."""
    scaled = [
        cv2.resize(f, (max(1, round(f.shape[1] * height / f.shape[0])), height), interpolation=cv2.INTER_AREA)
        for f in frames
    ]
    return np.concatenate(scaled, axis=1)


def _cell(tile: NDArray[np.uint8], caption: str, verdict: str) -> NDArray[np.uint8]:
    picture = side_by_side([tile])
    cell = np.full((picture.shape[0] + _CAPTION_HEIGHT, picture.shape[1], 3), _COLOURS.get(verdict, _NEUTRAL))
    cell = cell.astype(np.uint8)
    cell[_CAPTION_HEIGHT:] = picture
    white = (255, 255, 255)
    cv2.putText(cell, caption, (3, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.36, white, 1, cv2.LINE_AA)
    return cell
