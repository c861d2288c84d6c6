"""Pictures in a terminal: two pixels per character, upper and lower half. Also over ssh."""

from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.color import Color
from rich.segment import Segment, Segments
from rich.style import Style

Image = NDArray[np.uint8]

_UPPER_HALF = "▀"
# Colours in steps of 8: there are few enough to remember their styles, and nobody sees it.
_COARSE = 0xF8


def picture(images: Sequence[Image], columns: int, rows: int) -> Segments:
    """Images side by side, no larger than the room.

    Args:
        images: RGB, each of shape (height, width, 3).
        columns: Characters in a line.
        rows: Lines.
    """
    shown = _side_by_side(images, columns, 2 * rows) & _COARSE
    segments = []
    for upper, lower in zip(shown[0::2].tolist(), shown[1::2].tolist(), strict=True):
        segments += [
            Segment(_UPPER_HALF, _style(tuple(above), tuple(below)))
            for above, below in zip(upper, lower, strict=True)
        ]
        segments.append(Segment.line())
    return Segments(segments)


def _side_by_side(images: Sequence[Image], width: int, height: int) -> Image:
    """All images at one height, an even number of pixels, together no wider than `width`."""
    proportions = [image.shape[1] / image.shape[0] for image in images]
    room = width - (len(images) - 1)
    height = max(2, min(height, int(room / sum(proportions))) // 2 * 2)
    gap = np.zeros((height, 1, 3), np.uint8)
    parts = []
    for image, proportion in zip(images, proportions, strict=True):
        size = (max(1, int(height * proportion)), height)
        parts += [gap, cv2.resize(image, size, interpolation=cv2.INTER_AREA)]
    return np.concatenate(parts[1:], axis=1).astype(np.uint8)


@lru_cache(maxsize=65536)
def _style(above: tuple[int, int, int], below: tuple[int, int, int]) -> Style:
    return Style(color=Color.from_rgb(*above), bgcolor=Color.from_rgb(*below))
