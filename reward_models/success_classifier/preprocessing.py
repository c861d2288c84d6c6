"""From camera frames to what the classifier sees: the same object in fitting and on the robot."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from controllers.config import Config, InputError

# Goes into the hash: raise it when the computation below changes.
_VERSION = 1

_Number = TypeVar("_Number")


class View(Config):
    """One camera, as the classifier was fitted for it.

    Attributes:
        height: Of its frames, pixels.
        width: Of its frames, pixels.
        crop: What is looked at: top, left, height, width in pixels; the whole frame if None.
    """

    height: int
    width: int
    crop: tuple[int, int, int, int] | None = None

    def __post_init__(self) -> None:
        """Refuse a crop that is not within the frame."""
        if self.crop is None:
            return
        top, left, height, width = self.crop
        inside = min(top, left) >= 0 and top + height <= self.height and left + width <= self.width
        if not inside or min(height, width) < 1:
            raise ValueError(
                f"crop {list(self.crop)} (top, left, height, width) must lie within the frame of {self.height} x "
                f"{self.width} pixels"
            )


class Inputs(NamedTuple):
    """N observations as the classifier sees them.

    Attributes:
        images: uint8 RGB, shape (N, C, 3, S, S), cameras in alphabetical order.
        state: float32, shape (N, P); P is 0 where no proprioception is used.
    """

    images: NDArray[np.uint8]
    state: NDArray[np.float32]


class Preprocessing(Config):
    """Which cameras, which part of their frames, at which size, and how pixels become numbers.

    Attributes:
        cameras: By name.
        size: S, side of the square that every crop is scaled to, pixels.
        state_names: Entries of the `state` vector that are seen besides; none by default.
        mean: Subtracted from intensities in [0, 1].
        deviation: They are divided by this then.
    """

    cameras: dict[str, View]
    size: int = 64
    state_names: tuple[str, ...] = ()
    mean: float = 0.5
    deviation: float = 0.25

    def __post_init__(self) -> None:
        """Refuse what gives no picture."""
        if not self.cameras:
            raise ValueError("a classifier needs at least one camera")
        if not 16 <= self.size <= 512 or not self.deviation > 0.0:
            raise ValueError(
                f"size {self.size} must lie in [16, 512] and deviation {self.deviation} be positive"
            )

    @property
    def hash(self) -> str:
        """Equal for equal preprocessing, and different where anything differs."""
        described = msgspec.json.encode({"version": _VERSION, **msgspec.to_builtins(self)}, order="sorted")
        return hashlib.sha256(described).hexdigest()[:16]

    def check_source(
        self, image_shapes: Mapping[str, tuple[int, ...]], state_names: Sequence[str], source: str
    ) -> None:
        """Refuse observations that this was not made for.

        Args:
            image_shapes: Shape (height, width, 3) of the frames of each camera there is; more do no harm.
            state_names: Names of the entries of `state`.
            source: Where they come from, for the message.

        Raises:
            InputError: Naming the camera or entry that differs.
        """
        for name, view in sorted(self.cameras.items()):
            wanted = (view.height, view.width, 3)
            found = image_shapes.get(name)
            if found is None:
                raise InputError(
                    f"The classifier was fitted for camera {name!r}, but {source} has "
                    f"{', '.join(map(repr, sorted(image_shapes))) or 'no camera'}: add it to task.cameras, or fit for "
                    "the cameras there are."
                )
            if tuple(found) != wanted:
                raise InputError(
                    f"The classifier was fitted for frames of camera {name!r} of shape {list(wanted)}, but {source} "
                    f"has {list(found)}: set its size in task.cameras, or fit again."
                )
        missing = [name for name in self.state_names if name not in state_names]
        if missing:
            raise InputError(
                f"The classifier was fitted with {missing[0]!r} of the state, but {source} has "
                f"{', '.join(state_names)}: add it to task.observation, or fit again without."
            )

    def prepare(self, observations: Mapping[str, NDArray[Any]], state_names: Sequence[str]) -> Inputs:
        """Crop and scale.

        Args:
            observations: N of them: uint8 RGB images of shape (N, H, W, 3) by camera, and `state`, shape (N, S).
            state_names: Names of the entries of `state`.

        Raises:
            InputError: See `check_source`.
        """
        shapes = {name: v.shape[1:] for name, v in observations.items() if name != "state"}
        self.check_source(shapes, state_names, "the observation")
        cameras = [
            np.stack([self._prepared(frame, self.cameras[name].crop) for frame in observations[name]])
            for name in sorted(self.cameras)
        ]
        indices = [list(state_names).index(name) for name in self.state_names]
        images = np.stack(cameras, axis=1).transpose(0, 1, 4, 2, 3)
        return Inputs(np.ascontiguousarray(images), observations["state"][:, indices].astype(np.float32))

    def normalise(self, images: _Number) -> _Number:
        """Intensities from 0 to 255, floating point, as numbers around zero; arrays and tensors alike."""
        numbers: Any = images
        result: _Number = (numbers / 255.0 - self.mean) / self.deviation
        return result

    def _prepared(
        self, frame: NDArray[np.uint8], crop: tuple[int, int, int, int] | None
    ) -> NDArray[np.uint8]:
        """Shape (H, W, 3) to (S, S, 3)."""
        if crop is not None:
            top, left, height, width = crop
            frame = frame[top : top + height, left : left + width]
        if frame.shape[:2] == (self.size, self.size):
            return frame
        return cv2.resize(np.ascontiguousarray(frame), (self.size, self.size), interpolation=cv2.INTER_AREA)
