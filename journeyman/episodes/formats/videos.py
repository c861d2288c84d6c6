"""Images as H.264 in MP4, and back."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from numpy.typing import NDArray

from controllers.config import InputError
from journeyman.episodes.formats.libraries import refusing


class Codec(NamedTuple):
    """How frames are encoded."""

    encoder: str
    pixel_format: str
    options: dict[str, str]

    @property
    def description(self) -> dict[str, Any]:
        """What LeRobot's `info.json` says of it."""
        return {"video.codec": "h264", "video.pix_fmt": self.pixel_format}


# A key frame every other frame, as LeRobot has them: training jumps about. crf 18 can hardly be told from the original.
CODECS = {
    "h264": Codec("libx264", "yuv420p", {"crf": "18", "g": "2"}),
    "h264_lossless": Codec("libx264rgb", "rgb24", {"qp": "0", "g": "2"}),
}


class VideoFile:
    """An MP4 that grows by whole episodes.

    Attributes:
        frames: How many it has.
    """

    def __init__(self, path: Path, codec: Codec, rate_hz: int, height: int, width: int) -> None:
        """Begin it.

        Raises:
            InputError: The codec cannot encode images of this size.
        """
        if codec.pixel_format == "yuv420p" and (height % 2 or width % 2):
            raise InputError(
                f"Images of {height} x {width} pixels cannot be H.264 with half as many colours each way; choose "
                "images=h264_lossless or images=png."
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        self.frames = 0
        self._path = path
        self._container = av.open(str(path), "w")
        self._stream = self._container.add_stream(codec.encoder, rate=rate_hz, options=codec.options)
        self._stream.height, self._stream.width = height, width
        self._stream.pix_fmt = codec.pixel_format
        self._stream.time_base = Fraction(1, rate_hz)

    @property
    def size_bytes(self) -> int:
        """What is on disk so far; the encoder holds some frames back."""
        return self._path.stat().st_size if self._path.exists() else 0

    def add(self, images: Iterable[NDArray[np.uint8]]) -> None:
        """Append frames, RGB."""
        for image in images:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame.pts = self.frames
            self._container.mux(self._stream.encode(frame))
            self.frames += 1

    def close(self) -> None:
        """Finish the file."""
        self._container.mux(self._stream.encode())
        self._container.close()


def read_frames(path: Path, start_s: float, count: int, rate_hz: float) -> NDArray[np.uint8]:
    """Frames of a part of a video, RGB, shape (count, H, W, 3).

    Args:
        path: The file.
        start_s: When the first frame is shown.
        count: How many.
        rate_hz: How many a second.

    Raises:
        InputError: The file is damaged, or has not one frame at each of these times.
    """
    found: list[NDArray[np.uint8]] = []
    with refusing(path, "the video"), av.open(str(path)) as container:
        stream = container.streams.video[0]
        container.seek(max(0, int(start_s / stream.time_base)), stream=stream)
        for frame in container.decode(stream):
            late_s = float(frame.pts * frame.time_base) - (start_s + len(found) / rate_hz)
            if late_s < -0.5 / rate_hz:
                continue  # Before the part, or from the key frame before it.
            if late_s > 0.5 / rate_hz:
                break
            found.append(frame.to_ndarray(format="rgb24"))
            if len(found) == count:
                break
        if len(found) < count:
            raise InputError(
                f"{path}: it has no frame at {start_s + len(found) / rate_hz:.3f} s, where one should be."
            )
        return np.stack(found)
